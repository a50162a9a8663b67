import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import shards
from curate.errors import InputError, StaleError

END = 50256
DOCUMENTS = [
    ("a" * 32, "crawl", np.array([5, 6, 7], np.uint32), 11),
    ("b" * 32, "books", np.array([], np.uint32), 0),
    ("c" * 32, "crawl", np.array([0, END - 1], np.uint32), 7),
]


def write(folder: Path, documents=DOCUMENTS, *, vocab_size=END + 1, splits=("train", "held")):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text("{}")
    dtype = shards.dtype_of(vocab_size)
    entries = {s: [shards.write_shard(str(folder / s), "00000", iter(documents), END, dtype)] for s in splits}
    return shards.write_manifest(str(folder), entries, end_of_text=END, vocab_size=vocab_size)


# Readers written to the published layouts, sharing no code with the writer.


def read_megatron(stem: Path) -> tuple[list[list[int]], list[int]]:
    """Sequences and document bounds, as megatron/core/datasets/indexed_dataset.py lays them out."""
    with stem.with_suffix(".idx").open("rb") as file:
        assert file.read(9) == b"MMIDIDX\x00\x00"
        (version,) = struct.unpack("<Q", file.read(8))
        (code,) = struct.unpack("<B", file.read(1))
        (sequences,) = struct.unpack("<Q", file.read(8))
        (bounds,) = struct.unpack("<Q", file.read(8))
        assert version == 1
        assert file.tell() == 34
        lengths = struct.unpack(f"<{sequences}i", file.read(4 * sequences))
        pointers = struct.unpack(f"<{sequences}q", file.read(8 * sequences))
        documents = struct.unpack(f"<{bounds}q", file.read(8 * bounds))
        assert file.read() == b""
    dtype = {8: "<u2", 4: "<i4"}[code]
    payload = stem.with_suffix(".bin").read_bytes()
    read = [np.frombuffer(payload, dtype, n, p).tolist() for n, p in zip(lengths, pointers, strict=True)]
    return read, list(documents)


def read_nanogpt(stem: Path) -> list[int]:
    """The whole split as one array of uint16, as nanoGPT's train.py maps it."""
    return np.memmap(stem.with_suffix(".bin"), dtype=np.uint16, mode="r").tolist()


def test_layout_of_three_documents(tmp_path):
    manifest = write(tmp_path)
    stem = tmp_path / "train" / "00000"
    assert read_nanogpt(stem) == [END, 5, 6, 7, END, END, 0, END - 1, END]
    assert read_megatron(stem) == ([[END, 5, 6, 7, END], [END], [0, END - 1, END]], [0, 1, 2, 3])
    train = manifest.splits["train"]
    assert (train.documents, train.tokens, train.bytes) == (3, 9, 18)
    assert train.sources == {
        "crawl": shards.Counts(documents=2, tokens=8, bytes=18),
        "books": shards.Counts(documents=1, tokens=1, bytes=0),
    }


def test_wide_vocabulary_is_written_as_int32(tmp_path):
    write(tmp_path, [("a" * 32, "crawl", np.array([70_000, 2**31 - 1]), 4)], vocab_size=shards.WIDE_VOCABULARY)
    read, _ = read_megatron(tmp_path / "train" / "00000")
    assert read == [[END, 70_000, 2**31 - 1, END]]


@pytest.mark.parametrize(("vocab_size", "name"), [(257, "uint16"), (65_499, "uint16"), (65_500, "uint32")])
def test_dtype(vocab_size, name):
    assert shards.dtype_of(vocab_size).name == name


def test_manifest_as_json(tmp_path):
    write(tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert sorted(manifest) == ["dtype", "end_of_text", "splits", "tokenizer", "version", "vocab_size"]
    assert manifest["tokenizer"] == hashlib.sha256(b"{}").hexdigest()
    shard = manifest["splits"]["held"]["shards"][0]
    assert sorted(shard) == ["bytes", "documents", "name", "sha256", "tokens"]
    for kind, digest in shard["sha256"].items():
        assert hashlib.sha256((tmp_path / "held" / f"00000.{kind}").read_bytes()).hexdigest() == digest
    assert str(tmp_path) not in json.dumps(manifest)


def test_two_writes_give_the_same_bytes(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two")
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    assert len(files) == 8
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


@settings(max_examples=40, deadline=None)
@given(
    shard_lists=st.lists(
        st.lists(st.tuples(st.sampled_from(["crawl", "books"]), st.lists(st.integers(0, 99), max_size=6)), min_size=1),
        min_size=1,
        max_size=3,
    ),
    vocab_size=st.sampled_from([101, 100_000]),
)
def test_round_trip(tmp_path_factory, shard_lists, vocab_size):
    folder = tmp_path_factory.mktemp("tokens")
    (folder / "tokenizer.json").write_text("{}")
    entries = [
        shards.write_shard(
            str(folder / "train"),
            f"{number:05}",
            ((f"{i:032x}", source, np.array(ids, np.int64), 3 * len(ids)) for i, (source, ids) in enumerate(documents)),
            100,
            shards.dtype_of(vocab_size),
        )
        for number, documents in enumerate(shard_lists)
    ]
    written = shards.write_manifest(
        str(folder), {"train": entries[::-1], "held": []}, end_of_text=100, vocab_size=vocab_size
    )
    tokens = shards.open_tokens(str(folder), verify=True)
    assert tokens.manifest == written
    assert tokens.split("held").shards == ()
    split = tokens.split("train")
    assert [s.name for s in split.shards] == [e["name"] for e in entries]
    for shard, documents in zip(split.shards, shard_lists, strict=True):
        spans = [shard.ids[a:b].tolist() for a, b in zip(shard.starts, shard.starts[1:], strict=False)]
        assert spans[0][0] == 100
        spans[0] = spans[0][1:]
        assert spans == [[*ids, 100] for _, ids in documents]
        table = shard.documents()
        assert table["source"].to_pylist() == [source for source, _ in documents]
        assert table["bytes"].to_pylist() == [3 * len(ids) for _, ids in documents]
        assert table["tokens"].to_numpy().sum() == shard.ids.size
    assert (
        split.entry.tokens
        == sum(s.ids.size for s in split.shards)
        == sum(c.tokens for c in split.entry.sources.values())
    )


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "has no document"),
        ([("a" * 32, "crawl", np.array([1, END]), 1)], "holds end-of-text"),
        ([("a" * 32, "crawl", np.array([70_000]), 1)], "uint16 holds 0 to 65535"),
        ([("a" * 32, "crawl", np.array([-1]), 1)], "from -1 to -1"),
    ],
)
def test_writer_refuses_and_leaves_nothing(tmp_path, documents, message):
    with pytest.raises(ValueError, match=message):
        shards.write_shard(str(tmp_path), "00000", documents, END, "<u2")
    assert list(tmp_path.iterdir()) == []


def test_ids_of_int32_and_more_are_refused(tmp_path):
    with pytest.raises(ValueError, match="uint32 holds 0 to 2147483647"):
        shards.write_shard(str(tmp_path), "00000", [("a" * 32, "crawl", np.array([2**31]), 1)], END, "<u4")


def test_token_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_TOKENS", 8)
    with pytest.raises(ValueError, match=f"passes 8 tokens at document {'c' * 32}; lower shard_tokens"):
        shards.write_shard(str(tmp_path), "00000", [(i, s, ids % 8, n) for i, s, ids, n in DOCUMENTS], 8, "<u2")
    assert list(tmp_path.iterdir()) == []


def corrupt_lengths(data: bytes) -> bytes:
    return data[:34] + struct.pack("<i", 4) + data[38:42] + struct.pack("<i", 4) + data[46:]


@pytest.mark.parametrize(
    ("file", "damage", "error", "message"),
    [
        ("train/00000.bin", lambda d: d[:-2], StaleError, "has 16 bytes, manifest.json says 18"),
        ("train/00000.bin", lambda d: d[:-2] + b"\0\0", StaleError, "does not begin and end with end-of-text"),
        ("train/00000.bin", None, StaleError, "is missing, though manifest.json names it"),
        ("train/00000.idx", lambda d: d + b"\0", StaleError, "has 103 bytes, manifest.json says 102"),
        ("train/00000.idx", lambda d: b"X" + d[1:], StaleError, "idx does not match"),
        ("train/00000.idx", corrupt_lengths, StaleError, "idx does not match"),
        ("train/00000.parquet", lambda d: b"PAR1" + d[4:-9] + b"?" * 9, InputError, "is not a readable Parquet file"),
        ("held/00000.parquet", None, StaleError, "is missing"),
        ("tokenizer.json", lambda d: d + b" ", StaleError, "is not the tokenizer that"),
        ("tokenizer.json", None, InputError, "cannot read"),
        ("manifest.json", None, InputError, "cannot read"),
        ("manifest.json", lambda d: d[:-9], InputError, "is no token manifest"),
        ("manifest.json", lambda d: d.replace(b'"version": 1', b'"version": 2'), InputError, "has version 2"),
        ("manifest.json", lambda d: d.replace(b'"tokens": 9', b'"tokens": -9', 1), InputError, r"splits\.\w+\.\w+.*:"),
        ("manifest.json", lambda d: d.replace(b'"dtype"', b'"kind"'), InputError, "is no token manifest"),
        ("manifest.json", lambda d: d.replace(b'"uint16"', b'"float"'), InputError, "dtype: Input should be"),
    ],
)
def test_reader_refuses_damage(tmp_path, file, damage, error, message):
    write(tmp_path)
    path = tmp_path / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(error, match=message):
        [shard.documents() for shard in shards.open_tokens(str(tmp_path)).split("train").shards]


@pytest.mark.parametrize("kind", ["bin", "idx", "parquet"])
def test_verify_finds_one_flipped_bit(tmp_path, kind):
    write(tmp_path)
    path = tmp_path / "held" / f"00000.{kind}"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    shards.open_tokens(str(tmp_path))
    with pytest.raises(StaleError, match=rf"00000\.{kind} has another sha256"):
        shards.open_tokens(str(tmp_path), verify=True)


def test_documents_of_another_shard_are_refused(tmp_path):
    write(tmp_path / "one")
    write(tmp_path / "two", DOCUMENTS[::-1])
    theirs = (tmp_path / "two" / "train" / "00000.parquet").read_bytes()
    (tmp_path / "one" / "train" / "00000.parquet").write_bytes(theirs)
    with pytest.raises(StaleError, match="does not describe"):
        shards.open_tokens(str(tmp_path / "one")).split("train").shards[0].documents()


def test_unknown_split_and_remote_folder(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match="no split 'test'; it has held, train"):
        shards.open_tokens(str(tmp_path)).split("test")
    with pytest.raises(InputError, match="copy the folder to a local disk"):
        shards.open_tokens("s3://bucket/tokens")


def test_the_digest_names_the_tokens_and_not_what_lies_beside_them(tmp_path: Path) -> None:
    write(tmp_path)
    manifest = shards.open_tokens(str(tmp_path)).manifest
    entry = manifest.splits["train"].shards[0]

    def with_digests(**changes: str) -> str:
        shard = replace(entry, sha256=replace(entry.sha256, **changes))
        split = replace(manifest.splits["train"], shards=[shard])
        return shards.digest_of(replace(manifest, splits={"train": split}))

    assert with_digests(parquet="0" * 64) == with_digests()
    assert shards.digest_of(replace(manifest, tokenizer="0" * 64)) == shards.digest_of(manifest)
    assert with_digests(bin="0" * 64) != with_digests()
