"""The one door: formats by name, splits that cover a file, and the reader behind each format."""

import gzip
import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import sources
from curate.document import Page
from curate.errors import InputError, UsageError


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("s3://x/CC-MAIN-1.warc.gz", None, "warc"),
        ("a.warc", None, "warc"),
        ("a.WARC.zst", None, "warc"),
        ("CC-MAIN-1.warc.wet.gz", None, "wet"),
        ("enwiki-latest-pages-articles.xml.bz2", None, "wikipedia"),
        ("enwiki-latest-pages-articles1.xml-p10p30302.bz2", None, "wikipedia"),
        ("a/b.parquet", None, "parquet"),
        ("a.jsonl.zst", None, "jsonl"),
        ("a.ndjson", None, "jsonl"),
        ("pg11.txt", None, "text"),
        ("pg11.txt", "books", "books"),
        ("x.pdf", None, None),
        ("warc/readme", None, None),
        ("x.pdf", "text", "text"),
    ],
)
def test_formats_by_name(path: str, given: str | None, expected: str | None) -> None:
    assert sources.guess_format(path, given) == expected


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(UsageError, match="format 'arc' is not known: give one of warc, wet"):
        sources.guess_format("a", "arc")


RECORD = (
    "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a.example/{0}\r\nContent-Type: text/plain\r\n"
    "Content-Length: 3\r\n\r\n{0:03}\r\n\r\n"
)


def write(folder: Path, name: str) -> str:
    path = folder / name
    numbers = range(40)
    if "warc" in name:
        parts = [RECORD.format(n).encode() for n in numbers]
        path.write_bytes(b"".join(map(gzip.compress, parts)) if name.endswith(".gz") else b"".join(parts))
    elif name.endswith(".parquet"):
        table = pa.table({"text": [f"{n:03}" for n in numbers], "url": [f"http://a.example/{n}" for n in numbers]})
        pq.write_table(table, path, row_group_size=3)
    else:
        data = b"".join(b'{"text": "%03d", "url": "http://a.example/%d"}\n' % (n, n) for n in numbers)
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return str(path)


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("a.warc.gz", True),
        ("a.warc", True),
        ("a.warc.wet.gz", True),
        ("a.parquet", True),
        ("a.jsonl", True),
        ("a.jsonl.gz", False),
    ],
)
@pytest.mark.parametrize("size", [100, 1000, 1 << 20])
def test_splits_cover_a_file_once(tmp_path: Path, name: str, splits: bool, size: int) -> None:
    path = write(tmp_path, name)
    form = sources.guess_format(path)
    assert form
    ranges = sources.splits(form, path, size)
    assert ranges[0][0] == 0
    assert ranges[-1][1] is None
    assert all(stop == start for (_, stop), (start, _) in itertools.pairwise(ranges))
    assert (len(ranges) > 1) == (splits and size < 1 << 20)
    found = [r for start, stop in ranges for r in sources.open(form, path, start, stop)]
    assert [(r.body, r.url) for r in found if isinstance(r, Page)] == [
        (b"%03d" % n, f"http://a.example/{n}") for n in range(40)
    ]
    assert len(found) == 40


def test_whole_files_have_one_range(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("words " * 50)
    for form in ("text", "books"):
        assert sources.splits(form, str(path), 10) == [(0, None)]
        (page,) = sources.open(form, str(path))
        assert isinstance(page, Page)
        with pytest.raises(InputError, match="read whole"):
            sources.open(form, str(path), 5)
    path.write_text("<mediawiki><page><title>A</title><ns>0</ns><revision><text>b</text></revision></page></mediawiki>")
    (page,) = sources.open("wikipedia", str(path))
    assert isinstance(page, Page)
    assert (page.body, page.title, page.url) == (b"b", "A", "")
