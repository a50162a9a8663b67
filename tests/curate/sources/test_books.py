"""Project Gutenberg books: what is stripped, what is joined, and header-free editions as gold."""

import gzip
import json
import re
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from curate import charset
from curate.document import Dropped, Failed, Page
from curate.sources import books
from curate.sources.books import Books, Header

HEAD = """The Project Gutenberg EBook of A Tale, by N. N.

This eBook is for the use of anyone.

Title: A Tale
       of Two Lines

Author: N. N.

Release Date: May 1, 2000 [EBook #123]

Language: English

"""
START = "*** START OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n\n"
END = (
    "\n\nEnd of the Project Gutenberg EBook of A Tale, by N. N.\n\n*** END OF THIS PROJECT GUTENBERG EBOOK A TALE ***\n"
)
LICENCE = "\nGeneral Terms of Use\n" * 30
BODY = "CHAPTER I\n\n\nIt was so.\n\nThe end."


def strip(text: str, unwrap: bool = False) -> str:
    return books.strip(text, Books(unwrap=unwrap))


@pytest.mark.parametrize(
    "text",
    [
        HEAD + START + BODY + END + LICENCE,
        HEAD + START.replace("THIS", "THE").replace("*** ", "***") + BODY + END.replace("THIS", "THE") + LICENCE,
        HEAD + "*** START OF THE PROJECT GUTENBERG EBOOK A TALE THAT HAS\nA LONG TITLE ***\n" + BODY + END,
        "Small print.\n*END*THE SMALL PRINT! FOR PUBLIC DOMAIN ETEXTS*Ver.04.29.93*END*\n\n"
        + BODY
        + "\n\n\n\nEnd of Project Gutenberg's Etext of A Tale\n\n",
        START + "Produced by N. N. and the Online Distributed\nProofreading Team\n\n\n" + BODY + END,
        START + "E-text prepared by N. N.\n\n\n[Transcriber's Note: All errors\nare kept.\n\nThus.]\n\n" + BODY + END,
        START + BODY + "\n\n\n\nTranscriber's Notes:\n\nA comma was added.\n\nAnother.\n" + END,
        START + "Transcriber's Note\n\nItalics are _so_.\n\n\n\n" + BODY + END,
        "The Project Gutenberg Etext of A Tale\nby N. N.\n\nDo not remove this.\n\nThis etext was produced by N. N.\n\n"
        + BODY
        + "\n\n***START**THE SMALL PRINT!**FOR PUBLIC DOMAIN ETEXTS**START***\nWhy is this here?\n",
        (HEAD + START + BODY + END).replace("\n", "\r\n"),
        BODY,  # no marks: taken whole
    ],
)
def test_what_is_gutenbergs_goes(text: str) -> None:
    assert strip(text).split("\n\n") == ["CHAPTER I", "It was so.", "The end."]


def test_a_book_that_speaks_of_production_keeps_its_words() -> None:
    inner = "\n\n".join(["x"] * 20)
    text = f"{START}{inner}\n\nProduced by heat, it rose.\n\n{inner}{END}"
    assert "Produced by heat" in strip(text)


def test_the_header_is_read() -> None:
    assert books.header(HEAD + START + BODY) == Header("A Tale of Two Lines", "N. N.", "English", "123")
    assert books.header("The Project Gutenberg Etext of A Tale, by N. N.\n\n" + BODY).title == "A Tale"
    assert books.header(BODY) == Header()


WORDS = (
    "It was the best of lines, it was the worst of lines, it was an age of width, it was an age of wrapping, and each "
    "of its words that would not fit had to go to the next, as was the custom in those well-ordered days--or so it "
    "was said, and nobody then alive, nor anyone before them, knew of any other way."
)
PROSE = textwrap.fill(WORDS, 72)
VERSE = """How short the line
That stops because it rhymes,
And starts in time
To stop at other times."""
QUOTE = textwrap.indent(textwrap.fill(WORDS, 60), "    ")
STEPS = """A first line that is as long as all the lines of prose in this tale were
    and then one set in, which is as long as the lines of prose in this were
  and one less so."""


@pytest.mark.parametrize(("paragraph", "joined"), [(PROSE, True), (VERSE, False), (QUOTE, True), (STEPS, False)])
def test_only_wrapped_lines_are_joined(paragraph: str, joined: bool) -> None:
    found = strip(f"{PROSE}\n\n{paragraph}\n\n{PROSE}", unwrap=True).split("\n\n")[1]
    assert found == (WORDS if joined else paragraph)


@pytest.mark.parametrize(
    "encode",
    [str.encode, lambda t: t.encode("utf-8-sig"), lambda t: t.encode("cp1252"), lambda t: gzip.compress(t.encode())],
)
def test_encodings(tmp_path: Path, encode: object) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(encode(HEAD + START + "Café “à la” crème" + END))  # type: ignore[operator]
    assert list(books.read(str(path))) == [
        Page(
            0,
            "Café “à la” crème".encode(),
            "https://www.gutenberg.org/ebooks/123",
            "",
            "text/plain",
            "A Tale of Two Lines",
            "N. N.",
        )
    ]


def test_empty_and_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "book.txt"
    path.write_bytes(b"")
    assert isinstance(next(books.read(str(path))), Dropped)
    path.write_bytes(gzip.compress(b"x" * 999)[:-4])
    assert isinstance(next(books.read(str(path))), Failed)


def shingles(text: str) -> Counter[tuple[str, ...]]:
    found = re.findall(r"\w+", text.lower())
    return Counter(zip(*(found[i:] for i in range(5)), strict=False))


@pytest.mark.data("books")
def test_gold_editions(data_dir: Path) -> None:
    """Ratchet: mean F1 of 5-word shingles with 44 header-free texts of the same titles, some of other editions."""
    rows = [json.loads(line) for line in (data_dir / "books" / "manifest.jsonl").read_text().splitlines()]
    ours = {row["book"]: row["file"] for row in rows if row["file"].startswith("gutenberg")}
    scores = []
    for row in rows:
        if (pair := re.search(r"book (\d+)", row["kind"])) and row["file"].startswith("lahiri"):
            text = charset.decode((data_dir / "books" / ours[pair[1]]).read_bytes(), markup=False).text
            gold = charset.decode((data_dir / "books" / row["file"]).read_bytes(), markup=False).text
            a, b = shingles(books.strip(text)), shingles(gold)
            scores.append(2 * (a & b).total() / (a.total() + b.total()))
    assert len(scores) == 44
    assert sum(scores) / len(scores) >= 0.992
    assert min(scores) >= 0.95


@pytest.mark.data("books")
def test_real_books_have_titles_and_no_licence(data_dir: Path) -> None:
    files = sorted((data_dir / "books" / "gutenberg").glob("*.txt"))[::4]
    for file in files:
        (page,) = books.read(str(file))
        assert isinstance(page, Page), file
        assert page.title, file
        assert b"Project Gutenberg-tm" not in page.body, file
        assert b"gutenberg.org/license" not in page.body, file
