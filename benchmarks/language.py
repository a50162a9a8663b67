"""Language identification: how often it is right, by language and length, and what reading a part of a text costs.

    python benchmarks/language.py [FOLDER ...]

A FOLDER that holds `lingua/` and `udhr/` (test sets of lingua-py, and the Universal Declaration of Human Rights by
unicode.org, as XML) gives the tables of docs/language.md. Files and folders of texts, by default docstrings, give speed
and agreement: against the same model on the whole of each text, which is what a plain call of fastText does.
Languages that the model does not know are left out; where it has one code for several of the test's (no for nb), that
one is right.
"""

import collections
import itertools
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from _clock import arguments, least, one_core, report
from _texts import load

from curate import language

KINDS = {"single-words": "word", "word-pairs": "two words", "sentences": "sentence"}
CHARS = (20, 50, 100, 200, 500)
MOST = 200  # cuts of a length in a language
SAME = {"nb": "no"}
LETTERS = (0, 5, 10, 15, 20, 30, 50, 100, 200, 10**9)
SCORES = (0, 0.3, 0.5, 0.65, 0.8, 0.9, 0.95, 1.01)
Sample = tuple[str, str, str]  # kind, language, text


def lingua(folder: Path) -> Iterator[Sample]:
    """The lines of the three sets."""
    for name, kind in KINDS.items():
        for path in sorted((folder / "lingua" / name).glob("*.txt")):
            for line in path.read_text("utf-8").splitlines():
                if line.strip():
                    yield kind, SAME.get(path.stem, path.stem), line


def udhr(folder: Path) -> Iterator[Sample]:
    """Cuts of each length in turn from the declaration, in each language once: the first of its translations."""
    seen = set()
    for path in sorted((folder / "udhr").glob("udhr_*.xml")):
        root = ElementTree.parse(path).getroot()
        code = root.get("{http://www.w3.org/XML/1998/namespace}lang", "").split("-")[0]
        paragraphs = [part.text or "" for part in root.iter() if part.tag.endswith("}para")]
        text = " ".join(" ".join(paragraphs).split())
        if not code or code in seen or len(text) < 1_500:
            continue
        seen.add(code)
        for chars in CHARS:
            for i in range(min(MOST, len(text) // chars)):
                yield f"{chars} characters", code, text[i * chars : (i + 1) * chars]


def shares(right: Iterable[bool]) -> str:
    found = list(right)
    return f"{np.mean(found):.3f}" if found else ""


def tables(folder: Path, model: language.Identifier) -> None:
    """Print accuracy by language and kind, by letters, and by score, as Markdown."""
    known = set(model.codes())
    samples = [one for one in (*lingua(folder), *udhr(folder)) if one[1] in known]
    codes, scores = language.identify(pa.array([text for *_, text in samples]), model)
    right = [found == code for found, (_, code, _) in zip(codes.to_pylist(), samples, strict=True)]
    cells = collections.defaultdict(list)
    for (kind, code, _), good in zip(samples, right, strict=True):
        cells[code, kind].append(good)
    kinds = [*KINDS.values(), *(f"{chars} characters" for chars in CHARS)]
    tested = sorted({code for _, code, _ in lingua(folder)} & known)
    print(f"| language | {' | '.join(kinds)} |\n|---|{'---|' * len(kinds)}")
    for code in tested:
        print(f"| {code} | {' | '.join(shares(cells[code, kind]) for kind in kinds)} |")
    for name, among in (("mean of these", tested), ("mean of all", sorted({code for _, code, _ in samples}))):
        means = [[np.mean(cells[code, kind]) for code in among if cells[code, kind]] for kind in kinds]
        print(f"| {name} ({len(among)}) | {' | '.join(f'{np.mean(found):.3f}' for found in means)} |")
    letters = np.array([len(re.sub(r"[\W\d_]+", "", text)) for *_, text in samples])
    good = np.array(right)
    print("\n| letters | texts | right | certain by 0.65 | right of these |\n|---|---|---|---|---|")
    for low, high in itertools.pairwise(LETTERS):
        here = (letters >= low) & (letters < high)
        sure = here & (scores >= 0.65)
        span = f"{low} to {high - 1}" if high < 10**9 else f"{low} and more"
        print(
            f"| {span} | {here.sum()} | {shares(good[here])} | {sure.sum() / here.sum():.3f} | {shares(good[sure])} |"
        )
    print("\n| score | texts of 50 letters and more | mean score | right |\n|---|---|---|---|")
    for low, high in itertools.pairwise(SCORES):
        here = (letters >= 50) & (scores >= low) & (scores < high)
        if here.any():
            print(f"| {low} to {min(high, 1)} | {here.sum()} | {scores[here].mean():.3f} | {shares(good[here])} |")


def main() -> None:
    args = arguments(__doc__, "folders of labelled sets, or of .txt files")
    sets = [Path(path) for path in args.paths if Path(path, "lingua").is_dir()]
    core = one_core()
    model = language.load(language.Language(min_letters=0))
    for folder in sets:
        tables(folder, model)
    others = [path for path in args.paths if Path(path) not in sets]
    if sets and not others:
        return
    texts = load(others, args.quick)
    array = pa.array(texts)
    part = least(lambda: language.identify(array, model), rounds=3)
    whole = least(lambda: [model.top(" ".join(text.split())) for text in texts], rounds=3)
    codes, scores = language.identify(array, model)
    reference = [model.top(" ".join(text.split())) for text in texts]
    same = np.array([a == b for a, (b, _) in zip(codes.to_pylist(), reference, strict=True)])
    kept = np.where(scores >= 0.65, np.array(codes), "")
    there = np.array([code if score >= 0.65 else "" for code, score in reference])
    print(f"{len(texts)} texts, {np.mean([len(text) for text in texts]):.0f} characters in the mean; {core}")
    print(
        f"same language as the whole text {same.mean():.2%}; same at a threshold of 0.65 {(kept == there).mean():.2%}"
    )
    print(f"a part {len(texts) / part:.0f} documents/s, the whole text {len(texts) / whole:.0f}")
    report("language", whole / part)


if __name__ == "__main__":
    main()
