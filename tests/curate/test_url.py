"""URLs: one spelling a page, hosts, registered domains."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import url

GOLDEN = 12825879590649519735


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("http://Example.COM:80/a", "http://example.com/a"),
        ("https://www.example.com/a/", "http://example.com/a"),
        ("https://example.com:8443/a#part", "http://example.com:8443/a"),
        ("http://user:pw@example.com/", "http://example.com"),
        ("http://example.com/a/../b/./c", "http://example.com/b/c"),
        ("http://example.com/?b=2&a=1&utm_source=x&fbclid=y", "http://example.com?a=1&b=2"),
        ("http://example.com/%7euser/%C3%A9", "http://example.com/~user/%C3%A9"),
        ("http://example.com/é", "http://example.com/%C3%A9"),
        ("http://bücher.example/Path", "http://xn--bcher-kva.example/Path"),
        ("http://www2.example.com.", "http://example.com"),
        ("http://example.com?", "http://example.com"),
        ("not a url", ""),
        ("http://[broken/", ""),
        ("http://example.com:x/", ""),
        ("http://twitter.com/#!/name", "http://twitter.com#!/name"),
        ("http://www.com/", "http://www.com"),
        ("http://[2001:DB8::1]:80/", "http://[2001:db8::1]"),
        ("http://a.example/x;jsessionid=1?PHPSESSID=2", "http://a.example/x"),
    ],
)
def test_normalise(given_: str, expected: str) -> None:
    assert url.normalise(given_) == expected


@given(st.text(max_size=60).map(lambda tail: "http://example.com/" + tail))
def test_normalise_is_idempotent(address: str) -> None:
    once = url.normalise(address)
    assert url.normalise(once) == once


@given(st.text(max_size=80))
def test_any_string_has_a_key(address: str) -> None:
    assert 0 <= url.key(address) < 2**64


def test_key_is_stable() -> None:
    assert url.key("https://www.example.com/a/") == url.key("http://example.com/a") == GOLDEN


def test_what_is_no_url_has_no_key() -> None:
    assert [url.key(one) for one in ("", "mailto:x@example.com")] == [0, 0]


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("www.bbc.co.uk", "bbc.co.uk"),
        ("a.b.github.io", "b.github.io"),
        ("github.io", "github.io"),
        ("www.ck", "www.ck"),
        ("a.x.y.ck", "x.y.ck"),
        ("a.city.kawasaki.jp", "city.kawasaki.jp"),
        ("b.a.foo.kawasaki.jp", "a.foo.kawasaki.jp"),
        ("a.xn--85x722f.xn--55qx5d.cn", "xn--85x722f.xn--55qx5d.cn"),
        ("a.b.unknown-suffix", "b.unknown-suffix"),
        ("1.2.3.4", "1.2.3.4"),
        ("localhost", "localhost"),
    ],
)
def test_registered_domain(host: str, domain: str) -> None:
    assert url.registered_domain(host) == domain
