"""URLs as names of pages: one spelling for a page, hosts and registered domains. Block lists: `curate.blocklist`.

`normalise` makes a name to compare by, not an address to fetch. Nothing here reads the network: the public suffix list
is the copy that the package tld carries.
"""

import functools
import hashlib
import importlib.util
import re
import string
from pathlib import Path

from curate.errors import InputError

# RFC 3986, appendix B, with the scheme and authority that a web page must have.
_URL = re.compile(r"(https?)://([^/?#\\]*)([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"(?:.*@)?(\[[0-9a-fA-F:.]+\]|[^:@\[\]]*)(?::(\d*))?", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_ESCAPE = re.compile(r"%([0-9a-fA-F]{2})")
_SAFE = re.compile(r"[!#$&'()*+,./0-9:;=?@A-Z\[\]_a-z~-]*")  # printable ASCII that stays as it is
_WWW = re.compile(r"www\d?\.")
_WHITE = re.compile(r"[\t\n\r]")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")  # RFC 3986, section 2.3
_DEFAULT_PORTS = {"http": "80", "https": "443"}

# Query parameters that say how a reader came, never which page is meant: campaign tags of Google, Facebook, Microsoft,
# Yandex, Mailchimp, HubSpot, Adobe, Matomo, Instagram, X, and session numbers of PHP, Java and ASP.
_TRACKING_NAMES = (
    "fbclid gclid gclsrc dclid gbraid wbraid msclkid yclid ymclid _openstat mc_cid mc_eid _hsenc _hsmi "
    "hsctatracking igshid igsh twclid ttclid li_fat_id s_kwcid ef_id wt.mc_id ref_src ref_url _ga _gl cmpid ncid "
    "phpsessid jsessionid aspsessionid sessionid"
)
TRACKING = frozenset(_TRACKING_NAMES.split())
_TRACKING_PREFIXES = ("utm_", "pk_", "mtm_", "piwik_", "matomo_", "hsa_", "__hs")
_SESSION_PATH = re.compile(r";(?:jsessionid|phpsessid)=[^/;]*", re.IGNORECASE)


def normalise(url: str) -> str:
    """One spelling for a page's URL; empty for what is no http(s) URL with a host.

    http for https, host in lower case and punycode without www., www2. and trailing dot, no user name, default port,
    fragment (but #! names a page), dot segments, trailing slash, session numbers or tracking parameters; the other
    parameters sorted; percent escapes in capitals, of all but unreserved characters. Normalising twice is normalising
    once.
    """
    parts = _split(url)
    if parts is None:
        return ""
    name, port, path, query, fragment = parts
    path = _dotless(_escape(_SESSION_PATH.sub("", path))).rstrip("/")
    kept = sorted(p for p in (_escape(q) for q in query.split("&")) if p and not _is_tracking(p))
    while name.count(".") > 1 and (front := _WWW.match(name)):
        name = name[front.end() :]
    result = f"http://{name}{port}{path}"
    if kept:
        result += "?" + "&".join(kept)
    if fragment.startswith("!"):
        result += "#" + _escape(fragment)
    return result


def key(url: str) -> int:
    """BLAKE2b-64 of the normalised URL, by which links and pages are joined; 0 for what `normalise` cannot use."""
    name = normalise(url)
    return _hash(name) if name else 0


def host(url: str) -> str:
    """The host in lower case and punycode, without port; empty for what is no http(s) URL with a host."""
    parts = _split(url)
    return parts[0] if parts else ""


def registered_domain(host: str) -> str:
    """The domain that was registered: the public suffix and one label more; the host itself if it is a suffix or an IP.

    By the public suffix list's algorithm, private section included: each blogspot.com or github.io site stands for
    itself, as their pages have different authors.
    """
    labels = host.split(".")
    if ":" in host or labels[-1].isdigit():
        return host
    rules, wild, exceptions = _suffixes()
    for i in range(len(labels)):
        name = ".".join(labels[i:])
        above = ".".join(labels[i + 1 :])
        if name in exceptions:
            return name
        if name in rules or above in wild:
            return ".".join(labels[max(0, i - 1) :])
    return ".".join(labels[-2:])  # no rule: the last label is the suffix


def _split(url: str) -> tuple[str, str, str, str, str] | None:
    """(host, ":port" if not the default, path, query, fragment), or None."""
    match = _URL.fullmatch(_WHITE.sub("", url.strip()))
    if match is None:
        return None
    scheme, authority, path, query, fragment = match.groups("")
    found = _HOST.fullmatch(authority)
    if found is None:
        return None
    name, port = found[1].lower().rstrip("."), (found[2] or "").lstrip("0")
    if not name.startswith("["):
        name = _punycode(name)
    if not name:
        return None
    return name, f":{port}" if port and port != _DEFAULT_PORTS[scheme.lower()] else "", path, query, fragment


def _punycode(name: str) -> str:
    """The ASCII form of a host name (IDNA 2003, as Python has it); empty if it is none."""
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            return ""
    return name if len(name) <= 253 and all(map(_LABEL.fullmatch, name.split("."))) else ""


def _escape(text: str) -> str:
    """Percent escapes in one spelling: unreserved characters plain, what is not ASCII as UTF-8, capitals in hex."""

    def decode(match: re.Match[str]) -> str:
        char = chr(int(match[1], 16))
        return char if char in _UNRESERVED else match[0].upper()

    if _SAFE.fullmatch(text):
        return text
    text = _ESCAPE.sub(decode, text)
    return "".join(
        c if "!" <= c <= "~" and c not in '"<>\\^`{|}' else "".join(f"%{b:02X}" for b in c.encode("utf-8", "replace"))
        for c in text
    )


def _dotless(path: str) -> str:
    """The path without "." and ".." segments (RFC 3986, section 5.2.4)."""
    if "/." not in path:
        return path
    done: list[str] = []
    for segment in path.split("/")[1:]:
        if segment == "..":
            del done[-1:]
        elif segment != ".":
            done.append(segment)
    return "/" + "/".join(done)


def _is_tracking(parameter: str) -> bool:
    name = parameter.partition("=")[0].lower()
    return name in TRACKING or name.startswith(_TRACKING_PREFIXES)


def _hash(name: str) -> int:
    """BLAKE2b-64, never 0."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little") or 1


def suffixes() -> frozenset[str]:
    """The public suffixes that the list names, in punycode; those of its wildcards are not among them."""
    return _suffixes()[0]


@functools.cache
def _suffixes() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """(rules, wildcards without their *., exceptions without their !) of the public suffix list, in punycode.

    Raises:
        InputError: if the package tld, which carries the list, is not installed.
    """
    spec = importlib.util.find_spec("tld")
    folder = next(iter(spec.submodule_search_locations or ()), "") if spec else ""
    path = Path(folder, "res", "effective_tld_names.dat.txt")
    if not folder or not path.is_file():
        raise InputError("no public suffix list: the package tld is not installed; pip install tld")
    lines = [line.split()[0] for line in path.read_text("utf-8").splitlines() if line.strip() and line[:2] != "//"]
    wild = frozenset(_punycode(line[2:]) for line in lines if line.startswith("*."))
    exceptions = frozenset(_punycode(line[1:]) for line in lines if line.startswith("!"))
    return frozenset(_punycode(line) for line in lines if line[0] not in "*!"), wild, exceptions
