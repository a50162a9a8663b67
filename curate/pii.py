"""Redaction of what identifies a person: e-mail addresses, public IP addresses, phone numbers if asked.

Patterns only, and by default of the kinds that FineWeb redacts (Penedo et al. 2024: e-mail, public IP addresses). Names
and postal addresses stay. A stand-in is itself no find, so redacting twice is redacting once.
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
# linear time; the look-behind keeps an over-long local part from matching from its middle.
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_%+-])?"
    r"@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24})(?![A-Za-z0-9-])"
)
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)")
# Numbers of four parts that are no addresses: behind one of these words, or a line's first word with a full stop behind
# it. Without the second rule, most finds in handbooks are the numbers of their sections.
_NUMBERED = re.compile(
    r"(?:\b(?:v|vers?|versions?|release|build|firmware|section|chapter|clause|rule|article)\.?|[§節节章]) ?$", re.I
)
_BEFORE = 12
_HEADING = re.compile(r"\. *[^\W\d]")
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
# others. 29 finds in 2,145 texts of real pages were all phone numbers.
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

    Numbers of four parts with points are taken for IP addresses where they are valid public ones, but not behind an
    English word for a version or section, nor as the number before a heading.
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
    before = text[max(0, start - _BEFORE) : start]
    begins_line = not before.rpartition("\n")[2].strip()
    if _NUMBERED.search(before) or (begins_line and _HEADING.match(text, match.end())):
        return False
    return _is_public(match[0])
