"""Bytes with look-ahead: a file by position, and a stream over it or over what it decompresses to.

Holds what was asked for and a quarter more, or a block. It knows of WARC only the line that begins a record.
"""

import bisect
import io
import re
from collections.abc import Callable
from typing import IO

from curate import storage
from curate.compression import DamagedError
from curate.errors import InputError

WINDOW = 1 << 18  # bytes read from the file at once
KEPT = 1 << 14  # bytes of a block that stay when the next one is read
NEWLINES = b"\r\n"
VERSION = re.compile(rb"WARC/\d{1,2}\.\d{1,2}[ \t\r]{0,16}\n", re.IGNORECASE)
NEXT = re.compile(rb"\n(?=" + VERSION.pattern + rb")", re.IGNORECASE)
LINE = 32  # bytes within which a version line and the newline before it end


class Window:
    """Bytes of the file by position. Reads ahead in blocks, and seeks only where the position lies outside the last."""

    def __init__(self, file: IO[bytes], path: str) -> None:
        self._file, self.path = file, path
        self._data, self._base = b"", 0
        self._size: int | None = None

    def read(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from `position` on: none only at the end of the file."""
        at = position - self._base
        if not 0 <= at < len(self._data):
            try:
                if at == len(self._data):
                    # A member's end is found a piece too late: what came last is kept, so that nothing is read again.
                    at = min(at, KEPT)
                    self._data = self._data[len(self._data) - at :] + self._file.read(WINDOW)
                    self._base = position - at
                else:
                    self._file.seek(position)
                    self._data, self._base, at = self._file.read(WINDOW), position, 0
            except (OSError, ValueError) as error:
                raise InputError(f"cannot read {self.path} at byte {position}: {storage.reason(error)}") from error
        return self._data[at : at + size]

    def size(self) -> int:
        """The file's bytes."""
        if self._size is None:
            try:
                self._size = self._file.seek(0, io.SEEK_END)
                self._file.seek(self._base + len(self._data))
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
        parts = [self.data[self.at :]]
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

    def skip_newlines(self) -> None:
        while self.has(1):
            data, at = self.data, self.at
            while at < len(data) and data[at] in NEWLINES:
                at += 1
            self.at = at
            if at < len(data):
                return

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
