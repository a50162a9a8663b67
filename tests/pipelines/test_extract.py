"""`curate extract`: what it prints, where, and how it ends."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.cli import main

STORY = "This is a sentence of the story, long enough to be taken for prose by anyone who reads it. " * 4
GERMAN = "Das ist ein deutscher Satz, der lang genug ist, um sicher erkannt zu werden. " * 9
KEYS = "file text title author date language canonical charset replaced reason error"


def other(prose: str) -> str:
    """Another paragraph: Trafilatura leaves repeated ones out."""
    return prose.replace("is ", "was ").replace("ist ", "war ")


def page(prose: str) -> str:
    head = '<html lang=en><title>A tale</title><meta name=author content="A. Writer">'
    return f"{head}<p>{prose}</p><p>{other(prose)}</p></html>"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("story.html").write_text(page(STORY), "utf-8")
    Path("german.html").write_bytes(page(GERMAN.replace("Satz", "längerer Satz")).encode("latin-1"))
    Path("plain.txt").write_text("As  it <is>.\n", "utf-8")
    Path("picture.html").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99))
    return tmp_path


def rows(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("extractor", ["blocks", "trafilatura", "resiliparse"])
def test_one_page_is_printed_bare(extractor: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "story.html", "--extractor", extractor]) == 0
    said = capsys.readouterr()
    assert said.out.split() == (STORY + other(STORY)).split()
    assert said.err == ""


def test_several_pages_have_their_names(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "plain.txt", "picture.html", "story.html", "--extractor", "blocks"]) == 0
    said = capsys.readouterr()
    text = f"{STORY.strip()}\n\n{other(STORY).strip()}"
    assert said.out == f"==> plain.txt <==\nAs  it <is>.\n\n\n==> picture.html <==\n\n==> story.html <==\n{text}\n"
    assert said.err == "curate: picture.html has no text: not_text\n"


def test_json_is_a_line_for_each_page(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "story.html", "picture.html", "german.html", "--extractor", "blocks", "--json"]) == 0
    story, picture, german = rows(capsys)
    assert list(story) == KEYS.split()
    assert (story["title"], story["author"], story["language"]) == ("A tale", "A. Writer", "en")
    assert (story["reason"], story["error"], story["file"]) == (None, None, "story.html")
    assert (picture["text"], picture["reason"], picture["title"]) == ("", "not_text", "")
    assert (german["reason"], german["charset"]) == (None, "cp1252")
    assert "ein deutscher längerer Satz" in german["text"]


def test_the_cascade_rules_out_what_a_run_would(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("short.html").write_text("<p>Too few words.</p>", "utf-8")
    names = ["story.html", "german.html", "short.html"]
    assert main(["extract", *names, "--json", "--cascade", "on"]) == 0
    assert [row["reason"] for row in rows(capsys)] == [None, "language_not_wanted", "too_few_words"]


def test_markdown(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bold.html").write_text(f"<article><p><b>Bold.</b> {STORY}</p><p>{other(STORY)}</p></article>", "utf-8")
    assert main(["extract", "bold.html", "--extractor", "trafilatura", "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("**Bold.** This")


def test_standard_input(files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(page(STORY).encode())))
    assert main(["extract", "-", "--json"]) == 0
    (row,) = rows(capsys)
    assert (row["file"], row["reason"]) == ("-", None)


def test_a_file_that_cannot_be_read_does_not_stop_the_others(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    assert main(["extract", "none.html", "folder", "plain.txt", "--json"]) == 1
    said = capsys.readouterr()
    assert [json.loads(line)["file"] for line in said.out.splitlines()] == ["plain.txt"]
    assert "cannot read 'none.html': no such file" in said.err
    assert "cannot read 'folder'" in said.err


def test_a_page_that_breaks_the_extractor_is_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("deep.html").write_text("<div>" * 100_000 + STORY, "utf-8")
    assert main(["extract", "deep.html", "--extractor", "resiliparse"]) == 1
    assert "deep.html has no text: the extractor failed: text is 100000 elements deep" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--extractor", "readability"], "must be one of blocks, trafilatura, resiliparse"),
        (["--favour", "speed"], "must be one of precision, balanced, recall"),
        (["--extractor", "resiliparse", "--markdown"], "neither favour nor markdown"),
        (["--cascade", "maybe"], "invalid choice: 'maybe'"),
        (["--", "--runner=X"], "runs nothing on Beam"),
    ],
)
def test_wrong_usage(flags: list[str], words: str, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", "story.html", *flags]) == 2
    assert words in capsys.readouterr().err


def test_it_starts_without_beam(files: Path) -> None:
    code = (
        "import sys; from pipelines import cli; cli.main(['extract', 'plain.txt']); print('apache_beam' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "As  it <is>.\n\nFalse\n"
