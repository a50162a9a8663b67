"""A folder of fetched byte ranges, bounded in bytes, shared by any number of processes.

An entry is a file named after URL, ETag and range; it begins with a digest of its bytes. Entries appear whole or not at
all; those used longest ago go first. The sum of all entries is kept in a file, under a lock.
"""

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator

from curate import storage
from curate.errors import UsageError

ROOM = 0.9  # of the bound: what stays when entries have to go
_DIGEST = 16
_TOTAL = "total"


class Cache:
    """Ranges of remote files below a local folder, at most `most` bytes of them."""

    def __init__(self, folder: str, most: int) -> None:
        if storage.is_remote(folder):
            raise UsageError(f"fetch.cache is {folder!r}: name a local folder")
        self._folder, self._most = folder, most

    def get(self, url: str, tag: str, start: int, stop: int) -> bytes | None:
        """The bytes, if they are there and whole."""
        path = self._path(url, tag, start, stop)
        try:
            with open(path, "rb") as file:
                digest, data = file.read(_DIGEST), file.read()
            os.utime(path)  # used just now
        except FileNotFoundError:
            return None
        return data if _digest(data) == digest else None

    def put(self, url: str, tag: str, start: int, stop: int, data: bytes) -> None:
        """Keep the bytes, unless they alone would fill the folder."""
        size = _DIGEST + len(data)
        if size > ROOM * self._most:
            return
        path = self._path(url, tag, start, stop)
        with self._total() as total:
            total[0] += size
            if total[0] > self._most:
                total[0] = size + self._shrink(size)
        with contextlib.suppress(FileNotFoundError), storage.atomic(path) as file:  # another thread wrote the same
            file.write(_digest(data) + data)

    def _shrink(self, coming: int) -> int:
        """Remove what was used longest ago until `coming` bytes have room; returns the bytes that stay."""
        entries = []
        for folder in os.scandir(self._folder):
            if folder.is_dir():
                for entry in os.scandir(folder.path):
                    with contextlib.suppress(FileNotFoundError):  # another process has just renamed it
                        entries.append((entry.stat().st_mtime_ns, entry.path, entry.stat().st_size))
        left = sum(size for _, _, size in entries)
        for _, path, size in sorted(entries):
            if left + coming <= ROOM * self._most:
                break
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            left -= size
        return left

    @contextlib.contextmanager
    def _total(self) -> Iterator[list[int]]:
        """The one number of the folder's bytes, to be changed in place."""
        os.makedirs(self._folder, exist_ok=True)
        file = os.open(os.path.join(self._folder, _TOTAL), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            total = [int(os.pread(file, 20, 0) or b"0")]
            yield total
            os.pwrite(file, b"%020d" % total[0], 0)
        finally:
            os.close(file)

    def _path(self, url: str, tag: str, start: int, stop: int) -> str:
        name = hashlib.sha256(f"{url}\0{tag}\0{start}\0{stop}".encode()).hexdigest()
        return os.path.join(self._folder, name[:2], name)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
