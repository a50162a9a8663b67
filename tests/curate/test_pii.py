"""Redaction: what is replaced, what is not, and that twice is once."""

import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.pii import Redaction, redact

EMAIL, IP, PHONE = "email@example.com", "192.0.2.1", "PHONE"
ALL = Redaction(phone=PHONE)


@pytest.mark.parametrize(
    ("text", "expected", "counts"),
    [
        ("write to jane.doe+x@mail.example.org now", f"write to {EMAIL} now", (1, 0, 0)),
        ("(a_b@c-d.co.uk), x@y.io.", f"({EMAIL}), {EMAIL}.", (2, 0, 0)),
        ("no mail: @handle, a@b, 5 @ 3, user@localhost", "no mail: @handle, a@b, 5 @ 3, user@localhost", (0, 0, 0)),
        ("host 8.8.8.8 answered", f"host {IP} answered", (0, 1, 0)),
        ("10.0.0.1, 127.0.0.1, 192.168.1.1, 999.1.1.1", "10.0.0.1, 127.0.0.1, 192.168.1.1, 999.1.1.1", (0, 0, 0)),
        ("version 1.2.3.4.5 and 1.2.3", "version 1.2.3.4.5 and 1.2.3", (0, 0, 0)),
        ("at 2606:4700::1111 it is 12:30:45", f"at {IP} it is 12:30:45", (0, 1, 0)),
        ("std::vector::x and fe80::1", "std::vector::x and fe80::1", (0, 0, 0)),
        ("call +44 20 7946 0018 or (555) 123-4567", f"call {PHONE} or {PHONE}", (0, 0, 2)),
        ("in 1999-2004 we sold 1 234 567 of 12.5", "in 1999-2004 we sold 1 234 567 of 12.5", (0, 0, 0)),
        ("(+45) 4674 3012; +1 (425) 882 8080", f"{PHONE}; {PHONE}", (0, 0, 2)),
        ("<jane@x.museum>mail:joe@sub.x-y.org?", f"<{EMAIL}>mail:{EMAIL}?", (2, 0, 0)),
        ("8.8.8.8:53, 8.8.4.4/32 [2a00:1450:4001::200e]", f"{IP}:53, {IP}/32 [{IP}]", (0, 3, 0)),
        ("8.8.8.8 answered.\n8.8.4.4", f"{IP} answered.\n{IP}", (0, 2, 0)),
        ("", "", (0, 0, 0)),
    ],
)
def test_redact(text: str, expected: str, counts: tuple[int, int, int]) -> None:
    texts, found = redact(pa.array(["before", text, "a@b.example"]), ALL)
    assert texts.to_pylist() == ["before", expected, EMAIL]
    assert tuple(found[kind].tolist()[1] for kind in ("email", "ip", "phone")) == counts
    assert found["email"].tolist()[0::2] == [0, 1]


@pytest.mark.parametrize(
    "text",
    [
        # e-mail
        "@media print, git@github, me at x dot com, a@b.c, x@-y.com, .@x.com, price 5@2.50",
        "user@127.0.0.1 and user@localhost",
        # private, shared, link-local, documentation, multicast, reserved
        "10.1.2.3 172.16.0.1 172.31.255.255 192.168.0.9 127.0.0.53 169.254.1.1 100.64.0.1 198.18.0.1",
        "192.0.2.7 198.51.100.7 203.0.113.7 224.0.0.251 239.255.255.250 240.0.0.1 255.255.255.0 0.0.0.0",
        "2001:db8::1 2002:c000:204::1 2001:0:53aa::1 fe80::1 fd12:3456::1 ::1 ff02::1",
        # versions, sections, dates, and numbers that are too large
        "version 9.2.1.2, v. 4.18.0.1, Release 6.1.2.3, section 1.3.3.1, § 3.1.2.4 and 節 1.3.3.1",
        "14.5.3.2. Managing services\n  8.9.2.1. For workstations\n8.9.2.2.Servers",
        "1.2.3, 1.2.3.4.5, 1.2.3.4-rc1, v1.2.3.4, 256.1.1.1, 8.8.8.08x, 01.02.03.2004, 12.34.56.78901",
        "2024:05:06 at 20:15:30, 3fff:zz, 2001:db8, std::map, 3:16",
        # phone
        "1999-2004, 2024-05-06, 12-34-56, 555-1234, 1234567890, ISBN 978-0-306-40615-7, 4111 1111 1111 1111",
        "x+1234567890, 3 + 4 = 7, +5%, 555-123-45678, 0555-123-4567, 192-168-0001-1, (555) 12-34",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    texts, found = redact(pa.array([text]), ALL)
    assert texts.to_pylist() == [text]
    assert not any(number.any() for number in found.values())


@given(st.lists(st.text(alphabet="a1.@:+- \n2é()", max_size=80), max_size=4))
def test_twice_is_once(texts: list[str]) -> None:
    once, _ = redact(pa.array(texts, pa.string()), ALL)
    assert redact(once, ALL)[0].equals(once)


def test_off_is_off() -> None:
    texts = pa.array(["a@b.example 8.8.8.8"])
    same, counts = redact(texts, Redaction(email=None, ip=None))
    assert same.equals(texts)
    assert all(number.tolist() == [0] for number in counts.values())


@pytest.mark.parametrize("setting", [{"ip": "8.8.8.8"}, {"phone": "+44 20 7946 0018"}, {"email": "a@b.de, c@d.de"}])
def test_stand_ins_that_would_be_finds_are_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="it must"):
        Redaction(**setting)


@pytest.mark.parametrize(
    "text", ["a@" * 200_000, "1." * 200_000, "2001:" * 100_000, "+1 " * 100_000, "a" * 400_000 + "@"]
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    start = time.process_time()
    redact(pa.array([text]), ALL)
    assert time.process_time() - start < 2
