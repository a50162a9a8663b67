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
        ("", "", (0, 0, 0)),
    ],
)
def test_redact(text: str, expected: str, counts: tuple[int, int, int]) -> None:
    texts, found = redact(pa.array(["before", text, "a@b.example"]), ALL)
    assert texts.to_pylist() == ["before", expected, EMAIL]
    assert tuple(found[kind].tolist()[1] for kind in ("email", "ip", "phone")) == counts
    assert found["email"].tolist()[0::2] == [0, 1]


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
