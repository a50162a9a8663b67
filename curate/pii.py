"""Personal data in a text: e-mail addresses, public IP addresses and, if asked, phone numbers become placeholders.

Patterns, so neither complete nor free of false finds; names and postal addresses are not looked for.
"""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

# Addresses that belong to nobody: RFC 2606, section 3 (example.com); RFC 5737, section 3 and RFC 3849 (documentation).
EMAIL = "email@example.com"
IPV4, IPV6 = "192.0.2.1", "2001:db8::1"
PHONE = "+00 000 000000"

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9_][\w.+-]{0,63}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}\b"
)
_IPV4 = re.compile(r"(?<![\w.-])\d{1,3}(?:\.\d{1,3}){3}(?![\w-]|\.\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{1,4}(?![\w:])")
# International form, or North American with both separators: what is seldom anything but a phone number.
_PHONE = re.compile(
    r"(?<![\w+.-])(?:\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{2,4}(?:[ .-]?\d{2,4}){2,4}"
    r"|\(?\d{3}\)?[ .-]\d{3}[.-]\d{4})(?![\w-])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """What is replaced; by default what FineWeb replaced: e-mail and public IP addresses (Penedo et al. 2024)."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    emails: bool = True
    ips: bool = True
    phones: bool = False


def redact(texts: pa.StringArray, config: Redaction) -> tuple[pa.StringArray, dict[str, int]]:
    """The texts with placeholders, and how many of each kind were set: emails, ips, phones.

    Redacting twice changes nothing more: a placeholder is no find.
    """
    counts: dict[str, int] = {}
    for name, asked, hint, patterns in (
        ("emails", config.emails, r"\w@\w", ((_EMAIL, _email),)),
        ("ips", config.ips, r"\d\.\d+\.\d+\.\d|[0-9A-Fa-f]:[0-9A-Fa-f:]*:", ((_IPV4, _address), (_IPV6, _address))),
        ("phones", config.phones, r"\d[ .-]?\d{2}|\d\)", ((_PHONE, _phone),)),
    ):
        if asked:
            texts, counts[name] = _replace(texts, hint, patterns)
    return texts, counts


Finds = tuple[tuple[re.Pattern[str], Callable[[str], str]], ...]


def _replace(texts: pa.StringArray, hint: str, patterns: Finds) -> tuple[pa.StringArray, int]:
    """The texts with each find put through its function; `hint` finds those that may hold one, some 20 times faster."""
    maybe = pc.match_substring_regex(texts, hint)
    if not pc.any(maybe).as_py():
        return texts, 0
    count = 0
    changed = []
    for text in texts.filter(maybe).to_pylist():
        for pattern, replace in patterns:

            def put(match: re.Match[str], replace: Callable[[str], str] = replace) -> str:
                nonlocal count
                new = replace(match.group())
                count += new != match.group()
                return new

            text = pattern.sub(put, text)
        changed.append(text)
    return pc.replace_with_mask(texts, maybe, pa.array(changed, texts.type)), count


def _email(found: str) -> str:
    return EMAIL


def _phone(found: str) -> str:
    return PHONE


def _address(found: str) -> str:
    """Public addresses are replaced; private, reserved and impossible ones (versions, times) are not."""
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return found
    if not address.is_global:
        return found
    return IPV4 if address.version == 4 else IPV6
