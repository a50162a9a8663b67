"""What flows: records as readers yield them, and the Arrow schemas of the files that stages meet in.

A document's id is a hash of (source, input name, offset), so it is the same on every machine and for every split size;
its address is (shard, row), the place of its text.
"""

import hashlib
from dataclasses import dataclass

import pyarrow as pa

from curate.reasons import Reason


@dataclass(frozen=True, slots=True)
class Page:
    """One page as a reader found it. `offset` finds the record again in its file (bytes, or the row of a table)."""

    offset: int
    body: bytes
    url: str = ""
    date: str = ""  # ISO 8601 in UTC as the source gives it, or empty
    content_type: str = ""  # as served; text/plain bodies are UTF-8 and pass the extractor untouched
    title: str = ""
    author: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A record that the reader itself leaves out, by rule."""

    offset: int
    reason: Reason
    url: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """A damaged record: a dead letter. `error` names what was found and what was expected."""

    offset: int
    error: str


Record = Page | Dropped | Failed


def document_id(source: str, name: str, offset: int) -> str:
    """32 hex digits: BLAKE2b-128 of (source, input name, offset)."""
    return hashlib.blake2b(f"{source}\0{name}\0{offset}".encode(), digest_size=16).hexdigest()


DOCUMENTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),  # empty where the source has none
        pa.field("source", pa.string(), nullable=False),  # crawl, webtext, wikipedia, books, or a recipe's own
        pa.field("text", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("author", pa.string(), nullable=False),
        pa.field("date", pa.string(), nullable=False),  # of the capture or the edit, by the source
        pa.field("published", pa.string(), nullable=False),  # this and the next two by the page: `metadata.METADATA`
        pa.field("declared_language", pa.string(), nullable=False),
        pa.field("canonical_url", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),  # ISO 639 code of lid.176, or empty
        pa.field("language_score", pa.float32(), nullable=False),
        pa.field("words", pa.int32(), nullable=False),
        pa.field("file", pa.string(), nullable=False),  # the input's name: see `document_id`
        pa.field("offset", pa.int64(), nullable=False),
    ]
)

# Row-aligned with documents/ of the same shard name.
SIGNATURES = pa.schema(
    [
        pa.field("content", pa.binary(16), nullable=False),  # exact.content_hashes
        pa.field("minhash", pa.binary(), nullable=True),  # little-endian uint32[permutations]; null: no shingle
    ]
)

# A keyed sample of the unfiltered crawl: what the quality model's positives are told from.
SAMPLES = pa.schema([DOCUMENTS.field(name) for name in ("id", "url", "source", "text")])

DROPPED = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
    ]
)

ERRORS = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("error", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)

# Row-aligned with documents/ of the same shard name.
SCORES = pa.schema(
    [
        pa.field("score", pa.float32(), nullable=False),  # P(positive) by the quality model; NaN: not scored
        pa.field("kept", pa.bool_(), nullable=False),
    ]
)

REMOVALS = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("survivor", pa.string(), nullable=False),  # its id
        pa.field("survivor_url", pa.string(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),  # exact Jaccard of the two shingle sets
    ]
)

# Spans to cut from a document's text, as byte offsets into its UTF-8.
CUTS = pa.schema(
    [
        pa.field("row", pa.int32(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("start", pa.int64(), nullable=False),
        pa.field("stop", pa.int64(), nullable=False),
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("whole", pa.bool_(), nullable=False),  # the whole document goes: it would be left in too many pieces
    ]
)

CORPUS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("date", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("split", pa.string(), nullable=False),  # train or held
        pa.field("copies", pa.int32(), nullable=False),  # times in tokens/: the mixture's epochs for this document
    ]
)
