"""Wikipedia's pages-articles XML to pages of plain text: namespace 0, redirects left out, one page at a time in memory.

Of a history dump the last revision of each page is taken. Markup is the affair of `wikitext`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import quote, urlsplit
from xml.parsers import expat

from mwparserfromhell.parser import ParserError

from curate import compression
from curate.compression import DamagedError
from curate.document import Dropped, Failed, Page, Record
from curate.reasons import Reason
from curate.sources import wikitext


@dataclass(frozen=True, slots=True, kw_only=True)
class Wikipedia:
    """How articles become text.

    Args:
        sections: titles of sections to leave out, whatever their case; those of other languages may be added. See
            `wikitext.plain` for the rule that knows no language.
        max_chars: longer wikitext is dropped as too_large; None: no limit. MediaWiki itself allows 2 MiB of UTF-8.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    sections: tuple[str, ...] = wikitext.SECTIONS
    max_chars: int | None = 8 << 20

    def __post_init__(self) -> None:
        if self.max_chars is not None and self.max_chars < 1:
            raise ValueError(f"max_chars is {self.max_chars}: give at least 1, or null for no limit")


DEFAULT = Wikipedia()

_REDIRECT = re.compile(r"\s*#\s*redirect\b", re.IGNORECASE)  # dumps before 2011 have no <redirect>


@dataclass(slots=True)
class _Entry:
    """A <page> as it is read."""

    offset: int
    values: dict[str, str] = field(default_factory=dict)
    is_redirect: bool = False
    is_too_large: bool = False


def read(path: str, config: Wikipedia = DEFAULT) -> Iterator[Record]:
    """Each page of the dump: plain, gzip, bzip2 (multistream too), xz or zstandard; UTF-8 or UTF-16.

    `offset` is the byte of its <page> in the decompressed XML. Where the dump is damaged or ends early, one `Failed`
    follows the pages before, and nothing after it is read.

    Raises:
        InputError: if the file is missing or unreadable.
    """
    dump = _Dump(config.max_chars)
    error = ""
    try:
        for piece in compression.read(path):
            dump.feed(piece)
            yield from dump.records(config)
        dump.feed(b"", final=True)
    except (DamagedError, expat.ExpatError) as damage:
        error = f"the dump is damaged, what follows was not read: {damage}"
    yield from dump.records(config)
    if error:
        yield Failed(dump.offset, error)


class _Dump:
    """Expat's events to entries."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._text: list[str] | None = None  # of the element that is being gathered
        self._held = 0
        self._space: int | None = None
        self._entry: _Entry | None = None
        self._done: list[_Entry] = []
        self._base = ""
        self._namespaces: dict[int, str] = {}
        self.offset = 0  # where the page that is being read begins, or the last one ends

    def feed(self, data: bytes, final: bool = False) -> None:
        self._parser.Parse(data, final)

    def records(self, config: Wikipedia) -> Iterator[Record]:
        """What became of the pages that have been read since the last call."""
        while self._done:
            yield self._record(self._done.pop(0), config)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name == "page":
            self.offset = self._parser.CurrentByteIndex
            self._entry = _Entry(self.offset)
        elif name == "redirect" and self._entry:
            self._entry.is_redirect = True
        elif name in ("title", "ns", "timestamp", "text", "base", "namespace"):
            self._text, self._held = [], 0
            self._space = int(attributes.get("key", 0)) if name == "namespace" else None

    def _data(self, data: str) -> None:
        if self._text is None:
            return
        self._held += len(data)
        if self._limit is None or self._held <= self._limit:
            self._text.append(data)
        elif self._entry:
            self._entry.is_too_large = True

    def _end(self, name: str) -> None:
        if self._text is not None:
            value, self._text = "".join(self._text), None
            if name == "base":
                self._base = value
            elif self._space is not None:
                self._namespaces[self._space] = value
            elif self._entry:
                self._entry.values[name] = value
        if name == "page" and self._entry:
            self._done.append(self._entry)
            self._entry = None
            self.offset = self._parser.CurrentByteIndex

    def _record(self, entry: _Entry, config: Wikipedia) -> Record:
        offset, title, text = entry.offset, entry.values.get("title", ""), entry.values.get("text", "")
        url, space = self._url(title), self._namespace(entry)
        if space != 0:
            return Dropped(offset, Reason.not_an_article, url, f"namespace {space}")
        if entry.is_redirect or _REDIRECT.match(text):
            return Dropped(offset, Reason.redirect, url)
        if entry.is_too_large:
            return Dropped(offset, Reason.too_large, url, f"over {self._limit} characters")
        try:
            plain = wikitext.plain(text, self._namespaces, config.sections)
        except (ParserError, RecursionError) as error:
            return Failed(offset, f"{title}: the wikitext does not parse: {type(error).__name__}: {error}")
        if not plain:
            return Dropped(offset, Reason.empty_page, url)
        return Page(offset, plain.encode(), url, entry.values.get("timestamp", ""), "text/plain", title)

    def _namespace(self, entry: _Entry) -> int:
        """The page's <ns>, or by its title's prefix in dumps that have none (before 2012)."""
        if value := entry.values.get("ns", "").strip():
            return int(value) if value.lstrip("-").isdigit() else -1
        prefix, colon, _ = entry.values.get("title", "").partition(":")
        names = {name.casefold(): number for number, name in self._namespaces.items() if name}
        return names.get(prefix.strip().casefold(), 0) if colon else 0

    def _url(self, title: str) -> str:
        """https://LANG.wikipedia.org/wiki/Title by the head's base; empty where the file has no head."""
        base = urlsplit(self._base.strip())
        if not base.netloc or not title:
            return ""
        folder = base.path.rpartition("/")[0]
        return f"https://{base.netloc}{folder}/{quote(title.replace(' ', '_'), safe='/:@!$()*,;~')}"
