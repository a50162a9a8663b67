"""Bytes with look-ahead: a file by position, a remote one by ranges, and a stream over it or what it decompresses to.

Holds what was asked for and a quarter more, or a block. It knows of WARC only the line that begins a record.
"""

import bisect
import contextlib
import io
import re
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

from curate import storage
from curate.compression import DamagedError
from curate.errors import InputError

Between = Callable[[int, int], bytes]
"""The file's bytes [start, stop), fewer only at its end."""

FIRST = 1 << 18  # bytes of a first request for a remote file; each that goes on from there doubles
LARGEST = 1 << 23
BEYOND = 1 << 16  # bytes of the first request beyond a range: the rest of its last record, mostly

BLOCK = 1 << 19  # bytes read from the file at once
WINDOW = 1 << 18  # bytes looked through at once
KEPT = 1 << 14  # bytes of a block that stay when the next one is read
NEWLINES = b"\r\n"
VERSION = re.compile(rb"WARC/\d{1,2}\.\d{1,2}[ \t\r]{0,16}\n", re.IGNORECASE)
NEXT = re.compile(rb"\n(?=" + VERSION.pattern + rb")", re.IGNORECASE)
LINE = 32  # bytes within which a version line and the newline before it end


def stored(path: str, start: int, stop: int) -> bytes:
    """The file's bytes [start, stop) as stored, in one request where the store allows it; fewer at its end.

    Raises:
        InputError: if it is missing or unreadable.
    """
    fs, inner = storage.store(path)
    try:
        return bytes(fs.cat_file(inner, start=start, end=stop))
    except (OSError, ValueError) as error:
        if not isinstance(error, FileNotFoundError | ValueError) and start >= storage.size(path):
            return b""  # an object store refuses what lies beyond the end
        raise InputError(f"cannot read {path!r} at byte {start}: {storage.reason(error)}") from error


@contextlib.contextmanager
def opened(path: str, stop: int | None) -> Iterator[IO[bytes]]:
    """The file, from which the bytes up to `stop` are wanted, and little more: `Blocks`, unless it is a local one.

    Raises:
        InputError: if it is missing or unreadable.
    """
    if stop is None or not storage.is_remote(path):
        with storage.open_input(path) as file:
            yield file
        return
    fs, inner = storage.store(path)
    try:
        file = cast(IO[bytes], fs.open(inner, "rb", cache_type="none"))  # fsspec's word for: only what is asked for
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path!r}: {storage.reason(error)}") from error

    def between(start: int, stop: int) -> bytes:
        file.seek(start)
        return file.read(stop - start)

    with file:
        yield cast(IO[bytes], Blocks(between, lambda: file.seek(0, io.SEEK_END), stop))


class Blocks(io.RawIOBase):
    """A remote file, read by ranges: in blocks that grow while the reading goes straight on.

    Args:
        read: its bytes.
        size: how many they are.
        stop: where what is wanted ends; None: with the file. From there on the blocks begin small again.
    """

    def __init__(self, read: Between, size: Callable[[], int], stop: int | None = None) -> None:
        self._read, self._size, self._stop = read, size, stop
        self._position = 0
        self._block, self._base = b"", 0
        self._step = 0  # bytes of the last block

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = max(0, offset + (self._size() if origin is None else origin))
        return self._position

    def readinto(self, buffer: Any) -> int:
        at = self._position - self._base
        if not 0 <= at < len(self._block):
            self._block = self._next(bool(self._block) and at == len(self._block))
            self._base, at = self._position, 0
        size = min(len(buffer), len(self._block) - at)
        buffer[:size] = self._block[at : at + size]
        self._position += size
        return size

    def _next(self, goes_on: bool) -> bytes:
        """The block at the file's position."""
        start = self._position
        left = LARGEST if self._stop is None else self._stop - start
        self._step = min(LARGEST, 2 * self._step) if goes_on else FIRST if left > 0 else BEYOND
        if 0 < left <= self._step and self._stop is not None:
            self._step = BEYOND
            return self._read(start, self._stop + BEYOND)
        return self._read(start, start + self._step)


class Window:
    """Bytes of the file by position. Reads ahead in blocks, and seeks only where the position lies outside the last."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self._file, self.path = file, path
        self._data, self._base = b"", 0
        self._position = 0  # of the file
        self._size: int | None = None

    def read(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position` on: none only at the end of the file."""
        at = position - self._base
        if not 0 <= at < len(self._data):
            # A member's end is found a piece too late: what came last is kept, so that nothing is read again.
            kept = self._data[-KEPT:] if at == len(self._data) else b""
            self._data = kept + self._block(position)
            self._base, at = position - len(kept), len(kept)
        return self._data[at : at + size]

    def held(self, position: int) -> memoryview:
        """The bytes from `position` on that are at hand: none only at the end of the file."""
        self.read(position, 0)
        return memoryview(self._data)[position - self._base :]

    def extend(self, position: int) -> bool:
        """Have a block more at hand from `position` on, unless that is much already, or all; whether there is more."""
        end = self._base + len(self._data)
        if end - position >= BLOCK or not (more := self._block(end)):
            return False
        self._data, self._base = self._data[position - self._base :] + more, position
        return True

    def _block(self, position: int) -> bytes:
        try:
            if position != self._position:
                self._file.seek(position)
            data = self._file.read(BLOCK)
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read {self.path} at byte {position}: {storage.reason(error)}") from error
        self._position = position + len(data)
        return data

    def size(self) -> int:
        """The file's bytes."""
        if self._size is None:
            try:
                self._size = self._position = self._file.seek(0, io.SEEK_END)
            except (OSError, ValueError) as error:
                raise InputError(f"cannot tell the size of {self.path}: {storage.reason(error)}") from error
        return self._size

    def between(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), fewer only at the end of the file."""
        parts = [self.read(start, stop - start)]
        while parts[-1] and (start := start + len(parts[-1])) < stop:
            parts.append(self.read(start, stop - start))
        return b"".join(parts)


class Stream:
    """Decompressed bytes with as much look-ahead as is asked for. `damage` says why they ended, if not by design.

    Args:
        more: the next bytes, none at the end; raises DamagedError where they break off.
        again: where given, lets `more` begin anew with the stream's first byte.
        is_seam: whether what `more` gave last begins a part of its own: another member of a compressed file.
    """

    MOST_REWINDS = 8  # of one stream: what is read for nothing stays in proportion, whatever a hostile file claims

    def __init__(
        self,
        more: Callable[[], bytes],
        again: Callable[[], object] | None = None,
        is_seam: Callable[[], bool] = lambda: False,
    ) -> None:
        self._more, self._again, self._is_seam = more, again, is_seam
        self._seams: list[int] = []  # places where a part begins, ascending
        self.data, self.at = b"", 0
        self._base = 0  # place of data[0] in the stream
        self._ended = False
        self._taken = 0  # bytes, since the stream's first
        self._rewinds = 0
        self._length: int | None = None  # of the whole stream, once its end was met
        self.damage = ""
        self.is_damaged = False  # or what stands in it is; set by who reads it

    def place(self) -> int:
        return self._base + self.at

    def has(self, size: int) -> bool:
        """Whether `size` bytes follow `at`; they lie in `data` then, and else all that follows does."""
        have = len(self.data) - self.at
        if have >= size or self._ended:
            return have >= size
        # The quarter makes the copies of all calls together a multiple of the bytes, and not of the calls.
        wanted = max(size, have + have // 4)
        parts = [self.data[self.at :]] if have else []  # a single part is joined without a copy
        while have < wanted and (piece := self._next()):
            parts.append(piece)
            have += len(piece)
        self._base, self.at, self.data = self.place(), 0, b"".join(parts)
        del self._seams[: bisect.bisect_left(self._seams, self._base)]
        return have >= size

    def peek(self, ahead: int, size: int) -> bytes:
        """Up to `size` bytes from `ahead` bytes on."""
        if len(self.data) - self.at < ahead + size:
            self.has(ahead + size)
        return self.data[self.at + ahead : self.at + ahead + size]

    def is_part(self, ahead: int) -> bool:
        """Whether a part ends `ahead` bytes on, but for newlines. Sees as far as `peek` was asked for."""
        end = self.place() + ahead
        number = bisect.bisect_left(self._seams, end)
        if number == len(self._seams):
            return False
        return not self.data[end - self._base : self._seams[number] - self._base].strip(NEWLINES)

    def skip(self, size: int) -> bool:
        """Pass over `size` bytes without holding them. False if there are fewer: the stream then stands at its end, or,
        where that is known to come before, where it stood."""
        if self._length is not None and self.place() + size > self._length:
            return False
        while size > (have := len(self.data) - self.at):
            size -= have
            self._base, self.at, self.data = self._base + len(self.data), 0, self._next()
            if not self.data:
                return False
        self.at += size
        return True

    def rewind(self, place: int) -> bool:
        """Go back to `place`. False, with nothing done, where the bytes cannot be had again, or not once more."""
        if place >= self._base:
            self.at = place - self._base
            return True
        if self._again is None or self._rewinds == self.MOST_REWINDS:
            return False
        self._again()
        self._rewinds += 1
        self._base, self._taken, self.at, self.data, self._ended, self.damage = 0, 0, 0, b"", False, ""
        self._seams.clear()
        return self.skip(place)

    def skip_newlines(self) -> bool:
        """Whether anything but newlines follows; the stream then stands there."""
        while self.has(1):
            data, at = self.data, self.at
            while at < len(data) and data[at] in NEWLINES:
                at += 1
            self.at = at
            if at < len(data):
                return True
        return False

    def find(self, pattern: re.Pattern[bytes], limit: int) -> re.Match[bytes] | None:
        """The first match in `data` within `limit` bytes from `at` on."""
        size = 1 << 12
        while True:
            more = self.has(size)
            if match := pattern.search(self.data, self.at, self.at + limit):
                return match
            if not more or size >= limit:
                return None
            size = min(limit, 4 * size)

    def seek_version(self) -> None:
        """Go to the next line that begins a record, or to the end."""
        while True:
            more = self.has(WINDOW)
            if match := NEXT.search(self.data, self.at):
                self.at = match.end()
                return
            if not more:
                self.at = len(self.data)
                return
            self.at = len(self.data) - LINE  # a version line may lie across the end

    def _next(self) -> bytes:
        if self._ended:
            return b""
        try:
            piece = self._more()
        except DamagedError as error:
            self.damage, piece = str(error), b""
        if self._is_seam():
            self._seams.append(self._taken)
        self._taken += len(piece)
        if not piece:
            self._ended, self._length = True, self._taken
        return piece


class Plain(Stream):
    """An uncompressed file as a stream from `start` on: places are the file's own, and passing over costs nothing."""

    def __init__(self, window: Window, start: int) -> None:
        super().__init__(self._block)
        self._window = window
        self._base = self._position = start

    def skip(self, size: int) -> bool:
        if size <= len(self.data) - self.at:
            self.at += size
        elif self.place() + size <= self._window.size():
            self._move(self.place() + size)
        else:
            return False
        return True

    def rewind(self, place: int) -> bool:
        if place < self._base:
            self._move(place)
        else:
            self.at = place - self._base
        return True

    def _move(self, place: int) -> None:
        self._base = self._position = place
        self.at, self.data, self._ended = 0, b"", False

    def _block(self) -> bytes:
        piece = self._window.read(self._position, WINDOW)
        self._position += len(piece)
        return piece
