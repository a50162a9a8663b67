"""WARC records in a stream of bytes: their header fields and contents, the damage between them, and where they begin.

What a record is good for is told in `curate.warc`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from curate import http
from curate.members import BEGINS, LEAD, NOTHING
from curate.stream import LINE, NEWLINES, VERSION, WINDOW, Plain, Stream, Window

MAX_HEAD = 1 << 20  # bytes of a record's header block; real ones have under 2,000
LOOK_BACK = (1 << 20, 1 << 23, 1 << 26)  # bytes before a range in which to find a sound record, from which to go on

# A header ends with an empty line, or is broken off by the next record's first line.
_END = re.compile(rb"\n(?:\r*\n|(?=" + VERSION.pattern + rb"))", re.IGNORECASE)
# A record's header within another's content.
_HELD = re.compile(rb"\n" + VERSION.pattern + rb"(?:[^\s:]+:[^\n]*\n)+\r*\n", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as it stands in the stream; `content` is None where it is over the limit, `error` set where damaged."""

    fields: dict[str, str]
    content: memoryview | None = None
    error: str = ""
    is_headed: bool = True  # begins with a version line: a record, sound or not


def read(stream: Stream, limit: int | None) -> Iterator[tuple[int, Raw]]:
    """Each record or damaged place with its place in the stream. Contents over `limit` bytes are not held.

    After damage the search for the next version line starts within the damaged record, so that records swallowed by
    a wrong Content-Length come through.
    """
    reported = False
    while stream.skip_newlines():
        place = stream.place()
        fields, size, length, error = _head(stream)
        is_headed = bool(fields or VERSION.match(stream.peek(0, LINE)))
        content: memoryview | None = None
        held = not error and (limit is None or length <= limit)
        if held:
            error = _wrong(stream, size, length)
            content = memoryview(stream.data)[stream.at + size : stream.at + size + length] if not error else None
        elif not error:
            whole = stream.skip(size + length)
            error = _misfit(stream, whole, 0, length)
        if error:
            reported, stream.is_damaged = bool(stream.damage), True
            if held or not fields:
                stream.at += 1
            elif not stream.rewind(place + 1):
                error = f"{error}; what it claims to hold is not searched for records"
            stream.seek_version()
        elif held:
            stream.at += size + length
        yield place, Raw(fields, content, error, is_headed)
    if stream.damage and not reported:
        stream.is_damaged = True
        yield stream.place(), Raw({}, None, stream.damage, False)


def _wrong(stream: Stream, size: int, length: int) -> str:
    """What is wrong with a record of `size` + `length` bytes that is held, if anything."""
    whole = stream.has(size + length)
    error = _misfit(stream, whole, size + length, length)
    if error and whole:
        tail = stream.peek(size + length, LEAD)
        if tail.startswith((b"\r\n", b"\n")) and tail.strip(NEWLINES):
            # It ends with a line, though no record follows: damage after it, unless it has swallowed a record.
            start = stream.at + size
            return error if _HELD.search(stream.data, start, start + length) else ""
    return error


def _misfit(stream: Stream, whole: bool, ahead: int, length: int) -> str:
    """What is wrong with a record of `length` bytes that ends `ahead` bytes on, if anything."""
    tail = stream.peek(ahead, LEAD)
    rest = tail.lstrip(NEWLINES)
    if whole and ((BEGINS.match(rest) if rest else not stream.damage) or stream.is_part(ahead)):
        return ""
    if not whole or not rest:
        return stream.damage or f"the record ends early: Content-Length is {length}"
    return f"wrong Content-Length {length}: expected the next record after it, found {tail!r}"


def _head(stream: Stream) -> tuple[dict[str, str], int, int, str]:
    """The record's fields, the bytes of its header block, its Content-Length, and what is wrong with it, if anything.

    The fields are empty if something is.
    """
    lead = stream.peek(0, LINE)
    if not VERSION.match(lead):
        if BEGINS.match(lead):
            return {}, 0, 0, f"expected a WARC version such as WARC/1.0, found {lead!r}"
        return {}, 0, 0, f"expected a record that begins with WARC/, found {lead[:LEAD]!r}"
    end = stream.find(_END, MAX_HEAD)
    if end is None:
        return {}, 0, 0, stream.damage or f"the record's header does not end within {MAX_HEAD} bytes"
    if len(end[0]) == 1:
        return {}, 0, 0, "the record's header breaks off where the next record begins"
    size = end.end() - stream.at
    fields = http.fields(stream.data[stream.at : end.end()])
    length = fields.get("content-length", "")
    if not _LENGTH.fullmatch(length):
        return {}, 0, 0, f"expected a Content-Length in bytes, found {length[:40]!r}"
    if not fields.get("warc-type"):
        return {}, 0, 0, "the record's header has no WARC-Type"
    return fields, size, int(length), ""


# ---- ranges of an uncompressed file


def between(window: Window, start: int, stop: int | None, limit: int | None) -> Iterator[tuple[int, Raw]]:
    """The records of an uncompressed file whose first line lies in [start, stop), with their places; damage that
    follows a record belongs to that record's range. Reads what the range holds, and `LOOK_BACK` at most before it.

    Which lines begin a record is told by the records before, so the reading begins with a sound one of these. Only an
    archive stored in a record, longer than the first LOOK_BACK, is taken for a part where a range begins in its midst.
    """
    if start and not _is_begun(window, start, stop):
        return
    owner = 0
    place = None
    for place, raw in read(Plain(window, _anchor(window, start, stop)), limit):
        if raw.is_headed:
            owner = place
        if stop is not None and owner >= stop:
            return
        if owner >= start:
            yield place, raw
    if place is None and start == 0:
        yield 0, Raw({}, None, NOTHING, False)


def _is_begun(window: Window, start: int, stop: int | None) -> bool:
    """Whether a line that may begin a record lies in [start, stop)."""
    while stop is None or start < stop:
        data = window.between(start, start + WINDOW + LINE)
        if match := VERSION.search(data):
            return stop is None or start + match.start() < stop
        if len(data) <= WINDOW:
            return False
        start += WINDOW
    return False


def _anchor(window: Window, start: int, stop: int | None) -> int:
    """Where the reading of a range has to begin: a record before it, in the smallest look-back that holds a sound one.

    Where none does, the first sound one in the range.
    """
    if start == 0:
        return 0
    for size in LOOK_BACK:
        if start <= size:
            return 0
        if (found := _sound(window, start - size, start)) is not None:
            return found
    found = _sound(window, start - 1, stop)
    return start if found is None else found


def _sound(window: Window, start: int, stop: int | None) -> int | None:
    """The first record in [start, stop) that another one, or the end of the file, follows."""
    stream = Plain(window, start)
    stream.seek_version()
    while stream.has(1) and (stop is None or stream.place() < stop):
        place = stream.place()
        _, size, length, error = _head(stream)
        if not error and stream.skip(size + length):
            tail = stream.peek(0, LEAD).lstrip(NEWLINES)
            if not tail or BEGINS.match(tail):
                return place
        stream.rewind(place + 1)
        stream.seek_version()
    return None
