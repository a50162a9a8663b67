"""Token shards on disk: one payload that several trainers read as it is, and the manifest that vouches for it.

    tokens/manifest.json
    tokens/tokenizer.json
    tokens/{train,held}/00000.bin       headerless little-endian ids: end-of-text, then each document and end-of-text
    tokens/{train,held}/00000.idx       Megatron-LM's index, version 1: one sequence a document
    tokens/{train,held}/00000.parquet   one row a document: id, source, tokens, bytes

End-of-text stands at the start of a shard and after every document, so trainers that expect it before a document
(llm.c, build-nanogpt) and those that expect it after (nanoGPT, Megatron-LM, OLMo) see the same boundaries. The first
document owns the leading one, so the index is contiguous. A shard ends with a document.

This module writes and reads; it neither tokenizes nor decides which document goes into which shard.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, TypeAdapter, ValidationError

from curate import storage
from curate.errors import InputError, StaleError

VERSION = 1
MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"

# Megatron-LM and GPT-NeoX hold a sequence's length as int32, llm.c a file's token count as int32.
MAX_TOKENS = 2**31 - 1
# Megatron-LM's threshold: below it ids travel as uint16.
WIDE_VOCABULARY = 65_500

_MAGIC = b"MMIDIDX\0\0"
_HEADER_BYTES = 34
# Megatron-LM's codes: 8 is uint16; 4 is int32, whose bytes are those of uint32 below 2^31.
_DTYPE_CODES = {"uint16": 8, "uint32": 4}

Ids = npt.NDArray[np.unsignedinteger[Any]]
Count = Annotated[int, Field(ge=0)]

# `tokens` counts the ids that the document owns in .bin, end-of-text included; `bytes` is its text in UTF-8.
DOCUMENTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What a shard, split or source holds. `tokens` counts every id in .bin, end-of-text too; `bytes` is UTF-8 text."""

    __pydantic_config__ = {"extra": "forbid"}
    documents: Count
    tokens: Count
    bytes: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """The sha256 of a shard's files, by extension, in hex."""

    __pydantic_config__ = {"extra": "forbid"}
    bin: str
    idx: str
    parquet: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardEntry(Counts):
    """A shard in the manifest."""

    name: str
    sha256: Digests


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitEntry(Counts):
    """A split in the manifest."""

    shards: list[ShardEntry]
    sources: dict[str, Counts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`tokens/manifest.json`. `tokenizer` is the sha256 of tokens/tokenizer.json."""

    __pydantic_config__ = {"extra": "forbid"}
    version: int
    dtype: Literal["uint16", "uint32"]
    end_of_text: int
    vocab_size: int
    tokenizer: str
    splits: dict[str, SplitEntry]


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard, memory-mapped. Document i is `ids[starts[i]:starts[i + 1]]`, its end-of-text included."""

    name: str
    path: str  # without extension
    ids: Ids  # [tokens]
    starts: npt.NDArray[np.int64]  # [documents + 1], in tokens

    def documents(self) -> pa.Table:
        """The shard's documents, in order: see `DOCUMENTS`.

        Raises:
            InputError: if the Parquet file is damaged.
            StaleError: if it does not describe this shard.
        """
        table = storage.read_table(f"{self.path}.parquet")
        if table.schema != DOCUMENTS or not np.array_equal(table["tokens"].to_numpy(), np.diff(self.starts)):
            raise StaleError(f"{self.path}.parquet does not describe {self.path}.idx; tokenize again")
        return table


@dataclass(frozen=True, slots=True)
class Split:
    """One split: its counts and its shards in the manifest's order."""

    entry: SplitEntry
    shards: tuple[Shard, ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """An opened tokens/ folder. `digest` names its tokens, and training hangs its order on it (`digest_of`)."""

    folder: str
    manifest: Manifest
    digest: str

    def split(self, name: str) -> Split:
        """The split's shards, memory-mapped, each index checked against the manifest.

        Raises:
            InputError: if there is no such split, or a file is missing or damaged.
            StaleError: if a file does not match the manifest.
        """
        entry = self.manifest.splits.get(name)
        if entry is None:
            raise InputError(f"{self.folder} has no split {name!r}; it has {', '.join(sorted(self.manifest.splits))}")
        folder = storage.join(self.folder, name)
        return Split(entry, tuple(_open_shard(folder, shard, self.manifest) for shard in entry.shards))


def dtype_of(vocab_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Little-endian uint16 where the vocabulary fits, else uint32 (Megatron-LM's rule)."""
    return np.dtype("<u2") if vocab_size < WIDE_VOCABULARY else np.dtype("<u4")


def write_shard(
    folder: str,
    name: str,
    documents: Iterable[tuple[str, str, npt.NDArray[Any], int]],
    end_of_text: int,
    dtype: npt.DTypeLike,
) -> dict[str, Any]:
    """Write `name`.bin, .idx and .parquet into the folder, each whole or not at all, the Parquet file last.

    Args:
        documents: (id, source, token ids without end-of-text, UTF-8 bytes of the text); read once, never held at once.
        dtype: see `dtype_of`.

    Returns:
        the shard's entry for `write_manifest`: `ShardEntry` as a dict, with `sources` (`Counts` by source) beside it.

    Raises:
        ValueError: if there is no document, a shard would pass `MAX_TOKENS`, or a document holds end-of-text or an id
            that the dtype cannot hold.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    rows: list[tuple[str, str, int, int]] = []
    with storage.atomic(storage.join(folder, f"{name}.bin")) as file:
        digest, total = hashlib.sha256(), 0
        for id_, source, ids, nbytes in documents:
            _check_ids(id_, ids, end_of_text, kind)
            framed = np.concatenate([[end_of_text], ids, [end_of_text]]).astype(kind)[1 if rows else 0 :]
            total += framed.size
            if total > MAX_TOKENS:
                raise ValueError(f"shard {name} passes {MAX_TOKENS} tokens at document {id_}; lower shard_tokens")
            rows.append((id_, source, framed.size, nbytes))
            _write(file, digest, framed.tobytes())
        if not rows:
            raise ValueError(f"shard {name} has no document; leave an empty shard out")
    columns = zip(*rows, strict=True)
    table = pa.table([pa.array(c, f.type) for c, f in zip(columns, DOCUMENTS, strict=True)], schema=DOCUMENTS)
    sha256 = {"bin": digest.hexdigest()}
    with storage.atomic(storage.join(folder, f"{name}.idx")) as file:
        digest = hashlib.sha256()
        _write(file, digest, index_bytes(table["tokens"].to_numpy(), kind))
        sha256["idx"] = digest.hexdigest()
    path = storage.join(folder, f"{name}.parquet")
    storage.write_table(path, table)
    sha256["parquet"] = _sha256(path)
    sources: dict[str, dict[str, int]] = {}
    for _, source, tokens, nbytes in rows:
        _add(sources.setdefault(source, _zero()), {"documents": 1, "tokens": tokens, "bytes": nbytes})
    counts = _zero()
    for each in sources.values():
        _add(counts, each)
    return {"name": name, **counts, "sha256": sha256, "sources": dict(sorted(sources.items()))}


def index_bytes(lengths: npt.NDArray[np.int32], dtype: np.dtype[Any]) -> bytes:
    """Megatron-LM's .idx, version 1 (megatron/core/datasets/indexed_dataset.py), for one sequence a document.

    9 bytes of magic, u64 version, u8 dtype code, u64 sequences, u64 documents + 1; then int32 lengths in tokens, int64
    byte pointers, int64 document bounds.
    """
    pointers = np.cumsum(lengths, dtype=np.int64) - lengths
    head = _MAGIC + np.uint64(1).tobytes() + np.uint8(_DTYPE_CODES[dtype.name]).tobytes()
    head += np.array([lengths.size, lengths.size + 1], "<u8").tobytes()
    body = lengths.astype("<i4").tobytes() + (pointers * dtype.itemsize).astype("<i8").tobytes()
    return head + body + np.arange(lengths.size + 1, dtype="<i8").tobytes()


def write_manifest(
    folder: str,
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    end_of_text: int,
    vocab_size: int,
) -> Manifest:
    """Write manifest.json, last of all: sums over the shards, and the digest of the tokenizer.json that lies there.

    Args:
        splits: by split, what `write_shard` returned for each shard, in any order.
    """
    entries: dict[str, Any] = {}
    for name, shards in splits.items():
        counts, sources = _zero(), dict[str, dict[str, int]]()
        for shard in shards:
            _add(counts, shard)
            for source, each in shard["sources"].items():
                _add(sources.setdefault(source, _zero()), each)
        listed = sorted(({k: v for k, v in s.items() if k != "sources"} for s in shards), key=lambda s: str(s["name"]))
        entries[name] = {**counts, "shards": listed, "sources": sources}
    manifest = TypeAdapter(Manifest).validate_python(
        {
            "version": VERSION,
            "dtype": dtype_of(vocab_size).name,
            "end_of_text": end_of_text,
            "vocab_size": vocab_size,
            "tokenizer": _sha256(storage.join(folder, TOKENIZER)),
            "splits": entries,
        }
    )
    storage.write_json(storage.join(folder, MANIFEST), asdict(manifest))
    return manifest


def open_tokens(folder: str, *, verify: bool = False) -> Tokens:
    """The tokens/ folder, its manifest checked against the sizes of its files; with `verify`, against their sha256.

    Raises:
        InputError: if the folder is remote, the manifest missing or damaged, or of a version this code does not read.
        StaleError: if a file is missing or does not match the manifest.
    """
    if storage.is_remote(folder):
        raise InputError(f"{folder} is remote and shards are memory-mapped; copy the folder to a local disk")
    path = storage.join(folder, MANIFEST)
    with storage.open_input(path) as file:
        raw = file.read()
    try:
        manifest = TypeAdapter(Manifest).validate_json(raw, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"{path} is no token manifest: {where}: {first['msg']}; tokenize again") from error
    if manifest.version != VERSION:
        raise InputError(f"{path} has version {manifest.version}, this code reads {VERSION}; tokenize again")
    if _sha256(storage.join(folder, TOKENIZER)) != manifest.tokenizer:
        raise StaleError(f"{folder}/{TOKENIZER} is not the tokenizer that {path} names; tokenize again")
    itemsize = np.dtype(manifest.dtype).itemsize
    for split, entry in manifest.splits.items():
        for shard in entry.shards:
            stem = storage.join(folder, split, shard.name)
            sizes = {"bin": shard.tokens * itemsize, "idx": _HEADER_BYTES + 8 + 20 * shard.documents}
            for kind, digest in asdict(shard.sha256).items():
                _check_file(f"{stem}.{kind}", sizes.get(kind), digest if verify else None)
    return Tokens(folder, manifest, digest_of(manifest))


def digest_of(manifest: Manifest) -> str:
    """sha256 of the tokens and where documents end, in hex: dtype, vocabulary and the digest of each .bin and .idx.

    Not of the tables and the tokenizer beside them, whose bytes depend on the version of the library that wrote them.
    """
    shards = [
        (split, shard.name, shard.sha256.bin, shard.sha256.idx)
        for split, entry in sorted(manifest.splits.items())
        for shard in entry.shards
    ]
    value = [manifest.version, manifest.dtype, manifest.end_of_text, manifest.vocab_size, shards]
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _open_shard(folder: str, entry: ShardEntry, manifest: Manifest) -> Shard:
    path = storage.join(folder, entry.name)
    dtype = np.dtype(manifest.dtype).newbyteorder("<")
    with storage.open_input(f"{path}.idx") as file:
        index = file.read()
    lengths = np.frombuffer(index, "<i4", entry.documents, _HEADER_BYTES)
    # The manifest leaves no freedom in an index but the lengths, so rebuilding it checks every byte.
    if not lengths.size or index != index_bytes(lengths, dtype) or int(lengths.sum(dtype=np.int64)) != entry.tokens:
        raise StaleError(f"{path}.idx does not match {MANIFEST}; tokenize again")
    ids = np.memmap(f"{path}.bin", dtype, "r")
    if ids[0] != manifest.end_of_text or ids[-1] != manifest.end_of_text:
        raise StaleError(f"{path}.bin does not begin and end with end-of-text {manifest.end_of_text}; tokenize again")
    return Shard(entry.name, path, ids, np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def _check_file(path: str, size: int | None, digest: str | None) -> None:
    if not os.path.isfile(path):
        raise StaleError(f"{path} is missing, though {MANIFEST} names it; tokenize again")
    if size is not None and os.path.getsize(path) != size:
        raise StaleError(f"{path} has {os.path.getsize(path)} bytes, {MANIFEST} says {size}; tokenize again")
    if digest is not None and _sha256(path) != digest:
        raise StaleError(f"{path} has another sha256 than {MANIFEST} says; tokenize again")


def _check_ids(id_: str, ids: npt.NDArray[Any], end_of_text: int, dtype: np.dtype[Any]) -> None:
    top = min(int(np.iinfo(dtype).max), MAX_TOKENS)
    if ids.size and not 0 <= int(ids.min()) <= int(ids.max()) <= top:
        raise ValueError(f"document {id_} has ids from {ids.min()} to {ids.max()}; {dtype.name} holds 0 to {top}")
    if (ids == end_of_text).any():
        raise ValueError(f"document {id_} holds end-of-text ({end_of_text}); encode text without special tokens")


def _write(file: IO[bytes], digest: Any, data: bytes) -> None:
    file.write(data)
    digest.update(data)


def _sha256(path: str) -> str:
    with storage.open_input(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _zero() -> dict[str, int]:
    return {"documents": 0, "tokens": 0, "bytes": 0}


def _add(counts: dict[str, int], other: Mapping[str, Any]) -> None:
    for name in counts:
        counts[name] += int(other[name])
