"""The members of a compressed file (gzip members, zstandard frames) as byte streams that each begin with a record.

Finds members from any byte on, goes on after damage, and holds no more than a block of the file. It knows that WARC
records begin with `WARC/` and nothing else of their format.
"""

import re
from collections.abc import Callable, Iterator
from typing import IO

import zstandard

from curate import storage
from curate.compression import ERRORS, GZIP, ZSTD, Codec, DamagedError, codec_of, zstd
from curate.document import Failed
from curate.errors import InputError

WINDOW = 1 << 18  # bytes read from the file at once
LEAD = 16  # decompressed bytes that tell whether a member begins with a record
NEWLINES = b"\r\n"
MAX_DICTIONARY = 1 << 27

BEGINS = re.compile(rb"[\r\n]*WARC/", re.IGNORECASE)  # a record, perhaps after blank lines
VERSION = re.compile(rb"WARC/\d+\.\d+[ \t\r]*\n", re.IGNORECASE)
_NEXT = re.compile(rb"\n(?=WARC/\d+\.\d+[ \t\r]*\n)", re.IGNORECASE)
# zstandard frame format, section 3.1.2: skippable frames; IIPC's .warc.zst puts its dictionary into the first.
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_DICTIONARY = b"\x5d\x2a\x4d\x18"


def container(path: str, head: bytes) -> Codec | None:
    """How the file is compressed: by its magic, else by its name, so that a damaged head costs the head alone."""
    if head.startswith(b"\x04\x22\x4d\x18"):
        raise InputError(f"{path} is lz4-compressed, which is not read: recompress it as .gz or .zst")
    if head.startswith(b"filedesc://"):
        raise _arc(path)
    if _SKIPPABLE.match(head):
        return ZSTD
    codec = codec_of(head)
    if codec not in (None, GZIP, ZSTD):
        raise InputError(f"{path} is {codec.name}-compressed, which is not read: recompress it as .gz or .zst")
    if codec is None and not BEGINS.match(head):
        return GZIP if path.endswith(".gz") else ZSTD if path.endswith(".zst") else None
    return codec


def _arc(path: str) -> InputError:
    return InputError(f"{path} is an ARC file, the format before WARC, which is not read: convert it to WARC")


class Window:
    """Bytes of the file by position. Reads ahead in blocks, and seeks only where the position lies outside the last."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self._file, self.path = file, path
        self._data, self._base = b"", 0

    def read(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position` on: none only at the end of the file."""
        at = position - self._base
        if not 0 <= at < len(self._data):
            try:
                if at != len(self._data):
                    self._file.seek(position)
                self._data, self._base, at = self._file.read(WINDOW), position, 0
            except (OSError, ValueError) as error:
                raise InputError(f"cannot read {self.path} at byte {position}: {storage.reason(error)}") from error
        return self._data[at : at + size]

    def exactly(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on, fewer only at the end of the file."""
        parts = [self.read(position, size)]
        while parts[-1] and sum(map(len, parts)) < size:
            parts.append(self.read(position + sum(map(len, parts)), size - sum(map(len, parts))))
        return b"".join(parts)

    def feed(self, position: int) -> Callable[[], bytes]:
        """A source for `Stream`: the file's bytes from `position` on."""

        def more() -> bytes:
            nonlocal position
            piece = self.read(position, WINDOW)
            position += len(piece)
            return piece

        return more


class Members:
    """The compressed file's members. `more` runs from a member that leads (it begins with a record) through those
    that continue it, and stops before the next that leads, or that does not decompress."""

    def __init__(self, window: Window, codec: Codec) -> None:
        self._window, self._codec = window, codec
        self.head = 0  # bytes before the first member: a dictionary
        if codec is ZSTD:
            self._codec, self.head = _with_dictionary(window)
        self.position = 0  # where the member entered last begins
        self.leads = False

    def enter(self, position: int) -> bool:
        """Whether the member at `position` begins with a record; `more` then goes on from there."""
        while self._codec.magic == ZSTD.magic and _SKIPPABLE.match(head := self._window.exactly(position, 8)):
            position += 8 + int.from_bytes(head[4:8], "little")
        self.position = self._read = position
        self._first, self.leads = b"", False
        if not self._window.exactly(position, len(self._codec.magic)).startswith(self._codec.magic):
            return False
        self._stream = self._codec.new()
        try:
            while len(self._first.lstrip(NEWLINES)) < LEAD and not self._stream.eof:
                self._first += self._inflate()
        except DamagedError:
            pass  # too short to lead, or met again by `more`
        self.leads = bool(BEGINS.match(self._first))
        if position == 0 and self._first.startswith(b"filedesc://"):
            raise _arc(self._window.path)
        return self.leads

    def more(self) -> bytes:
        """The next decompressed bytes, or none before the next member that leads.

        Raises:
            DamagedError: if the member breaks off or does not decompress.
        """
        while not self._first:
            if not self._stream.eof:
                self._first = self._inflate()
            elif self.enter(self._read - len(self._stream.unused_data)) or not self._first:
                return b""
        first, self._first = self._first, b""
        return first

    def at_end(self) -> bool:
        return not self._window.read(self.position, 1)

    def scan(self, position: int) -> bool:
        """Enter the first member from `position` on that begins with a record; False if there is none."""
        magic = self._codec.magic
        while data := self._window.exactly(position, WINDOW):
            at = data.find(magic)
            if at >= 0:
                if self.enter(position + at):
                    return True
                position += at + 1
            elif len(data) < len(magic):
                return False
            else:
                position += len(data) - len(magic) + 1
        return False

    def _inflate(self) -> bytes:
        piece = self._window.read(self._read, self._codec.piece)
        if not piece:
            raise DamagedError(f"the {self._codec.name} member ends early, at byte {self._read} of the file")
        self._read += len(piece)
        try:
            return self._stream.decompress(piece)
        except ERRORS as error:
            near = self._read - len(piece)
            raise DamagedError(
                f"the {self._codec.name} member is damaged near byte {near} of the file: {error}"
            ) from error


def _with_dictionary(window: Window) -> tuple[Codec, int]:
    """The codec with the dictionary that the file begins with, if it does, and the bytes that this takes up."""
    head = window.exactly(0, 8)
    if not head.startswith(_DICTIONARY):
        return ZSTD, 0
    size = int.from_bytes(head[4:8], "little")
    if size > MAX_DICTIONARY:
        raise InputError(f"{window.path} begins with a dictionary of {size} bytes; at most {MAX_DICTIONARY} are read")
    data = window.exactly(8, size)
    try:
        if data.startswith(ZSTD.magic):
            data = zstandard.ZstdDecompressor().stream_reader(data).read(MAX_DICTIONARY)
        return zstd(zstandard.ZstdCompressionDict(data)), 8 + size
    except zstandard.ZstdError as error:
        raise InputError(f"{window.path} begins with a damaged zstandard dictionary: {error}") from error


def units(members: Members, start: int, stop: int | None) -> Iterator[tuple[int, "Stream | Failed"]]:
    """Each run of members that hangs together, with the offset of its first; each damaged place between them.

    A place that does not lead belongs to whoever read what precedes it: a range that begins there passes over it.
    """
    ours = start == 0
    members.enter(max(start, members.head))
    while True:
        if not members.leads:
            if members.at_end():
                return
            if ours:
                yield members.position, Failed(members.position, "expected a compressed member that begins with WARC/")
            if not members.scan(members.position + 1):
                return
        offset = members.position
        if stop is not None and offset >= stop:
            return
        stream = Stream(members.more)
        yield offset, stream
        ours = not stream.damage
        if stream.damage:  # its record was reported; look for the next from there on
            members.position, members.leads = offset, False


class Stream:
    """Decompressed bytes with as much look-ahead as is asked for. `damage` says why they ended, if not by design."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        self._more = more
        self.data, self.at = b"", 0
        self._base = 0  # place of data[0] in the stream
        self._ended = False
        self.damage = ""

    def place(self) -> int:
        return self._base + self.at

    def has(self, size: int) -> bool:
        """Whether `size` bytes follow `at`; they lie in `data` then, and else all that follows does."""
        have = len(self.data) - self.at
        if have >= size or self._ended:
            return have >= size
        parts = [self.data[self.at :]]
        while have < size and (piece := self._next()):
            parts.append(piece)
            have += len(piece)
        self._base, self.at, self.data = self.place(), 0, b"".join(parts)
        return have >= size

    def peek(self, ahead: int, size: int) -> bytes:
        """Up to `size` bytes from `ahead` bytes on."""
        if len(self.data) - self.at < ahead + size:
            self.has(ahead + size)
        return self.data[self.at + ahead : self.at + ahead + size]

    def skip(self, size: int) -> bool:
        """Pass over `size` bytes without holding them; False if there are fewer."""
        while size > (have := len(self.data) - self.at):
            size -= have
            self._base, self.at, self.data = self._base + len(self.data), 0, self._next()
            if not self.data:
                return False
        self.at += size
        return True

    def skip_newlines(self) -> None:
        while self.has(1):
            data, at = self.data, self.at
            while at < len(data) and data[at] in NEWLINES:
                at += 1
            self.at = at
            if at < len(data):
                return

    def find(self, pattern: re.Pattern[bytes], limit: int) -> int | None:
        """The distance from `at` to the end of the first match within `limit` bytes."""
        size = 1 << 12
        while True:
            more = self.has(size)
            if match := pattern.search(self.data, self.at, self.at + limit):
                return match.end() - self.at
            if not more or size >= limit:
                return None
            size = min(limit, 4 * size)

    def seek_version(self) -> None:
        """Go to the next line that begins a record, or to the end."""
        while True:
            more = self.has(WINDOW)
            if match := _NEXT.search(self.data, self.at):
                self.at = match.end()
                return
            if not more:
                self.at = len(self.data)
                return
            self.at = len(self.data) - 32  # a version line may lie across the end

    def _next(self) -> bytes:
        if self._ended:
            return b""
        try:
            piece = self._more()
        except DamagedError as error:
            self.damage, piece = str(error), b""
        self._ended = not piece
        return piece
