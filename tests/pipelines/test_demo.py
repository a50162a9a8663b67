"""The demo's inputs: the same bytes each time, files that other readers accept, a truth that covers them."""

import bz2
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zlib
from collections import Counter
from pathlib import Path

import pytest
import zstandard
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from pipelines import demo
from pipelines.demo import archive, crawl, plants, prose, site
from pipelines.demo.prose import Block, Kind, Piece
from pipelines.truth import Outcome, Truth

NAMESPACE = "{http://www.mediawiki.org/xml/export-0.11/}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    folder = tmp_path_factory.mktemp("demo")
    return folder, demo.build(str(folder))


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def members(path: Path) -> list[tuple[int, int]]:
    """The spans of the gzip members that Python's own zlib finds to be whole."""
    data, at, spans = path.read_bytes(), 0, []
    while at < len(data):
        unpacker = zlib.decompressobj(31)
        try:
            unpacker.decompress(data[at:])
            if not unpacker.eof:
                break
            stop = len(data) - len(unpacker.unused_data)
            spans.append((at, stop))
            at = stop
        except zlib.error:
            at = data.index(b"\x1f\x8b\x08", at + 1)
    return spans


def test_the_same_bytes_from_another_process_and_place(built: tuple[Path, Truth], tmp_path: Path) -> None:
    code = f"from pipelines import demo; demo.build({str(tmp_path / 'again')!r})"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert digest(tmp_path / "again") == digest(built[0])


def test_files(built: tuple[Path, Truth]) -> None:
    assert list(digest(built[0])) == [
        "books/1001.txt",
        "books/1002.txt",
        "books/1003.txt",
        "books/1004.txt",
        "crawl/demo-00000.warc.gz",
        "crawl/demo-00000.warc.wet.gz",
        "crawl/demo-00001.warc.gz",
        "crawl/demo-00002.warc.gz",
        "eval/quiz.jsonl",
        "reddit/RS_demo.zst",
        "truth.json",
        "wikipedia/demo-pages-articles.xml.bz2",
    ]


def test_sizes(built: tuple[Path, Truth]) -> None:
    """What the demo promises: several hundred good pages, all planted families, books of a megabyte."""
    folder, truth = built
    kinds = Counter(plant.kind for plant in truth.plants)
    assert kinds["good page"] + kinds["linked page"] > 350
    assert kinds["exact duplicate"] >= 50
    assert kinds["near duplicate"] >= 90
    assert kinds["benchmark leak"] == 20
    assert kinds["other language"] == 54
    assert 900 < sum(plant.source in ("crawl", "webtext") for plant in truth.plants) < 1500
    assert sum(path.stat().st_size for path in (folder / "books").iterdir()) > 1_500_000


@pytest.mark.parametrize("name", ["demo-00000.warc.gz", "demo-00001.warc.gz", "demo-00000.warc.wet.gz"])
def test_warcio_reads_what_is_not_damaged(built: tuple[Path, Truth], name: str) -> None:
    folder, truth = built
    assert not any(plant.file == name for plant in truth.plants)
    with (folder / "crawl" / name).open("rb") as file:
        records = ArchiveIterator(file, check_digests="raise")
        types = []
        for record in records:
            record.content_stream().read()
            types.append(record.rec_type)
    counts = Counter(types)
    assert types[0] == "warcinfo"
    if "wet" in name:
        assert counts == {"warcinfo": 1, "conversion": 40}
    else:
        assert counts["request"] == counts["response"] == counts["metadata"] > 300


def test_warcio_reads_every_whole_member(built: tuple[Path, Truth]) -> None:
    """Each member is one record; the spans in the truth hold just those that are damaged."""
    folder, truth = built
    for path in sorted((folder / "crawl").glob("*.warc.gz")):
        data = path.read_bytes()
        damaged = [plant for plant in truth.plants if plant.file == path.name]
        found = []
        for start, stop in members(path):
            record = data[start:stop]
            try:
                (one,) = ArchiveIterator(io.BytesIO(record), no_record_parse=True)
                head = gzip.decompress(record)
                length = int(one.rec_headers.get_header("Content-Length"))
                assert len(head) == head.index(b"\r\n\r\n") + 4 + length + 4
            except (ArchiveLoadFailed, AssertionError, ValueError):
                assert any(plant.start <= start < plant.stop for plant in damaged)
            else:
                found.append(one.rec_headers.get_header("WARC-Target-URI") if one.rec_type == "response" else None)
        urls = [url for url in found if url]
        assert len(urls) == len(set(urls))
        assert {plant.kind for plant in damaged} <= {
            "damage: corrupt member",
            "damage: bad record header",
            "damage: wrong record length",
            "damage: cut off",
        }


def test_truth_covers_every_response(built: tuple[Path, Truth]) -> None:
    folder, truth = built
    told = {plant.url for plant in truth.plants if plant.source in ("crawl", "webtext") and plant.url}
    written = set()
    for path in sorted((folder / "crawl").glob("*.gz")):
        data = path.read_bytes()
        for start, stop in members(path):
            record = gzip.decompress(data[start:stop])
            if record.startswith(b"WARC/1.0\r\nWARC-Type: response") or b"WARC-Type: conversion" in record[:60]:
                match = re.search(rb"WARC-Target-URI: (\S+)", record)
                assert match
                written.add(match[1].decode())
    damaged = [plant for plant in truth.plants if plant.outcome is Outcome.error]
    assert told <= written
    assert len(written - told) <= len(damaged) == 6  # a record with a wrong length still bears its URL
    assert len(told) == sum(plant.source in ("crawl", "webtext") and bool(plant.url) for plant in truth.plants)


def test_wiki_is_an_export(built: tuple[Path, Truth]) -> None:
    folder, truth = built
    data = bz2.decompress((folder / "wikipedia/demo-pages-articles.xml.bz2").read_bytes())
    root = ElementTree.fromstring(data)
    assert root.find(f"{NAMESPACE}siteinfo/{NAMESPACE}base") is not None
    titles = [page.findtext(f"{NAMESPACE}title") or "" for page in root.iter(f"{NAMESPACE}page")]
    told = {plant.url for plant in truth.plants if plant.source == "wikipedia"}
    assert {f"https://wiki.example/wiki/{title.replace(' ', '_')}" for title in titles} == told
    assert len(titles) == len(told) > 100
    redirects = [page for page in root.iter(f"{NAMESPACE}page") if page.find(f"{NAMESPACE}redirect") is not None]
    assert len(redirects) == sum(plant.kind == "wiki: redirect" for plant in truth.plants)


def test_submissions(built: tuple[Path, Truth]) -> None:
    folder, truth = built
    with zstandard.open(folder / "reddit/RS_demo.zst", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    pages = {plant.url: plant for plant in truth.plants if plant.source in ("crawl", "webtext")}
    liked = {row["url"] for row in rows if row["score"] >= 3 and not row["is_self"] and not row["over_18"]}
    assert {plant.url for plant in truth.plants if plant.source == "webtext"} <= liked
    assert not {plant.url for plant in truth.plants if plant.kind == "good page"} & liked
    assert {plant.survivor for plant in truth.plants if plant.survivor} <= liked & set(pages)
    for plant in truth.plants:
        if plant.kind == "submission: low karma":
            assert max(row["score"] for row in rows if row["url"] == plant.url) < 3


def test_books_have_their_markers(built: tuple[Path, Truth]) -> None:
    for path in sorted((built[0] / "books").iterdir()):
        text = path.read_bytes().decode()
        assert text.count("*** START OF THE PROJECT GUTENBERG EBOOK ") == 1
        assert text.count("*** END OF THE PROJECT GUTENBERG EBOOK ") == 1
        assert "\r\n" in text
        assert "\n" not in text.replace("\r\n", "")


def test_leaks_stand_word_for_word(built: tuple[Path, Truth]) -> None:
    folder, truth = built
    rows = [json.loads(line) for line in (folder / "eval/quiz.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 40
    assert all(len(row["question"].split()) >= 13 for row in rows)
    leaked = {plant.lacks for plant in truth.plants if plant.outcome is Outcome.cut}
    assert leaked == {row["question"] for row in rows[:20]}


def test_truth_survives_its_file(built: tuple[Path, Truth]) -> None:
    assert Truth.load(str(built[0] / "truth.json")) == built[1]


def test_duplicates_are_as_alike_as_they_should_be() -> None:
    words = [f"word{at}" for at in range(900)]
    paragraphs = [" ".join(words[at : at + 90]) for at in range(0, 900, 90)]
    piece = plants.paragraphs("A text", paragraphs)
    for copy in range(3):
        revision = plants.edited(piece, 0.02 + 0.01 * copy, "test", copy)
        own, new = plants.shingles(piece.text), plants.shingles(revision.text)
        assert 0.85 < len(own & new) / len(own | new) < 1
        assert revision.text != piece.text
    other = plants.paragraphs("Another", [f"other{at} " * 60 for at in range(8)])
    own, mixed = plants.shingles(piece.text), plants.shingles(plants.half_and_half(piece, other).text)
    assert len(own & mixed) / len(own | mixed) < 0.55


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One line\nof text.", [(Kind.paragraph, "One line of text.")]),
        ("Title\n=====\n\nText.", [(Kind.heading, "Title"), (Kind.paragraph, "Text.")]),
        ("## Title ##\n\nText.", [(Kind.heading, "Title"), (Kind.paragraph, "Text.")]),
        ("- one\n- two\n  goes on", [(Kind.item, "one"), (Kind.item, "two goes on")]),
        ("x : {'a', 'b'}\n    What it is.", [(Kind.item, "x : 'a' or 'b'. What it is.")]),
        (
            "Text::\n\n    code here\n\nMore.",
            [(Kind.paragraph, "Text:"), (Kind.code, "code here"), (Kind.paragraph, "More.")],
        ),
        (">>> 1 + 1\n2\n\nText.", [(Kind.code, ">>> 1 + 1\n2"), (Kind.paragraph, "Text.")]),
        ("```python\nx = 1\n```\nText.", [(Kind.code, "x = 1"), (Kind.paragraph, "Text.")]),
        (".. math:: x^2\n\nText.", [(Kind.paragraph, "Text.")]),
        (".. versionadded:: 3.1\n   It was new.", [(Kind.paragraph, "New in version 3.1. It was new.")]),
        (".. note::\n   Take care.", [(Kind.paragraph, "Take care.")]),
        (
            "See :func:`~a.b` and ``c`` and `d <https://e.test>`_.",
            [(Kind.paragraph, "See `a.b` and `c` and [d](https://e.test).")],
        ),
        ("![badge](https://b.test/x.svg) Text.", [(Kind.paragraph, "Text.")]),
        ("", []),
    ],
)
def test_blocks(text: str, expected: list[tuple[Kind, str]]) -> None:
    assert [(block.kind, block.text) for block in prose.blocks(text)] == expected


def test_pieces_import_nothing() -> None:
    code = (
        "import sys; from pipelines.demo import prose\n"
        "assert next(prose.pieces('sklearn.cluster', 1000)).blocks\n"
        "assert 'sklearn' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pages_escape_their_text() -> None:
    piece = Piece("a.b", "A <b> & c", (Block(Kind.paragraph, "x < y & `z > 1`"), Block(Kind.code, "if a < b: pass")))
    for host in crawl.HOSTS:
        html = site.page(piece, host, [("https://x.test/?a=1&b=2", "Q & A")])
        assert "<h1" in html
        assert "A &lt;b&gt; &amp; c</h1>" in html
        assert "<p>x &lt; y &amp; <code>z &gt; 1</code></p>" in html
        assert 'href="https://x.test/?a=1&amp;b=2"' in html


@pytest.mark.parametrize("damage", [archive.corrupt, archive.truncate, archive.bad_version, archive.too_long])
def test_damage_is_damage(damage: archive.Damage) -> None:
    record = b"WARC/1.0\r\nContent-Length: 6000\r\n\r\n" + b"0123456789ab" * 500 + b"\r\n\r\n"
    member = damage(record)
    try:
        data = zlib.decompressobj(31).decompress(member)
    except zlib.error:
        assert damage is archive.corrupt
    else:
        assert data != record
        assert data.startswith(b"WARC/1") == (damage is not archive.bad_version)
