"""The members of a compressed file (gzip members, zstandard frames) as byte streams that each begin with a record.

Finds members from any byte on, goes on after damage, and holds no more than a block of the file. It knows that WARC
records begin with `WARC/` and nothing else of their format.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial

import zstandard

from curate.compression import ERRORS, GZIP, ZSTD, Codec, DamagedError, codec_of, sound, zstd
from curate.document import Failed
from curate.errors import InputError
from curate.stream import NEWLINES, WINDOW, Between, Stream, Window

LEAD = 16  # decompressed bytes that tell whether a member begins with a record
MAX_DICTIONARY = 1 << 27
# Largest zstandard window of a .warc.zst, in bytes: what `zstd -d` takes without being told more. A worker holds it.
MAX_WINDOW = 1 << 27

BEGINS = re.compile(rb"[\r\n]*WARC/", re.IGNORECASE)  # a record, perhaps after blank lines
# zstandard frame format, section 3.1.2: skippable frames; IIPC's .warc.zst puts its dictionary into the first.
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_DICTIONARY = b"\x5d\x2a\x4d\x18"
Dictionary = zstandard.ZstdCompressionDict
NOTHING = "the file holds no record"


def container(path: str, head: bytes) -> Codec | None:
    """How the file is compressed: by its magic, else by its name, so that a damaged head costs the head alone.

    Raises:
        InputError: if it is of a format that is not read.
    """
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


class Members:
    """The compressed file's members. `more` runs from a member that leads (it begins with a record) through those
    that continue it, and stops before the next that leads, or that does not decompress.

    Args:
        beginning: the file's first bytes, which may hold a dictionary.
        stop: where the range ends that is read; None: with the file.
        known: gives the dictionary where `window` shows a part of the file that begins with it.
    """

    def __init__(
        self,
        window: Window,
        codec: Codec,
        beginning: Between,
        stop: int | None = None,
        known: Callable[[], Dictionary | None] | None = None,
    ) -> None:
        self._window, self._codec, self._stop = window, codec, stop
        self.head = 0  # bytes before the first member: a dictionary
        if codec is ZSTD:
            found, self.head = (known(), 0) if known else dictionary(window.path, beginning)
            self._codec = zstd(found, MAX_WINDOW)
        self.position = 0  # where the member entered last begins
        self.leads = False
        self._follows = self._is_seam = False
        self._is_whole = False  # all of the member entered last is decompressed, up to the file's byte `_read`

    def enter(self, position: int) -> bool:
        """Whether the member at `position` begins with a record; `more` then goes on from there."""
        self.position = self._read = position
        self._first, self.leads, self._opened = b"", False, False
        if not self._window.between(position, position + len(self._codec.magic)).startswith(self._codec.magic):
            return False
        self._opened = True
        if found := self._sound(position):
            self._first, self._is_whole = found[0], True
            self._read += found[1]
        else:
            self._stream, self._is_whole = self._codec.new(), False
            try:
                while len(self._first.lstrip(NEWLINES)) < LEAD and not self._is_whole:
                    self._first += self._inflate()
            except DamagedError:
                self._opened = bool(self._first)  # met again by `more`
        self.leads = bool(BEGINS.match(self._first))
        if position == 0 and self._first.startswith(b"filedesc://"):
            raise _arc(self._window.path)
        return self.leads

    def _sound(self, position: int) -> tuple[bytes, int] | None:
        """The whole member at `position`, if that can be had at one go. Of those beyond the range only the first bytes
        matter, mostly."""
        if self._codec is not GZIP or (self._stop is not None and position >= self._stop):
            return None
        found = sound(self._window.held(position))
        return found or (sound(self._window.held(position)) if self._window.extend(position) else None)

    def past(self, position: int) -> int:
        """`position`, or where the skippable frames that begin there end."""
        while self._codec.magic == ZSTD.magic and _SKIPPABLE.match(
            head := self._window.between(position, position + 8)
        ):
            position += 8 + int.from_bytes(head[4:8], "little")
        return position

    def more(self) -> bytes:
        """The next decompressed bytes, or none before the next member that leads. Passes over members without a byte.

        Raises:
            DamagedError: if the member breaks off or does not decompress.
        """
        while not self._first:
            if not self._is_whole:
                self._first = self._inflate()
            elif self.enter(self.past(self._read)) or not self._opened:
                self._is_seam = False
                return b""
            else:
                self._follows = True
        first, self._first = self._first, b""
        self._is_seam, self._follows = self._follows, False
        return first

    def holds(self) -> bool:
        """Whether the member entered last gives anything, be it a record or not."""
        return bool(self._first)

    def is_seam(self) -> bool:
        """Whether the bytes that `more` gave last are the first of a member that continues another."""
        return self._is_seam

    def reached(self) -> int:
        """The byte of the file up to which members were decompressed."""
        return self._read

    def at_end(self) -> bool:
        return not self._window.read(self.position, 1)

    def scan(self, position: int, stop: int | None) -> bool:
        """Enter the first member in [position, stop) that begins with a record; False if there is none."""
        magic = self._codec.magic
        while stop is None or position < stop:
            data = self._window.read(position, WINDOW)
            if len(data) < len(magic):
                data = self._window.between(position, position + len(magic))
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
        # Pieces are cut from the member's beginning on: what comes through before damage is the same in any range.
        piece = self._window.between(self._read, self._read + self._codec.piece)
        if not piece:
            raise DamagedError(f"the {self._codec.name} member ends early, at byte {self._read} of the file")
        self._read += len(piece)
        try:
            out = self._stream.decompress(piece)
        except ERRORS as error:
            raise DamagedError(
                f"the {self._codec.name} member begun at byte {self.position} of the file is damaged: {error}"
            ) from error
        if self._stream.eof:
            self._is_whole = True
            self._read -= len(self._stream.unused_data)
        return out


def dictionary(path: str, beginning: Between) -> tuple[Dictionary | None, int]:
    """What the frames of a .warc.zst are decompressed with, if it begins with that, and the bytes that it takes up.

    Raises:
        InputError: if it is damaged, or over `MAX_DICTIONARY`.
    """
    head = beginning(0, 8)
    if not head.startswith(_DICTIONARY):
        return None, 0
    size = int.from_bytes(head[4:8], "little")
    if size > MAX_DICTIONARY:
        raise InputError(f"{path} begins with a dictionary of {size} bytes; at most {MAX_DICTIONARY} are read")
    data = beginning(8, 8 + size)
    try:
        if data.startswith(ZSTD.magic):
            with zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW).stream_reader(data) as reader:
                data = reader.read(MAX_DICTIONARY)
        return Dictionary(data), 8 + size
    except zstandard.ZstdError as error:
        raise InputError(f"{path} begins with a damaged zstandard dictionary: {error}") from error


def units(members: Members, start: int, stop: int | None) -> Iterator[tuple[int, Stream | Failed]]:
    """Each run of members that hangs together and begins in [start, stop), with the offset of its first; each damaged
    place between them.

    A place that does not lead belongs to whoever read what precedes it: a range that begins there passes over it.
    """
    ours = start == 0
    first = members.past(members.head) if ours else max(start, members.head)
    members.enter(first)
    while True:
        if not members.leads and members.at_end():
            if start == 0 and members.position == first:
                yield 0, Failed(0, NOTHING)
            return
        if not members.leads and not (ours and members.holds()):
            if ours:
                yield members.position, Failed(members.position, "expected a compressed member that begins with WARC/")
            if not members.scan(members.position + 1, stop):
                return
        offset = members.position
        if stop is not None and offset >= stop and members.leads:
            return
        stream = Stream(members.more, partial(members.enter, offset), members.is_seam)
        yield offset, stream
        ours = not stream.is_damaged
        if stream.is_damaged:  # as was reported; it may have swallowed members: look for the next from there on
            members.position, members.leads = offset, False
