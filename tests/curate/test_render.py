"""Blocks to text: pages and the plain text and Markdown they give, a Markdown parser as the oracle, properties."""

import sys
import unicodedata
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from curate import charset, html, lines, render, rows, tags
from curate.extract import tidy


def text(page: str, *, markdown: bool = False, without: str = "") -> str:
    """A page's text, less the blocks that have the word `without` in them."""
    table = html.scan(pa.array([page]))
    keep = [not without or without not in table.block_text(i) for i in range(len(table.blocks))]
    (found,) = render.render(table, np.array(keep, np.bool_), markdown=markdown).to_pylist()
    assert tidy(found) == found
    return str(found)


CASES = [
    ("nothing", "", "", ""),
    ("blanks", "<p>\u3000\u2003</p><p>\ufeff</p>", "", ""),
    ("paragraphs", "<p>a<p>b<br>c</p>d<hr>e", "a\n\nb\nc\n\nd\n\ne", "a\n\nb\nc\n\nd\n\ne"),
    (
        "headings",
        "<h1>A</h1>b<h3>C<br>#</h3><h6>F #</h6>",
        "A\n\nb\n\nC\n#\n\nF #",
        "# A\n\nb\n\n### C \\#\n\n###### F \\#",
    ),
    ("list", "x<ul><li>a<li>b</ul>y", "x\n\n- a\n- b\n\ny", "x\n\n- a\n- b\n\ny"),
    ("nested", "<ul><li>a<ul><li>b<ul><li>c</ul></ul><li>d</ul>", *["- a\n  - b\n    - c\n- d"] * 2),
    ("numbers", "<ol start=9><li>a<li>b<ul><li>c</ul></ol>", "9. a\n10. b\n  - c", "9. a\n10. b\n    - c"),
    ("value", "<ol><li>a<li value=7>b<li>c</ol>", *["1. a\n7. b\n8. c"] * 2),
    ("number in item", "<ul><li>a<ol start=3><li>b</ol></ul>", "- a\n  3. b", "- a\n\n  3. b"),
    (
        "two lists",
        "<ul><li>a</ul><ul><li>b<li>c</ul><ul><li>d</ul>",
        "- a\n\n- b\n- c\n\n- d",
        "- a\n\n* b\n* c\n\n- d",
    ),
    ("two numbered", "<ol><li>a</ol><ol><li>b<li>c</ol>", "1. a\n\n1. b\n2. c", "1. a\n\n1) b\n2) c"),
    ("item of several", "<ul><li><p>a<p>b<li>c</ul>", "- a\n  b\n- c", "- a\n\n  b\n- c"),
    ("after a list", "<ul><li>a<ul><li>b</ul>c<li>d</ul>", "- a\n  - b\n  c\n- d", "- a\n  - b\n\n  c\n- d"),
    ("break in item", "<ol><li>a<br>b</ol>", "1. a\n  b", "1. a\n   b"),
    ("no text of its own", "<ul><li><ul><li>a</ul></ul>", "- a", "- a"),
    ("item of no list", "<li>a<li>b", "- a\n- b", "- a\n- b"),
    ("heading in item", "<ul><li><h2>a</h2><p>b</ul>", "- a\n  b", "- ## a\n\n  b"),
    ("terms", "<dl><dt>a<dd>b<dd>c<dt>d<dd>e</dl>f", "a\n  b\n  c\nd\n  e\n\nf", "a\n- b\n- c\n\nd\n- e\n\nf"),
    ("definition first", "<dl><dd>a<dd>b</dl>", "a\n  b", "- a\n- b"),
    ("quote", "a<blockquote><p>b<p>c</blockquote>d", "a\n\nb\n\nc\n\nd", "a\n\n> b\n>\n> c\n\nd"),
    (
        "quote in quote",
        "<blockquote>a<blockquote>b<br>c</blockquote>d</blockquote>",
        "a\n\nb\nc\n\nd",
        "> a\n>\n> > b\n> > c\n>\n> d",
    ),
    ("quote in item", "<ul><li><blockquote>a<p>b</blockquote><li>c</ul>", "- a\n  b\n- c", "- > a\n  >\n  > b\n- c"),
    ("list in quote", "<blockquote><ul><li>a<li>b</ul>c</blockquote>", "- a\n- b\n\nc", "> - a\n> - b\n>\n> c"),
    ("code", "<pre>a\n\tb\n\n\n  c  \n</pre>d", "a\n\tb\n\n  c\n\nd", "```\na\n\tb\n\n  c\n```\n\nd"),
    ("code in item", "<ol><li>a<pre>b\n  c</pre></ol>", "1. a\n  b\n    c", "1. a\n\n   ```\n   b\n     c\n   ```"),
    ("lines as elements", "<pre><div>a</div><div>b</div></pre><pre>c", "a\nb\n\nc", "```\na\nb\n```\n\n```\nc\n```"),
    (
        "code in items and rows",
        "<ul><li>x</ul><pre><ol><li>a<li>  b</ol><table><tr><td>c<td>d<tr><td>e</table></pre>",
        "- x\n\na\nb\nc\td\ne",
        "- x\n\n```\na\nb\nc\td\ne\n```",
    ),
    ("fences in code", "<pre>```\n# x\n- y</pre>", "```\n# x\n- y", "````\n```\n# x\n- y\n````"),
    (
        "rows",
        "<table><tr><th>a<th>b<tr><td>c|d<td>e<br>f<tr><td>g</table>h",
        "a\tb\nc|d\te f\ng\n\nh",
        "| a | b |\n| --- | --- |\n| c\\|d | e f |\n| g |\n\nh",
    ),
    (
        "empty cells",
        "x<table><tr><td><th>a<td><td>b<tr><td>c<td><td><td>d<tr><td><td><td>e</table>",
        "x\n\n\ta\t\tb\nc\t\t\td\n\t\te",
        "x\n\n| | a | | b |\n| --- | --- | --- | --- |\n| c | | | d |\n| | | e |",
    ),
    (
        "sections",
        "<table><caption>x</caption><thead><tr><th>a<th>b<tbody><tr><td>c<td>d</table>",
        "x\n\na\tb\nc\td",
        "x\n\n| a | b |\n| --- | --- |\n| c | d |",
    ),
    ("spans", "<table><tr><td rowspan=2>a<td>b<tr><td>c</table>", "a\tb\nc", "| a | b |\n| --- | --- |\n| c |"),
    (
        "two tables",
        "<table><tr><td>a<td>b</table><table><tr><td>c<td>d</table>",
        "a\tb\n\nc\td",
        "| a | b |\n| --- | --- |\n\n| c | d |\n| --- | --- |",
    ),
    ("layout", "<table><tr><td>a<td><p>b<p>c<tr><td>d</table>", *["a\n\nb\n\nc\n\nd"] * 2),
    ("one column", "<table><tr><td>a<tr><td>b</table>", *["a\n\nb"] * 2),
    ("long cell", f"<table><tr><td>a<td>{'b' * (rows.LONGEST + 1)}</table>", *[f"a\n\n{'b' * (rows.LONGEST + 1)}"] * 2),
    ("list in cell", "<table><tr><td>a<td><ul><li>b</ul></table>", *["a\n\n- b"] * 2),
    (
        "table in a cell",
        "<table><tr><td>a<table><tr><td>b<td>c</table>d<td>e<tr><td>f</table>",
        "a\n\nb\tc\n\nd\n\ne\n\nf",
        "a\n\n| b | c |\n| --- | --- |\n\nd\n\ne\n\nf",
    ),
    (
        "table in item",
        "<ul><li><table><tr><td>a<td>b<tr><td>c</table></ul>",
        "- a\tb\n  c",
        "- | a | b |\n  | --- | --- |\n  | c |",
    ),
    (
        "marks",
        "<p># a<p>- b<p>1. c<p>12) d<br>&gt; e<p>+<br>===<p>* * *<p>~~~",
        "# a\n\n- b\n\n1. c\n\n12) d\n> e\n\n+\n===\n\n* * *\n\n~~~",
        "\\# a\n\n\\- b\n\n1\\. c\n\n12\\) d\n\\> e\n\n\\+\n\\===\n\n\\* * *\n\n\\~~~",
    ),
    (
        "more marks",
        "<p>&lt;b><p>a|b<br>-|-<p>[a]: b<p>``` c<p>_ __",
        "<b>\n\na|b\n-|-\n\n[a]: b\n\n``` c\n\n_ __",
        "\\<b>\n\na|b\n\\-|-\n\n\\[a]: b\n\n\\``` c\n\n\\_ __",
    ),
    (
        "no marks",
        "<p>#a<p>-b<p>1.5<p>*c* _d_<p>&lt;3<p>[e] f<p>a # - >",
        *["#a\n\n-b\n\n1.5\n\n*c* _d_\n\n<3\n\n[e] f\n\na # - >"] * 2,
    ),
    ("other scripts", "<p>שלום, עולם<ul><li>你好，世界。<li>สวัสดี</ul>", *["שלום, עולם\n\n- 你好，世界。\n- สวัสดี"] * 2),
    ("composed", "<p>e\u0301\u2126<p>a\u2028b\u2029", "é\u03a9\n\na b", "é\u03a9\n\na b"),
]


@pytest.mark.parametrize(("page", "plain", "marked"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_pages(page: str, plain: str, marked: str) -> None:
    assert text(page) == plain
    assert text(page, markdown=True) == marked


def test_dropped_blocks_join_nothing() -> None:
    assert text("<p>a<p>XX<p>b", without="XX") == "a\n\nb"
    assert text("<p>a<table><tr><td>XX<td>XX</table>b", without="XX") == "a\n\nb"
    assert text("<table><tr><td>a<td>b<tr><td>XX<td>XX<tr><td>c<td>d</table>", without="XX") == "a\tb\nc\td"
    assert text("<table><tr><td>a<td>XX<td>b<tr><td>XX<td>c<td>d</table>", without="XX") == "a\t\tb\n\tc\td"
    assert text("<ul><li>a<li>XX<li>b</ul>", without="XX") == "- a\n- b"
    assert text("<ol><li>XX<ul><li>a</ul><li>b</ol>", without="XX") == "- a\n\n2. b"
    assert text("<ul><li>XX<p>a<p>b</ul>", without="XX") == "- a\n  b"
    assert text("<pre>a</pre><pre>XX</pre><pre>b", without="XX") == "a\n\nb"
    assert text("a<p>b", without="") == "a\n\nb"


def test_characters_that_nfc_leaves_alone() -> None:
    pairs = [unicodedata.decomposition(chr(c)).split() for c in range(sys.maxunicode + 1)]
    composing = {int(pair[1], 16) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    composing |= {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}  # vowels and finals of Hangul
    stable = 0
    for point in (p for p in range(0x80, sys.maxunicode + 1) if not 0xD800 <= p < 0xE000):
        encoded = chr(point).encode()
        if lines.is_stable(encoded[0], encoded[1], encoded[-1]):
            stable += 1
            assert unicodedata.combining(chr(point)) == 0, hex(point)
            assert point not in composing, hex(point)
            assert unicodedata.normalize("NFC", chr(point)) == chr(point), hex(point)
    assert stable > 30_000


def test_deep_nesting_stays_at_the_last_level() -> None:
    levels = text("".join(f"<ul><li>{i}" for i in range(250))).split("\n")
    assert [len(line) - len(line.lstrip()) for line in levels] == [2 * min(i, render.LEVELS - 1) for i in range(250)]
    quotes = text("<blockquote>" * 300 + "a", markdown=True)
    assert quotes == "> " * render.LEVELS + "a"


def outline(marked: str) -> list[str]:
    """What a parser of Markdown finds: headings, items, cells, code and quotes, each with its depth or size."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(marked):
        if token.type in ("heading_open", "list_item_open", "th_open", "td_open", "blockquote_open", "fence"):
            found.append({"heading_open": token.tag, "fence": token.content}.get(token.type, token.type))
        elif token.type in ("html_block", "code_block", "hr"):
            found.append(f"unwanted {token.type}")
    return found


def test_a_parser_finds_the_structure() -> None:
    page = (
        "<h2>A</h2><p>x<br>y<ul><li>a<ol start=12><li>b<p>c<pre>d\n\n  e</pre><li>f<h3>g</h3></ol><li>h</ul>"
        "<blockquote>i<blockquote>j<ul><li>k</ul></blockquote></blockquote><ol><li>l</ol><ol><li>m</ol>"
        "<table><tr><td><td>n<tr><td>o<td>p</table><p># q<p>&lt;div><p>--<p>r<br>---"
    )
    expected = ["h2", "list_item_open", "list_item_open", "d\n\n  e\n", "list_item_open", "h3", "list_item_open"]
    expected += [
        "blockquote_open",
        "blockquote_open",
        *["list_item_open"] * 3,
        "th_open",
        "th_open",
        "td_open",
        "td_open",
    ]
    assert outline(text(page, markdown=True)) == expected
    lists = MarkdownIt("commonmark").parse(text(page, markdown=True))
    assert [token.attrs.get("start", 1) for token in lists if token.type == "ordered_list_open"] == [12, 1, 1]


LINES = st.lists(st.text("#-+*=_|:[]<>`~!/ab1.) \\&", max_size=12), min_size=1, max_size=4)


@settings(max_examples=300)
@given(LINES)
def test_no_text_is_read_as_structure(broken: list[str]) -> None:
    page = "<br>".join(line.replace("&", "&amp;").replace("<", "&lt;") for line in broken)
    tokens = MarkdownIt("commonmark").enable("table").parse(text(page, markdown=True))
    assert {token.type for token in tokens} <= {"paragraph_open", "inline", "paragraph_close"}


NAMES = [
    "ul",
    "ol",
    "li",
    "dl",
    "dt",
    "dd",
    "p",
    "div",
    "h1",
    "blockquote",
    "pre",
    "table",
    "tbody",
    "tr",
    "td",
    "th",
    "br",
]
TAGS = st.sampled_from([f"<{name}>" for name in NAMES] + [f"</{name}>" for name in NAMES])
TEXTS = st.text("a1#|. \t\n`é\u0301\u1100\u1161\u212b\u3000\u2028\u2000\ufeff\x0c语ש", max_size=6)
PAGES = st.lists(st.one_of(TAGS, TEXTS), max_size=40).map("".join)


@settings(max_examples=300)
@given(st.lists(st.tuples(PAGES, st.integers(0, 2**32 - 1)), max_size=5), st.booleans())
def test_text_is_tidy_and_its_page_s_alone(pages: list[tuple[str, int]], markdown: bool) -> None:
    def run(chosen: list[tuple[str, int]]) -> list[str]:
        column = pa.array(["<p>pad", *(page for page, _ in chosen)], pa.string())[1:]
        table = html.scan(column)
        sizes = np.diff(table.page_blocks)
        kept = [np.random.default_rng(seed).random(size) < 0.8 for (_, seed), size in zip(chosen, sizes, strict=True)]
        found = render.render(table, np.concatenate([*kept, np.zeros(0, np.bool_)]), markdown=markdown)
        found.validate(full=True)
        assert found.null_count == 0
        return [str(page) for page in found.to_pylist()]

    together = run(pages)
    assert together == [run([page])[0] for page in pages]
    assert run(pages[::-1]) == together[::-1]
    assert [tidy(page) for page in together] == together


@settings(max_examples=300)
@given(PAGES)
def test_every_kept_character_is_written(page: str) -> None:
    table = html.scan(pa.array([page]))
    keep = np.ones(len(table.blocks), np.bool_)
    blocks = "".join(tidy(table.block_text(i)) for i in range(len(table.blocks)))
    (found,) = render.render(table, keep).to_pylist()
    marks = str.maketrans("", "", "-.0123456789 \t\n\u3000\u2000\u2002")
    assert tidy(blocks.translate(marks)) == tidy(found.translate(marks))


def test_a_page_of_one_line_break_each_character_is_linear() -> None:
    page = "<ul><li>" * 50 + "<pre>" + "x\n" * 100_000
    assert len(text(page)) > 100_000
    wide = "<table><tr>" + "<td>x" * 50_000 + ("<tr><td><p>a<p>b" + "<td>x" * 100) * 500
    assert text(wide).count("x") == text(wide, markdown=True).count("x") == 100_000


@pytest.mark.data("html_pages", "html_gold")
def test_real_pages(data_dir: Path) -> None:
    """Text is tidy, its words are those of the blocks, and what a parser finds in the Markdown is what was rendered."""
    files = sorted(data_dir.glob("html_pages/*/*.html"))[::90] + sorted(data_dir.glob("html_gold/*/html/*.html"))[::60]
    pages = [charset.decode(path.read_bytes(), "text/html").text.replace("\0", "") for path in files]
    table = html.scan(pa.array(pages, pa.string()))
    keep = table.blocks["tag"] != tags.TITLE
    plain, marked = (render.render(table, keep, markdown=markdown).to_pylist() for markdown in (False, True))
    parser = MarkdownIt("commonmark").enable("table")
    for i, (path, short, long) in enumerate(zip(files, plain, marked, strict=True)):
        assert (tidy(short), tidy(long)) == (short, long), path
        own = range(table.page_blocks[i], table.page_blocks[i + 1])
        words = " ".join(tidy(table.block_text(k)) for k in own if keep[k]).split()
        assert [w for w in short.split() if w.isalpha()] == [w for w in words if w.isalpha()], path
        assert not {token.type for token in parser.parse(long)} & {"html_block", "code_block", "hr"}, path
