"""Page bytes to characters: byte order mark, UTF-8, HTTP header, meta tag, detection. No page is lost to its encoding.

What cannot be decoded becomes U+FFFD and is counted. Labels are those of the WHATWG Encoding Standard, read as browsers
read them, with three exceptions: the sets that it replaces for safety's sake (HZ, ISO-2022-KR) are decoded, since no
script will run; UTF-32 is known by its mark or its zeros; x-user-defined, which is no character set, is windows-1252
wherever it stands. This module does not read HTML beyond the meta tag that names a charset, and does not normalise
text.

Two functions of Resiliparse, in C, are called in this process: the detector, on at most `SAMPLE_BYTES`, and the table
of labels. 200,000 mutated pages and 300,000 labels neither crashed nor slowed them (a test goes on with it), unlike the
parsers, which `curate.isolation` keeps apart.
"""

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

from curate import survey

# Bytes searched for a meta charset. The WHATWG prescan reads 1,024; real pages put scripts before their meta tag.
META_BYTES = 8192
# Bytes of runs with characters beyond ASCII that the detector sees: it needs some 27 us for a kilobyte.
SAMPLE_BYTES = 1 << 14
# A labelled or guessed charset is believed when at most one in 20 of its non-ASCII characters failed to decode.
MAX_DAMAGE = 1 / 20
# Of UTF-8, one in 2 may fail: a page with Latin-1 pasted into it stays UTF-8, since what is not UTF-8 hardly ever looks
# so. Read as UTF-8, each of the 394 pages in other charsets among chardet's test pages has at least 7 in 10 replaced.
MAX_UTF_8_DAMAGE = 1 / 2
# Bytes beyond ASCII that stand beside another: in Latin text at most this share, in other scripts more. A guess of
# another script is believed from half of it on.
LATIN_TOGETHER = 1 / 2

BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Wider Python codecs than the names Resiliparse gives for a WHATWG label: browsers decode the superset.
SUPERSETS = {
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso8859-11": "cp874",
    "iso2022_jp": "iso2022_jp_ext",
    "ascii": "cp1252",
}
# Second codecs for a charset that Python has in two halves: NEC's row 13 of EUC-JP, ETEN's signs of Big5.
HALVES = {"euc_jp": "euc_jis_2004", "big5hkscs": "cp950"}
# Labels, and names that the detector gives, without a decoder in the WHATWG standard or in Resiliparse's table.
OTHERS = {
    "csiso2022kr": "iso2022_kr",
    "iso-2022-kr": "iso2022_kr",
    "iso2022_kr": "iso2022_kr",
    "hz-gb-2312": "hz",
    "hz": "hz",
    "x-mac-cyrillic": "mac_cyrillic",
    "x-mac-ukrainian": "mac_cyrillic",
    "mac-cyrillic": "mac_cyrillic",
    "x-user-defined": "cp1252",
    "cp855": "cp855",
    "cp949": "cp949",
}
_ESCAPED = frozenset(("iso2022_jp_ext", "iso2022_kr", "hz"))  # charsets that write their characters in ASCII bytes
# Single-byte sets of scripts other than Latin, in which letters beyond ASCII stand together.
_NOT_LATIN = re.compile(r"cp125[1356]|cp8(?:55|66|74)|iso8859-[5-8]|koi8-[ru]|mac_cyrillic")
# Where ISO 8859 has control characters, its Windows sibling has quotation marks and letters.
_WINDOWS = {"iso8859-2": "cp1250", "iso8859-7": "cp1253", "iso8859-13": "cp1257", "iso8859-15": "cp1252"}
# Guesses from a handful of letters that the Windows sets write too; hardly a page without a label was written in them.
_UNLIKELY = {
    "iso8859-3": "cp1252",
    "iso8859-4": "cp1257",
    "iso8859-10": "cp1252",
    "iso8859-14": "cp1252",
    "iso8859-16": "cp1250",
}

_ASCII = bytes(range(128))
_HTTP = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)
_HEAD = re.compile(
    # Each branch runs to the end of the bytes if what closes it is missing: no byte is searched twice.
    rb"<!--.*?(?:-->|\Z)|<meta(?=[\s/])((?:[^>\"']|\"[^\"]*(?:\"|\Z)|'[^']*(?:'|\Z))*)|\A\s*<\?xml\b([^>]*)",
    re.IGNORECASE | re.DOTALL,
)
_ATTRIBUTE = re.compile(rb"([^\s/=>\"']+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+))")
_TOGETHER = re.compile(rb"[\x80-\xff]{2,}")
_CONTROL = re.compile(rb"[\x80-\x9f]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Characters without a byte order mark, the Python codec that gave them, and how many of them are U+FFFD: places
    that it replaced, or that somebody had replaced before."""

    text: str
    charset: str
    replaced: int


def decode(body: bytes, content_type: str = "", markup: bool = True) -> Decoded:
    """The body's characters.

    A byte order mark decides, then the zeros of UTF-16 and UTF-32. Else bytes that are UTF-8, or nearly so
    (`MAX_UTF_8_DAMAGE`), are UTF-8 whatever a label says. Else the label's charset, the detector's guess and
    windows-1252 are tried in turn: the first with at most `MAX_DAMAGE` wins, and if none has, the one with the least.
    Of two labels that differ the HTTP header's comes first, unless the detector agrees with the meta tag's. The guess
    comes before a label of Latin-1, which servers send unasked, if the page's letters are not spread as Latin ones.

    Args:
        body: the page as stored, after transfer and content encodings.
        content_type: the HTTP header's value, or empty.
        markup: whether to look for a meta tag; False for plain text.
    """
    for bom, name in BOMS:
        if body.startswith(bom):
            return _replace(body[len(bom) :], name)
    if b"\0" in body and (wide := _wide(body[:META_BYTES])):
        return _replace(body, wide)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return _legacy(body, content_type, markup)
    if not (text.isascii() and _is_escaped(body)):
        return Decoded(text, "utf-8", text.count("\ufffd"))
    for escaped in [*_labels(body, content_type, markup), codec(_detected(body[:SAMPLE_BYTES]))]:
        if escaped in _ESCAPED and _damage(decoded := _replace(body, escaped)) <= MAX_DAMAGE:
            return decoded
    return Decoded(text, "utf-8", 0)


def decode_all(
    bodies: pa.BinaryArray, content_types: Sequence[str], markup: Sequence[bool] | None = None
) -> tuple[pa.StringArray, list[str], npt.NDArray[np.int32]]:
    """`decode` of each body: (text, charset, replaced).

    Bodies of valid UTF-8 are checked where they lie and never become Python strings; if all are, the result shares
    their memory, else their bytes are copied once.

    Args:
        bodies: null-free; a slice of an array will do.
        content_types: one for each body.
        markup: whether each body may hold a meta tag; None: all may.

    Raises:
        ValueError: if the characters need more than 2 GiB, the limit of a `pa.StringArray`.
    """
    _, places, buffer = bodies.buffers()
    n = len(bodies)
    offsets = np.frombuffer(places, np.int32)[bodies.offset : bodies.offset + n + 1] if n else np.zeros(1, np.int32)
    data = np.frombuffer(buffer, np.uint8) if buffer is not None and buffer.size else np.zeros(0, np.uint8)
    lead = -data.ctypes.data % 8  # numba reads words from aligned addresses alone
    marked, replaced = np.zeros(n, np.int8), np.zeros(n, np.int32)
    survey.bodies(
        data, data[lead : len(data) - (len(data) - lead) % 8].view(np.uint64), lead, offsets, marked, replaced
    )
    charsets = ["utf-8"] * n
    if n and not marked.any():
        return pa.StringArray.from_buffers(n, places, pa.py_buffer(data), offset=bodies.offset), charsets, replaced
    parts: list[npt.NDArray[np.uint8]] = []
    spans = zip(offsets[:-1].tolist(), offsets[1:].tolist(), marked.tolist(), strict=True)
    for i, (start, stop, mark) in enumerate(spans):
        if mark >= 0:
            parts.append(data[start + mark : stop])
            continue
        decoded = decode(data[start:stop].tobytes(), content_types[i], markup is None or markup[i])
        charsets[i], replaced[i] = decoded.charset, decoded.replaced
        parts.append(np.frombuffer(decoded.text.encode(), np.uint8))
    ends = np.cumsum([0, *map(len, parts)])
    if ends[-1] > np.iinfo(np.int32).max:
        raise ValueError(
            f"the batch decodes to {ends[-1]} bytes, over the 2 GiB of an Arrow string array: make it smaller"
        )
    joined = np.concatenate(parts) if parts else data[:0]
    text = pa.StringArray.from_buffers(n, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(joined))
    return text, charsets, replaced


def codec(label: str) -> str | None:
    """The Python codec for a charset label as pages write it, or None for one that names no text encoding."""
    label = label.strip().lower()
    name = OTHERS.get(label) or (map_encoding_to_html5(label, False) if label.isascii() else None)
    return SUPERSETS.get(name, name) if name else None


def _legacy(body: bytes, content_type: str, markup: bool) -> Decoded:
    """Decode what is not valid UTF-8."""
    replaced, beyond = survey.damage(np.frombuffer(body, np.uint8))
    if beyond and replaced / beyond <= MAX_UTF_8_DAMAGE:
        return _replace(body, "utf-8")
    tried = []
    seen: set[str] = set()
    for name in _candidates(body, _labels(body, content_type, markup)):  # lazily: the detector is for the rest
        if name in seen:
            continue
        seen.add(name)
        decoded = _replace(body, name)
        if _damage(decoded) <= MAX_DAMAGE:
            return decoded
        tried.append(decoded)
    return min(_replace(body, "utf-8"), *tried, key=_damage)


def _candidates(body: bytes, labels: list[str]) -> Iterator[str]:
    """Codecs to try, most trusted first; the detector runs only where a label alone does not do."""
    said = [name for name in labels if name != "utf-8"]
    agreed = said[0] if len(set(said)) == 1 else ""
    if agreed and agreed != "cp1252":
        yield agreed
    sample = _sample(body)
    together = _together(sample)
    if agreed == "cp1252" and together <= LATIN_TOGETHER:
        yield agreed
    guess = _guess(sample, body, together)
    if guess and (guess in said or not set(said) - {"cp1252"}):
        yield guess
    yield from said
    if guess:
        yield guess
    yield "cp1252"


def _labels(body: bytes, content_type: str, markup: bool) -> list[str]:
    """The codecs that the HTTP header and the page name, in this order.

    Markup is never UTF-16 because a label says so: its zeros would have told.
    """
    labels = [match[1] for match in _HTTP.finditer(content_type)]
    if markup:
        labels.append(_meta(body[:META_BYTES]))
    return [name for label in labels if (name := codec(label)) and not (markup and name.startswith("utf-16"))]


def _meta(head: bytes) -> str:
    """The first charset label of a meta tag or XML declaration that has a codec, or empty (WHATWG, "prescan").

    `charset=` in a content attribute counts beside http-equiv="content-type" alone; tags in comments do not count.
    """
    for match in _HEAD.finditer(head):
        found = _ATTRIBUTE.findall(match[1] or match[2] or b"")
        attributes = {name.lower(): double or single or bare for name, double, single, bare in reversed(found)}
        label: str = attributes.get(b"encoding" if match[2] else b"charset", b"").decode("ascii", "replace")
        if not label and attributes.get(b"http-equiv", b"").strip().lower() == b"content-type":
            inner = _HTTP.search(attributes.get(b"content", b"").decode("ascii", "replace"))
            label = inner[1] if inner else ""
        if codec(label):
            return label
    return ""


def _is_escaped(body: bytes) -> bool:
    """Whether ASCII bytes may be ISO-2022 or HZ."""
    return b"~{" in body or b"\x1b$" in body or b"\x1b(" in body


def _wide(head: bytes) -> str | None:
    """UTF-16 or UTF-32 without a byte order mark: in the ASCII that all markup holds, most bytes are NUL."""
    zeros = [head[k::4].count(0) for k in range(4)]
    quarter = len(head) // 4
    for name, top, plane in (("utf-32-be", 0, 1), ("utf-32-le", 3, 2)):
        # No code point has a first byte, few have a second one, all have a last one.
        if quarter and zeros[top] >= quarter and zeros[plane] * 10 >= quarter * 9 and zeros[3 - top] * 10 <= quarter:
            return name
    even, odd = zeros[0] + zeros[2], zeros[1] + zeros[3]
    if max(even, odd) * 5 < len(head) or min(even, odd) * 10 > max(even, odd):
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _sample(body: bytes) -> bytes:
    """The first `SAMPLE_BYTES` of text and tags that hold bytes beyond ASCII: the others tell the detector nothing."""
    out = np.empty(SAMPLE_BYTES, np.uint8)
    return out[: survey.cut_out(np.frombuffer(body, np.uint8), out)].tobytes()


def _together(sample: bytes) -> float:
    """The share of bytes beyond ASCII that stand beside another."""
    return sum(map(len, _TOGETHER.findall(sample))) / max(1, len(sample.translate(None, _ASCII)))


def _guess(sample: bytes, body: bytes, together: float) -> str | None:
    """The detector's codec, mended where it errs."""
    name = codec(_detected(sample))
    if name is None or name.startswith("utf-16"):  # without a mark it shows in its zeros, and `_wide` saw none
        return "johab" if together > LATIN_TOGETHER and _is_johab(body[:SAMPLE_BYTES]) else None
    if _NOT_LATIN.fullmatch(name) and together <= LATIN_TOGETHER / 2:
        return None
    if name in _WINDOWS and _CONTROL.search(body):
        return _WINDOWS[name]
    return _UNLIKELY.get(name, name)


def _detected(sample: bytes) -> str:
    return detect_encoding(sample, html5_compatible=False) or ""


def _is_johab(body: bytes) -> bool:
    """Whether the bytes are valid Johab, which the detector does not know, and nearly all Hangul."""
    try:
        text = codecs.getincrementaldecoder("johab")().decode(body)
    except UnicodeDecodeError:
        return False
    hangul = sum("\uac00" <= char <= "\ud7a3" for char in text)
    return hangul > 0.5 * sum(char > "\x7f" for char in text)


def _replace(body: bytes, name: str) -> Decoded:
    """Decode with every undecodable place replaced; a character cut off at the very end is left out, not replaced."""
    try:
        text = codecs.getincrementaldecoder(name)("replace").decode(body)
    except UnicodeError:  # more is open at the end than the decoder can hold back: an escape sequence without its end
        text = body.decode(name, "replace")
    decoded = Decoded(text, name, text.count("\ufffd"))
    if decoded.replaced and name in HALVES:
        return min(decoded, _replace(body, HALVES[name]), key=lambda half: half.replaced)
    return decoded


def _damage(decoded: Decoded) -> float:
    """The replaced share of the characters beyond ASCII; all of it where none came out, since that proves nothing: a
    single Latin-1 letter at the end of a page passes for a cut-off character of UTF-8."""
    beyond = len(decoded.text) - len(decoded.text.encode("ascii", "ignore"))
    return decoded.replaced / beyond if beyond else 1.0
