"""Ranges of large archives: what they read, and an archive stored in a record."""

import gzip
import io
import itertools
import random
from pathlib import Path

import pytest
import zstandard

from curate import records, storage, stream, warc
from curate.document import Dropped, Failed

SIZE = 40_000  # bytes of a record


def record(kind: str, body: bytes, number: int = 0, length: int | None = None) -> bytes:
    url = f"http://a.example/{number}"
    size = len(body) if length is None else length
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body + b"\r\n\r\n"


class Counting(io.FileIO):
    """Counts the bytes that are read."""

    total = 0

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = super().readinto(buffer)
        Counting.total += size
        return size


@pytest.mark.parametrize("form", [".warc", ".warc.gz", ".warc.zst", ".single.warc.gz"])
def test_a_range_reads_what_it_holds(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [record("request", random.Random(number).randbytes(SIZE), number) for number in range(300)]
    pack = {".warc": bytes, ".warc.gz": gzip.compress, ".warc.zst": zstandard.compress}.get(form, bytes)
    path = tmp_path / f"a{form}"
    data = b"".join(map(pack, parts))
    path.write_bytes(gzip.compress(data, 1) if form == ".single.warc.gz" else data)

    def opened(name: str) -> io.BufferedReader:
        return io.BufferedReader(Counting(name), stream.BLOCK)

    monkeypatch.setattr(storage, "open_input", opened)
    step = 1 << 21
    cuts = [*range(0, path.stat().st_size, step), None]
    found = 0
    for start, stop in itertools.pairwise(cuts):
        Counting.total = 0
        found += sum(1 for _ in warc.read(str(path), start, stop))
        most = step + 3 * stream.BLOCK + SIZE + (records.LOOK_BACK[0] if form == ".warc" else 0)
        assert Counting.total <= most or (form == ".single.warc.gz" and start == 0)
    assert found == 300


def test_the_archive_in_a_record_is_no_part_of_the_file(tmp_path: Path) -> None:
    """A range that begins in its midst looks back far enough to see what it is."""
    inner = b"".join(record("resource", b"<html>" * 2000, number) for number in range(60))
    path = tmp_path / "a.warc"
    filler = record("request", bytes(1 << 21))
    path.write_bytes(filler + record("resource", inner, 100) + filler)
    whole = list(warc.read(str(path)))
    assert len(whole) == 3
    for cut in range(len(filler) + 1, len(filler) + len(inner), 50_001):
        assert [*warc.read(str(path), 0, cut), *warc.read(str(path), cut)] == whole


@pytest.mark.parametrize("form", [".warc", ".warc.gz"])
def test_a_length_that_lies_costs_its_own_record(form: str, tmp_path: Path) -> None:
    """Whatever it claims, what comes after is found; also where a single member has to be read again for it."""
    lengths = [40 << 20, 10**15, 50, *[60 << 20] * 6]
    data = b"".join(record("request", b"x" * 100, number, length) for number, length in enumerate(lengths))
    data += b"".join(record("request", bytes(SIZE), 100 + number) for number in range(3))
    path = tmp_path / f"a{form}"
    path.write_bytes(gzip.compress(data, 1) if form.endswith("gz") else data)
    found = list(warc.read(str(path)))
    assert [type(one) for one in found] == [Failed] * len(lengths) + [Dropped] * 3
    assert [one.url for one in found if isinstance(one, Dropped)] == [f"http://a.example/{n}" for n in (100, 101, 102)]
