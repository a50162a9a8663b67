"""The block table: tables of markup and blocks, hostile input, properties, and lxml as the oracle on real pages."""

import json
import random
import re
import time
from pathlib import Path

import lxml.etree
import lxml.html
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import charset, html, tags
from curate.tags import Hint, Kind


def scan(page: str) -> html.BlockTable:
    return html.scan(pa.array([page]))


def texts(page: str) -> list[str]:
    table = scan(page)
    return [table.block_text(i) for i in range(len(table.blocks))]


@pytest.mark.parametrize(
    ("page", "blocks"),
    [
        ("", []),
        ("plain  text\n here", ["plain text here"]),
        ("<p>one<p>two</p>three", ["one", "two", "three"]),
        ("<div>a<b>b</b>c <i>d</i></div>", ["abc d"]),
        ("a<br>b<br><br>c<br/> <BR>d", ["a\nb", "c", "d"]),
        ("<ul><li>a<li>b<ul><li>c</ul><li>d</ul>e", ["a", "b", "c", "d", "e"]),
        ("<table><tr><td>1<td>2<tr><th>3</table>x", ["1", "2", "3", "x"]),
        ("<script>if (a < b) '<p>'</script>x<style>p {}</style>", ["x"]),
        ("<SCRIPT>a</scriptx></ScRiPt >b", ["b"]),
        ("<script>never closed <p>text", []),
        ("a<!-- <p>b -->c<!-->d<!--->e<!--x--!>f", ["acdef"]),
        ("a<!-- never closed", ["a"]),
        ("<!DOCTYPE html><?php echo ?>a<![CDATA[b]]>c", ["ac"]),
        ("a</ b>c</>d", ["acd"]),
        ("1 < 2 && 3 > 2", ["1 < 2 && 3 > 2"]),
        ("<", ["<"]),
        ("a<b", ["a"]),
        ("<a href='x>y\">'>z</a>", ["z"]),
        ("<p title=\"a > b\" x='<p>' y=</p>z", ["z"]),
        ("<title>A &amp; <b>B</title>c", ["A & <b>B", "c"]),
        ("<svg><title>icon</title></svg><title>page</title>", ["icon", "page"]),
        ("<pre>\n  a\n    b\tc\n</pre>d", ["a\n    b\tc", "d"]),
        ("<textarea>x</textarea><iframe>y</iframe>z", ["z"]),
        ("a\0b\x01c\x7fd\u0085e\u00adf\u00a0g", ["abcd ef g"]),
        ("a</body></html>b", ["a", "b"]),
        ("<form><form>a</form>b</form>c", ["a", "b", "c"]),
        ("</p>a</p>b</div>c", ["a", "b", "c"]),
        ("<h1>a<h2>b</h3>c", ["a", "b", "c"]),
    ],
)
def test_blocks(page: str, blocks: list[str]) -> None:
    assert texts(page) == blocks


@pytest.mark.parametrize(
    ("reference", "character"),
    [
        ("&amp;", "&"),
        ("&amp", "&"),
        ("&ampx", "&x"),
        ("&notit;", "¬it;"),
        ("&notin;", "∉"),
        ("&unknown;", "&unknown;"),
        ("&#65;&#x42;&#X43", "ABC"),
        ("&#128;&#150;", "€–"),
        ("&#0;&#xD800;&#x110000;&#99999999999;", "����"),
        ("&nGt;", "≫⃒"),
        ("&CounterClockwiseContourIntegral;", "∳"),
        ("a&nbsp;b", "a b"),
        ("&;&#;&#x;&", "&;&#;&#x;&"),
        ("&eacute&lt;p&gt;", "é<p>"),
    ],
)
def test_character_references(reference: str, character: str) -> None:
    assert texts(reference) == [character]


def test_what_a_block_knows_of_its_place() -> None:
    page = (
        "<body class=Site><nav><a href=/>Home</a> page</nav><article id='mainContent'><h1>Head</h1>"
        "<p>First, 2 <b>bold</b> words.</p><p style='Display: none'>gone</p><table><tr><td>x<td>y</table></article>"
    )
    table = scan(page)
    rows = {table.block_text(i): block for i, block in enumerate(table.blocks)}
    assert rows["Home page"]["flags"] == Kind.NAV
    assert (rows["Home page"]["chars"], rows["Home page"]["link_chars"], rows["Home page"]["words"]) == (8, 4, 2)
    assert rows["Head"]["flags"] == Kind.ARTICLE | Kind.HEADING
    assert rows["Head"]["near"] == Hint.CONTENT
    first = rows["First, 2 bold words."]
    assert (first["words"], first["bold_chars"], first["digits"], first["inner"], first["stops"]) == (4, 4, 1, 1, 1)
    assert first["ended"]
    assert tags.NAMES[first["tag"]] == "p"
    assert first["depth"] == 3
    assert rows["gone"]["flags"] & Kind.HIDDEN
    assert not first["flags"] & Kind.HIDDEN
    assert rows["x"]["row"] == rows["y"]["row"] == 1
    assert (rows["x"]["cell"], rows["y"]["cell"]) == (1, 2)


def test_overflow_hidden_is_not_hidden() -> None:
    assert not scan("<div style='overflow-y:hidden; font-family: none'>a</div>").blocks["flags"][0] & Kind.HIDDEN


def test_a_cell_ends_formatting_left_open() -> None:
    table = scan("<table><tr><td><a href=x><b>in<td>out</table>")
    assert table.blocks["link_chars"].tolist() == table.blocks["bold_chars"].tolist() == [2, 0]


def test_words_and_titles_are_those_of_each_page() -> None:
    table = html.scan(pa.array(["<title>T</title>one two <p>three", "", "漢字 kana<title>U</title>"]))
    assert table.words().tolist() == [4, 0, 4]
    assert table.titles() == ["T", "", "U"]


MIB = 1 << 20
HOSTILE = {
    "attribute": "<div class='" + "a " * (4 * MIB),
    "closed attribute": "<div class='" + "a " * (4 * MIB) + "'>x",
    "nesting": "<div>" * 100_000 + "x" + "</div>" * 100_000,
    "inline nesting": "<b>" * MIB + "x",
    "misnesting": "<div><td>" + "<section>" * 600 + "</div>" * MIB,
    "items": "<ul>" * 600 + "<li>" * MIB,
    "nul": "\0" * (8 * MIB),
    "ampersands": "&" * (4 * MIB),
    "references": "&#1" * (2 * MIB),
    "digits": "&#" + "1" * (8 * MIB),
    "less-than": "<" * (4 * MIB),
    "one tag": "<" + "a" * (8 * MIB),
    "half tags": "<a" * (4 * MIB),
    "raw text": "<script>" + "</scrip" * MIB,
    "comment": "<!--" + "-" * (8 * MIB),
    "declarations": "<![" * (2 * MIB),
    "paragraphs": "<p>a" * MIB,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_take_linear_time(name: str) -> None:
    scan("<p>compiled")
    page = HOSTILE[name]
    start = time.process_time()
    table = scan(page)
    # Ordinary pages take 10 ns a byte; a quadratic step would take minutes here.
    assert time.process_time() - start < 0.2 + 1e-6 * len(page)
    assert len(table.text) <= 1.2 * len(page)


MARKUP = (
    "< > </ /> <p> </p> <div> </div> <td> </td> <tr> <table> </table> <li> <ul> </ul> <a <a\thref= ' \" = <b> <br> "
    "<h1> <script> </script> <style> <title> </title> <!-- --> --!> <! <? ]]> <![CDATA[ &amp; &amp &# &#x &#65 ; & "
    "&not class='ad nav' style='display:none'> <svg> </svg> <pre> </pre> <body> </body> word é 漢 \0 \n 1,2. x"
)
PIECES = st.sampled_from(MARKUP.split(" "))
PAGES = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=60).map("".join)


def as_rows(table: html.BlockTable, page: int) -> list[tuple[object, ...]]:
    names = [name for name in html.BLOCK.names or () if name not in ("start", "stop")]
    return [
        (table.block_text(i), *(table.blocks[name][i].item() for name in names))
        for i in range(table.page_blocks[page], table.page_blocks[page + 1])
    ]


@given(st.lists(PAGES, max_size=5))
def test_any_page_gives_sane_blocks_whatever_its_batch(pages: list[str]) -> None:
    pages = [page.encode("utf-8", "replace").decode() for page in pages]
    table = html.scan(pa.array(pages, pa.string()))
    blocks = table.blocks
    assert (blocks["start"] < blocks["stop"]).all()
    assert (blocks["start"][1:] == blocks["stop"][:-1]).all()
    assert (blocks["chars"] >= np.maximum(blocks["link_chars"], blocks["bold_chars"])).all()
    assert (blocks["words"] >= 1).all()
    assert (blocks["depth"] >= 0).all()
    for page, text in enumerate(pages):
        alone = html.scan(pa.array(["before", text, "after"]).slice(1, 1))
        assert as_rows(table, page) == as_rows(alone, 0)
        for row in as_rows(table, page):
            assert row[0] == str(row[0]).strip(" \n\t\r\f")


SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\xad\xa0]+")
NO_TEXT = {"script", "style", "iframe", "noembed", "noframes", "textarea", "xmp", "title"}


def lxml_text(page: str) -> str:
    """All text of libxml2's tree but that of raw-text elements, without white space and controls."""
    parser = lxml.html.HTMLParser(encoding="utf-8", huge_tree=True)
    root = lxml.html.document_fromstring(page.encode("utf-8", "replace").replace(b"\0", b""), parser=parser)
    parts = []
    walk = lxml.etree.iterwalk(root, events=("start", "end", "comment", "pi"))
    for event, element in walk:
        if event == "start":
            if element.tag in NO_TEXT:
                walk.skip_subtree()
            elif element.text:
                parts.append(element.text)
        elif element.tail:
            parts.append(element.tail)
    return SPACE.sub("", "".join(parts))


@pytest.mark.data("html_pages")
def test_visible_text_of_real_pages_is_that_of_lxml(data_dir: Path) -> None:
    """The measure: all characters but white space and controls, in order; pages that lxml reads as empty left out."""
    rows = [json.loads(line) for line in (data_dir / "html_pages/manifest.jsonl").read_text().splitlines()]
    random.Random(2).shuffle(rows)
    pages = [charset.decode((data_dir / "html_pages" / row["file"]).read_bytes()).text for row in rows[:400]]
    table = html.scan(pa.array(pages))
    same = compared = 0
    for i, page in enumerate(pages):
        oracle = lxml_text(page) if page.strip() else ""
        if oracle:
            own = [
                k for k in range(table.page_blocks[i], table.page_blocks[i + 1]) if table.blocks["tag"][k] != tags.TITLE
            ]
            same += SPACE.sub("", "".join(map(table.block_text, own))) == oracle
            compared += 1
    assert compared > 380
    assert same / compared >= 0.96
