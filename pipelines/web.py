"""http(s) as a file system of fsspec, so that every reader of the project fetches with the same manners."""

import io
from typing import Any

import fsspec
from fsspec.spec import AbstractFileSystem

from curate import storage
from curate.errors import InputError
from curate.stream import FIRST, Blocks
from pipelines.fetch import DEFAULT, Door, Fetch, FetchError, Remote

S3_TRIES = 10


def install(manners: Fetch) -> None:
    """From here on this process reads http(s) through `fetch`, and s3 with botocore's adaptive rate and retries.

    s3fs retries SlowDown a few times by itself; botocore's adaptive mode also lowers the rate of all that follows.
    """
    for protocol in Web.protocol:
        fsspec.register_implementation(protocol, Web, clobber=True)
        fsspec.config.conf[protocol] = {"manners": manners}
    config = {"retries": {"mode": "adaptive", "max_attempts": S3_TRIES}}
    fsspec.config.conf["s3"] = {"config_kwargs": config} | fsspec.config.conf.get("s3", {})


def failed(path: str, error: InputError) -> bool:
    """Whether the way to the file is to blame, and not what it holds."""
    return isinstance(error, FetchError) or (storage.is_remote(path) and isinstance(error.__cause__, OSError))


class Web(AbstractFileSystem):
    """Files behind URLs: read, never written or listed. Instances belong to one thread of one process (fsspec)."""

    protocol = ("http", "https")

    def __init__(self, manners: Fetch = DEFAULT, **options: Any) -> None:
        super().__init__(**options)
        self._door = Door(manners)
        self._last: Remote | None = None  # what was asked of it last is mostly asked again

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return path

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        """Name, size and tag, asked of the server anew."""
        self._last = remote = Remote(self._door, path)
        remote.meet()
        return {"name": path, "size": remote.size, "type": "file", "tag": remote.tag}

    def exists(self, path: str, **kwargs: Any) -> bool:
        """False only where the server says so."""
        try:
            self.info(path)
        except FileNotFoundError:
            return False
        return True

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> Any:
        raise InputError(f"{path}: web servers list nothing: name each file, or the crawl by sources.crawl.name")

    def glob(self, path: str, maxdepth: int | None = None, **kwargs: Any) -> Any:
        return self.ls(path)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **kwargs: Any) -> bytes:
        """The bytes [start, end) in one request."""
        remote = self._remote(path)
        try:
            if end is None:
                remote.meet()
                end = remote.size or 0
            return remote.read(start or 0, end)
        except FetchError:
            self._last = None  # what was known of the file may be what went wrong
            raise

    def _remote(self, path: str) -> Remote:
        if self._last is None or self._last.url != path:
            self._last = Remote(self._door, path)
        return self._last

    def _open(
        self, path: str, mode: str = "rb", cache_type: str | None = None, **kwargs: Any
    ) -> io.BufferedReader | io.RawIOBase:
        remote = Remote(self._door, path)

        def size() -> int:
            remote.meet()
            return remote.size or 0

        if cache_type == "none":
            return _Exact(remote.read, size)
        return io.BufferedReader(Blocks(remote.read, size), FIRST)


class _Exact(Blocks):
    """A remote file, of which no byte is read that was not asked for."""

    def readinto(self, buffer: Any) -> int:
        data = self._read(self._position, self._position + len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
