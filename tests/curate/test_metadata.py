"""What pages say of themselves: each field's sources and their order, hostile input, and the gold."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import html, metadata
from curate.charset import decode_all


def read(*pages: str, url: str = "") -> list[dict[str, str]]:
    array = pa.array(pages, pa.string())
    return list(metadata.read(array, html.scan(array), pa.array([url] * len(pages))).to_pylist())


def one(page: str, url: str = "") -> dict[str, str]:
    return read(page, url=url)[0]


def ld(value: Any) -> str:
    return f'<script type="application/ld+json">{json.dumps(value)}</script>'


def test_nothing_said() -> None:
    assert read("", "<p>text") == [dict.fromkeys(metadata.METADATA.names, "")] * 2
    assert read() == []


def test_a_page_that_says_all() -> None:
    page = """<html lang="en_GB"><title>The &amp; title | Example</title><link rel="canonical" href="/a?b=1&amp;c=2">
    <meta property="og:site_name" content="Example"><meta name="author" content="By Ann Smith">
    <meta property="article:published_time" content="2015-07-24T05:36:09+01:00">"""
    assert one(page, "https://www.example.com/x/y") == {
        "title": "The & title",
        "author": "Ann Smith",
        "date": "2015-07-24T05:36:09+01:00",
        "language": "en-GB",
        "canonical": "https://www.example.com/a?b=1&c=2",
    }


@pytest.mark.parametrize(
    ("page", "url", "title"),
    [
        ("<title> A \n title </title>", "", "A title"),
        ("<title>A - B</title>", "", "A - B"),
        ("<title>A - Example</title>", "http://www.example.co.uk/", "A"),
        ("<title>A – news.example.co.uk</title>", "http://news.example.co.uk/", "A"),
        ("<title>Example » A: B</title>", "http://example.com/", "A: B"),
        ("<title>Example: A | Example</title>", "http://example.com/", "A"),
        ("<title>A-example</title>", "http://example.com/", "A-example"),
        ("<title>Example</title>", "http://example.com/", "Example"),
        ("<title>A | Příklad</title>", "http://priklad.cz/", "A"),
        ("<title>A | B</title><link rel=canonical href=https://b.example/>", "", "A"),
        ("<title>A</title><meta property=og:title content='O &amp;amp; &lt;i&gt;P&lt;/i&gt;'>", "", "O & P"),
        ("<title>A | E</title><meta property=og:title content=E><meta property=og:site_name content=e>", "", "A"),
        ("<title>A</title><meta property=og:title content=' '>", "", "A"),
        ("<title>A</title>" + ld({"@type": "NewsArticle", "headline": "H &quot;h&quot;"}), "", 'H "h"'),
        ("<title>A</title>" + ld({"@type": "Article", "headline": "a description", "name": "N"}), "", "N"),
        ("<title>A</title>" + ld({"@type": "WebPage", "headline": "H"}), "", "A"),
        ("<title>" + "A" * 5000, "", ""),
    ],
)
def test_title(page: str, url: str, title: str) -> None:
    assert one(page, url)["title"] == title


@pytest.mark.parametrize(
    ("page", "author"),
    [
        ("<meta name=author content='https://facebook.com/ann'>", ""),
        ("<meta name=author content='ann@example.com'>", ""),
        ("<meta name=author content=105092>", ""),
        ("<meta name=author content='Von Miller'>", "Von Miller"),
        ("<meta name=author content='by: Ann'>", "Ann"),
        (f"<meta name=author content='{'so ' * 90}'>", ""),
        ("<meta name=citation_author content=Ann><meta name=citation_author content=Bo>", "Ann; Bo"),
        ("<meta name=author content=ANN><meta property=article:author content=Ann>", "ANN"),
        ("<a rel=author href=/ann>By <b>Ann</b></a><a rel=author href=/bo>Bo</a>", "Ann"),
        ("<meta name=author content=Site><meta property=og:site_name content=site>", "Site"),
        ("<meta name=author content=Site><meta property=og:site_name content=site><a rel=author>Ann</a>", "Ann"),
        ("<meta name=author content=Ann>" + ld({"@type": "Article", "author": ["Bo", {"name": "Cy"}]}), "Bo; Cy"),
        (ld({"@type": "BlogPosting", "author": {"@type": "Person", "name": ["Ann", "Bo"]}}), "Ann; Bo"),
        (ld({"@graph": [{"@type": "Article", "author": {"@id": "#1"}}, {"@id": "#1", "name": "Ann"}]}), "Ann"),
        (ld([{"@type": "WebPage", "mainEntity": {"@type": "Recipe", "author": "Ann"}}]), "Ann"),
        (ld({"@type": "Article", "author": {"name": {"name": 1}}}) + "<meta name=author content=Bo>", "Bo"),
    ],
)
def test_author(page: str, author: str) -> None:
    assert one(page)["author"] == author


@pytest.mark.parametrize(
    ("written", "date"),
    [
        ("2015-07-24", "2015-07-24"),
        ("2015-7-4", "2015-07-04"),
        ("2015/07/24", "2015-07-24"),
        ("2015.07.24", "2015-07-24"),
        ("20150724", "2015-07-24"),
        ("20150724053609", "2015-07-24"),
        ("20150724T053609Z", "2015-07-24T05:36:09+00:00"),
        ("2015-07-24T05:36", "2015-07-24"),
        ("2015-07-24 05:36:09.123456", "2015-07-24"),
        ("2015-07-24T05:36:09.096Z", "2015-07-24T05:36:09+00:00"),
        ("2015-07-24T05:36:09-0730", "2015-07-24T05:36:09-07:30"),
        ("2015-07-24 05:36 +02", "2015-07-24T05:36:00+02:00"),
        ("2015-07-24T05:36:09&#43;02:00", "2015-07-24T05:36:09+02:00"),
        (" Fri, 24 Jul 2015 05:36:09 GMT ", "2015-07-24T05:36:09+00:00"),
        ("24 Jul 2015 05:36 -0500", "2015-07-24T05:36:00-05:00"),
        ("24 Jul 2015 05:36 CET", "2015-07-24"),
        # not of a machine, ambiguous, impossible, or no year of the web
        ("July 24, 2015", ""),
        ("24/07/2015", ""),
        ("2015-07/24", ""),
        ("2015-07", ""),
        ("201572", ""),
        ("2015-13-01", ""),
        ("2015-02-29", ""),
        ("2015-07-24T25:00:00Z", ""),
        ("2015-07-24T05:36:09+99:00", ""),
        ("Fri, 31 Feb 2015 05:36:09 GMT", ""),
        ("1989-12-31", ""),
        ("2101-01-01", ""),
        ("1437716169", ""),
        ("٢٠١٥-٠٧-٢٤", ""),
        ("2015-07-24 or so", ""),
    ],
)
def test_date(written: str, date: str) -> None:
    assert one(f"<meta property='article:published_time' content='{written}'>")["date"] == date
    assert one(f"<meta name=date content=soon><time datetime='{written}'>then</time>")["date"] == date


def test_which_date() -> None:
    changed = "<meta property=article:modified_time content=2020-01-04>"
    shown = "<time datetime=2020-01-03>then</time>"
    data = ld({"@type": "NewsArticle", "datePublished": "2020-01-02", "dateModified": "2020-01-05"})
    published = "<meta property=article:published_time content=2020-01-01>"
    pages = ["".join(parts) for parts in ([changed], [changed, shown], [shown, data], [data, published])]
    assert [row["date"] for row in read(*pages)] == ["2020-01-04", "2020-01-03", "2020-01-02", "2020-01-01"]


@pytest.mark.parametrize(
    ("tag", "language"),
    [
        ("EN", "en"),
        ("zh-Hans-CN", "zh-Hans-CN"),
        ("pt_BR", "pt-BR"),
        ("", ""),
        ("english", ""),
        ("{{ lang }}", ""),
        ("x", ""),
    ],
)
def test_language(tag: str, language: str) -> None:
    assert one(f'<html lang="{tag}">')["language"] == language


@pytest.mark.parametrize(
    ("link", "url", "canonical"),
    [
        ("<link rel=canonical href=https://a.example/b>", "", "https://a.example/b"),
        ("<link rel=canonical href=//a.example/b>", "https://c.example/", "https://a.example/b"),
        ("<link rel=canonical href=/b>", "", ""),
        ("<link rel=canonical href=b>", "http://a.example/c/d", "http://a.example/c/b"),
        ("<link rel=canonical href=javascript:x>", "http://a.example/", ""),
        ("<link rel=canonical href='http://[::1'>", "http://a.example/", ""),
        ("<link rel=canonical href=#><meta property=og:url content=http://a.example/b>", "", "http://a.example/b"),
    ],
)
def test_canonical(link: str, url: str, canonical: str) -> None:
    assert one(link, url)["canonical"] == canonical


@pytest.mark.parametrize(
    ("script", "title"),
    [
        ('{"@type":"Article","headline":"H"}', "H"),
        ('<!-- {"@type":"Article","headline":"H"} -->', "H"),
        ('//<![CDATA[\n{"@type":"Article","headline":"H"}\n//]]>', "H"),
        ('{"@type":["Article"],"headline":"H\n h"};', "H h"),
        ('{"@type":"Article","headline":"H\\ud800"}', "H"),
        ('{"@type":"Article","headline":"H",}', "T"),
        ('{"@type":"Article","headline":["H"]}', "T"),
        ('{"@type":"Article","headline":' + "9" * 5000 + "}", "T"),
        ("[" * 100_000, "T"),
        ('{"@graph":' * 2000, "T"),
        ("", "T"),
        ("null", "T"),
        ('{"@type":"Article","headline":"H","text":"' + "x" * metadata.MAX_JSON + '"}', "T"),
    ],
)
def test_damaged_or_hostile_json(script: str, title: str) -> None:
    assert one(f"<title>T</title><script type='application/ld+json'>{script}</script>")["title"] == title


def test_many_properties_of_one_object_take_linear_time() -> None:
    objects = ",".join(f'{{"@id":"#a","p{i}":0}}' for i in range(40_000))
    assert one(f"<script type=application/ld+json>[{objects}]</script><title>T</title>")["title"] == "T"


def test_objects_of_one_id_are_one() -> None:
    first = {
        "@type": "NewsArticle",
        "@id": "#a",
        "headline": "H",
        "mainEntityOfPage": {"@id": "#a", "@type": "WebPage"},
    }
    assert one(ld(first) + ld({"@id": "#a", "author": "Ann"})) | {"date": ""} == {
        "title": "H",
        "author": "Ann",
        "date": "",
        "language": "",
        "canonical": "",
    }


PIECES = """<title> </title> <html_lang=' <link_rel=canonical_href=' <meta_property=og:title_content=' '> ">
<meta_name=author_content=' <time_datetime=' <a_rel=author> <script_type=application/ld+json> </script> 2015-07-24
{"@type":"Article","author": { [ " &# &amp; \0 é http:// : _|_"""
PIECE = st.sampled_from(PIECES.replace("\n", " ").split(" ")).map(lambda piece: piece.replace("_", " "))


@settings(deadline=None)  # the kernel is compiled once
@given(st.lists(st.lists(PIECE | st.text(max_size=5), max_size=12).map("".join), max_size=5), st.text(max_size=20))
def test_any_page_is_read_and_alone_reads_the_same(pages: list[str], url: str) -> None:
    together = read(*pages, url=url)
    assert together == [one(page, url) for page in pages]
    array = pa.array(["<title>before</title>", *pages], pa.string())[1:]
    assert metadata.read(array, html.scan(array), pa.array([url] * len(pages), pa.string())).to_pylist() == together


def plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()


def is_title(found: str, gold: str) -> bool:
    return plain(found) == plain(gold)


def is_author(found: str, gold: list[str]) -> bool:
    return {plain(name) for name in found.split("; ")} == set(map(plain, gold)) or plain(found) == plain("".join(gold))


def is_day(found: str, gold: str) -> bool:
    return found[:10] == gold[:10]


def is_language(found: str, gold: str) -> bool:
    return found.partition("-")[0] == gold.partition("-")[0].lower()


@pytest.mark.data("html_gold")
def test_gold(data_dir: Path) -> None:
    """The share of pages that say what the gold says, by set and field.

    fundus: the 105 publishers with a single page, as the gold of others mixes pages. readability: reviewed output of a
    tool. In parentheses, Trafilatura 2.3.1's `bare_extraction(with_metadata=True)` on the same pages.
    """
    rows = [json.loads(line) for line in (data_dir / "html_gold/manifest.jsonl").read_text().splitlines()]
    publishers = [row["id"].partition("_20")[0] for row in rows if row["set"] == "fundus"]
    pages, urls, gold = [], [], []
    for row in rows:
        path = data_dir / "html_gold" / row["file"]
        if row["set"] == "fundus" and publishers.count(row["id"].partition("_20")[0]) == 1:
            versions = json.loads((data_dir / "html_gold" / row["gold"]).read_text()).values()
            names = {"title": "title", "author": "authors", "date": "publishing_date"}
        elif row["set"] == "readability":
            version = json.loads((path.parents[1] / "gold" / f"{path.stem}.meta.json").read_text())
            versions = [version | {"byline": [version["byline"]] if version["byline"] else []}]
            names = {"title": "title", "author": "byline", "date": "publishedTime", "language": "lang"}
        else:
            continue
        pages.append(path.read_bytes())
        urls.append(row["url"])
        gold.append((row["set"], {key: [v[name] for v in versions if v.get(name)] for key, name in names.items()}))
    text, _, _ = decode_all(pa.array(pages, pa.binary()), [""] * len(pages))
    found = metadata.read(text, html.scan(text), pa.array(urls, pa.string())).to_pylist()
    same: dict[str, Callable[[str, Any], bool]]
    same = {"title": is_title, "author": is_author, "date": is_day, "language": is_language}
    right: dict[tuple[str, str], list[bool]] = {}
    for ours, (name, fields) in zip(found, gold, strict=True):
        for field, values in fields.items():
            if values:
                right.setdefault((name, field), []).append(any(same[field](ours[field], value) for value in values))
    floors = {
        ("fundus", "title"): 0.89,  # (.74)
        ("fundus", "author"): 0.80,  # (.74)
        ("fundus", "date"): 0.98,  # (.97)
        ("readability", "title"): 0.90,  # (.65)
        ("readability", "author"): 0.59,  # (.50)
        ("readability", "date"): 1.0,  # (.90)
        ("readability", "language"): 1.0,
    }
    got = {key: sum(values) / len(values) for key, values in right.items()}
    assert set(got) == set(floors)
    assert [(key, got[key]) for key in floors if got[key] < floors[key]] == []
