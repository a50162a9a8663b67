"""Damaged inputs and damaged runs: intact records come through, the rest is a dead letter or a clear refusal."""

import gzip
import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from curate import isolation
from pipelines.demo import archive, site
from pipelines.demo.archive import Answer, Archive
from pipelines.demo.prose import Block, Kind, Piece

HOST = site.Host("sound.example", "Sound", 0)
TEXT = (
    "The keeper of the lighthouse wrote a letter to his sister in the spring, and he told her about the long storms.",
    "She had asked what he did with all those hours, so he described the lamp, the stairs and the birds at dawn.",
    "Most evenings he read aloud to nobody, because a voice, even his own, made the round room feel less empty.",
    "When the supply boat came he would carry flour and oil up the rocks, and trade news with the two sailors.",
    "They laughed at his questions, yet they brought him newspapers that were only three or four weeks old.",
    "In return he gave them dried fish, a map of the shoals, and once a kite that he had sewn from an old sail.",
)
SPLITS = "ingest.split_bytes=3000"  # a few tasks for each archive


def page(number: int, **other: Any) -> Answer:
    """A sound page of its own text."""
    blocks = [f"{text[:-1]} as letter {number * 7 + at} tells us all." for at, text in enumerate(TEXT)]
    piece = Piece(f"letter-{number}", f"Letter {number}", tuple(Block(Kind.paragraph, text) for text in blocks))
    body = site.page(piece, HOST).encode()
    return Answer(**{"url": HOST.url(f"letter-{number}"), "body": body, **other})


def records(path: Path, pages: list[tuple[Answer, archive.Damage | None]]) -> list[tuple[int, int]]:
    """Write an archive; the spans of its pages."""
    file = Archive(path.name)
    spans = [file.page(answer, damage) for answer, damage in pages]
    path.write_bytes(file.data)
    return spans


def table(root: Path, kind: str) -> list[dict[str, Any]]:
    folder = root / kind
    return ds.dataset(folder, format="parquet").to_table().to_pylist() if folder.exists() else []


def check_conserved(root: Path) -> dict[str, Any]:
    """Law 5 for every stage of a run, held against what lies on disk; its stages."""
    stages: dict[str, Any] = json.loads((root / "manifest.json").read_text())["stages"]
    dropped = Counter((row["stage"], row["reason"]) for row in table(root, "dropped"))
    errors = Counter(row["stage"] for row in table(root, "errors"))
    for name, entry in stages.items():
        assert entry["read"] == entry["kept"] + sum(entry["dropped"].values()) + entry["failed"], name
        by_source = entry["sources"].values()
        if not entry.get("off"):
            assert entry["read"] == sum(source["read"] for source in by_source)
            assert entry["kept"] == sum(source["kept"] for source in by_source)
        if name != "train":  # its examples are documents that go on all the same
            assert entry["dropped"] == {reason: n for (stage, reason), n in dropped.items() if stage == name}, name
        assert entry["failed"] == errors[name], name
    assert not list(root.rglob("*.tmp-*"))
    return stages


@pytest.fixture
def ingest(tmp_path: Path, curate: Any) -> Any:
    """Run the stages up to `ingest` over paths of the crawl; (what was said, the run directory)."""

    def run(*paths: Path, settings: tuple[str, ...] = ()) -> tuple[Any, Path]:
        root = tmp_path / "run"
        words = [f"sources.crawl.paths={json.dumps([str(path) for path in paths])}", SPLITS, *settings]
        sets = [word for setting in words for word in ("--set", setting)]
        curate("karma", "gpt3", *sets, "--out", root, "--quiet")
        return curate("ingest", "--out", root, "--quiet"), root

    return run


def kept(root: Path) -> list[str]:
    return sorted(row["url"] for row in table(root, "documents"))


def urls(*numbers: int) -> list[str]:
    return sorted(HOST.url(f"letter-{number}") for number in numbers)


def test_the_whole_run_is_conserved(finished: Any) -> None:
    stages = check_conserved(finished.root)
    assert {name for name, entry in stages.items() if entry["dropped"]} >= {"karma", "ingest", "score", "dedup", "mix"}
    rows = table(finished.root, "dropped")
    assert len({row["id"] for row in rows}) == len(rows)  # a record goes once
    going = ["score", "dedup", "decontaminate", "mix", "tokenize"]
    for before, after in zip(["ingest", *going], going, strict=False):
        assert stages[after]["read"] == stages[before]["kept"]
    corpus, documents = table(finished.root, "corpus"), table(finished.root, "documents")
    late = [row["id"] for row in rows if row["stage"] in going]
    assert sorted(late + [row["id"] for row in corpus]) == sorted(row["id"] for row in documents)
    assert len(table(finished.root, "removals")) == sum(stages["dedup"]["dropped"].values())


PARSER = f"""
import ctypes, os, sys
sys.path.append({str(Path(isolation.__file__).parents[1])!r})
from curate import parser

def obey(page, favour, markdown, sound=parser.by_resiliparse):
    while "<!--hang-->" in page:
        pass
    swollen = []
    while "<!--swell-->" in page:
        swollen.append(bytearray(b"x") * (8 << 20))
    if "<!--crash-->" in page:
        ctypes.string_at(0)
    return sound(page, favour, markdown)

parser.PARSERS["resiliparse"] = obey
parser.main()
"""


def test_pages_that_break_their_parser_are_lost_alone(
    ingest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "parser.py"
    program.write_text(PARSER, "utf-8")
    parser = isolation.Parser(program)
    monkeypatch.setattr(isolation, "PARSER", parser)
    pages: list[tuple[Answer, archive.Damage | None]] = []
    for number, word in enumerate(["hang", "swell", "crash"]):
        pages += [(page(2 * number), None), (broken(page(2 * number + 1), word), None)]
    spans = records(tmp_path / "bad.warc.gz", [*pages, (page(6), None)])
    limits = {"extractor": "resiliparse", "max_page_seconds": 2, "max_page_memory": 300 << 20}
    said, root = ingest(
        tmp_path / "bad.warc.gz", settings=tuple(f"ingest.{key}={value}" for key, value in limits.items())
    )
    parser.stop()
    assert said.code == 0, said.err
    stages = check_conserved(root)
    assert stages["ingest"]["failed"] == 3
    assert kept(root) == urls(0, 2, 4, 6)
    errors = sorted(table(root, "errors"), key=lambda row: row["offset"])
    assert [row["error"] for row in errors] == [
        "resiliparse took longer than 2 s (max_page_seconds)",
        "resiliparse needed more memory than 300 MiB (max_page_memory)",
        "resiliparse crashed (SIGSEGV)",
    ]
    for (start, stop), row in zip(spans[1::2], errors, strict=True):
        assert start <= row["offset"] < stop


def broken(answer: Answer, word: str) -> Answer:
    return replace(answer, body=answer.body.replace(b"<body", f"<!--{word}--><body".encode()))


def test_damage_is_named_by_file_and_offset(ingest: Any, tmp_path: Path) -> None:
    """Members of every kind of damage between sound ones."""
    damages = [archive.corrupt, archive.bad_version, archive.too_long, archive.truncate]
    pages: list[tuple[Answer, archive.Damage | None]] = []
    for number, damage in enumerate(damages):
        pages += [(page(2 * number), None), (page(2 * number + 1), damage)]
    spans = records(tmp_path / "bad.warc.gz", pages)
    said, root = ingest(tmp_path / "bad.warc.gz")
    assert said.code == 0
    stages = check_conserved(root)
    assert kept(root) == urls(0, 2, 4, 6)
    errors = table(root, "errors")
    assert stages["ingest"]["failed"] == len(errors) >= 4
    assert {error["file"] for error in errors} == {"bad.warc.gz"}
    for start, stop in spans[1::2]:
        near = [error["error"] for error in errors if start <= error["offset"] <= stop]
        assert near, f"nothing is said of the damage between {start} and {stop}"
        assert all(near)


@pytest.mark.parametrize("cut", [1, 17, 400])
def test_truncated_file(cut: int, ingest: Any, tmp_path: Path) -> None:
    path = tmp_path / "cut.warc.gz"
    records(path, [(page(number), None) for number in range(3)])
    spans = records(tmp_path / "whole.warc.gz", [(page(number), None) for number in range(4)])
    data = (tmp_path / "whole.warc.gz").read_bytes()
    path.write_bytes(data[: spans[-1][1] - cut])
    said, root = ingest(path)
    assert said.code == 0
    check_conserved(root)
    assert kept(root) == urls(0, 1, 2)
    (error,) = table(root, "errors")
    assert error["file"] == "cut.warc.gz"
    assert spans[-1][0] <= error["offset"] < spans[-1][1]


HEADERS = {
    "no blank line": b"HTTP/1.1 200 OK\r\nContent-Type: text/html",
    "no status": b"HTTP/1.1\r\nContent-Type: text/html\r\n\r\n<p>x",
    "not HTTP": b"\x00\x01\x02\x03" * 50,
    "nothing": b"",
    "no number": b"HTTP/1.1 abc OK\r\nContent-Type: text/html\r\n\r\n<p>x",
    "chunks of no length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n<p>x",
    "no gzip": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Type: text/html\r\n\r\n\x1f\x8b\x08broken",
    "bad type": b"HTTP/1.1 200 OK\r\nContent-Type: ;;;=\xff\r\n\r\n<p>x",
}


def test_bad_headers(ingest: Any, tmp_path: Path) -> None:
    """Responses that no server should give: each ends somewhere, none takes its neighbours along."""
    file = Archive("headers.warc.gz")
    kind = "application/http; msgtype=response"
    for number, block in enumerate(HEADERS.values()):
        file.page(page(number))
        file.record("response", block, {"WARC-Target-URI": f"https://odd.example/{number}", "Content-Type": kind})
    # A record without a type, and one whose length is no number.
    for line in (b"WARC-Type: response\r\n", b"Content-Length: 5\r\n"):
        record = b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 5\r\n\r\nhello\r\n\r\n"
        (tmp_path / "headers.warc.gz").write_bytes(file.data)
        file._members.append(archive.gzip_member(record.replace(line, b"X: y\r\n")))
    file._size = sum(map(len, file._members))
    file.page(page(99))
    (tmp_path / "headers.warc.gz").write_bytes(file.data)
    said, root = ingest(tmp_path / "headers.warc.gz")
    assert said.code == 0
    stages = check_conserved(root)
    assert kept(root) == urls(*range(len(HEADERS)), 99)
    gone = {row["url"] for row in table(root, "dropped") if row["reason"] != "not_a_page"}
    named = " ".join(error["error"] for error in table(root, "errors"))
    for number, name in enumerate(HEADERS):
        url = f"https://odd.example/{number}"
        assert url in gone or url in named, name
    assert stages["ingest"]["failed"] >= 2


def test_wrong_charset(ingest: Any, tmp_path: Path) -> None:
    """A page in another charset than its header says keeps its letters; bytes of none are replaced and counted."""
    umlauts = page(1)
    words = umlauts.body.decode().replace("letter", "lettér").replace("birds", "bïrds")
    pages = [
        (page(0), None),
        (page(1, body=words.encode("cp1252"), content_type="text/html; charset=utf-8"), None),
        (page(2, content_type="text/html; charset=klingon"), None),
        (page(3, body=page(3).body.replace(b"lighthouse", b"light\xff\xfehouse"), content_type="text/html"), None),
        (page(4, body=page(4).body.decode().encode("utf-16"), content_type="text/html; charset=utf-8"), None),
    ]
    records(tmp_path / "charset.warc.gz", pages)
    said, root = ingest(tmp_path / "charset.warc.gz")
    assert said.code == 0
    check_conserved(root)
    assert kept(root) == urls(0, 1, 2, 3, 4)
    texts = {row["url"]: row["text"] for row in table(root, "documents")}
    assert "a lettér to his sister" in texts[HOST.url("letter-1")]
    assert "keeper of the lighthouse" in texts[HOST.url("letter-2")]
    assert "keeper of the lighthouse" in texts[HOST.url("letter-4")]


WHOLE = {
    "empty.warc.gz": b"",
    "none.warc.gz": b"<html><body>Service unavailable</body></html>",
    "noise.warc.gz": gzip.compress(bytes(range(256)) * 40, mtime=0),
    "arc.warc.gz": gzip.compress(b"filedesc://a.arc 0.0.0.0 20240501000000 text/plain 76\n1 0 Demo\n", mtime=0),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_is_no_archive(name: str, ingest: Any, tmp_path: Path) -> None:
    """Beside a sound one: a dead letter. Alone: the run fails, since all that it read was damaged."""
    (tmp_path / name).write_bytes(WHOLE[name])
    records(tmp_path / "sound.warc.gz", [(page(number), None) for number in range(3)])
    said, root = ingest(tmp_path / name, tmp_path / "sound.warc.gz")
    assert said.code == 0
    check_conserved(root)
    assert kept(root) == urls(0, 1, 2)
    errors = table(root, "errors")
    assert {error["file"] for error in errors} == {name}
    assert errors[0]["offset"] == 0
    said, root = ingest(tmp_path / name)
    assert said.code == 1
    assert "records could not be read, a larger share than max_failed 0.5" in said.err
    assert len(said.err.splitlines()) < 10
    assert "ingest" not in json.loads((root / "manifest.json").read_text())["stages"]
    said, _ = ingest(tmp_path / name, settings=("max_failed=1.0",))
    assert said.code == 0


def test_a_missing_file(ingest: Any, tmp_path: Path) -> None:
    records(tmp_path / "sound.warc.gz", [(page(0), None)])
    said, root = ingest(tmp_path / "sound.warc.gz", tmp_path / "gone.warc.gz")
    assert said.code == 1
    assert "gone.warc.gz' matches no file; correct it" in said.err
    assert "Traceback" not in said.err
    assert not (root / "documents").exists()
    said, root = ingest(tmp_path / "sound.warc.gz")  # the cause mended, in the same directory
    assert said.code == 0
    assert kept(root) == urls(0)


def test_an_unreadable_file(ingest: Any, tmp_path: Path) -> None:
    """What cannot be opened is an error of the run, not of the data: nothing is left out in silence."""
    records(tmp_path / "sound.warc.gz", [(page(number), None) for number in range(3)])
    closed = tmp_path / "closed.warc.gz"
    if os.geteuid() == 0:
        closed.mkdir()  # root reads every file; nobody reads a folder
    else:
        records(closed, [(page(9), None)])
        closed.chmod(0)
    said, root = ingest(closed, tmp_path / "sound.warc.gz")
    assert said.code == 1
    assert "closed.warc.gz" in said.err
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) < 10
    assert not list(root.rglob("*.tmp-*"))


# ---- damage to what a run has written


def flip(path: Path) -> None:
    """Another byte in the midst of the file; of Parquet, in its texts."""
    data = bytearray(path.read_bytes())
    at = len(data) // 2
    if path.suffix == ".parquet":
        group = pq.read_metadata(path).row_group(0)
        texts = next(group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == "text")
        at = texts.dictionary_page_offset + texts.total_compressed_size // 8
    data[at] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("path", "stage", "words"),
    [
        ("model/model.safetensors", "score", "is not the file that"),
        ("model/card.json", "score", "model"),
        ("documents/crawl-00000-000.parquet", "dedup", "documents/crawl-00000-000.parquet"),
        ("tokenizer/tokenizer.json", "mix", "tokenizer.json"),
    ],
)
def test_a_corrupt_file_of_the_run(path: str, stage: str, words: str, copy: Path, curate: Any, finished: Any) -> None:
    """Named and refused; when it is removed, the same command makes it again."""
    if path.endswith(".json"):
        (copy / path).write_text((copy / path).read_text()[:-40])
    else:
        flip(copy / path)
    receipts = copy / "receipts" / stage
    for receipt in receipts.glob("*/*.json"):
        if receipt.parent.name not in ("tokenizer",):
            receipt.unlink()  # so that the stage has work to do
    said = curate(stage, "--out", copy, "--quiet")
    assert said.code == 1
    assert words in said.err
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) < 16
    assert not list(copy.rglob("*.tmp-*"))
    (copy / path).unlink()
    assert curate("run", finished.corpus.recipe, "--out", copy, "--quiet").code == 0
    for file in (finished.root / "corpus").iterdir():
        assert (copy / "corpus" / file.name).read_bytes() == file.read_bytes()


def test_a_task_that_breaks_lets_the_others_finish(copy: Path, curate: Any) -> None:
    """And says in one screen which failed and why; the traceback of a bug is in a file, not on the screen."""
    flip(copy / "documents" / "crawl-00001-000.parquet")
    for receipt in (copy / "receipts" / "score").glob("*/*.json"):
        receipt.unlink()
    said = curate("score", "--out", copy)
    assert said.code == 1
    assert "stage score: 1 of 10 tasks failed; the others are kept." in said.err
    assert "crawl-00001-000" in said.err
    assert len(list((copy / "receipts" / "score" / "shards").glob("*.json"))) == 9
