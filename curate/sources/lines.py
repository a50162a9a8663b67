"""Lines of a plain or compressed file with the offset of each, as bytes or as JSON objects."""

import io
import json
from collections.abc import Iterator
from typing import IO, Any

from curate import storage
from curate.compression import BLOCK, DamagedError, codec_of, pieces
from curate.document import Failed
from curate.errors import InputError
from curate.stream import opened, stored

MAX_LINE = 64 << 20  # bytes; a line beyond is a dead letter, not memory

Line = tuple[int, bytes] | Failed


def is_compressed(path: str) -> bool:
    return codec_of(stored(path, 0, 8)) is not None


def read(path: str, start: int = 0, stop: int | None = None, max_line: int = MAX_LINE) -> Iterator[Line]:
    """(offset, line without its end) of each non-blank line that begins in [start, stop).

    Offsets count decompressed bytes. Damage is a `Failed` at the line that it cut, after all lines before it.

    Raises:
        InputError: if the file is missing or unreadable, or a range of a compressed file is asked for.
    """
    with opened(path, stop) as raw:
        file = io.BufferedReader(raw, BLOCK) if isinstance(raw, io.RawIOBase) else raw
        offset = start
        if start:
            if is_compressed(path):
                raise InputError(f"{path} is compressed and cannot be read from byte {start} on: read it whole")
            file.seek(start - 1)
            offset += len(file.readline()) - 1
        parts: list[bytes] = []  # of the line that begins at `offset`
        held = 0  # their bytes; parts of a line that is too long are counted and let go
        try:
            for piece in _pieces(path, file, start > 0):
                first, *rest = piece.split(b"\n")
                held += len(first)
                if held <= max_line:
                    parts.append(first)
                for line in rest:
                    if stop is not None and offset >= stop:
                        return
                    yield from _line(offset, parts, held, max_line)
                    offset += held + 1
                    parts, held = [line], len(line)
        except DamagedError as error:
            yield Failed(offset, str(error))
            return
        if stop is None or offset < stop:
            yield from _line(offset, parts, held, max_line)


def objects(path: str, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, dict[str, Any]] | Failed]:
    """(offset, JSON object) of each line, as `read` finds them; a line that holds none is a `Failed`."""
    for line in read(path, start, stop):
        if isinstance(line, Failed):
            yield line
            continue
        offset, text = line
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            yield Failed(offset, f"expected a JSON object on the line: {error}")
            continue
        if isinstance(row, dict):
            yield offset, row
        else:
            yield Failed(offset, f"expected a JSON object on the line, found {type(row).__name__}")


def _pieces(path: str, file: IO[bytes], plain: bool) -> Iterator[bytes]:
    """The file's decompressed bytes; in the midst of a plain file no magic is looked for."""
    try:
        yield from iter(lambda: file.read(BLOCK), b"") if plain else pieces(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {storage.reason(error)}") from error


def _line(offset: int, parts: list[bytes], held: int, max_line: int) -> Iterator[Line]:
    if held > max_line:
        yield Failed(offset, f"a line of {held} bytes; at most {max_line} are read")
    elif line := b"".join(parts).strip():
        yield offset, line
