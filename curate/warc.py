"""WARC and WET files to pages: every record becomes a Page, a Dropped or a Failed, and damage never stops the reader.

Containers: one gzip member or zstandard frame for each record (splits at any byte), a single gzip member (does not
split), members that cut through records, and no compression. ARC, the format before WARC, is refused.

Offsets. Uncompressed: the byte where the record begins. Compressed: the byte where the record's member begins, plus the
number of records and damaged places before it in that member, so offsets are distinct and increase.

Splitting a compressed file relies on finding member starts: the magic bytes followed by data that decompresses to
`WARC/`. Only a WARC file stored whole and uncompressible inside a record can imitate that; its records would then be
read as pages of the outer file.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, ClassVar

from curate import charset, http, storage
from curate.document import Dropped, Failed, Page, Record
from curate.members import BEGINS, LEAD, NEWLINES, VERSION, Members, Stream, Window, container, units
from curate.reasons import Reason

MAX_HEAD = 1 << 20  # bytes of a record's header block; real ones have under 2,000

_BLANK = re.compile(rb"\n\r*\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Warc:
    """What counts as a page.

    Args:
        max_page_bytes: records or decoded bodies beyond this are dropped as too_large without being held in memory;
            None: no limit. Common Crawl itself cuts pages at 1 MiB (5 MiB since 2025).
        content_types: media types read as text. A response without a Content-Type is a page if it begins with `<` and
            holds no binary bytes.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    max_page_bytes: int | None = 32 << 20
    content_types: tuple[str, ...] = ("text/html", "application/xhtml+xml", "text/plain")

    def __post_init__(self) -> None:
        if self.max_page_bytes is not None and self.max_page_bytes < 1:
            raise ValueError(f"max_page_bytes is {self.max_page_bytes}: give at least 1, or null for no limit")
        if not self.content_types:
            raise ValueError("content_types is empty: name at least one, such as text/html")


DEFAULT = Warc()


def read(path: str, start: int = 0, stop: int | None = None, config: Warc = DEFAULT) -> Iterator[Record]:
    """The records whose gzip member (uncompressed: the record itself) begins in [start, stop), in file order.

    Any set of ranges that covers the file yields each record once. A damaged place belongs to the range of the member
    before it. `stop` None is the end of the file.

    Raises:
        InputError: if the file is missing or unreadable, or is ARC, lz4 or another format that is not read.
    """
    with storage.open_input(path) as file:
        yield from read_file(file, path, start, stop, config)


def read_file(
    file: IO[bytes], path: str, start: int = 0, stop: int | None = None, config: Warc = DEFAULT
) -> Iterator[Record]:
    """As `read`, of an open file; errors name `path`."""
    window = Window(file, path)
    head = window.read(0, LEAD)
    if not head:
        if start == 0:
            yield Failed(0, "the file is empty: expected WARC records")
        return
    codec = container(path, head)
    if codec is None:
        offset = 0
        for place, raw in _records(Stream(window.feed(0)), config):
            if stop is not None and place >= stop:
                return
            if place >= start:
                yield _record(place, raw, config)
        return
    for offset, stream in units(Members(window, codec), start, stop):
        if isinstance(stream, Failed):
            yield stream
            continue
        for index, (_, raw) in enumerate(_records(stream, config)):
            yield _record(offset + index, raw, config)


def is_splittable(path: str) -> bool:
    """Whether ranges of the file can be read apart: uncompressed, or a member that ends with the file's first record.

    Reads the first record only.
    """
    with storage.open_input(path) as file:
        window = Window(file, path)
        codec = container(path, window.read(0, LEAD))
        if codec is None:
            return True
        members = Members(window, codec)
        if not members.enter(0):
            return True  # damaged at its head: whatever follows is found by its magic
        stream = Stream(members.more)
        for _ in _records(stream, DEFAULT):
            stream.skip_newlines()
            return not stream.has(1)
        return True


@dataclass(frozen=True, slots=True)
class _Raw:
    """A record as it stands in the stream; `content` is None where it is over the limit, `error` set where damaged."""

    fields: dict[str, str]
    content: bytes | None = b""
    error: str = ""


def _records(stream: Stream, config: Warc) -> Iterator[tuple[int, _Raw]]:
    """Each record or damaged place with its place in the stream.

    After damage the search for the next version line starts within the damaged record, so that records swallowed by
    a wrong Content-Length come through.
    """
    reported = False
    while True:
        stream.skip_newlines()
        if not stream.has(1):
            break
        place = stream.place()
        fields, size, length, error = _head(stream)
        content: bytes | None = None
        held = not error and (config.max_page_bytes is None or length <= config.max_page_bytes)
        if not error:
            whole = stream.has(size + length) if held else stream.skip(size + length)
            tail = stream.peek(size + length if held else 0, LEAD)
            rest = tail.lstrip(NEWLINES)
            if not whole or (not rest and stream.damage):
                error = stream.damage or f"the record ends early: Content-Length is {length}"
            elif rest and rest == tail and not BEGINS.match(rest):
                error = f"wrong Content-Length {length}: expected the next record after it, found {tail!r}"
        if error:
            reported = bool(stream.damage)
            if held or not fields:
                stream.at += 1
            stream.seek_version()
        elif held:
            content = stream.data[stream.at + size : stream.at + size + length]
            stream.at += size + length
        yield place, _Raw(fields, content, error)
    if stream.damage and not reported:
        yield stream.place(), _Raw({}, None, stream.damage)


def _head(stream: Stream) -> tuple[dict[str, str], int, int, str]:
    """The record's fields, the bytes of its header block, its Content-Length, and what is wrong with it, if anything.

    The fields are empty if something is.
    """
    lead = stream.peek(0, LEAD)
    if not BEGINS.match(lead):
        return {}, 0, 0, f"expected a record that begins with WARC/, found {lead!r}"
    if not VERSION.match(stream.peek(0, 32)):
        return {}, 0, 0, f"expected a WARC version such as WARC/1.0, found {stream.peek(0, 32)!r}"
    size = stream.find(_BLANK, MAX_HEAD)
    if size is None:
        return {}, 0, 0, stream.damage or f"the record's header does not end within {MAX_HEAD} bytes"
    fields = http.fields(stream.data[stream.at : stream.at + size])
    length = fields.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        return {}, 0, 0, f"expected a Content-Length in bytes, found {length!r}"
    if not fields.get("warc-type"):
        return {}, 0, 0, "the record's header has no WARC-Type"
    return fields, size, int(length), ""


def _record(offset: int, raw: _Raw, config: Warc) -> Record:
    """What becomes of a record."""
    if raw.error:
        return Failed(offset, raw.error)
    kind = raw.fields["warc-type"].lower()
    url = raw.fields.get("warc-target-uri", "").strip("<>")  # wget writes the brackets of WARC 1.0's grammar
    content_type = raw.fields.get("content-type", "")
    if kind not in ("response", "conversion", "resource"):
        return Dropped(offset, Reason.not_a_page, url, kind)
    if raw.content is None:
        return Dropped(offset, Reason.too_large, url, f"Content-Length {raw.fields['content-length']}")
    if not raw.content:
        return Dropped(offset, Reason.empty_page, url)
    body = raw.content
    if kind == "response":
        if not url.lower().startswith("http") and not content_type.lower().startswith("application/http"):
            return Dropped(offset, Reason.not_a_page, url, content_type)  # dns:, ftp:, whois:
        try:
            message = http.parse(body)
            content_type = message.fields.get("content-type", "")
            if message.status != 200:
                return Dropped(offset, Reason.not_success, url, str(message.status))
            if not message.payload:
                return Dropped(offset, Reason.empty_page, url)
            if content_type and not _is_text(content_type, config):
                return Dropped(offset, Reason.not_text, url, content_type)
            body = http.body(message, config.max_page_bytes)
        except http.TooLargeError as error:
            return Dropped(offset, Reason.too_large, url, f"decoded body {error}")
        except http.DamagedError as error:
            return Failed(offset, f"{url}: {error}")
    if not body:
        return Dropped(offset, Reason.empty_page, url)
    if not (_is_text(content_type, config) if content_type else body.lstrip()[:1] == b"<" and http.is_text(body)):
        return Dropped(offset, Reason.not_text, url, content_type)
    if _media_type(content_type) == "text/plain":  # Page: such bodies are UTF-8
        body, content_type = charset.decode(body, content_type, markup=False).text.encode(), "text/plain"
    return Page(offset, body, url, raw.fields.get("warc-date", ""), content_type)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _is_text(content_type: str, config: Warc) -> bool:
    return _media_type(content_type) in config.content_types
