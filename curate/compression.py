"""Compressed streams by their magic bytes: gzip, zstandard, bzip2 and xz, read in pieces of bounded size.

It does not open archives (zip, tar) and does not compress.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import IO, Protocol

import zstandard
from isal import isal_zlib

from curate import storage
from curate.errors import InputError

ERRORS = (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError, ValueError)
"""What the decompressors raise on damaged input."""

BLOCK = 1 << 16
SOUND = 1 << 23  # bytes of a gzip member that `sound` decompresses at most
_BITE = 1 << 15  # compressed bytes that it takes at once: those beyond the member are copied
WINDOW = 1 << 31
"""Largest zstandard window accepted, in bytes: the monthly Reddit dumps are written with `zstd --long=31`."""


class Decompressor(Protocol):
    """One compressed stream (gzip member, zstandard frame): fed in pieces until `eof`."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Codec:
    """A compressed format. `piece` is how many bytes may be fed at once: it bounds the output of a call to some 30 MB
    at the format's largest ratio (about 1,000 for deflate, 7,000 for xz, one 128 KB block for 4 bytes of zstandard,
    one 900 KB block for 45 bytes of bzip2)."""

    name: str
    magic: bytes
    piece: int
    new: Callable[[], Decompressor]


class DamagedError(Exception):
    """A compressed stream that breaks off or does not decode; the message says where in the file and how."""


class _Gzip:
    """A gzip member that gives up all it holds before the first damaged byte; zlib alone discards a whole call's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)
        self._error: zlib.error | None = None

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, /) -> bytes:
        if self._error:
            raise self._error
        before = self._inner.copy()
        try:
            return self._inner.decompress(data)
        except zlib.error as error:
            self._error = error
        rescued = []
        try:
            for at in range(len(data)):
                rescued.append(before.decompress(data[at : at + 1]))
        except zlib.error:
            pass  # the error kept above is raised at the next call
        return b"".join(rescued)


def sound(data: memoryview) -> tuple[bytes, int] | None:
    """The gzip member that the bytes begin with, by igzip: its content, and how many of the bytes it takes up.

    None if it is not whole, not sound, or has more than `SOUND` bytes: then `GZIP.new` tells how far it goes. igzip is
    twice as fast as zlib. It takes some streams that zlib refuses, but none without the right checksum and length, nor
    such a header: RFC 1952, section 2.3.1.2, forbids the reserved flags.
    """
    if len(data) < 4 or data[3] & 0xE0:
        return None
    member, parts, at, room = isal_zlib.decompressobj(31), [], 0, SOUND
    try:
        while not member.eof:
            piece = data[at : at + _BITE]
            if not piece or room < 0:
                return None
            parts.append(member.decompress(piece, room + 1))
            at += len(piece)
            room -= len(parts[-1])
    except isal_zlib.error:  # type: ignore[misc]  # its stub calls it an instance
        return None
    return (b"".join(parts), at - len(member.unused_data)) if room >= 0 else None


def zstd(dictionary: zstandard.ZstdCompressionDict | None, max_window: int) -> Codec:
    """The zstandard codec, with the dictionary that a .warc.zst may begin with, and windows of so many bytes.

    One file's: its streams share a context, so that each has to end, or be given up, before the next begins.
    """
    context = zstandard.ZstdDecompressor(dict_data=dictionary, max_window_size=max_window)
    return replace(ZSTD, new=context.decompressobj)


def _frame() -> Decompressor:
    """A frame that may be read beside others, of the same thread or another."""
    return zstandard.ZstdDecompressor(max_window_size=WINDOW).decompressobj()


GZIP = Codec("gzip", b"\x1f\x8b\x08", 1 << 14, _Gzip)
ZSTD = Codec("zstandard", b"\x28\xb5\x2f\xfd", 1 << 10, _frame)
BZIP2 = Codec("bzip2", b"BZh", 1 << 10, bz2.BZ2Decompressor)
XZ = Codec("xz", b"\xfd7zXZ\x00", 1 << 12, partial(lzma.LZMADecompressor, lzma.FORMAT_XZ))
CODECS = (GZIP, ZSTD, BZIP2, XZ)


def codec_of(head: bytes) -> Codec | None:
    """The codec whose magic the bytes begin with, or None."""
    return next((codec for codec in CODECS if head.startswith(codec.magic)), None)


def read(path: str) -> Iterator[bytes]:
    """The `pieces` of the file.

    Raises:
        InputError: if the file is missing or unreadable.
        DamagedError: after all bytes before the damage were yielded.
    """
    with storage.open_input(path) as file:
        try:
            yield from pieces(file)
        except OSError as error:
            raise InputError(f"cannot read {path!r}: {storage.reason(error)}") from error


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """The file's bytes from its present position, decompressed if they begin with a known magic.

    Concatenated streams (multistream bzip2, gzip members) follow one another; zero bytes after the last are padding.

    Raises:
        DamagedError: after all bytes before the damage were yielded.
    """
    raw = file.read(BLOCK)
    codec = codec_of(raw)
    if codec is None:
        while raw:
            yield raw
            raw = file.read(BLOCK)
        return
    position = 0  # of raw[0] in the compressed file
    while raw := raw or file.read(BLOCK):
        stream, begin = codec.new(), position
        while not stream.eof:
            raw = raw or file.read(BLOCK)
            if not raw:
                raise DamagedError(f"the {codec.name} stream begun at byte {begin} ends early, at byte {position}")
            piece, raw = raw[: codec.piece], raw[codec.piece :]
            try:
                out = stream.decompress(piece)
            except ERRORS as error:
                raise DamagedError(f"the {codec.name} stream is damaged near byte {position}: {error}") from error
            position += len(piece)
            if out:
                yield out
        position -= len(stream.unused_data)
        raw = stream.unused_data + raw
        raw = raw if len(raw) >= len(codec.magic) else raw + file.read(BLOCK)
        kept = raw.lstrip(b"\0")
        if kept and not kept.startswith(codec.magic):
            raise DamagedError(f"bytes that are no {codec.name} stream follow the one that ends at byte {position}")
        position += len(raw) - len(kept)
        raw = kept
