"""Character classes and simple case folding, frozen: the tables that decide what a word is, for ever.

`python -m curate.unicode` makes curate/unicode.npz from the interpreter's unicodedata and the lists below, and refuses
an interpreter of another Unicode version: word hashes live on disk, so newer characters wait for a new data version.
At run time only `tables` is used, and unicodedata is not. No normalisation: composed and decomposed text differ.
"""

import functools
import sys
import unicodedata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

VERSION = "14.0.0"
PATH = Path(__file__).with_suffix(".npz")
CODE_POINTS = 0x110000
BLOCK = 256

# Bits of a character's class.
WHITE = 1  # White_Space
WORD = 2  # letters, numbers and marks: general categories L*, N*, M*
LETTER = 4  # L*: alphabetic in the sense of str.isalpha
SOLO = 8  # a letter of a script written without spaces: with the marks that follow it, a word of its own
MARK = 16  # M*: belongs to the word before it
TERMINAL = 32  # Sentence_Terminal
CLOSER = 64  # quotes and brackets that may stand between a sentence's terminal mark and its end
BULLET = 128  # opens an item of a list

_WHITE_SPACE = "9-D 20 85 A0 1680 2000-200A 2028-2029 202F 205F 3000"

# Line_Break classes ID and SA for the most part, and Tibetan, Javanese and Balinese, which part words with spaces no
# more than those do. Only letters and letter-like numbers of these ranges count.
_UNSPACED = (
    "E00-E7F E80-EFF F00-FFF 1000-109F 1780-17FF 1950-197F 1980-19DF 1A20-1AAF 1B00-1B7F "  # Thai ... Balinese
    "2E80-2FDF 3005-3007 3021-3029 3031-3035 3038-303C 3041-3096 309D-309F 30A1-30FF 3105-312F 31A0-31BF 31F0-31FF "
    "3400-4DBF 4E00-9FFF A000-A48C A980-A9DF A9E0-A9FF AA60-AA7F AA80-AADF F900-FAFF FF66-FF9F "
    "11700-1174F 16FE0-18D08 1AFF0-1B16F 1B170-1B2FB 20000-323AF"
)

# Sentence_Terminal (PropList.txt of Unicode 17), of the characters that Unicode 14 assigns.
_TERMINAL = (
    "21 2E 3F 589 61D-61F 6D4 700-702 7F9 837 839 83D-83E 964-965 104A-104B 1362 1367-1368 166E 1735-1736 17D4-17D5 "
    "1803 1809 1944-1945 1AA8-1AAB 1B5A-1B5B 1B5E-1B5F 1B7D-1B7E 1C3B-1C3C 1C7E-1C7F 2024 203C-203D 2047-2049 "
    "2CF9-2CFB 2E2E 2E3C 2E53-2E54 3002 A4FF A60E-A60F A6F3 A6F7 A876-A877 A8CE-A8CF A92F A9C8-A9C9 AA5D-AA5F "
    "AAF0-AAF1 ABEB FE12 FE15-FE16 FE52 FE56-FE57 FF01 FF0E FF1F FF61 10A56-10A57 10F55-10F59 10F86-10F89 "
    "11047-11048 110BE-110C1 11141-11143 111C5-111C6 111CD 111DE-111DF 11238-11239 1123B-1123C 112A9 1144B-1144C "
    "115C2-115C3 115C9-115D7 11641-11642 1173C-1173E 11944 11946 11A42-11A43 11A9B-11A9C 11C41-11C42 11EF7-11EF8 "
    "16A6E-16A6F 16AF5 16B37-16B38 16B44 16E98 1BC9F 1DA88"
)

# The bullets of NeMo Curator's rule, with the ASCII hyphen and asterisk and two more dots. No em dash: it opens speech.
_BULLETS = "2A 2D B7 2013 2022 2023 25A0 25A1 25AA 25AB 25B6 25C0 25CF 25E6"


class Tables(NamedTuple):
    """Two-stage tables: the class of code point c is `classes[class_index[c >> 8] * 256 + (c & 255)]`, and likewise its
    simple case folding `c + fold[fold_index[c >> 8] * 256 + (c & 255)]`. `ascii_fold` has for each byte the folded
    character if it is a letter or digit of ASCII, else 0."""

    ascii_fold: npt.NDArray[np.uint8]  # [256]
    class_index: npt.NDArray[np.uint8]  # [4352]
    classes: npt.NDArray[np.uint8]  # [blocks * 256]
    fold_index: npt.NDArray[np.uint8]  # [4352]
    fold: npt.NDArray[np.int32]  # [fold blocks * 256]


@functools.cache
def tables() -> Tables:
    """The frozen tables, read once in each process; read-only."""
    with np.load(PATH) as file:
        arrays = Tables(*(file[name] for name in Tables._fields))
    for array in arrays:
        array.flags.writeable = False
    return arrays


def build() -> Tables:
    """The tables of this interpreter's Unicode data.

    Raises:
        RuntimeError: if it is not of version `VERSION`.
    """
    if unicodedata.unidata_version != VERSION:
        raise RuntimeError(f"this Python has Unicode {unicodedata.unidata_version}, the tables are of {VERSION}")
    white, unspaced, terminal, bullets = map(_code_points, (_WHITE_SPACE, _UNSPACED, _TERMINAL, _BULLETS))
    classes = np.zeros(CODE_POINTS, np.uint8)
    fold = np.zeros(CODE_POINTS, np.int32)
    for c in range(CODE_POINTS):
        category = unicodedata.category(chr(c))
        classes[c] = (
            WHITE * (c in white)
            | WORD * (category[0] in "LNM")
            | LETTER * (category[0] == "L")
            | SOLO * (c in unspaced and (category[0] == "L" or category == "Nl"))
            | MARK * (category[0] == "M")
            | TERMINAL * (c in terminal)
            | CLOSER * (category in ("Pe", "Pf", "Pi") or chr(c) in "\"'")
            | BULLET * (c in bullets)
        )
        fold[c] = ord(simple_fold(chr(c))) - c
    ascii_fold = np.zeros(256, np.uint8)
    letters_and_digits = np.flatnonzero(classes[:128] & WORD)
    ascii_fold[letters_and_digits] = letters_and_digits + fold[letters_and_digits]
    return Tables(ascii_fold, *_two_stage(classes), *_two_stage(fold))  # type: ignore[arg-type]


def simple_fold(char: str) -> str:
    """CaseFolding.txt's statuses C and S: one character for one. str.casefold is the full folding (C and F), and where
    that gives several characters the simple one, if any, is the lower case."""
    for folded in (char.casefold(), char.lower()):
        if len(folded) == 1:
            return folded
    return char


def _code_points(ranges: str) -> frozenset[int]:
    """The code points of a list like "9-D 20"."""
    found: set[int] = set()
    for part in ranges.split():
        first, _, last = part.partition("-")
        found.update(range(int(first, 16), int(last or first, 16) + 1))
    return frozenset(found)


def _two_stage(values: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.generic]]:
    blocks: dict[bytes, int] = {}
    index = [blocks.setdefault(block.tobytes(), len(blocks)) for block in values.reshape(-1, BLOCK)]
    return np.array(index, np.uint8), np.frombuffer(b"".join(blocks), values.dtype)


def main() -> None:
    """Write the tables beside this module."""
    arrays = build()
    np.savez_compressed(PATH, **arrays._asdict())
    print(f"{PATH}: {PATH.stat().st_size} bytes, Unicode {VERSION}", file=sys.stderr)


if __name__ == "__main__":
    main()
