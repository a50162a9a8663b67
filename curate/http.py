"""One HTTP message as archives store it: status, header fields, and the body without its transfer and content codings.

It makes no requests and does not decode characters.
"""

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import brotli
import zstandard

from curate.compression import GZIP, ZSTD, sound

_STATUS = re.compile(rb"HTTP/\d+(?:\.\d+)?[ \t]+(\d{3})(?!\d)")
_BLANK = re.compile(rb"\n\r*\n")
_FOLD = re.compile(r"\n[ \t]")
_CHUNK = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
# WHATWG MIME Sniffing, section 3: bytes that no text holds.
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
SNIFFED = 1024
MAX_HEAD = 1 << 20  # bytes of a header; browsers take 256 KiB
MAX_CODINGS = 8  # of one body
_PIECE = 1 << 12


class TooLargeError(Exception):
    """The decoded body is over the limit."""


class DamagedError(Exception):
    """No HTTP message, or a body that does not decode."""


@dataclass(frozen=True, slots=True)
class Message:
    """A response. `fields` has lower-case names; of a repeated field the first value."""

    status: int
    fields: dict[str, str]
    payload: bytes | memoryview  # still coded


def parse(content: bytes | memoryview) -> Message:
    """Split a response into status, fields and payload.

    Raises:
        DamagedError: if it does not begin with a status line, or its header is over `MAX_HEAD`.
    """
    status = _STATUS.match(content)
    if status is None:
        raise DamagedError(f"expected an HTTP status line, found {bytes(content[:40])!r}")
    end = _BLANK.search(content, 0, MAX_HEAD)
    if end is None and len(content) > MAX_HEAD:
        raise DamagedError(f"the HTTP header does not end within {MAX_HEAD} bytes")
    head, payload = (content[: end.start()], content[end.end() :]) if end else (content, b"")
    return Message(int(status[1]), fields(bytes(head)), payload)


def fields(head: bytes) -> dict[str, str]:
    """Header fields after the first line: names in lower case, the first of repeated ones, folded lines joined.

    Lines without a colon are passed over. Values are UTF-8, or Latin-1 where they are not (RFC 9110, section 5.5).
    """
    try:
        text = head.decode()
    except UnicodeDecodeError:
        text = head.decode("latin-1")
    lines = text.split("\n")[1:]
    found: dict[str, str] = {}
    for line in _unfolded(lines) if _FOLD.search(text) else lines:
        name, colon, value = line.partition(":")
        if colon and (name := name.strip().lower()):
            found.setdefault(name, value.strip())
    return found


def _unfolded(lines: list[str]) -> Iterator[str]:
    """Each field as one line; lines that are none are passed over."""
    field: list[str] = []
    for line in lines:
        if line.startswith((" ", "\t")):
            field.append(line.strip())
        elif line.partition(":")[0].strip() and ":" in line:
            yield " ".join(field)
            field = [line.rstrip()]
    yield " ".join(field)


def body(message: Message, limit: int | None = None) -> bytes:
    """The payload with its transfer codings, then its content codings, undone.

    Crawlers that store decoded payloads often leave the fields as served, and servers lie. So the magic of gzip or
    zstandard counts for more than what is declared: a payload without the magic of its coding, or one that does not
    decode and looks like text, is taken as it is, and what still has a magic in the end is decoded once more. Codings
    that we do not know are no codings. What ends early gives what there is, as in a browser.

    Args:
        limit: bytes that the decoded body may have, and what is between two of its codings.

    Raises:
        TooLargeError: if it has more.
        DamagedError: if a coding is broken in its midst.
    """
    data = bytes(message.payload)
    codings = [c for f in ("content-encoding", "transfer-encoding") if f in message.fields for c in _split(message, f)]
    if len(codings) > MAX_CODINGS:
        raise DamagedError(f"{len(codings)} codings are declared; at most {MAX_CODINGS} are undone")
    for coding in reversed(codings):
        data = _dechunk(data) if coding == "chunked" else _undo(coding, data, limit)
    data = _undo(_magic(data), data, limit)
    if limit is not None and len(data) > limit:
        raise TooLargeError(f"over {limit} bytes")
    return data


def _undo(coding: str, data: bytes, limit: int | None) -> bytes:
    """`data` without the coding; as it is where the coding is not known, or where it has another's magic or is text."""
    decode, magic = _DECODERS.get(coding), _magic(data)
    if not data or decode is None or (magic and magic != coding.removeprefix("x-")):
        return data
    try:
        decoded = decode(data, -1 if limit is None else limit + 1)
    except (zlib.error, brotli.error, zstandard.ZstdError) as error:
        if not is_text(data):
            raise DamagedError(f"the body is no {coding}: {error}") from error
        return data
    if limit is not None and len(decoded) > limit:
        raise TooLargeError(f"over {limit} bytes")
    return decoded


def _magic(data: bytes) -> str:
    """The coding that the first bytes tell, or none."""
    return "gzip" if data.startswith(GZIP.magic) else "zstd" if data.startswith(ZSTD.magic) else ""


def is_text(data: bytes) -> bool:
    """Whether the first bytes hold none that only binary data has."""
    return not _BINARY.search(data, 0, SNIFFED)


def _split(message: Message, field: str) -> list[str]:
    return [coding for each in message.fields[field].split(",") if (coding := each.strip().lower())]


def _dechunk(data: bytes) -> bytes:
    chunks = []
    at = 0
    while at < len(data):
        size = _CHUNK.match(data, at)
        if size is None:
            if at == 0:
                return data  # stored without its chunks
            if _CHUNK.match(data[at:] + b"\r\n"):
                break  # cut off within a size
            raise DamagedError(f"expected a chunk size at byte {at} of the body, found {data[at : at + 20]!r}")
        length = int(size[1], 16)
        if length == 0:
            break
        chunks.append(data[size.end() : size.end() + length])
        at = size.end() + length
        at += 2 if data.startswith(b"\r\n", at) else data.startswith(b"\n", at)
    return b"".join(chunks)


def _gunzip(data: bytes, limit: int) -> bytes:
    """All members; in pieces, since each end of a member copies what was fed beyond it."""
    if not data.startswith(GZIP.magic):
        return data
    if (found := sound(memoryview(data))) and found[1] == len(data):
        return found[0]
    out = bytearray()
    member, at = zlib.decompressobj(31), 0
    while at < len(data) and not 0 <= limit <= len(out):
        piece = data[at : at + _PIECE]
        out += member.decompress(piece, limit - len(out) if limit >= 0 else 0)
        at += len(piece) - len(member.unconsumed_tail) - len(member.unused_data)
        if member.eof:
            if not data.startswith(GZIP.magic, at):
                break
            member = zlib.decompressobj(31)
    return bytes(out)


def _inflate(data: bytes, limit: int) -> bytes:
    """RFC 9110, section 8.4.1.2: the zlib format; some servers send the raw stream, which text may look like."""
    try:
        return zlib.decompressobj(15).decompress(data, max(0, limit))
    except zlib.error:
        raw = zlib.decompressobj(-15)
        out = raw.decompress(data, max(0, limit))
        return out if raw.eof or not is_text(data) else data


def _unbrotli(data: bytes, limit: int) -> bytes:
    stream = brotli.Decompressor()
    out = bytearray()
    while not stream.is_finished():
        out += stream.process(data, output_buffer_limit=1 << 20)
        data = b""
        if stream.can_accept_more_data() or 0 <= limit <= len(out):
            break
    return bytes(out)


def _unzstd(data: bytes, limit: int) -> bytes:
    if not data.startswith(ZSTD.magic):
        return data
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)) as reader:
        return reader.read(limit)


_DECODERS = {"gzip": _gunzip, "x-gzip": _gunzip, "deflate": _inflate, "br": _unbrotli, "zstd": _unzstd}
