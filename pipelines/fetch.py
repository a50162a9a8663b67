"""The door to the network: byte ranges of files behind http(s), with manners, retries and an optional cache.

A range is asked for at its host's pace (`pace`), and resumed at the byte reached after whatever goes wrong, under
If-Range, so that no two versions of a file are ever mixed. urllib3 speaks HTTP. Nothing is written or listed here;
`web` makes a file system of it.
"""

import email.utils
import re
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from typing import ClassVar
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationValueError, MaxRetryError, ResponseError

from curate.errors import InputError
from pipelines.cache import Cache
from pipelines.pace import Pace, PausedError

WHOLE = 64 << 20  # bytes of a file that is held whole where its server ignores ranges
PIECE = 1 << 16
SLOWEST = 4096  # bytes a second; below it for `timeout` seconds, a connection is given up
LONGEST_WAIT = 60.0  # seconds between two tries
REDIRECTS = 5

THROTTLED = (403, 429, 503)  # Common Crawl and S3 answer 403 and 503 to those who ask too often
TRANSIENT = (408, 500, 502, 504)
MISSING = (404, 410)


class FetchError(InputError):
    """A remote file that cannot be read, or not now: nothing is known about what it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """How remote files are read. No output depends on it.

    Args:
        crawls: below which `crawl-data/` lies: https, s3, or the folder of a mirror.
        contact: an address for those who run the servers, sent with every request.
        requests_per_second: to one host, from all processes of a machine together, at most.
        tries: in a row that bring no byte before a file is given up.
        timeout: seconds without a byte, or below `SLOWEST` bytes a second, after which a connection is given up.
        first_wait: seconds; before try n up to first_wait * 2^n are waited, drawn uniformly (full jitter: Brooker,
            "Exponential Backoff And Jitter", AWS 2015), at most `LONGEST_WAIT`.
        cache: local folder for what was fetched; None: nothing is kept.
        cache_bytes: what it may hold.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    crawls: str = "https://data.commoncrawl.org/"
    contact: str | None = None
    requests_per_second: float = 16.0
    tries: int = 10
    timeout: float = 60.0
    first_wait: float = 1.0
    cache: str | None = None
    cache_bytes: int = 64 << 30

    def __post_init__(self) -> None:
        for name in ("requests_per_second", "tries", "timeout", "first_wait", "cache_bytes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: give a number above 0")
        if not self.crawls:
            raise ValueError("crawls is empty: give a URL or a folder, such as https://data.commoncrawl.org/")
        if self.contact is not None and not (self.contact.isascii() and self.contact.isprintable()):
            raise ValueError(f"contact is {self.contact!r}: give printable ASCII, such as an e-mail address")

    def agent(self) -> str:
        """What we call ourselves."""
        about = f" ({self.contact})" if self.contact else ""
        return f"curate-pretrain/{metadata.version('curate-pretrain')}{about}"


DEFAULT = Fetch()


class _Counts(threading.local):
    """Of the thread that asks: a task runs in one."""

    def __init__(self) -> None:
        self.total: Counter[str] = Counter()


_COUNTS = _Counts()


def counts() -> Counter[str]:
    """What this thread has fetched so far: `fetch_requests`, `fetch_retries`, `fetch_bytes`, `fetch_cached_bytes`."""
    return Counter(_COUNTS.total)


class _TroubleError(Exception):
    """Why a try ended early. `pause`: seconds that the server asks for."""

    def __init__(self, reason: str, status: int | None = None, pause: float = 0.0, is_slow: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.status, self.pause, self.is_slow = reason, status, pause, is_slow


class Door:
    """The connections of one process by one set of manners."""

    def __init__(self, manners: Fetch) -> None:
        self.manners = manners
        self.cache = Cache(manners.cache, manners.cache_bytes) if manners.cache is not None else None
        self._headers = {"User-Agent": manners.agent(), "Accept-Encoding": "identity"}
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=manners.timeout, read=manners.timeout),
            retries=urllib3.Retry(total=None, connect=0, read=0, status=0, other=0, redirect=REDIRECTS),
        )

    def pace(self, url: str) -> Pace:
        """The rate of the URL's host."""
        try:
            host = urlsplit(url).netloc.rpartition("@")[2]
        except ValueError as error:
            raise FetchError(f"{url!r} is no URL that can be fetched: {error}") from error
        return Pace(host, self.manners.requests_per_second)

    def get(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        """The answer, its body still to be read.

        Raises:
            FetchError: for what no further try will mend: a URL that is none, redirects that lead nowhere.
            _TroubleError: if there was no answer.
        """
        try:
            return self._pool.request("GET", url, headers=self._headers | headers, preload_content=False)
        except LocationValueError as error:
            raise FetchError(f"{url!r} is no URL that can be fetched: {error}") from error
        except MaxRetryError as error:
            if isinstance(error.reason, ResponseError):
                raise FetchError(f"{url} leads to more than {REDIRECTS} redirects: correct the address") from error
            raise _TroubleError(f"{type(error.reason).__name__}: {error.reason}") from error
        except HTTPError as error:
            raise _TroubleError(f"{type(error).__name__}: {error}") from error


class Remote:
    """A file behind a URL. `size` and `tag` are what its server has told of it, if it has."""

    def __init__(self, door: Door, url: str) -> None:
        self._door, self.url = door, url
        self._pace = door.pace(url)
        self.size: int | None = None
        self.tag = ""  # ETag, else Last-Modified
        self._whole: bytes | None = None  # where the server ignores ranges
        self._reached = 0  # of the whole, by the best try

    def meet(self) -> None:
        """Learn size and tag, by the file's first byte: not every server answers HEAD.

        Raises:
            FileNotFoundError, FetchError: as `read`.
        """
        if self.size is None:
            self._fetch(0, 1)
        if self.size is None:
            raise FetchError(f"{self.url}: its server does not tell how long it is: download it, or use another mirror")

    def read(self, start: int, stop: int) -> bytes:
        """The bytes [start, stop), fewer at the file's end.

        Raises:
            FileNotFoundError: if the server has no such file.
            FetchError: if it changed while it was read, or cannot be had: after `tries` tries without a byte.
        """
        cache = self._door.cache
        if cache is not None:
            self.meet()
        if self.size is not None:
            stop = min(stop, self.size)
        if start >= stop:
            return b""
        if self._whole is not None:
            return self._whole[start:stop]
        if cache is None or not self.tag:
            return self._fetch(start, stop)
        tag = f"{self.tag}\0{self.size}"
        if (known := cache.get(self.url, tag, start, stop)) is not None:
            _COUNTS.total["fetch_cached_bytes"] += len(known)
            return known
        data = self._fetch(start, stop)
        cache.put(self.url, tag, start, stop, data)
        return data

    def _fetch(self, start: int, stop: int) -> bytes:
        """Try until the range is there."""
        manners, got, stuck = self._door.manners, bytearray(), 0
        while True:
            before = len(got) + self._reached
            try:
                sent = self._pace.take()
            except PausedError as paused:
                where = f"{self.url}, byte {start + len(got)}"
                raise FetchError(f"{where}: {paused}: run the same command then; it goes on from here") from paused
            _COUNTS.total["fetch_requests"] += 1
            try:
                if self._try(start, stop, got):
                    self._pace.succeeded()
                    return bytes(got)
                trouble = _TroubleError("the answer ended early")
            except _TroubleError as found:
                trouble = found
            except HTTPError as error:
                trouble = _TroubleError(f"{type(error).__name__}: {error}")
            _COUNTS.total["fetch_retries"] += 1
            if trouble.status in THROTTLED:
                self._pace.throttled(sent, trouble.pause)
            stuck = 0 if len(got) + self._reached > before and not trouble.is_slow else stuck + 1
            if stuck == manners.tries:
                raise FetchError(self._farewell(start + len(got), trouble, stuck))
            time.sleep(secrets.SystemRandom().uniform(0, min(LONGEST_WAIT, manners.first_wait * 2**stuck)))

    def _farewell(self, at: int, trouble: _TroubleError, stuck: int) -> str:
        status = f" (status {trouble.status})" if trouble.status else ""
        return (
            f"{self.url}, byte {at}: given up after {stuck} tries without progress: {trouble.reason}{status}. If the "
            "address is right and the file public, run the same command again later; it goes on from here. Or raise "
            "fetch.tries, lower fetch.requests_per_second, or read another mirror"
        )

    def _try(self, start: int, stop: int, got: bytearray) -> bool:
        """One request for what is missing, its bytes added to `got`; whether nothing is missing now."""
        at = start + len(got)
        headers = {"Range": f"bytes={at}-{stop - 1}"}
        if self.tag and not self.tag.startswith("W/"):  # RFC 9110, section 13.1.5: a weak tag proves nothing
            headers["If-Range"] = self.tag
        response = self._door.get(self.url, headers)
        keep = False
        try:
            self._refused(response)
            if response.status == 416:
                return self._beyond(response, at)
            self._same(response)
            if response.status == 200:
                body = self._all(response)
                got[:] = body[start:stop]
                return True
            first, last = self._range(response, at)
            wanted = min(last + 1, stop) - first
            keep = response.headers.get("Content-Length") == str(wanted)
            self._take(response, got, len(got) + wanted)
            return start + len(got) == (stop if self.size is None else min(stop, self.size))
        finally:
            # What a server sends beyond its word must not be taken for its next answer.
            if not keep or response.length_remaining != 0:
                response.close()
            response.release_conn()

    def _refused(self, response: urllib3.BaseHTTPResponse) -> None:
        status = response.status
        if status in MISSING:
            raise FileNotFoundError(self.url)
        if status in THROTTLED or status in TRANSIENT:
            raise _TroubleError(f"its server answers {response.reason or 'with an error'}", status, _pause(response))
        if status not in (200, 206, 416):
            raise FetchError(f"{self.url}: its server answers {status} {response.reason}: correct the address")

    def _same(self, response: urllib3.BaseHTTPResponse) -> None:
        """Hold the file against what is known of it."""
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        if self.tag and tag and tag != self.tag:
            raise FetchError(f"{self.url} changed while it was read ({self.tag} is now {tag}): run the command again")
        self.tag = self.tag or tag

    def _range(self, response: urllib3.BaseHTTPResponse, at: int) -> tuple[int, int]:
        """First and last byte of a 206."""
        told = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", told.strip())
        if not match or int(match[1]) != at or not at <= int(match[2]) < int(match[3].replace("*", "9" * 18)):
            raise _TroubleError(f"asked for bytes from {at} on, its server answers Content-Range {told!r}", 206)
        if match[3] != "*":
            self._sized(int(match[3]))
        return at, int(match[2])

    def _sized(self, size: int) -> None:
        """Note the file's size. Where two answers differ neither is believed: the next one tells."""
        before, self.size = self.size, size
        if before not in (None, size):
            self.size = None
            raise _TroubleError(f"its server says that the file has {size} bytes, and said {before} before")

    def _beyond(self, response: urllib3.BaseHTTPResponse, at: int) -> bool:
        """A 416: there is nothing from `at` on; True if the size that it tells agrees."""
        told = response.headers.get("Content-Range", "")
        match = re.fullmatch(r"bytes \*/(\d{1,18})", told.strip())
        if match:
            self._sized(int(match[1]))
        if not match or at < int(match[1]):
            raise _TroubleError(f"asked for bytes from {at} on, its server has none: Content-Range {told!r}", 416)
        return True

    def _all(self, response: urllib3.BaseHTTPResponse) -> bytes:
        """The body of a 200: the server ignores ranges. Small files are held whole from here on."""
        told = response.headers.get("Content-Length", "")
        if told.isdigit():
            self._sized(int(told))
        size = self.size
        large = _TroubleError(
            f"its server ignores byte ranges, and the file has {size or 'more than ' + str(WHOLE)} bytes, of which at "
            f"most {WHOLE} are held: download it, or read it from another mirror",
            200,
        )
        if size is not None and size > WHOLE:
            raise large
        body = bytearray()
        try:
            self._take(response, body, WHOLE + 1 if size is None else size)
        finally:
            self._reached = max(self._reached, len(body))
        if len(body) > WHOLE:
            raise large
        if size is not None and len(body) != size:
            raise _TroubleError(f"its server promised {size} bytes and sent {len(body)}", 200)
        self.size, self._whole = len(body), bytes(body)
        return self._whole

    def _take(self, response: urllib3.BaseHTTPResponse, into: bytearray, size: int) -> None:
        """Read until `into` holds `size` bytes or the body ends.

        Raises:
            _TroubleError: if the bytes drip.
            HTTPError: if the connection breaks; what came before is in `into`.
        """
        began, before = time.monotonic(), len(into)
        while len(into) < size and (piece := response.read1(min(PIECE, size - len(into)))):
            into += piece
            _COUNTS.total["fetch_bytes"] += len(piece)
            spent = time.monotonic() - began
            if spent > self._door.manners.timeout and len(into) - before < SLOWEST * spent:
                raise _TroubleError(
                    f"only {len(into) - before} bytes came in {spent:.0f} s", response.status, is_slow=True
                )


def _pause(response: urllib3.BaseHTTPResponse) -> float:
    """The seconds of Retry-After (RFC 9110, section 10.2.3); a date is held against the server's own clock."""
    told = response.headers.get("Retry-After", "").strip()
    if told.isdigit():
        return float(told[:9])
    try:
        until = email.utils.parsedate_to_datetime(told)
        return max(0.0, (until - email.utils.parsedate_to_datetime(response.headers.get("Date", ""))).total_seconds())
    except (ValueError, TypeError):
        return 0.0
