"""The block table: tables of markup and blocks, hostile input, properties."""

import subprocess
import sys
from html.entities import html5

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import html, tags
from curate.block import letter_case
from curate.tags import Hint, Kind, Meta


def scan(page: str) -> html.BlockTable:
    return html.scan(pa.array([page]))


def texts(page: str) -> list[str]:
    table = scan(page)
    return [table.block_text(i) for i in range(len(table.blocks))]


@pytest.mark.parametrize(
    ("page", "blocks"),
    [
        # within <pre> a <br> is a line break like any other, and what follows it indentation
        ("<pre>if a:<br>    b<br><br>\tc<br></pre>d<br>e", ["if a:\n    b\n\n\tc", "d\ne"]),
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
        ("<title>a<a<b", ["a<a<b"]),
        ("<title>a</title>b<title><p>c</title>d", ["a", "b", "<p>c", "d"]),
        ("x <math><mi>y</mi></math> z", ["x y z"]),
        ("<svg><script/>c</svg>d", ["c", "d"]),
        ("<script><!-- w('<script src=x></script>') --></script>a", ["a"]),
        ("<script><!--></script>b", ["b"]),
        ("<script>x<!-- <script> </script>e", []),
        ("<script>x<!-- <scrip></script>f", ["f"]),
        ("<qr>a<cd>b<sr>c", ["abc"]),
        ("a\x0bb\u3000c\u2009d\u2028e\ufefff", ["a b c d ef"]),
        ("a <span hidden>b <span>c</span> d</span> e", ["a e"]),
        ("a<em style='display:none'>b</em>c", ["ac"]),
        ("<div>a<a hidden>b</div>c", ["a", "c"]),
        ("a<meta hidden><link hidden><img hidden><embed hidden=true><wbr hidden>b", ["ab"]),
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


def rows(page: str) -> dict[str, np.void]:
    table = scan(page)
    return {table.block_text(i): block for i, block in enumerate(table.blocks)}


def test_where_a_block_stands_in_its_page() -> None:
    page = "<title>T</title>\n<p>é &amp; <b>x</b> &eacute; </p><!-- --> y<br>\nz &"
    data = page.encode()
    table = scan(page)
    spans = [data[b["page_start"] : b["page_stop"]].decode() for b in table.blocks]
    assert spans == ["T", "é &amp; <b>x</b> &eacute;", "y<br>\nz &"]
    shifted = html.scan(pa.array(["other", page])).blocks[1:]
    assert shifted["page_start"].tolist() == table.blocks["page_start"].tolist()


def test_containers_and_paths() -> None:
    found = rows("top<div class=feed>a<section><ul><li>b<li>c</ul></section></div><div><section><ul><li>d</ul>")
    names = ("tag", "tag2", "tag3", "tag4")
    assert [tags.NAMES[found["b"][name]] for name in names] == ["li", "ul", "section", "div"]
    assert [tags.NAMES[found["a"][name]] for name in names] == ["div", "", "", ""]
    elements = ("element", "element2", "element3", "element4")
    assert [found["top"][name] for name in elements] == [0, 0, 0, 0]
    assert [found["a"][name] for name in elements] == [1, 0, 0, 0]
    assert [found["b"][name] for name in elements] == [4, 3, 2, 1]
    assert [found["c"][name] for name in elements] == [5, 3, 2, 1]
    assert found["b"]["path"] == found["c"]["path"] == found["d"]["path"] != found["a"]["path"] != found["top"]["path"]
    assert (found["a"]["own"], found["b"]["own"], found["b"]["near"]) == (Hint.LISTING, 0, 0)
    assert found["b"]["far"] == Hint.LISTING


def test_equal_texts_have_equal_hashes() -> None:
    found = scan("<p>a b<p> a\n<b>b</b><p>ab<p>b a").blocks["text_hash"].tolist()
    assert found[0] == found[1]
    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("page", "ordinals"),
    [
        ("<ol><li>a<li>b<p>c</ol>d", [1, 2, 2, 0]),
        ("<ul><li>a</ul><ol start=3><li>b<li value=9>c<li>d</ol>", [0, 3, 9, 10]),
        ("<ol><li>a<ol><li>b</ol><li>c<ul><li>d</ul>e</ol>", [1, 1, 2, 0, 2]),
        ("<ol start=-1><li>a<li value=x>b<li value='12345678901'>c<li value=' 7 '>d</ol>", [-1, 0, 1, 7]),
        ("<li>a<ol><div><li>b</div><dl><dd>c</dl></ol>", [0, 1, 0]),
    ],
)
def test_list_numbers(page: str, ordinals: list[int]) -> None:
    assert scan(page).blocks["ordinal"].tolist() == ordinals


def test_items_lists_and_quotes() -> None:
    blocks = scan("<ul><li>a<p>b<li>c<dl><dt>d<dd>e</dl></ul><blockquote>f<blockquote>g").blocks
    assert blocks["item"].tolist() == [1, 1, 2, 3, 4, 0, 0]
    assert blocks["lists"].tolist() == [1, 1, 1, 2, 2, 0, 0]
    assert blocks["quotes"].tolist() == [0, 0, 0, 0, 0, 1, 2]


def test_links_images_inputs_and_breaks() -> None:
    page = (
        "<img><picture><img></picture><p><a href=x>a</a> b <a href=y>c</a><br>d<br>e<p><a href=z>f<p>g</a><p>h"
        "<a name=i>i</a><input><textarea></textarea><select><option>j</select><a href=k><p></p></a>k<img><img>"
    )
    blocks = scan(page).blocks
    table = dict(zip(texts(page), blocks, strict=True))
    assert blocks["links"].tolist() == [2, 1, 1, 0, 0, 0]
    assert blocks["images"].tolist() == [3, 0, 0, 0, 0, 2]
    assert table["hi"]["inputs"] == 2
    assert table["j"]["inputs"] == 1
    assert blocks["breaks"].tolist() == [2, 0, 0, 0, 0, 0]


def test_words_by_length_and_case() -> None:
    (block,) = scan("A big <i>b</i>rown Österreich «ein» Wort Ἀ und ещё Да 漢字 12,5 &eacute;t&eacute;").blocks
    assert [block[name] for name in ("words", "short", "upper", "lower")] == [14, 7, 4, 5]


def test_case_of_letters_is_that_of_unicode() -> None:
    spans = ((0x20, 0x180), (0x386, 0x3D0), (0x400, 0x482), (0x48A, 0x4C0), (0x4D0, 0x530))
    odd = {0xAA, 0xB5, 0xBA, 0x138, 0x149, 0x17F, 0x387, 0x38B, 0x38D, 0x3A2, 0x3CF}
    for point in (point for low, high in spans for point in range(low, high) if point not in odd):
        assert letter_case(point) == chr(point).isupper() - chr(point).islower(), hex(point)


@pytest.mark.parametrize(
    ("page", "spans"),
    [
        ("<html lang=en-GB>", [(Meta.LANGUAGE, "en-GB")]),
        ("<html xml:lang='de' lang=fr>", [(Meta.LANGUAGE, "de")]),
        ("<link href='/a?b&amp;c' rel=canonical><link rel=author href=x>", [(Meta.CANONICAL, "/a?b&amp;c")]),
        (
            "<meta property=og:url content=u><meta content='t' property='OG:Title'>",
            [(Meta.URL, "u"), (Meta.TITLE, "t")],
        ),
        ("<meta name=Author content=''><meta name=DC.Creator content='J. D.'>", [(Meta.AUTHOR, "J. D.")]),
        ("<meta itemprop=datePublished content=2020><p name=author content=x>", [(Meta.PUBLISHED, "2020")]),
        ("<span itemprop='name author'><b>J</b> D</span>", [(Meta.BYLINE, "<b>J</b> D")]),
        ("<a href=x rel='nofollow author'>J</a><a rel=author>open", [(Meta.BYLINE, "J")]),
        ("<time datetime=2020>x</time><time>y</time>", [(Meta.TIME, "2020")]),
        ("<time itemprop=datePublished>2020</time>", [(Meta.PUBLISHED, "2020")]),
        ("<time itemprop=dateModified datetime=2021>x</time>", [(Meta.MODIFIED, "2021")]),
        ("<script type=application/ld+json>{'</p>': 1}</script><script>x</script>", [(Meta.JSON, "{'</p>': 1}")]),
        ("<title><meta name=author content=x></title><!-- <meta name=author content=x> --><b>", []),
        ("<time datetime=x><b>y<style>z</style><img><i>", [(Meta.TIME, "x")]),
    ],
)
def test_what_a_page_says_of_itself(page: str, spans: list[tuple[Meta, str]]) -> None:
    table = html.scan(pa.array(["ü", page, "<time datetime=y>"]))
    own = table.meta[table.page_meta[1] : table.page_meta[2]]
    data = page.encode()
    assert [(kind, data[start:stop].decode()) for start, stop, kind in own.tolist()] == spans


@pytest.mark.parametrize("kind", Meta)
def test_no_page_says_more_than_a_table_holds(kind: Meta) -> None:
    ways = {
        Meta.LANGUAGE: "<html lang=x>",
        Meta.CANONICAL: "<link rel=canonical href=x>",
        Meta.TIME: "<time datetime=x>",
        Meta.BYLINE: "<i rel=author>x</i>",
        Meta.JSON: "<script type=application/ld+json>x</script>",
    }
    names = {Meta.URL: "og:url", Meta.SITE: "og:site_name", Meta.MODIFIED: "dateModified", Meta.PUBLISHED: "pubdate"}
    page = ways.get(kind) or f"<meta name={names.get(kind, kind.name)} content=x>"
    found = scan(page * 1000 + "<base><time itemprop=dateCreated>x</time>").meta["kind"]
    assert np.bincount(found)[kind] == html.MOST_META
    assert len(found) == html.MOST_META + (kind != Meta.PUBLISHED)


def test_names_have_keys_of_their_own() -> None:
    tables = tags.tables()
    keys = tables.keys[tables.keys != 0]
    assert len(np.unique(keys)) == len(keys)
    for word in ("ad", "sr", "author", "lt", "class"):
        assert len({tags.fnv(word.encode(), salt) for salt in range(5)}) == 5
    assert max(tables.read) <= tags.START


def test_no_reference_is_much_longer_than_its_name() -> None:
    """The buffer of `scan` leans on it."""
    assert all(5 * len(text.encode()) <= 6 * len(f"&{name}") for name, text in html5.items())


def test_overflow_hidden_is_not_hidden() -> None:
    assert not scan("<div style='overflow-y:hidden; font-family: none'>a</div>").blocks["flags"][0] & Kind.HIDDEN


def test_a_cell_ends_formatting_left_open() -> None:
    table = scan("<table><tr><td><a href=x><b>in<td>out</table>")
    assert table.blocks["link_chars"].tolist() == table.blocks["bold_chars"].tolist() == [2, 0]


def test_titles_are_those_of_each_page() -> None:
    table = html.scan(pa.array(["<title>T</title>one two <p>three", "", "漢字 kana<title>U</title>"]))
    assert table.titles() == ["T", "", "U"]


MIB = 1 << 20
HOSTILE = {
    "attribute": "<div class='" + "a " * (25 * MIB),
    "closed attribute": "<div class='" + "a " * (25 * MIB) + "'>x",
    "attributes": "<div " + "a=b " * (4 * MIB) + ">x",
    "style": "<p style='" + "display:" * (2 * MIB) + "'>x",
    "nesting": "<div>" * 100_000 + "x" + "</div>" * 100_000,
    "inline nesting": "<b>" * MIB + "x",
    "formatting never closed": "<p><i><b><a href=x>y" * MIB,
    "misnesting": "<div><td>" + "<section>" * 600 + "</div>" * MIB,
    "items": "<ul>" * 600 + "<li>" * MIB,
    "tables in tables": "<table><tr><td>" * (MIB // 2),
    "a large table": "<table>" + "<tr><td>a<td>b" * (MIB // 2),
    "nul": "\0" * (8 * MIB),
    "ampersands": "&" * (8 * MIB),
    "references": "&#1" * (2 * MIB),
    "digits": "&#" + "1" * (8 * MIB),
    "a long reference": "&" + "a" * (8 * MIB),
    "less-than": "<" * (8 * MIB),
    "one tag": "<" + "a" * (16 * MIB),
    "half tags": "<a" * (4 * MIB),
    "half tags in a title": "<title>" + "<a" * (4 * MIB),
    "ends in a title": "<title>" + "</titl" * (2 * MIB),
    "raw text": "<script>" + "</scrip" * (2 * MIB),
    "scripts": "<script>" * (2 * MIB),
    "scripts in a comment": "<script><!--" + "<script>" * (2 * MIB),
    "comments in a script": "<script>" + "<!--" * (2 * MIB),
    "styles": "<style></styl>" * MIB,
    "comment": "<!--" + "-" * (8 * MIB),
    "comments": "<!--" * (4 * MIB),
    "declarations": "<![" * (4 * MIB),
    "sections": "<svg>" + "<![CDATA[" * (2 * MIB),
    "instructions": "<?" * (4 * MIB),
    "authors never closed": "<i rel=author>" * MIB,
    "authors": "<i rel=author>x</i>" * MIB,
    "dates": "<time datetime=x>" * MIB,
    "ld+json never closed": "<script type=application/ld+json>" * (MIB // 2),
    "hidden": "<i hidden>" * MIB,
    "blank lines": "<pre>" + "a" + "\n" * (8 * MIB) + "<b>" * MIB,
    "breaks": "a<br>" * (2 * MIB),
    "paragraphs": "<p>a" * MIB,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pages_take_linear_time(name: str) -> None:
    """Each takes a second at most; with a step that begins anew at each mark, it would be hours."""
    page = HOSTILE[name]
    table = scan(page)
    assert len(table.text) <= 1.2 * len(page)


# The block table's own memory in multiples of the page: text, tags counted, and a block of 152 bytes for 4 of the page.
@pytest.mark.parametrize(("piece", "size", "multiple"), [("a ", 50, 4), ("<p>a", 8, 45), ("<b>", 16, 4)])
def test_memory_is_bounded(piece: str, size: int, multiple: int) -> None:
    code = (
        "import resource\nimport pyarrow as pa\nfrom curate import html\nhtml.scan(pa.array(['<p>compiled']))\n"
        f"page = pa.array(['<p class=\"' * {piece == 'a '} + {piece!r} * ({size} * 2**20 // {len(piece)})])\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024\n"
        "before = peak()\nhtml.scan(page)\nprint((peak() - before) / page.nbytes)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < multiple


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
