"""WARC and WET files to pages: every record becomes a Page, a Dropped or a Failed, and damage never stops the reader.

Containers: one gzip member or zstandard frame for each record (splits at any byte), a single gzip member (does not
split), members that cut through records, and no compression. ARC, the format before WARC, is refused.

Offsets. Uncompressed: the byte where the record begins. Compressed: the byte where the record's member begins, plus the
number of records and damaged places before it in that member, so offsets are distinct and increase.

Splitting a compressed file relies on finding member starts: the magic bytes followed by data that decompresses to
`WARC/`. Only a WARC file stored whole and uncompressible inside a record can imitate that; where a range begins in its
midst, its records are read as pages of the outer file. How an uncompressed one is split is told in `curate.records`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import IO, ClassVar

from curate import charset, http, records, storage
from curate.document import Dropped, Failed, Page, Record
from curate.members import LEAD, Dictionary, Members, container, units
from curate.reasons import Reason
from curate.records import Raw
from curate.stream import Between, Stream, Window, opened, stored


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

    Any set of ranges that covers the file yields each record once, and each reads little more than what it holds. A
    damaged place belongs to the range of what precedes it. `stop` None is the end of the file.

    Raises:
        InputError: if the file is missing or unreadable, or is ARC, lz4 or another format that is not read.
    """
    with opened(path, stop) as file:
        window = Window(file, path)
        # Of a range only the bytes that tell the container: a store's file would fetch a block of them.
        yield from _read(window, start, stop, config, partial(stored, path) if start else window.between)


def read_part(file: IO[bytes], path: str, config: Warc, known: Callable[[], Dictionary | None]) -> Iterator[Record]:
    """All records of a part of the file at `path`, which errors name; `known` gives the dictionary, if it needs one.

    Offsets are those in the part. Raises as `read`.
    """
    window = Window(file, path)
    yield from _read(window, 0, None, config, window.between, known)


def _read(
    window: Window,
    start: int,
    stop: int | None,
    config: Warc,
    beginning: Between,
    known: Callable[[], Dictionary | None] | None = None,
) -> Iterator[Record]:
    head = beginning(0, LEAD)
    if not head:
        if start == 0:
            yield Failed(0, "the file is empty: expected WARC records")
        return
    codec = container(window.path, head)
    if codec is None:
        for place, raw in records.between(window, start, stop, config.max_page_bytes):
            yield _record(place, raw, config)
        return
    members = Members(window, codec, beginning, stop, known)
    for offset, stream in units(members, start, stop):
        if isinstance(stream, Failed):
            yield stream
            continue
        for index, (_, raw) in enumerate(records.read(stream, config.max_page_bytes)):
            if index and offset + index >= members.reached():
                stream.is_damaged = True
                yield Failed(offset + index, "the member holds more records than it has bytes: the rest is not read")
                break
            yield _record(offset + index, raw, config)


def is_splittable(path: str) -> bool:
    """Whether ranges of the file can be read apart: uncompressed, or a member that ends with the file's first record.

    Reads the first record only.
    """
    with storage.open_input(path) as file:
        window = Window(file, path)
        codec = container(path, window.between(0, LEAD))
        if codec is None:
            return True
        members = Members(window, codec, window.between)
        if not members.enter(members.past(members.head)):
            return True  # damaged at its head: whatever follows is found by its magic
        stream = Stream(members.more)
        for _ in records.read(stream, DEFAULT.max_page_bytes):
            return not stream.skip_newlines()
        return True


def _record(offset: int, raw: Raw, config: Warc) -> Record:
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
    media = _media_type(content_type)
    if kind == "response":
        if not url.lower().startswith("http") and not content_type.lower().startswith("application/http"):
            return Dropped(offset, Reason.not_a_page, url, content_type)  # dns:, ftp:, whois:
        try:
            message = http.parse(raw.content)
            content_type = message.fields.get("content-type", "")
            media = _media_type(content_type)
            if message.status != 200:
                return Dropped(offset, Reason.not_success, url, str(message.status))
            if not message.payload:
                return Dropped(offset, Reason.empty_page, url)
            if content_type and media not in config.content_types:
                return Dropped(offset, Reason.not_text, url, content_type)
            body = http.body(message, config.max_page_bytes)
        except http.TooLargeError as error:
            return Dropped(offset, Reason.too_large, url, f"decoded body {error}")
        except http.DamagedError as error:
            return Failed(offset, f"{url}: {error}")
    else:
        body = bytes(raw.content)
    if not body:
        return Dropped(offset, Reason.empty_page, url)
    if not (media in config.content_types if content_type else body.lstrip()[:1] == b"<" and http.is_text(body)):
        return Dropped(offset, Reason.not_text, url, content_type)
    if media == "text/plain":  # Page: such bodies are UTF-8
        body, content_type = charset.decode(body, content_type, markup=False).text.encode(), "text/plain"
    return Page(offset, body, url, raw.fields.get("warc-date", ""), content_type)


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
