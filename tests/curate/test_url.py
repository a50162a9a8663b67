"""URLs: one spelling a page, hosts, block lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import url
from curate.errors import InputError


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("http://Example.COM:80/a", "example.com/a"),
        ("https://www.example.com/a/", "example.com/a"),
        ("https://example.com:8443/a#part", "example.com:8443/a"),
        ("http://user:pw@example.com/", "example.com"),
        ("http://example.com/a/../b/./c", "example.com/b/c"),
        ("http://example.com/?b=2&a=1&utm_source=x&fbclid=y", "example.com?a=1&b=2"),
        ("http://example.com/%7euser/%C3%A9", "example.com/~user/%C3%A9"),
        ("http://example.com/é", "example.com/%C3%A9"),
        ("http://bücher.example/Path", "xn--bcher-kva.example/Path"),
        ("http://www2.example.com.", "example.com"),
        ("http://example.com?", "example.com"),
        ("not a url", "not a url"),
        ("http://[broken/", "http://[broken/"),
        ("http://example.com:x/", "http://example.com:x/"),
    ],
)
def test_normalise(given_: str, expected: str) -> None:
    assert url.normalise(given_) == expected


@given(st.text(max_size=60).map(lambda tail: "http://example.com/" + tail))
def test_normalise_is_idempotent_behind_its_scheme(address: str) -> None:
    once = url.normalise(address)
    assert url.normalise("http://" + once) == once


@given(st.text(max_size=80))
def test_any_string_has_a_key(address: str) -> None:
    assert 0 <= url.key(address) < 2**64


def test_key_is_stable() -> None:
    assert url.key("https://www.example.com/a/") == url.key("http://example.com/a") == 16068446389948089003


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://bad.example/", "bad.example"),
        ("http://deep.below.bad.example/x", "bad.example"),
        ("http://notbad.example/", ""),
        ("http://good.example/casino-bonus", "casino"),
        ("http://good.example/occasinos", ""),
        ("http://10.1.2.3/x", "10.1.2.3"),
    ],
)
def test_blocked(address: str, why: str) -> None:
    blocker = url.load_blocklist(url.BlockList(domains=("bad.example",), words=("casino",), ip_hosts=True))
    assert blocker.why(address) == why


def test_block_list_in_folders(tmp_path) -> None:
    (tmp_path / "adult").mkdir()
    (tmp_path / "adult" / "domains").write_text("worse.example\n\nbad.example\n")
    blocker = url.load_blocklist(url.BlockList(folders=(str(tmp_path),)))
    assert blocker.why("https://www.worse.example/") == "worse.example"
    with pytest.raises(InputError, match="holds no file named domains"):
        url.load_blocklist(url.BlockList(folders=(str(tmp_path / "none"),)))
