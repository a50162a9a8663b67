"""Gzip members at one go, held against zlib; zstandard files that are read side by side."""

import contextlib
import gzip
import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import compression, http, members, warc
from curate.errors import InputError
from curate.sources import lines

FLAGS = {"text": 1, "checksum": 2, "extra": 4, "name": 8, "comment": 16, "reserved": 32}


def member(body: bytes, level: int, flags: frozenset[str]) -> bytes:
    """A gzip member with the header's fields that the flags name (RFC 1952, section 2.3)."""
    stream = zlib.compressobj(level, wbits=-15)
    head = b"\x1f\x8b\x08" + bytes([sum(FLAGS[flag] for flag in flags)]) + bytes(6)
    head += b"\x04\0ABCD" if "extra" in flags else b""
    head += b"a name\0" if "name" in flags else b""
    head += b"a comment\0" if "comment" in flags else b""
    head += zlib.crc32(head).to_bytes(4, "little")[:2] if "checksum" in flags else b""
    tail = zlib.crc32(body).to_bytes(4, "little") + len(body).to_bytes(4, "little")
    return head + stream.compress(body) + stream.flush() + tail


def by_zlib(data: bytes) -> tuple[bytes, int] | None:
    stream = zlib.decompressobj(31)
    with contextlib.suppress(zlib.error):
        body = stream.decompress(data)
        return (body, len(data) - len(stream.unused_data)) if stream.eof else None
    return None


BODIES = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=20).map(lambda piece: piece * 5000),
    st.lists(st.sampled_from([b"<p>", b"the ", b"lighthouse ", b"\n"]), max_size=5000).map(b"".join),
)


@settings(max_examples=300)
@given(
    body=BODIES,
    level=st.integers(0, 9),
    flags=st.frozensets(st.sampled_from(sorted(FLAGS))),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=2),
    cut=st.one_of(st.just(0), st.integers(0, 40)),
    tail=st.binary(max_size=30),
)
def test_the_verdict_is_that_of_zlib(
    body: bytes, level: int, flags: frozenset[str], damage: list[tuple[float, int]], cut: int, tail: bytes
) -> None:
    data = bytearray(member(body, level, flags))
    for place, byte in damage:
        data[int(place * (len(data) - 1))] = byte
    stored = bytes(data[: len(data) - cut]) + tail
    assert compression.sound(memoryview(stored)) == by_zlib(stored)


@pytest.mark.parametrize("size", [compression.SOUND, compression.SOUND + 1, 20 * compression.SOUND])
def test_a_large_member_is_left_to_the_stream(size: int) -> None:
    data = gzip.compress(bytes(size), 9, mtime=0)
    found = compression.sound(memoryview(data))
    assert found == ((bytes(size), len(data)) if size == compression.SOUND else None)


@pytest.mark.data("warc")
def test_real_archives_read_the_same_by_zlib_alone(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Damaged ones among them."""

    def everything() -> Iterator[tuple[str, list[object]]]:
        for path in sorted((data_dir / "warc").rglob("*.warc.gz*")):
            try:
                yield path.name, list(warc.read(str(path)))
            except InputError as error:
                yield path.name, [str(error)]

    found = list(everything())
    for module in (members, http):
        monkeypatch.setattr(module, "sound", lambda data: None)
    for ours, plain in itertools.zip_longest(found, everything()):
        assert ours == plain
    assert len(found) > 50


def test_zstandard_files_are_read_side_by_side(tmp_path: Path) -> None:
    """One context for all of them would mix them up, and call both damaged."""
    rows = {name: [{"row": f"{name} {n * n}"} for n in range(30_000)] for name in ("a.zst", "b.zst")}
    for name, each in rows.items():
        data = "".join(json.dumps(row) + "\n" for row in each).encode()
        (tmp_path / name).write_bytes(
            zstandard.compress(data[: len(data) // 2]) + zstandard.compress(data[len(data) // 2 :])
        )
    both = zip(*(lines.objects(str(tmp_path / name)) for name in rows), strict=True)
    assert [[found[1] for found in pair if isinstance(found, tuple)] for pair in both] == [
        list(pair) for pair in zip(*rows.values(), strict=True)
    ]
