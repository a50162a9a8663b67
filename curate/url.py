"""URLs as names of pages: one spelling and one 64-bit key for each page, hosts, and block lists. Fetches nothing."""

import functools
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from curate import draw, storage
from curate.errors import InputError

_PORTS = {"http": 80, "https": 443}
# Parameters that say where a visitor came from and leave the page the same.
_TRACKING = re.compile(r"(utm_\w+|fbclid|gclid|dclid|msclkid|yclid|igshid|mc_[ce]id|_ga|ref_src|cmpid)", re.IGNORECASE)
_WWW = re.compile(r"www\d?\.")
_KEPT = "!$&'()*+,;=:@/~-._"  # RFC 3986: may stand unescaped in a path


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return parts


def host(url: str) -> str:
    """The host in lower case and in ASCII (IDNA), without port, user or trailing dot; empty if there is none."""
    parts = _split(url)
    name = (parts.hostname or "").rstrip(".") if parts else ""
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode().lower()
    except UnicodeError:
        return name


def normalise(url: str) -> str:
    """One spelling for the URLs that lead to one page; a string that is no URL comes back stripped.

    Scheme and `www.` go, since both forms of each serve the same page; so do fragment, default port, user, tracking
    parameters, a trailing slash and an empty query. Escapes are written in one way, dots in the path are resolved, and
    parameters are sorted. Letters of path and query keep their case, which servers tell apart.
    """
    parts = _split(url)
    name = host(url)
    if parts is None or not name:
        return url.strip()
    port = f":{parts.port}" if parts.port and parts.port != _PORTS.get(parts.scheme) else ""
    path = quote(unquote(parts.path, errors="surrogateescape"), safe=_KEPT, errors="surrogateescape")
    path = posixpath.normpath("/" + path.lstrip("/")).rstrip("/") if path else ""
    pairs = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if not _TRACKING.fullmatch(pair[0])]
    query = f"?{urlencode(sorted(pairs))}" if pairs else ""
    return _WWW.sub("", name, count=1) + port + path + query


def key(url: str) -> int:
    """A 64-bit hash of the normalised URL: what links and pages are joined by."""
    return draw.key(normalise(url))


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockList:
    """Pages that are left out by their URL alone.

    Args:
        domains: these, and all below them.
        folders: block lists in the layout of the University of Toulouse: a folder for each category, with a file
            `domains` of a domain a line in it.
        words: pages whose URL holds one of these, between non-letters; lower case.
        ip_hosts: whether to leave out pages whose host is a bare IPv4 address.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    domains: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    ip_hosts: bool = False


class Blocker:
    """A block list, read and ready."""

    def __init__(self, domains: Iterable[str], words: Iterable[str], ip_hosts: bool):
        self.domains = frozenset(domain.strip().lower().rstrip(".") for domain in domains)
        alternatives = "|".join(re.escape(word.lower()) for word in sorted(set(words)))
        self.words = re.compile(rf"(?<![a-z])({alternatives})(?![a-z])") if alternatives else None
        self.ip_hosts = ip_hosts

    def why(self, url: str) -> str:
        """The domain, word or address for which the URL is blocked; empty if it is not."""
        name = host(url)
        if self.ip_hosts and re.fullmatch(r"\d+(\.\d+){3}", name):
            return name
        labels = name.split(".")
        for start in range(len(labels)):
            if (domain := ".".join(labels[start:])) in self.domains:
                return domain
        found = self.words.search(url.lower()) if self.words else None
        return found.group(1) if found else ""


@functools.cache
def load_blocklist(config: BlockList) -> Blocker:
    """The block list, with its files read.

    Raises:
        InputError: if a folder holds no file `domains`.
    """
    domains = list(config.domains)
    for folder in config.folders:
        paths = storage.glob(storage.join(folder, "**/domains"))
        if not paths:
            raise InputError(f"block list {folder!r} holds no file named domains: name the folder of the categories")
        for path in paths:
            with storage.open_input(path) as file:
                domains += file.read().decode("utf-8", "replace").split()
    return Blocker(domains, config.words, config.ip_hosts)
