"""Block lists: each rule and what it tells, the lists' layouts, and a plain oracle of the compiled kernel."""

import gzip
import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import blocklist, url, urlscan
from curate.blocklist import BlockList
from curate.errors import InputError

RULES = BlockList(
    domains=("bad.example", "www.worse.example", "10.9.8.7", "github.io", "bücher.example"),
    words=("porn", "casino"),
    soft_words=("casino", "slots", "poker", "bet"),
    subwords=("xxx", "spam4"),
    ip_hosts=True,
)


def why(config: BlockList, *urls: str | None) -> list[str | None]:
    found: list[str | None] = blocklist.load(config).why(pa.array(urls, pa.string())).to_pylist()
    return found


@pytest.mark.parametrize(
    ("address", "detail"),
    [
        ("http://bad.example/", "domains: bad.example"),
        ("https://deep.below.BAD.example:8080/x", "domains: bad.example"),
        ("HTTP://BAD.EXAMPLE", "domains: bad.example"),
        ("http://bad.example.?q", "domains: bad.example"),
        ("http://me:secret@bad.example/", "domains: bad.example"),
        ("  http://bad.\nexample/", "domains: bad.example"),
        ("http://worse.example/", "domains: worse.example"),
        ("http://www2.worse.example/", "domains: worse.example"),
        ("http://bücher.example/x", "domains: xn--bcher-kva.example"),
        ("http://10.9.8.7/", "domains: 10.9.8.7"),
        ("http://notbad.example/", None),
        ("http://example/", None),
        ("http://bad.example.org/", None),
        ("http://bad.example@good.example/", None),
        ("http://good.example/?u=http://bad.example/", None),
        # A public suffix on a list takes nobody below it along.
        ("http://github.io/", "domains: github.io"),
        ("http://www.github.io/", "domains: github.io"),
        ("http://someone.github.io/", None),
        ("http://1.2.3.4/x", "ip host: 1.2.3.4"),
        ("http://[2001:db8::1]:80/x", "ip host: [2001:db8::1]"),
        ("http://1.2.3.4.example/", None),
        ("http://example/1.2.3.4", None),
        ("http://porn.example/", "word: porn"),
        ("http://a.example/x/Porn-y.html", "word: porn"),
        ("http://a.example/?q=x%20porn", "word: porn"),
        ("http://a.example/pornography", None),
        ("http://a.example/xporn", None),
        ("http://a.example/casino", "word: casino"),  # in both lists: one is enough
        ("http://a.example/slots/poker", "words: slots, poker"),
        ("http://slots.example/bet%2Bpoker", "words: slots, bet"),
        ("http://a.example/slots/slots", None),
        ("http://a.example/slots/better", None),
        ("http://a.example/aXXXb", "subword: xxx"),
        ("http://porn@a.example/", None),  # a user name is no part of the page's name
        ("not a url with porn and xxx", None),
        ("mailto:x@bad.example", None),
        ("http://", None),
        ("", None),
        (None, None),
    ],
)
def test_why(address: str | None, detail: str | None) -> None:
    free = "http://good.example/page?porno=spam"
    assert why(RULES, free, address, free) == [None, detail, None]
    assert why(RULES, address) == [detail]


def test_no_rule_blocks_nothing() -> None:
    urls = ["http://bad.example/", "http://1.2.3.4/", "http://porn.example/xxx/casino/slots", None, "x"]
    assert why(BlockList(), *urls) == [None] * len(urls)
    assert blocklist.load(BlockList()).why(pa.array([], pa.string())).to_pylist() == []


def test_soft_words_take_as_many_as_asked() -> None:
    rules = BlockList(soft_words=("a", "b", "c"), min_soft_words=3)
    assert why(rules, "http://a.example/b", "http://a.example/b/c") == [None, "words: a, b, c"]


LISTED = [
    ("http://www.worse.example/", "adult: worse.example"),
    ("http://sub.worse.example/", "adult: worse.example"),
    ("http://good.example/part/x?y=1", "adult: good.example/part"),
    ("http://www.good.example/part", "adult: good.example/part"),
    ("http://good.example/%70art/", "adult: good.example/part"),
    ("http://good.example/a/../part", "adult: good.example/part"),
    ("http://good.example/party", None),
    ("http://good.example/", None),
    ("http://below.good.example/part", None),
    ("http://good.example/show?id=7", "adult: good.example/show?id=7"),
    ("http://good.example/show?id=8", None),
    ("http://good.example/porn", "word: porn"),  # its host has listed pages, this is none: the next rules apply
    ("http://bets.example/x", "gambling: bets.example"),
    ("http://whole.example/", "gambling: whole.example"),
]
FILES = {
    "adult/domains": "# a comment\nworse.example\r\n\n  .dotted.example\nBAD.example\nworse.example\nno host at all\n",
    "adult/urls": "good.example/part/\ngood.example/show?id=7\n",
    "adult/expressions": "(.*)\n",
    "gambling/domains": "bets.example\nworse.example\n",
    "gambling/urls": "whole.example\n",
}


def folder(at: Path, packed: bool) -> Path:
    for name, lines in FILES.items():
        path = at / "lists" / (name + ".gz" * packed)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(lines.encode()) if packed else lines.encode())
    return at / "lists"


def archive(path: Path, prefix: str) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for name, lines in FILES.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(lines)
            file.addfile(member, io.BytesIO(lines.encode()))
        alias = tarfile.TarInfo(prefix + "porn")  # as UT1 has it
        alias.type, alias.linkname = tarfile.SYMTYPE, "adult"
        file.addfile(alias)
    return path


@pytest.mark.parametrize("layout", ["folder", "packed", "tar.gz", "./tar.gz", "blacklists/tgz"])
def test_lists_as_ut1_publishes_them(tmp_path: Path, layout: str) -> None:
    if "/" in layout or layout == "tar.gz":
        prefix, _, ending = layout.rpartition("/")
        path = archive(tmp_path / f"all.{ending}", prefix and prefix + "/")
    else:
        path = folder(tmp_path, layout == "packed")
    rules = BlockList(lists=(str(path),), words=("porn",))
    urls = [*(address for address, _ in LISTED), "http://dotted.example/", "http://bad.example"]
    assert why(rules, *urls) == [*(detail for _, detail in LISTED), "adult: dotted.example", "adult: bad.example"]
    only = BlockList(lists=(str(path),), categories=("gambling",))
    assert why(only, "http://good.example/part", "http://worse.example") == [None, "gambling: worse.example"]


def test_a_category_or_a_file_alone(tmp_path: Path) -> None:
    path = folder(tmp_path, packed=False)
    assert why(BlockList(lists=(str(path / "adult"),)), "http://worse.example") == ["adult: worse.example"]
    own = tmp_path / "ours.txt"
    own.write_text("http://www.one.example/\ntwo.example/page\n")
    found = why(BlockList(lists=(str(own),)), "http://one.example/x", "http://two.example/page/", "http://two.example")
    assert found == ["ours: one.example", "ours: two.example/page", None]


def test_lists_that_are_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no block list at"):
        blocklist.load(BlockList(lists=(str(tmp_path / "absent"),)))
    path = folder(tmp_path, packed=False)
    with pytest.raises(InputError, match="no category drugs in the block lists, which have adult, gambling"):
        blocklist.load(BlockList(lists=(str(path),), categories=("adult", "drugs", "gambling")))
    packed = archive(tmp_path / "all.tar.gz", "")
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"all\.tar\.gz is damaged.*get it again"):
        blocklist.load(BlockList(lists=(str(packed),)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"domains": ("bad.example/path",)}, "must be a host name"),
        ({"categories": ("adult",)}, "lists is empty"),
        ({"words": ("Porn",)}, "lower-case ASCII"),
        ({"subwords": ("",)}, "lower-case ASCII"),
        ({"min_soft_words": 0}, "must be at least 1"),
    ],
)
def test_settings_are_checked(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BlockList(**setting)


# ---- the kernel against plain Python

LABELS = st.sampled_from(["a", "bad", "example", "www", "www2", "com", "co", "uk", "github", "io", "7", "B-d", "é", ""])
HOSTS = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
TAILS = st.lists(st.sampled_from(["/", "porn", "slots", "bet", "%20", "%2", "?", "#", "-", ".", "..", "@", ":80", "é"]))
ADDRESSES = st.tuples(st.sampled_from(["http://", "https://", "HTTP://u@", "ftp://", ""]), HOSTS, TAILS)
CONFIG = BlockList(
    domains=("bad.example", "www.a.com", "co.uk", "github.io", "7"), words=("porn",), soft_words=("slots", "bet")
)


def plainly(address: str) -> str | None:
    """The documented rules, on the normalised host and the words after the user name."""
    bare = url.normalise(address).removeprefix("http://")
    host = re.split("[:/?#]", bare)[0]
    if not host:
        return None
    labels = host.split(".")
    for i in range(len(labels)):
        name = ".".join(labels[i:])
        if name in ("bad.example", "a.com", "7") or (name in ("co.uk", "github.io") and i == 0):
            return "list"
    text = re.sub("%[0-9a-f]{2}", "%", address.strip().partition("://")[2].lower())
    authority = re.split(r"[/?#\\]", text)[0]
    found = set(re.findall("[0-9a-z]+", text[len(authority) - len(authority.rpartition("@")[2]) :]))
    return "word" if "porn" in found else "words" if {"slots", "bet"} <= found else None


@given(st.lists(ADDRESSES.map(lambda parts: parts[0] + parts[1] + "".join(parts[2])), max_size=4))
def test_the_kernel_equals_plain_python(urls: list[str]) -> None:
    kind = {None: None, "domains": "list", "word": "word", "words": "words"}
    found = why(CONFIG, *urls)
    for address, told in zip(urls, found, strict=True):
        # A URL whose host is spelt anew has its words read from the new spelling, which may leave some out.
        spelt = {plainly(address), plainly(url.normalise(address))}
        assert kind[told and told.partition(":")[0]] in spelt, address


@given(st.text(max_size=40), st.text(max_size=10))
def test_any_text_passes(text: str, tail: str) -> None:
    assert why(RULES, text, f"http://{text}", f"https://a.example/{tail}")[2:] != []


@given(st.sets(st.integers(1, 2**64 - 1), min_size=1, max_size=200))
def test_the_table_finds_what_it_holds(keys: set[int]) -> None:
    array = np.array(sorted(keys), np.uint64)
    table = blocklist._table(array, np.arange(1, len(array) + 1, dtype=np.uint16))
    assert [int(urlscan.get(*table, key)) for key in array] == list(range(1, len(array) + 1))
    assert all(not urlscan.get(*table, np.uint64(key)) for key in (7, 2**63 + 5) if key not in keys)
