"""Project Gutenberg books to plain text: licence, small print, production credits and transcriber's notes stripped.

Prose that was wrapped at a fixed width gets one line a paragraph; verse, tables and letterheads keep their lines. A
text without Gutenberg's marks is taken whole. EPUB and HTML editions are not read.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from curate import charset
from curate.document import Dropped, Page, Record
from curate.reasons import Reason
from curate.sources import files


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """How a book's file becomes text.

    Args:
        unwrap: whether the lines of a wrapped paragraph are joined (see `unwrap`).
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    unwrap: bool = True


DEFAULT = Books()

_START = re.compile(r"\W*START OF (?:THE|THIS) PROJECT GUTENBERG|\W*END\W+THE SMALL PRINT", re.IGNORECASE)
_END = re.compile(r"\*\W*END OF (?:THE|THIS) PROJECT GUTENBERG|\W*START\W+THE SMALL PRINT", re.IGNORECASE)
_SOFT_END = re.compile(r"\W*(?:End of (?:the |this )?|Ende dieses )Proje[ck]t Gutenberg", re.IGNORECASE)
_FIELD = re.compile(r"(Title|Author|Language|Character set encoding):[ \t]*(.*)", re.IGNORECASE)
_FIRST = re.compile(r"\W*(?:The )?Project Gutenberg(?:['’]s| E-?book of| E-?text of),? (.+?)(?:, by (.+))?$", re.I)
_NUMBER = re.compile(r"\[(?:E-?Book|E-?Text) #(\d+)", re.IGNORECASE)

_CREDIT = re.compile(
    r"(?:This |An? |The )?(?:e-?te[xs]t|e-?book|electronic (?:text|edition)|HTML version|file|book|edition)?"
    r"[ ,]*(?:was |were )?(?:first )?(?:produced|prepared|transcribed|scanned|proofread|typed|digiti[sz]ed|created)"
    r"(?:[ ,]+(?:and |& )?(?:produced|prepared|transcribed|scanned|proofread|corrected|edited))*[^.]{0,60}? by\b"
    r"|.*(?:pgdp\.net|Distributed Proofread|gutenberg\.(?:org|net)|Project Gutenberg)",
    re.IGNORECASE | re.DOTALL,
)
_NOTE = re.compile(
    r"\W*(?:(?:Original )?Transcriber(?:s|['’]s|s['’])? (?:end)?notes?\b|Notes? (?:du|de la|de) transcript"
    r"|Typographical errors corrected by the e-?text transcriber|E-?text editor['’]s bookmarks"
    r"|Anmerkungen? zur Transkription|Opmerkingen van de bewerker)",
    re.IGNORECASE,
)
EDGE = 12  # paragraphs at either end of a book among which credits are looked for
FRONT = 400  # lines; in a longer book, its first half: where the head ends
HEAD = 60  # lines, and paragraphs, that a head without an end mark may have
MIN_WIDTH = 0.8  # of the book's own width: what a paragraph's longest line must reach to count as wrapped
MAX_LOOSE = 0.2  # share of a wrapped paragraph's lines that may end early


@dataclass(frozen=True, slots=True)
class Header:
    """What a book's file says of itself; empty where it says nothing."""

    title: str = ""
    author: str = ""
    language: str = ""  # its English name, as written
    number: str = ""  # of the e-book


@dataclass(frozen=True, slots=True)
class _Paragraph:
    lines: list[str]
    gap: int  # blank lines before it


def read(path: str, config: Books = DEFAULT) -> Iterator[Record]:
    """The book as one page, titled by its header; its URL is the e-book's page where the number is known.

    Raises:
        InputError: if the file is missing or unreadable.
    """
    data = files.load(path)
    if not isinstance(data, bytes):
        yield data
        return
    text = charset.decode(data, markup=False).text
    about = header(text)
    url = f"https://www.gutenberg.org/ebooks/{about.number}" if about.number else ""
    body = strip(text, config)
    if body:
        yield Page(0, body.encode(), url, "", "text/plain", about.title, about.author)
    else:
        yield Dropped(0, Reason.empty_page, url)


def header(text: str) -> Header:
    """Title, author, language and number from the lines before the start marker."""
    lines = text.splitlines()
    first, _ = _span(lines)
    found: dict[str, str] = {}
    last = ""
    head = lines[:first] if first else lines[:HEAD]
    for line in head:
        if match := _FIELD.match(line.strip()):
            last = match[1].lower()
            found.setdefault(last, match[2].strip())
        elif last and line[:1] in (" ", "\t") and line.strip():  # a long title goes on
            found[last] = f"{found[last]} {line.strip()}"
        else:
            last = ""
    if not found.get("title") and (match := next(filter(None, map(_FIRST.match, head)), None)):
        found |= {"title": match[1], "author": found.get("author") or match[2] or ""}
    number = _NUMBER.search("\n".join(head))
    return Header(
        found.get("title", ""), found.get("author", ""), found.get("language", ""), number[1] if number else ""
    )


def strip(text: str, config: Books = DEFAULT) -> str:
    """The book's own text."""
    lines = text.splitlines()
    first, last = _span(lines)
    paragraphs = list(_paragraphs(lines[first:last]))
    if first or last < len(lines):
        paragraphs = _without_notes(_without_credits(paragraphs, has_start=first > 0))
    if config.unwrap:
        return unwrap(paragraphs)
    return "\n\n".join("\n".join(p.lines) for p in paragraphs)


def _span(lines: list[str]) -> tuple[int, int]:
    """The lines between the markers. The old small print may stand before the book or after it."""
    front = max(FRONT, len(lines) // 2)
    starts = [i for i, line in enumerate(lines[:front]) if _START.match(line)]
    first = starts[-1] + 1 if starts else 0
    if starts and "***" not in lines[first - 1].strip()[3:]:  # a long title wraps within the marker
        closing = [i for i in range(first, min(first + 3, len(lines))) if lines[i].rstrip().endswith("***")]
        first = closing[0] + 1 if closing else first
    last = next((i for i in range(first, len(lines)) if _END.match(lines[i])), len(lines))
    softs = [i for i in range(first, last) if _SOFT_END.match(lines[i])]
    if softs and (last == len(lines) or last - softs[-1] <= 2 * EDGE):
        last = softs[-1]
    return first, last


def _paragraphs(lines: list[str]) -> Iterator[_Paragraph]:
    held: list[str] = []
    gap = blanks = 0
    for line in [*lines, ""]:
        if line.strip():
            if not held:
                gap, blanks = blanks, 0
            held.append(line.rstrip())
            continue
        if held:
            yield _Paragraph(held, gap)
            held = []
        blanks += 1


def _without_notes(paragraphs: list[_Paragraph]) -> list[_Paragraph]:
    """A bracketed note goes as far as its bracket, another as far as the next gap of two blank lines, or to the end of
    the book if it begins in its last twentieth."""
    kept: list[_Paragraph] = []
    bracket = open_note = False
    for index, paragraph in enumerate(paragraphs):
        if open_note and not bracket and paragraph.gap > 1 and index < 0.95 * len(paragraphs):
            open_note = False
        if not open_note and _NOTE.match(" ".join(paragraph.lines[:2])):
            open_note, bracket = True, paragraph.lines[0].lstrip().startswith("[")
        if not open_note:
            kept.append(paragraph)
        elif bracket and paragraph.lines[-1].endswith("]"):
            open_note = bracket = False
    return kept


def _without_credits(paragraphs: list[_Paragraph], has_start: bool) -> list[_Paragraph]:
    """Credits at either end. Before 2003 some heads had no end mark: there all goes up to the last credit."""
    credits = [i for i, p in enumerate(paragraphs) if _CREDIT.match(" ".join(p.lines).strip(" *[("))]
    dropped = {i for i in credits if i < EDGE or i >= len(paragraphs) - EDGE}
    if not has_start and (head := [i for i in credits if i < HEAD]):
        dropped |= set(range(head[-1] + 1))
    return [p for i, p in enumerate(paragraphs) if i not in dropped]


def unwrap(paragraphs: list[_Paragraph]) -> str:
    """Paragraphs, parted by one blank line, the wrapped ones in one line each.

    A break was made by wrapping if the next line's first word would have gone beyond the paragraph's longest line. A
    paragraph is wrapped if at most `MAX_LOOSE` of its breaks are others, all lines after the first are indented alike,
    and its longest line has at least `MIN_WIDTH` of the width that nine in ten of the book's full lines keep within.
    """
    lengths = sorted(len(line) for p in paragraphs for line in p.lines[:-1])
    width = lengths[len(lengths) * 9 // 10] if lengths else 0
    return "\n\n".join(_join(p.lines) if _is_wrapped(p.lines, width) else "\n".join(p.lines) for p in paragraphs)


def _is_wrapped(lines: list[str], width: int) -> bool:
    longest = max(map(len, lines))
    if len(lines) < 2 or longest < MIN_WIDTH * width or len({len(line) - len(line.lstrip()) for line in lines[1:]}) > 1:
        return False
    loose = sum(
        len(line) + 1 + len(following.split(maxsplit=1)[0]) <= longest for line, following in itertools.pairwise(lines)
    )
    return loose <= MAX_LOOSE * (len(lines) - 1)


def _join(lines: list[str]) -> str:
    """One line; no space where a line ends in a hyphen or dash, or begins with a dash."""
    text = lines[0].strip()
    for line in lines[1:]:
        line = line.strip()
        text += line if text.endswith(("-", "—")) or line.startswith(("--", "—")) else f" {line}"
    return text
