"""Paths of a recipe to files: names, folders, patterns, what is refused."""

from pathlib import Path
from typing import Any

import pytest

from curate import decontaminate, storage
from curate.errors import InputError
from curate.sources import reddit
from pipelines import inputs, recipe
from pipelines.engine import Engine
from pipelines.graph import BY_NAME
from pipelines.progress import Progress
from pipelines.recipe import Books, Crawl, Wikipedia
from pipelines.run import Run

FILES = (
    "a.warc.gz",
    "b/a.warc.gz",
    "b/c.warc.wet.gz",
    "b/notes.md",
    "d.xml.bz2",
    "e.txt",
    "RS_2005-06.zst",
    "f.csv",
    "g.jsonl",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def names(found: list[tuple[str, str]]) -> list[str]:
    return [name for name, _ in found]


def test_a_name_is_the_path_below_the_fixed_part_of_the_pattern(folder: Path) -> None:
    assert names(inputs.of_source("crawl", Crawl(paths=f"{folder}/**/*.warc.gz"))) == ["a.warc.gz", "b/a.warc.gz"]
    assert names(inputs.of_source("crawl", Crawl(paths=f"{folder}/b/*.gz"))) == ["a.warc.gz", "c.warc.wet.gz"]
    assert names(inputs.of_source("crawl", Crawl(paths=(f"{folder}/a.warc.gz",)))) == ["a.warc.gz"]


def test_names_that_two_files_share_are_whole_paths(folder: Path) -> None:
    paths = (f"{folder}/a.warc.gz", f"{folder}/b/a.warc.gz", f"{folder}/b/c.warc.wet.gz")
    assert names(inputs.of_source("crawl", Crawl(paths=paths))) == sorted([paths[0], paths[1], "c.warc.wet.gz"])


def test_a_file_named_twice_is_read_once(folder: Path) -> None:
    twice = Crawl(paths=(f"{folder}/a.warc.gz", f"{folder}/*.warc.gz"))
    assert names(inputs.of_source("crawl", twice)) == ["a.warc.gz"]


def test_of_a_folder_the_files_that_belong(folder: Path) -> None:
    assert names(inputs.of_source("wikipedia", Wikipedia(paths=str(folder)))) == ["d.xml.bz2"]
    assert names(inputs.of_source("books", Books(paths=str(folder)))) == ["e.txt"]
    assert names(inputs.expand("sources.reddit", [str(folder)], reddit.is_table)) == [
        "RS_2005-06.zst",
        "f.csv",
        "g.jsonl",
    ]
    assert names(inputs.expand("decontaminate", [str(folder)], decontaminate.is_benchmark)) == ["e.txt", "g.jsonl"]
    assert "b/notes.md" not in names(inputs.of_source("crawl", Crawl(paths=str(folder))))


@pytest.mark.parametrize("path", ["none.warc.gz", "none/*.warc.gz", "b/none"])
def test_nothing_there_is_an_error(folder: Path, path: str) -> None:
    with pytest.raises(InputError, match=r"sources.crawl.paths: .* matches no file"):
        inputs.of_source("crawl", Crawl(paths=f"{folder}/{path}"))


def test_a_name_that_tells_no_format_is_an_error(folder: Path) -> None:
    with pytest.raises(InputError, match=r"notes.md: its name tells no format; set the source's format"):
        inputs.format_of(f"{folder}/b/notes.md", Crawl())


@pytest.mark.parametrize("protocol", ["", "memory://"])
def test_answers_come_in_order(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "AT_ONCE", 2)
    paths = [f"{protocol}/{number}" for number in range(50)]
    assert list(inputs.ask(lambda path: path[-2:], paths)) == [path[-2:] for path in paths]
    assert inputs.states([("a crawl", "known")]) == [["a crawl", "known"]]


def test_a_run_lists_its_inputs_once(finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the start, the fingerprint and the plan together."""
    listed: list[str] = []
    glob = storage.glob

    def note(pattern: str) -> list[str]:
        listed.append(pattern)
        return glob(pattern)

    monkeypatch.setattr(storage, "glob", note)
    run = Run(str(tmp_path / "run"), recipe.load(str(finished.corpus.recipe)), Engine(), Progress(quiet=True))
    run.run([BY_NAME["karma"], BY_NAME["ingest"]])
    asked = [pattern for pattern in listed if pattern.startswith(str(finished.corpus.folder))]
    assert len(asked) == len(set(asked)) == 4
