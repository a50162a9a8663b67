"""Redaction of what identifies a person: e-mail addresses, public IP addresses, phone numbers if asked.

Patterns only, and by default of the kinds that FineWeb redacts (Penedo et al. 2024: e-mail, public IP addresses). Names
and postal addresses stay. A stand-in is itself no find; with the default ones, redacting twice is redacting once.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

KINDS = ("email", "ip", "phone")

# An address as people write it, a subset of RFC 5321. Every repetition is bounded, so that no text takes more than
# linear time; the look-behind keeps an over-long local part from matching from its middle. Two that only look so are
# left: git@host:path, and the file names of images for dense screens, logo@2x.png.
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])(?!git@[^\s:]{1,99}:\w)[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?"
    r"@(?!\dx\.)((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9-])"
)
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
# Most numbers of four parts in prose are those of sections and versions, in whatever language, and they are short. One
# of fewer digits than this is an address only if something beside it says so; 1.3% of all public addresses are shorter.
_SURE_DIGITS = 8
_BEFORE_ADDRESS = re.compile(r"(?:://|@|(?<![A-Z])IP(?:v4)?(?![A-Z])[^\d\n]{0,20})$", re.I)
_AFTER_ADDRESS = re.compile(r":\d{1,5}(?!\d)|/\d{1,2}(?![\d.])")  # a port, a prefix
# Long numbers that are versions all the same (Flash Player, version 11.2.202.233).
_VERSION = re.compile(
    r"(?:\b(?:v|ver|vers\w*|wersj\w*|верс\w*|build|firmware|release)\.?|バージョン|版本?|버전)[ :：]{0,2}$", re.I
)
_BEFORE = 24
# Addresses that name no one's machine: IANA's special-purpose registries (RFC 6890) and multicast. Our own list, since
# Python's changes from one version to the next.
_SPECIAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/3", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"),
    )
)
# Global unicast, the only range in use on the public internet (RFC 4291, section 2.4): begins with 2 or 3.
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]{2,34}(?![\w:])")
# With a country code, or in the North American form (555) 555-5555 / 555-555-5555: numbers without either are too like
# others. What it finds in real pages are phone numbers (docs/rules.md).
_PHONE = re.compile(
    r"(?<![\w+.-])(?:\(?\+[1-9](?:[ .()/-]{0,2}\d){7,14}|(?:\(\d{3}\) ?|\d{3}[-.])\d{3}[-.]\d{4})(?![\w-]|\.\d)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What stands in for each kind; None leaves that kind alone.

    The stand-ins are names reserved for documentation (RFC 2606, RFC 5737, NANPA's fictitious numbers).
    """

    __pydantic_config__ = {"extra": "forbid"}

    email: str | None = "email@example.com"
    ip: str | None = "192.0.2.1"
    phone: str | None = None

    def __post_init__(self) -> None:
        if self.email is not None and _EMAIL.sub("", self.email) and _EMAIL.search(self.email):
            raise ValueError(
                f"email is {self.email!r}; it must be one address or none: use email@example.com or a word"
            )
        if self.ip is not None and _is_public(self.ip):
            raise ValueError(f"ip is {self.ip!r}; it must not be a public address: use one of 192.0.2.0/24")
        if self.phone is not None and _PHONE.search(self.phone):
            raise ValueError(f"phone is {self.phone!r}; it must not look like a phone number: use a word")


def redact(texts: pa.StringArray, config: Redaction) -> tuple[pa.StringArray, dict[str, npt.NDArray[np.int32]]]:
    """(texts with stand-ins, replacements of each kind in each text); null-free.

    Numbers of four parts with points are taken for IP addresses where they are valid public ones of eight digits and
    more, but not behind a word for a version; shorter ones behind `://`, `@` or "IP", or before a port or prefix.
    """
    counts = {kind: np.zeros(len(texts), np.int32) for kind in KINDS}
    # A vectorised look first: few texts have any.
    rules: list[tuple[str, re.Pattern[str], Callable[[re.Match[str]], bool], str | None, str]] = [
        ("email", _EMAIL, _any, config.email, r"[A-Za-z0-9_%+-]@[A-Za-z0-9]"),
        ("ip", _IPV4, _is_address, config.ip, r"\d\.\d{1,3}\.\d"),
        ("ip", _IPV6, _is_address, config.ip, r"[23][0-9A-Fa-f]{3}:[0-9A-Fa-f:]"),
        ("phone", _PHONE, _any, config.phone, r"\d{3}.?\d"),
    ]
    result: list[str] | None = None
    for kind, pattern, is_match, instead, look in rules:
        if instead is None:
            continue
        for i in np.flatnonzero(pc.match_substring_regex(texts, look).to_numpy(zero_copy_only=False)).tolist():
            result = texts.to_pylist() if result is None else result
            result[i], found = _replace(result[i], pattern, is_match, instead)
            counts[kind][i] += found
    return texts if result is None else pa.array(result, pa.string()), counts


def _replace(
    text: str, pattern: re.Pattern[str], is_match: Callable[[re.Match[str]], bool], instead: str
) -> tuple[str, int]:
    found = 0

    def stand_in(match: re.Match[str]) -> str:
        nonlocal found
        if match[0] == instead or not is_match(match):
            return match[0]
        found += 1
        return instead

    return pattern.sub(stand_in, text), found


def _is_public(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not any(found.version == network.version and found in network for network in _SPECIAL)


def _any(match: re.Match[str]) -> bool:
    return True


def _is_address(match: re.Match[str]) -> bool:
    text, start = match.string, match.start()
    if "." in match[0]:
        window = max(0, start - _BEFORE), start
        if sum(map(str.isdigit, match[0])) >= _SURE_DIGITS:
            sure = not _VERSION.search(text, *window)
        else:
            sure = bool(_BEFORE_ADDRESS.search(text, *window) or _AFTER_ADDRESS.match(text, match.end()))
        if not sure:
            return False
    return _is_public(match[0])
