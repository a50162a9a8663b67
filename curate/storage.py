"""Files by path or URL, local, https, s3 or gs, through fsspec; writes appear whole or not at all."""

import contextlib
import hashlib
import io
import json
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from curate.errors import InputError

TEMPORARY = ".tmp-"  # in the name of a file that is still being written


def join(*parts: str) -> str:
    """Path parts joined with a slash."""
    return posixpath.join(*parts)


def store(path: str) -> tuple[Any, str]:
    """The file system of a path, and the path within it.

    Raises:
        InputError: if the protocol is unknown, or its package is not installed.
    """
    try:
        return url_to_fs(path)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as error:
        extra = {"http": "http", "https": "http", "s3": "s3", "gs": "gs"}.get(path.partition("://")[0])
        remedy = (
            f"install the extra: pip install 'curate-pretrain[{extra}]'" if extra else "use a path that fsspec knows"
        )
        raise InputError(f"cannot open {path!r}: {error}; {remedy}") from error


def is_remote(path: str) -> bool:
    """Whether the path names a protocol other than the local file system's."""
    return "://" in path and not path.startswith("file://")


def open_input(path: str) -> IO[bytes]:
    """The file's bytes as stored, seekable where the store allows it.

    Raises:
        InputError: if it is missing or unreadable.
    """
    try:
        return fsspec.open(path, "rb", compression=None).open()  # type: ignore[no-any-return]
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"cannot read {path!r}: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The error in a phrase, without its address in our code."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def exists(path: str) -> bool:
    fs, inner = store(path)
    return bool(fs.exists(inner))


def size(path: str) -> int:
    """The file's bytes as stored.

    Raises:
        InputError: if it is missing or cannot be asked for.
    """
    fs, inner = store(path)
    try:
        return int(fs.size(inner) or 0)
    except OSError as error:
        raise InputError(f"cannot read {path!r}: {reason(error)}") from error


def state(path: str) -> str:
    """A hash of all that the store tells of the file (size, time, inode or ETag), which changes when the file does.

    Raises:
        InputError: if it is missing or cannot be asked for.
    """
    fs, inner = store(path)
    try:
        info = fs.info(inner)
    except OSError as error:
        raise InputError(f"cannot read {path!r}: {reason(error)}") from error
    return hashlib.sha256(repr(sorted(info.items())).encode()).hexdigest()


def glob(pattern: str) -> list[str]:
    """The files that match, sorted; with the pattern's protocol.

    Raises:
        InputError: if the store cannot be listed.
    """
    try:
        fs, inner = store(pattern)
        found = sorted(path for path, info in fs.glob(inner, detail=True).items() if info["type"] == "file")
        if not is_remote(pattern):
            return found
        protocol = pattern.partition("://")[0]
        return [path if "://" in path else f"{protocol}://{path.lstrip('/')}" for path in found]
    except (OSError, ValueError, ImportError) as error:
        raise InputError(f"cannot list {pattern!r}: {reason(error)}") from error


def remove(path: str) -> None:
    """Remove the file or folder, or the files that match a pattern, if there are any."""
    fs, inner = store(path)
    for one in fs.glob(inner) if "*" in inner else [inner] if fs.exists(inner) else []:
        fs.rm(one, recursive=True)


@contextlib.contextmanager
def atomic(path: str) -> Iterator[IO[bytes]]:
    """A binary file that appears at `path` only when the block ends without an error.

    Local: a temporary name beside it, flushed to disk, then renamed. Object stores publish an upload whole.
    """
    if is_remote(path):
        buffer = io.BytesIO()
        yield buffer
        fs, inner = store(path)
        fs.makedirs(posixpath.dirname(inner), exist_ok=True)
        fs.pipe_file(inner, buffer.getvalue())
        return
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", exist_ok=True)
    temporary = os.path.join(folder, f"{name}{TEMPORARY}{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)


def write_json(path: str, value: Any, *, sort_keys: bool = True) -> None:
    """Indented JSON, written atomically; with sorted keys, so that equal values are equal bytes."""
    with atomic(path) as file:
        file.write((json.dumps(value, indent=1, sort_keys=sort_keys, ensure_ascii=False) + "\n").encode())


def read_json(path: str) -> Any:
    """The JSON value in the file.

    Raises:
        InputError: if it is missing or not JSON.
    """
    with open_input(path) as file:
        try:
            return json.loads(file.read())
        except ValueError as error:
            raise InputError(f"{path} is not JSON: {error}") from error


def write_table(path: str, table: pa.Table) -> None:
    """One Parquet file, zstd, written atomically; the same table gives the same bytes.

    Pages carry checksums: Parquet's zstd frames have none, and a flipped bit would pass for text.
    """
    with atomic(path) as file:
        # Statistics of a text column hold whole texts and help nobody.
        statistics = [name for name in table.column_names if name != "text"]
        pq.write_table(
            table, file, compression="zstd", row_group_size=8192, write_page_checksum=True, write_statistics=statistics
        )


def read_table(path: str, columns: list[str] | None = None) -> pa.Table:
    """The whole Parquet file.

    Raises:
        InputError: if it is missing or damaged.
    """
    with open_input(path) as file:
        try:
            return pq.read_table(file, columns=columns, page_checksum_verification=True)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is not a readable Parquet file: {error}") from error


def absolute(path: str) -> str:
    """The path as it holds from any working directory."""
    return path.rstrip("/") if is_remote(path) else str(Path(path).absolute())
