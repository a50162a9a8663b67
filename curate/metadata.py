"""What pages say of themselves in their markup: title, author, date, language, canonical URL.

Read from the spans that `html.scan` notes: <title>, <html lang>, <link rel=canonical>, <meta>, <time datetime>, JSON-LD
(schema.org), rel=author and itemprop. Nothing is guessed from a page's prose or layout, and nothing is checked against
the world: a page may lie about itself.
"""

import functools
import html
import itertools
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pyarrow as pa

from curate import url
from curate.html import BlockTable
from curate.tags import Meta

# What `read` returns, one row for each page; empty where the page does not say.
METADATA = pa.schema(
    [
        pa.field("title", pa.string(), nullable=False),
        pa.field("author", pa.string(), nullable=False),  # several are joined by "; "
        pa.field("date", pa.string(), nullable=False),  # YYYY-MM-DD or YYYY-MM-DDThh:mm:ss±hh:mm (ISO 8601)
        pa.field("language", pa.string(), nullable=False),  # BCP 47, the primary subtag in lower case
        pa.field("canonical", pa.string(), nullable=False),  # absolute http(s) URL, as written
    ]
)

MAX_SPAN = 4096  # bytes of anything else; the longest real title, author, date or address is under 2,048
MAX_JSON = 1 << 20  # bytes of one JSON-LD script; of 2,032 in 13,000 real pages the largest has 841,049
MAX_DEPTH = 4  # of the objects that may hold the article: @graph, mainEntity, lists
MAX_AUTHOR = 200  # characters of one name; what is longer is prose
YEARS = range(1990, 2101)  # the web's

_BLANKS = re.compile(r"[\s\x00-\x1f\u200b\ufeff\ud800-\udfff]+")  # lone surrogates come from JSON
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_BEFORE = re.compile(r"[^{\[]*(?:\[CDATA\[[^{\[]*)*")  # what stands before JSON: blanks, old ways to hide a script
_DECODER = json.JSONDecoder(strict=False)  # real scripts have bare line breaks in strings
_SEPARATOR = re.compile(r"\s+[|\-\u2013\u2014\u00b7\u2022\u00bb\u00ab/~:]+\s+|\s*[|\u00bb\u00ab]+\s*|:\s+")
_WORD = re.compile(r"[\W_\u0300-\u036f]+")
_BY = re.compile(r"\A(?:by(?:\s*:\s*|\s+|\Z)|(?:von|par|por)\s*:\s*)", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:https?:)?//|www\.|^@|\S+@\S+\.\w", re.IGNORECASE)
# Squashed, what stands where an author should: empty fields, links to a profile. So do the numbers of accounts.
_NOBODY = frozenset(
    ("", "null", "none", "undefined", "unknown", "google", "googleplus", "googleprofile", "viewprofile")
)
_LANGUAGE = re.compile(r"([a-zA-Z]{2,3})((?:[-_][a-zA-Z0-9]{2,8})*)")
_DATE = re.compile(
    r"(\d{4})([-/.]?)(\d\d?)\2(\d\d?)"
    r"(?:(?:\s*T\s*|\s+|(?<=\d{8}))(\d\d?):?(\d\d)(?::?(\d\d)(?:[.,]\d+)?)?\s*(Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?)?",
    re.IGNORECASE | re.ASCII,
)
_MAIL_DATE = re.compile(r"(?:\w{3}, )?\d{1,2} \w{3} \d{4} \d\d:\d\d(?::\d\d)? (?:[+-]\d{4}|[A-Z]{1,5})", re.ASCII)


def read(pages: pa.StringArray, table: BlockTable, urls: pa.StringArray | None = None) -> pa.RecordBatch:
    """What each page says of itself, by the schema METADATA.

    Title: the name or headline of the article in JSON-LD, else the first of og:title and its like, else <title>; the
    site's name (og:site_name or its host's) is taken off either end where a separator divides it from the rest, and a
    title that is nothing else gives way to the next. Author: JSON-LD, else meta tags, else the first rel=author or
    itemprop=author; never an address, and the site only where nobody else is named. Date: of publication, from meta
    tags, else JSON-LD, else the first <time datetime>, else of the last change. Canonical: the link, else og:url. On
    the pages of fundus and readability JSON-LD is more often right than meta tags are.

    Args:
        pages: the decoded pages.
        table: their `html.scan`.
        urls: where each page was found, to resolve relative links and know the site; None or empty: unknown.
    """
    _, offsets, buffer = pages.buffers()
    data = memoryview(buffer if buffer is not None else b"")
    starts = np.frombuffer(offsets, np.int32)[pages.offset : pages.offset + len(pages)].tolist() if len(pages) else []
    spans = list(zip(*(table.meta[name].tolist() for name in ("kind", "start", "stop")), strict=True))
    bounds = table.page_meta.tolist()
    where = [""] * len(pages) if urls is None else [address or "" for address in urls.to_pylist()]
    rows = []
    for i, title in enumerate(table.titles()):
        said: dict[int, list[memoryview]] = defaultdict(list)
        for kind, start, stop in spans[bounds[i] : bounds[i + 1]]:
            said[kind].append(data[starts[i] + start : starts[i] + stop])
        page = _Page(said, title, where[i])
        rows.append((page.title(), page.author(), page.date(), page.language(), page.canonical))
    columns = zip(*rows, strict=True) if rows else [()] * len(METADATA)
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=METADATA)


class _Page:
    """One page's spans by kind, its <title> and its address. Spans become characters when they are asked for."""

    def __init__(self, said: dict[int, list[memoryview]], title: str, where: str):
        self.said, self.head, self.where = said, title, where

    def title(self) -> str:
        headline = _text(self.article.get("name")) or _text(self.article.get("headline"))
        sources = itertools.chain([headline], self._strings(Meta.TITLE), [self.head])
        last = ""
        for found in filter(None, (_plain(source) for source in sources if len(source) <= MAX_SPAN)):
            cuts = list(_SEPARATOR.finditer(found))
            title = _without(found, cuts, self.sites) if cuts else found
            if _squash(title) not in self.sites:
                return title
            last = last or title
        return last

    def author(self) -> str:
        last: list[str] = []
        bylines = (_TAG.sub(" ", text) for text in self._strings(Meta.BYLINE))
        for source in (self._creators(), self._strings(Meta.AUTHOR), itertools.islice(bylines, 1)):
            names = _names(source)
            if others := [name for name in names if _squash(name) not in self.sites]:
                return "; ".join(others)
            last = last or names
        return "; ".join(last)

    def date(self) -> str:
        return next(filter(None, map(_date, self._dates())), "")

    def language(self) -> str:
        for text in self._strings(Meta.LANGUAGE):
            if match := _LANGUAGE.fullmatch(text.strip()):
                return match[1].lower() + match[2].replace("_", "-")
        return ""

    @functools.cached_property
    def canonical(self) -> str:
        for text in self._strings(Meta.CANONICAL, Meta.URL):
            try:
                found = urljoin(self.where, html.unescape(text).strip())
            except ValueError:  # not even the form of a URL
                continue
            if url.host(found):
                return found
        return ""

    def _strings(self, *kinds: Meta) -> Iterator[str]:
        for kind in kinds:
            for span in self.said.get(kind, ()):
                if len(span) <= MAX_SPAN:
                    yield str(span, "utf-8")

    def _dates(self) -> Iterator[str]:
        yield from self._strings(Meta.PUBLISHED)
        for name in ("datePublished", "dateCreated", "uploadDate"):
            yield _text(self.article.get(name))
        yield from self._strings(Meta.TIME, Meta.MODIFIED)
        yield _text(self.article.get("dateModified"))

    def _creators(self) -> Iterator[str]:
        """The names in JSON-LD; an object that is a bare @id stands elsewhere in the page."""
        author = self.article.get("author") or self.article.get("creator")
        for one in author if isinstance(author, list) else [author]:
            if isinstance(one, dict) and "name" not in one:
                one = self._objects.get(str(one.get("@id")), one)
            name = one.get("name") if isinstance(one, dict) else one
            yield from map(_text, name if isinstance(name, list) else [name])

    @functools.cached_property
    def sites(self) -> set[str]:
        """The site's names: og:site_name, its host and domain, and the parts of its host."""
        names = [_plain(site) for site in self._strings(Meta.SITE)]
        if host := url.host(self.where or self.canonical):
            domain = url.registered_domain(host)
            names += [host, domain, domain.partition(".")[0], *host.removesuffix(domain).split(".")]
        return set(map(_squash, names)) - {""}

    @functools.cached_property
    def article(self) -> dict[str, Any]:
        """The JSON-LD object that the page is about: the first article, else the first with a date or author."""
        found = [o for o in self._objects.values() if isinstance(o, dict)]
        kinds = [str(o.get("@type")) for o in found]
        for o, kind in zip(found, kinds, strict=True):
            if "Article" in kind or "Posting" in kind:
                return o
        return next((o for o in found if "datePublished" in o or "author" in o), {})

    @functools.cached_property
    def _objects(self) -> dict[str | int, Any]:
        """The page's JSON-LD objects by @id, or by their ordinal where they have none; damaged scripts are left out."""
        found: dict[str | int, Any] = {}
        for span in self.said.get(Meta.JSON, ()):
            if len(span) > MAX_JSON:
                continue
            script = str(span, "utf-8")
            try:
                value, _ = _DECODER.raw_decode(script, _BEFORE.match(script).end())  # type: ignore[union-attr]
            except (ValueError, RecursionError):
                continue
            for o in _walk(value, MAX_DEPTH):
                known = found.setdefault(str(o["@id"]) if o.get("@id") else len(found), {})
                for name in o:
                    known.setdefault(name, o[name])
        return found


def _walk(value: Any, depth: int) -> Iterator[dict[str, Any]]:
    """The objects at the top of JSON-LD, in lists and graphs."""
    if isinstance(value, list):
        for one in value:
            yield from _walk(one, depth - 1) if depth else ()
    elif isinstance(value, dict):
        yield value
        for name in ("@graph", "mainEntity", "mainEntityOfPage"):
            yield from _walk(value.get(name), depth - 1) if depth else ()


def _names(found: Iterator[str]) -> list[str]:
    """Distinct names, in order, without "by", addresses and prose."""
    names: dict[str, str] = {}
    for text in found:
        name = _BY.sub("", _plain(text), count=1)
        key = _squash(name)
        if len(name) <= MAX_AUTHOR and key not in _NOBODY and not key.isdigit() and not _ADDRESS.search(name):
            names.setdefault(key, name)
    return list(names.values())


def _without(title: str, cuts: list[re.Match[str]], sites: set[str]) -> str:
    """The title without a site's name at its end or beginning, if one of the separators divides it from the rest."""
    for cut in cuts[-3:]:
        if _squash(title[cut.end() :]) in sites and cut.start():
            title = title[: cut.start()]
            break
    for cut in cuts[2::-1]:
        if cut.end() < len(title) and _squash(title[: cut.start()]) in sites:
            return title[cut.end() :]
    return title


def _date(text: str) -> str:
    """ISO 8601 of a date in one of the forms that machines write; empty for any other, or a year not in YEARS."""
    text = html.unescape(text).strip()
    if _MAIL_DATE.fullmatch(text):  # RFC 5322, section 3.3
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return ""
        if moment.year not in YEARS:
            return ""
        return moment.isoformat() if moment.tzinfo else moment.date().isoformat()
    match = _DATE.fullmatch(text)
    if match is None:
        return ""
    year, sign, month, day, hour, minute, second, zone = match.groups("")
    if not sign and len(month + day) < 4:
        return ""
    try:
        moment = datetime(
            int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=_zone(zone)
        )
    except ValueError:
        return ""
    if moment.year not in YEARS:
        return ""
    return moment.isoformat() if zone else moment.date().isoformat()


def _zone(name: str) -> timezone:
    """The zone of an ISO 8601 offset; any name of universal time is 0."""
    digits = re.sub(r"\D", "", name).ljust(4, "0")
    ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-ahead if name.startswith("-") else ahead)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _plain(text: str) -> str:
    """Character references resolved, even twice escaped ones, tags gone, blanks collapsed."""
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        text = _TAG.sub("", text)
    return _BLANKS.sub(" ", text).strip()


def _squash(text: str) -> str:
    """Letters and digits alone, without accents, to compare by."""
    return _WORD.sub("", text if text.isascii() else unicodedata.normalize("NFKD", text)).casefold()
