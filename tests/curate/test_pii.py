"""Redaction: what is replaced, what is not, and that twice is once."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.pii import EMAIL, IPV4, IPV6, PHONE, Redaction, redact

ALL = Redaction(phones=True)


@pytest.mark.parametrize(
    ("text", "expected", "counts"),
    [
        ("write to jane.doe+x@mail.example.org now", f"write to {EMAIL} now", (1, 0, 0)),
        ("(a_b@c-d.co.uk), x@y.io.", f"({EMAIL}), {EMAIL}.", (2, 0, 0)),
        ("no mail: @handle, a@b, 5 @ 3, user@localhost", "no mail: @handle, a@b, 5 @ 3, user@localhost", (0, 0, 0)),
        ("host 8.8.8.8 answered", f"host {IPV4} answered", (0, 1, 0)),
        ("10.0.0.1, 127.0.0.1, 192.168.1.1, 999.1.1.1", "10.0.0.1, 127.0.0.1, 192.168.1.1, 999.1.1.1", (0, 0, 0)),
        ("version 1.2.3.4.5 and 1.2.3", "version 1.2.3.4.5 and 1.2.3", (0, 0, 0)),
        ("at 2606:4700::1111 it is 12:30:45", f"at {IPV6} it is 12:30:45", (0, 1, 0)),
        ("std::vector::x and fe80::1", "std::vector::x and fe80::1", (0, 0, 0)),
        ("call +44 20 7946 0018 or (555) 123-4567", f"call {PHONE} or {PHONE}", (0, 0, 2)),
        ("in 1999-2004 we sold 1 234 567 of 12.5", "in 1999-2004 we sold 1 234 567 of 12.5", (0, 0, 0)),
        ("", "", (0, 0, 0)),
    ],
)
def test_redact(text: str, expected: str, counts: tuple[int, int, int]) -> None:
    texts, found = redact(pa.array(["before", text, "a@b.example"]), ALL)
    assert texts.to_pylist() == ["before", expected, EMAIL]
    assert (found["emails"] - 1, found["ips"], found["phones"]) == counts


@given(st.lists(st.text(alphabet="a1.@:+- \n2é()", max_size=80), max_size=4))
def test_twice_is_once(texts: list[str]) -> None:
    once, _ = redact(pa.array(texts, pa.string()), ALL)
    assert redact(once, ALL)[0].equals(once)


def test_off_is_off() -> None:
    texts = pa.array(["a@b.example 8.8.8.8"])
    assert redact(texts, Redaction(emails=False, ips=False)) == (texts, {})
