"""Benchmark text out of training text, as GPT-3's appendix C does it (Brown et al. 2020).

A gram is a run of 13 words of the word table (lower-case, without punctuation). Where a document shares a gram with a
benchmark, the gram goes with a window around it, short pieces go too, and a document in too many pieces goes whole.
Grams that many documents share are culture or boilerplate and count for nothing, so there are two passes: `matches`
shard by shard, whose `document_counts` are merged, then `cuts`. Matching has no limit of document length (the paper's
own filter missed long documents by a bug). Whether a model's score suffers is not measured here.

The sidecars are Arrow tables: `GRAMS` (an index), `MATCHES`, `COUNTS`, and rows of `document.CUTS` but for the id.
"""

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate import compression, overlap, storage, words
from curate.dedup import minhash
from curate.document import CUTS
from curate.errors import InputError
from curate.words import WordTable

U64 = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

GRAMS = pa.schema(
    [
        pa.field("gram", pa.uint64(), nullable=False),
        pa.field("words", pa.int32(), nullable=False),  # in the gram
        pa.field("benchmark", pa.string(), nullable=False),
    ]
)
MATCHES = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("gram", pa.uint64(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),  # byte offsets into the document's UTF-8: first word to last
        pa.field("stop", pa.int64(), nullable=False),
        pa.field("benchmark", pa.string(), nullable=False),
    ]
)
COUNTS = pa.schema([pa.field("gram", pa.uint64(), nullable=False), pa.field("documents", pa.int64(), nullable=False)])
SPANS = pa.schema([CUTS.field(name) for name in ("row", "start", "stop", "benchmark", "whole")])

SEPARATOR = "\n\n"  # between the pieces that stay


@dataclass(frozen=True, slots=True, kw_only=True)
class Decontamination:
    """The numbers of GPT-3, appendix C, but for `min_words`. None switches a rule off.

    Args:
        ngram: words in a gram.
        min_words: a benchmark text of fewer than `ngram` words but at least this many is one gram, matched whole: 8,
            the paper's least gram in its analysis of overlap. The paper's filter does not say; `ngram` ignores them.
        window_chars: code points cut on each side of a gram, and on to the end of the word they break. "A 200
            character window around" it may also mean 200 in all; lm-evaluation-harness too takes 200 a side.
        min_piece_chars: pieces of fewer code points are cut with what surrounds them. A document without a match is
            left as it is, however short.
        max_pieces: a document that falls into more pieces goes whole. Counted before short ones are cut, since the
            number tells how often the document was hit.
        max_documents: a gram that more documents hold is ignored.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    ngram: int = 13
    min_words: int = 8
    window_chars: int = 200
    min_piece_chars: int | None = 200
    max_pieces: int | None = 10
    max_documents: int | None = 10

    def __post_init__(self) -> None:
        if not 1 <= self.min_words <= self.ngram:
            raise ValueError(f"min_words is {self.min_words}; choose 1 .. ngram, which is {self.ngram}")
        for name in ("window_chars", "min_piece_chars", "max_pieces", "max_documents"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name} is {value}; choose 0 or more")


@dataclass(frozen=True, eq=False)
class Index:
    """The grams of all benchmarks: a `GRAMS` table, distinct and sorted, made by `index` and ready to be searched."""

    table: pa.Table

    @cached_property
    def parts(self) -> list[tuple[int, U64, Ints, U64]]:
        """For each length in words: (the length, its grams, their rows in the table, and their `overlap.bits`)."""
        grams, size = self.table["gram"].to_numpy(), self.table["words"].to_numpy()
        rows = [np.flatnonzero(size == one) for one in np.unique(size)]
        return [(int(size[row[0]]), grams[row], row, overlap.bits(grams[row])) for row in rows]


def index(benchmarks: Mapping[str, Sequence[str]], config: Decontamination) -> Index:
    """The grams of each benchmark's texts. Texts of fewer than `min_words` words have none."""
    parts = [GRAMS.empty_table()]
    for name in sorted(benchmarks):
        offsets, grams, count = _text_grams(benchmarks[name], config)
        size = np.repeat(count, np.diff(offsets))
        order = np.argsort(grams)
        grams, size = grams[order], size[order]
        first = np.ones(len(grams), bool)
        first[1:] = grams[1:] != grams[:-1]
        parts.append(pa.table([grams[first], size[first], pa.repeat(name, int(first.sum()))], schema=GRAMS))
    table = pa.concat_tables(parts)
    return Index(table.take(pa.array(np.argsort(table["gram"].to_numpy(), kind="stable"))))


def contaminated(texts: Sequence[str], found: U64, config: Decontamination) -> npt.NDArray[np.bool_]:
    """bool[n]: the benchmark texts that share a gram with training text; `found` holds the matched grams, sorted."""
    offsets, grams, _ = _text_grams(texts, config)
    hits = np.concatenate([[0], np.cumsum(np.isin(grams, found))])
    return hits[offsets[1:]] > hits[offsets[:-1]]


def matches(table: WordTable, index: Index) -> pa.Table:
    """MATCHES: each place where a document shares a gram with a benchmark, once a benchmark, by row and place."""
    found = [overlap.search(table.hash, table.doc_words, *part) for part in index.parts]
    row, first, last, entry = np.concatenate([np.empty((4, 0), np.int64), *found], axis=1)
    order = np.lexsort((entry, last, first, row))
    row, first, last, entry = row[order], first[order], last[order], entry[order]
    begin = table.doc_start[row]
    return pa.table(
        [
            row.astype(np.int32),
            index.table["gram"].take(pa.array(entry)),
            table.start[first] - begin,
            table.stop[last] - begin,
            index.table["benchmark"].take(pa.array(entry)),
        ],
        schema=MATCHES,
    )


def document_counts(matches: pa.Table) -> pa.Table:
    """COUNTS: in how many documents of a shard each gram stands, sorted by gram."""
    seen = matches.group_by(["gram", "row"]).aggregate([])
    return merge_counts([seen.group_by("gram").aggregate([("row", "count")]).rename_columns(COUNTS.names).cast(COUNTS)])


def merge_counts(parts: Iterable[pa.Table]) -> pa.Table:
    """COUNTS: the sums over shards, sorted by gram; associative and commutative."""
    whole = pa.concat_tables([COUNTS.empty_table(), *parts])
    summed = whole.group_by("gram").aggregate([("documents", "sum")]).rename_columns(COUNTS.names).cast(COUNTS)
    return summed.sort_by("gram")


def common_grams(counts: pa.Table, config: Decontamination) -> U64:
    """uint64[k], sorted: the grams to ignore, which stand in more than `max_documents` documents."""
    grams: U64 = counts["gram"].to_numpy()
    if config.max_documents is None:
        return grams[:0]
    many: npt.NDArray[np.bool_] = counts["documents"].to_numpy() > config.max_documents
    return grams[many]


def cuts(table: WordTable, matches: pa.Table, common: U64, config: Decontamination) -> pa.Table:
    """SPANS: what leaves each document, by row and place; `matches` are the table's own, `common` the grams to ignore.

    Spans take in the pieces that are too short. A document in too many pieces, or of which no piece stays, has one
    span over all of it with `whole` set: it is dropped as `Reason.contaminated`.
    """
    matches = matches.filter(pa.array(~np.isin(matches["gram"].to_numpy(), common)))
    names = matches["benchmark"].combine_chunks().dictionary_encode()
    row, start, stop, first, whole = overlap.cuts(
        table.text,
        table.doc_start,
        table.doc_words,
        table.start,
        table.stop,
        *(matches[name].to_numpy().astype(np.int64) for name in ("row", "start", "stop")),
        config.window_chars,
        config.min_piece_chars or 0,
        np.iinfo(np.int64).max if config.max_pieces is None else config.max_pieces,
    )
    return pa.table(
        [row.astype(np.int32), start, stop, names.take(pa.array(first)).cast(pa.string()), whole], schema=SPANS
    )


def apply(texts: pa.Array, cuts: pa.Table) -> pa.Array:
    """The texts without their cuts; `cuts` has the columns row, start and stop, sorted, as `cuts` makes them.

    A document stays one document with one address: its pieces, without white space at their ends, are joined by a
    blank line (the paper makes each piece a document). One that is cut whole becomes the empty text.
    """
    rows, starts, stops = (cuts[name].to_numpy() for name in ("row", "start", "stop"))
    hit, first = np.unique(rows, return_index=True)
    changed = []
    for row, (begin, end) in zip(hit.tolist(), itertools.pairwise([*first.tolist(), len(rows)]), strict=True):
        text = texts[row].as_py().encode()
        kept = zip([0, *stops[begin:end]], [*starts[begin:end], len(text)], strict=True)
        pieces = (text[start:stop].strip().decode() for start, stop in kept)
        changed.append(SEPARATOR.join(piece for piece in pieces if piece))
    mask = np.zeros(len(texts), bool)
    mask[hit] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(changed, texts.type))


def is_benchmark(path: str) -> bool:
    """Whether `read_benchmark` knows the path's ending."""
    return _bare(path).endswith((".jsonl", ".json", ".txt", ".parquet"))


def _bare(path: str) -> str:
    name = path.lower()
    for ending in (".gz", ".zst", ".bz2", ".xz"):
        name = name.removesuffix(ending)
    return name


def read_benchmark(path: str, fields: Sequence[str] = ()) -> list[str]:
    """The texts of a benchmark file by its ending: .jsonl, .json, .txt (each also .gz, .zst, .bz2, .xz) or .parquet.

    Of JSON and Parquet every string at any depth is a text, or with `fields` those under one of these keys. Of plain
    text every paragraph (ended by a blank line) is one.

    Raises:
        InputError: if it is missing, damaged, of another kind, or without any text.
    """
    name = _bare(path)
    if name.endswith(".parquet"):
        texts = list(_strings(storage.read_table(path).to_pylist(), fields))
    elif name.endswith((".jsonl", ".json")):
        texts = [text for value in _values(path, lines=name.endswith("l")) for text in _strings(value, fields)]
    elif name.endswith(".txt"):
        texts = [paragraph for paragraph in _read(path).replace("\r\n", "\n").split("\n\n") if paragraph.strip()]
    else:
        raise InputError(f"cannot tell what {path} holds: a benchmark is a .jsonl, .json, .txt or .parquet file")
    if not texts:
        under = f" under the keys {', '.join(fields)}" if fields else ""
        raise InputError(f"{path} holds no text{under}: remove it from the benchmarks or name other fields")
    return texts


def _read(path: str) -> str:
    with storage.open_input(path) as file:
        try:
            return b"".join(compression.pieces(file)).decode("utf-8-sig")
        except (compression.DamagedError, UnicodeDecodeError, OSError) as error:
            raise InputError(f"cannot read {path}: {error}") from error


def _values(path: str, *, lines: bool) -> Iterator[Any]:
    text = _read(path)
    for number, line in enumerate(text.split("\n") if lines else [text], start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise InputError(f"{path} is not JSON at line {number}: {error}") from error


def _strings(value: Any, fields: Sequence[str]) -> Iterator[str]:
    if isinstance(value, str) and not fields:
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, fields)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(item, () if key in fields else fields)


def _text_grams(texts: Sequence[str], config: Decontamination) -> tuple[Ints, U64, npt.NDArray[np.int32]]:
    """(offsets int64[n + 1], grams uint64, words in a gram int32[n]) of benchmark texts."""
    table = words.table(pa.array(texts, pa.large_string()))
    count = np.diff(table.doc_words)
    offsets, grams = minhash.grams(table, config.ngram)
    long = count >= config.min_words
    keep = np.repeat(long, np.diff(offsets))
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(long, np.diff(offsets), 0))])
    return offsets, grams[keep], np.minimum(count, config.ngram).astype(np.int32)
