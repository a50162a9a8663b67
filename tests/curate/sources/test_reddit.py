"""Reddit submissions: which are links, in every container, and karma by URL."""

import bz2
import csv
import gzip
import io
import json
import lzma
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from curate import url as urls
from curate.document import Dropped, Failed
from curate.errors import InputError
from curate.reasons import Reason
from curate.sources import reddit
from curate.sources.reddit import Karma, Link

Outcome = Link | Dropped | Failed


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Outcome]]:
    def read_bytes(data: bytes, name: str = "RS.ndjson", **settings: Any) -> list[Outcome]:
        path = tmp_path / name
        path.write_bytes(data)
        return list(reddit.read(str(path), Karma(**settings)))

    return read_bytes


def post(url: object = "https://a.example/x", score: object = 5, **fields: object) -> dict[str, object]:
    return {"url": url, "score": score, "is_self": False, "over_18": False, **fields}


def lines(*posts: dict[str, object]) -> bytes:
    return b"".join(json.dumps(p).encode() + b"\n" for p in posts)


@pytest.mark.parametrize(
    ("submission", "expected"),
    [
        (post(), "link"),
        (post("HTTPS://A.example/x "), "link"),
        (post(is_self=True), Reason.self_post),
        (post(is_self="True"), Reason.self_post),
        ({"url": "http://a.example/", "score": 1, "domain": "self.pics"}, Reason.self_post),
        (post("https://www.reddit.com/r/x/comments/1/"), Reason.self_post),
        (post("https://i.redd.it/x.jpg"), Reason.self_post),
        (post("https://notreddit.com/"), "link"),
        (post("https://en.wikipedia.org/wiki/X"), Reason.excluded_domain),
        (post("https://wikipedia.org.example/"), "link"),
        (post("ftp://a.example/"), Reason.unusable_url),
        (post("https:///x"), Reason.unusable_url),
        (post(""), Reason.unusable_url),
        (post(over_18=True), Reason.over_18),
        (post(over_18="false"), "link"),
        (post(score="12"), "link"),
        (post(score=None), "failed"),
        (post(score="many"), "failed"),
        (post(url=None), "failed"),
        ({"score": 1}, "failed"),
    ],
)
def test_each_submission_ends_in_one_place(
    read: Callable[..., list[Outcome]], submission: dict[str, object], expected: str
) -> None:
    (found,) = read(lines(submission))
    match found:
        case Link(url=url, key=key):
            assert expected == "link"
            assert url == urls.normalise(str(submission["url"]).strip())
            assert key == urls.key(url)
        case Dropped(reason=reason):
            assert reason == expected
        case Failed():
            assert expected == "failed"


def test_rules_can_be_changed(read: Callable[..., list[Outcome]]) -> None:
    data = lines(post(over_18=True), post("https://en.wikipedia.org/wiki/X"))
    assert all(isinstance(r, Link) for r in read(data, over_18=True, excluded_domains=()))


DATA = lines(post(), post(score=7), post("http://b.example/", 1))


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("RS_2011-01", bytes),
        ("RS.zst", zstandard.compress),
        ("RS.gz", gzip.compress),
        ("RS.xz", lzma.compress),
        ("RS.bz2", bz2.compress),
        ("RS.two.bz2", lambda data: bz2.compress(data[:50]) + bz2.compress(data[50:])),
    ],
)
def test_containers(read: Callable[..., list[Outcome]], name: str, pack: Callable[[bytes], bytes]) -> None:
    assert read(pack(DATA), name) == read(DATA)
    assert [r.offset for r in read(pack(DATA), name)] == [0, *(i + 1 for i, b in enumerate(DATA[:-1]) if b == 10)]


def test_long_windows_are_read(read: Callable[..., list[Outcome]]) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=31, enable_ldm=True)
    packed = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=parameters).stream_writer(packed, closefd=False) as writer:
        writer.write(DATA)
    assert read(packed.getvalue(), "RS.zst") == read(DATA)


def test_damage_is_a_dead_letter(read: Callable[..., list[Outcome]]) -> None:
    bad = b'{"url": "http://a.example/"\n[1]\n\xff\n' + DATA
    found = read(bad)
    assert [type(r) for r in found] == [Failed, Failed, Failed, Link, Link, Link]
    assert [r.offset for r in found[:4]] == [0, 28, 32, 34]
    cut = read(gzip.compress(DATA)[:-12], "RS.gz")
    assert [type(r) for r in cut][-1] == Failed
    assert [r for r in cut if isinstance(r, Link)] == read(DATA)[: len(cut) - 1]


def table(*posts: dict[str, object]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, ["score", "title", "url", "is_self", "over_18"])
    writer.writeheader()
    writer.writerows({"title": 'a "b",\r\n\r\nc', **p} for p in posts)
    return text.getvalue().encode()


def test_csv(read: Callable[..., list[Outcome]]) -> None:
    found = read(table(post(), post(is_self=True), post(score="x")), "pics.csv")
    assert [type(r) for r in found] == [Link, Dropped, Failed]
    assert [r.offset for r in found] == [0, 1, 2]
    assert read(gzip.compress(table(post())), "pics.csv.gz") == found[:1]
    cut = read(table(post(), post())[:-40], "pics.csv")
    assert [type(r) for r in cut] == [Link, Failed]
    with pytest.raises(InputError, match="no column 'url'; its columns are score, title"):
        read(b"score,title\n1,x\n", "pics.csv")


def links(*rows: tuple[str, int]) -> pa.Table:
    return pa.Table.from_pylist(
        [
            {"url": url, "key": urls.key(url), "score": score, "id": f"{i:032x}", "file": "f", "offset": i}
            for i, (url, score) in enumerate(rows)
        ],
        schema=reddit.LINKS,
    )


A, B, C = "http://a.example", "http://b.example", "http://c.example/x"


@pytest.mark.parametrize(
    ("settings", "liked"),
    [
        ({}, {A: 4}),
        ({"aggregate": "sum"}, {A: 5, B: 3}),
        ({"min_karma": 1}, {A: 4, B: 1}),
        ({"min_karma": None}, {A: 4, B: 1, C: 0}),
    ],
)
def test_karma_of_a_url(settings: dict[str, Any], liked: dict[str, int]) -> None:
    found, fates = reddit.aggregate(links((B, 1), (A, 1), (B, 1), (A, 4), (C, 0), (B, 1)), Karma(**settings))
    assert dict(zip(found["url"].to_pylist(), found["score"].to_pylist(), strict=True)) == liked
    assert len(found) + len(fates) == 6
    assert found.schema == reddit.URLS
    if not settings:
        assert fates == [
            (0, Reason.low_karma, "max 1"),
            (1, Reason.repeated_link, ""),
            (2, Reason.low_karma, "max 1"),
            (4, Reason.low_karma, "max 0"),
            (5, Reason.low_karma, "max 1"),
        ]


def test_no_links() -> None:
    found, fates = reddit.aggregate(links())
    assert (len(found), fates) == (0, [])


@given(
    st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(-3, 9)), max_size=12),
    st.randoms(use_true_random=False),
    st.sampled_from(["max", "sum"]),
)
def test_the_order_of_links_does_not_matter(rows: list[tuple[str, int]], random: Any, aggregate: Any) -> None:
    config = Karma(aggregate=aggregate)
    whole = links(*rows)
    order = list(range(len(rows)))
    random.shuffle(order)
    ours, fates = reddit.aggregate(whole, config)
    theirs, shuffled = reddit.aggregate(whole.take(pa.array(order, pa.int64())), config)
    assert ours.equals(theirs)
    assert sorted((order[row], reason) for row, reason, _ in shuffled) == [(row, reason) for row, reason, _ in fates]


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="aggregate is 'mean'"):
        Karma(aggregate="mean")  # type: ignore[arg-type]


@pytest.mark.data("reddit")
def test_real_submissions(data_dir: Path) -> None:
    """No row of 140 tables and two monthly dumps fails, and each is counted once."""
    files = sorted((data_dir / "reddit").rglob("*.csv"))[::10] + sorted((data_dir / "reddit" / "pushshift").glob("*"))
    counts = Counter(type(r).__name__ for file in files for r in reddit.read(str(file)))
    assert counts["Failed"] == 0
    assert counts["Link"] > 10_000
    dumps = [list(reddit.read(str(file))) for file in files[-2:]]
    assert [len(rows) for rows in dumps] == [103, 1079]
