"""Mutated pages through the block table and the extractor, with numba's bounds check on: nothing breaks, all is sane.

The pages run in a process of their own, since the check must be on before a kernel is compiled:
`NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=... python tests/curate/test_html_fuzz.py --pages 100000 [--data FOLDER]`.
"""

import argparse
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate import draw, extract, html, tags

ROOT = Path(__file__).resolve().parents[2]
BATCH = 50
MOST_BYTES = 6000  # of a page, mostly

CRAFTED = (
    "<!DOCTYPE html><html lang='en-GB'><head><meta charset=utf-8><title>A &amp; B</title>"
    "<meta name=author content='J. D.'><link rel=canonical href=/x><style>p {}</style>"
    "<script type=application/ld+json>{'a': '</b>'}</script></head><body class=site>"
    "<nav><ul><li><a href=/>Home</a><li><a href=/a>About</a></ul></nav>"
    "<article class='post hentry' itemprop=articleBody><h1>Head</h1>"
    "<p class=byline>By <a rel=author href=/j>J. D.</a> <time datetime=2020-01-02>2 Jan</time>"
    "<p>First, 2 <b>bold</b> words; and a line<br>broken<br><br>twice. <img src=a><p>Größe &eacute;&nGt;&#x41; "
    "漢字、仮名。 Привет Ώρα عربي؟ &notit; &#128;</article><footer>© 2020</footer></body></html>tail",
    "<table><caption>c</caption><thead><tr><th>a<th>b<tbody><tr><td>1<td>2<table><tr><td>x</table>"
    "<tr><td><ul><li>y</table>",
    "<ol start=-3><li>a<li value=7>b<ol><li>c<dl><dt>d<dd>e</dl></ol><menu><li>f</menu><li value=99999999999>g</ol>h",
    "<form><select><optgroup><option>a<option>b</select><textarea></p></textarea><button>x<button>y</form>"
    "<input><video>z",
    "<svg><title>i</title><script/><![CDATA[ <p> ]]><foreignObject><p>x</svg><math><mi>y</mi></math>"
    "<title>t<a<a</title>",
    "<script><!-- <script>a</script> --></script><!-- x --!>y<!--><!---><?pi?><!x></ z></>&&#&#x;&#1114112;&amp&lt;<",
    "<pre>\n a\n\tb &Tab; \r\n c</pre><blockquote><blockquote>q</blockquote></blockquote><template><p>t</template>"
    "<noscript><p style='display:none'>n</noscript><div hidden>h</div>\0\x01\x7f\u00ad\u00a0\u2028\ufffe\U0001f600",
    "<h1><h2></h3><p><div></p></div><b><p><i></b></p></i><a href><td><a></body>x<body><form><form></form></form>y",
)
MARKUP = (
    "< > / </ /> = ' \" & ; &# &#x ! <! <!-- --> --!> <![CDATA[ ]]> <? \0 \n <p> </p> <div> </div> <div <a\thref= <a "
    "</a> <b> <br> </br> <td> <tr> <table> </table> <li> <ul> </ul> <ol> <ol\tstart=2147483648> <dd> <script> "
    "</script> <style> <title> </title> <textarea> <svg> </svg> <pre> <h1> <body> </body> <select> <option> <iframe> "
    "<template> <noscript> <blockquote> <video> <img> <meta\tname=author\tcontent=x> <span\titemprop=author> "
    "<i\trel=author>x</i> <time\tdatetime=x> é 漢 😀 ﷽ word 1,2."
)
PIECES = MARKUP.split(" ")


def mutated(index: int, seed: int, sources: Sequence[bytes]) -> bytes:
    """A page cut from one of the sources and changed a few times, as (index, seed) draw it."""
    rng = random.Random(draw.key(seed, "mutated pages", index))
    page = rng.choice(sources)
    if rng.random() < 0.98:
        at = rng.randrange(len(page) + 1) if len(page) > MOST_BYTES else 0
        page = page[at : at + MOST_BYTES]
    for _ in range(rng.choice((1, 2, 4, 16))):
        a, b = sorted(rng.randrange(len(page) + 1) for _ in range(2))
        b = min(b, a + 200) if rng.random() < 0.8 else b
        match rng.randrange(7):
            case 0:  # flips
                changed = bytearray(page)
                for _ in range(rng.choice((1, 8, 64)) if page else 0):
                    changed[rng.randrange(len(page))] = rng.randrange(256)
                page = bytes(changed)
            case 1:  # a cut
                page = page[:a] + page[b:]
            case 2:  # an early end
                page = page[:b]
            case 3:  # a splice
                other = rng.choice(sources)
                at = rng.randrange(len(other) + 1)
                page = page[:a] + other[at : at + rng.randrange(400)] + page[b:]
            case 4:  # a fragment repeated
                page = page[:b] + page[a:b] * (rng.choice((1, 3, 30)) if b - a < 100 else 1) + page[b:]
            case 5:  # markup where it does not belong
                page = page[:a] + "".join(rng.choices(PIECES, k=rng.choice((1, 3, 20)))).encode() + page[a:]
            case 6:  # nesting
                page = page[:a] + rng.choice(PIECES).encode() * rng.choice((10, 700)) + page[a:]
    return page


def tabled(pages: list[bytes]) -> None:
    """The block table holds together, and a page's part of it does not depend on its batch."""
    texts = [page.decode("utf-8", "replace") for page in pages]
    table = html.scan(pa.array(texts, pa.string()))
    blocks, owner = table.blocks, np.repeat(np.arange(len(pages)), np.diff(table.page_blocks))
    sizes = np.array([len(text.encode()) for text in texts], np.int64)
    table.text.tobytes().decode()
    lead = (table.text & 0xC0) != 0x80
    assert lead[blocks["start"]].all()
    assert (blocks["start"] < blocks["stop"]).all()
    assert blocks["start"].tolist() == [0, *blocks["stop"]][: len(blocks)]
    assert (blocks["page_start"] < blocks["page_stop"]).all()
    assert (blocks["page_stop"] <= sizes[owner]).all()
    same_page = owner[1:] == owner[:-1]
    assert (blocks["page_start"][1:] >= blocks["page_stop"][:-1])[same_page].all()
    seen = np.concatenate(([0], np.cumsum(lead & ~np.isin(table.text, list(b"\t\n\f\r ")))))
    visible = seen[blocks["stop"]] - seen[blocks["start"]]
    assert (blocks["chars"] >= 1).all()
    assert (blocks["chars"] <= visible).all()
    assert (visible <= 2 * blocks["chars"]).all()  # some references are two code points
    for part in ("link_chars", "bold_chars", "words", "digits", "inner", "stops"):
        assert ((blocks[part] >= 0) & (blocks[part] <= blocks["chars"])).all(), part
    for part in ("short", "upper", "lower"):
        assert ((blocks[part] >= 0) & (blocks[part] <= blocks["words"])).all(), part
    assert (blocks["upper"] + blocks["lower"] <= blocks["words"]).all()
    assert ((blocks["link_chars"] == 0) | (blocks["links"] > 0)).all()
    for part in ("depth", "element", "row", "cell", "item", "links", "breaks", "images", "inputs"):
        assert (blocks[part] >= 0).all(), part
    assert (blocks["tag"] < len(tags.NAMES)).all()
    assert (blocks["near"] & ~blocks["far"] == 0).all()
    assert (blocks["own"] & ~blocks["near"] == 0).all()
    assert ((blocks["depth"] == 0) == (blocks["element"] == 0)).all()
    for inner, outer in (("element", "element2"), ("element2", "element3"), ("element3", "element4")):
        assert ((blocks[inner] > blocks[outer]) | (blocks[inner] == 0)).all(), outer
    spans = table.meta
    assert (spans["start"] < spans["stop"]).all()
    assert (spans["stop"] <= np.repeat(sizes, np.diff(table.page_meta))).all()
    assert np.isin(spans["kind"], [int(kind) for kind in tags.Meta]).all()

    backward = html.scan(pa.array(["<ul><b><a href>", *texts[::-1]], pa.string()).slice(1))
    for page in range(len(pages)):
        for one, other in zip(rows(table, page), rows(backward, len(pages) - 1 - page), strict=True):
            assert np.array_equal(one, other)


def rows(table: html.BlockTable, page: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Text, blocks and metadata of one page, as if it were alone."""
    blocks = table.blocks[table.page_blocks[page] : table.page_blocks[page + 1]].copy()
    first, last = (int(blocks["start"][0]), int(blocks["stop"][-1])) if len(blocks) else (0, 0)
    blocks["start"] -= first
    blocks["stop"] -= first
    return table.text[first:last], blocks, table.meta[table.page_meta[page] : table.page_meta[page + 1]]


def extracted(pages: list[bytes]) -> None:
    """The whole extractor gives each page a text, whatever its batch."""
    texts = extract.extract_text(pa.array(pages, pa.binary()), extractor="blocks")
    assert texts.null_count == 0
    assert extract.extract_text(pa.array(pages[:3], pa.binary()), extractor="blocks").equals(texts[:3])


# What each batch of mutated pages meets: another stage is one more name.
STAGES: tuple[Callable[[list[bytes]], None], ...] = (tabled, extracted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder with html_gold and html_pages")
    args = parser.parse_args()
    assert os.environ.get("NUMBA_BOUNDSCHECK") == "1", "set NUMBA_BOUNDSCHECK=1 and a NUMBA_CACHE_DIR of its own"
    sources = [page.encode() for page in CRAFTED] * 20
    if args.data:
        files = sorted(args.data.glob("html_*/**/*.html"))
        sources += [file.read_bytes() for file in random.Random(draw.key(args.seed, "sources")).sample(files, 1000)]
    for first in range(0, args.pages, BATCH):
        pages = [mutated(i, args.seed, sources) for i in range(first, min(first + BATCH, args.pages))]
        for stage in STAGES:
            try:
                stage(pages)
            except Exception:
                print(
                    f"{stage.__name__} fails on pages {first} to {first + len(pages)} of seed {args.seed}", flush=True
                )
                raise
    print(f"{args.pages} pages from {len(sources)} sources: sane")


def run(tmp_path: Path, *options: str) -> None:
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, __file__, *options], capture_output=True, text=True, env=env, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def test_bounds_check_sees_a_read_too_far(tmp_path: Path) -> None:
    """The check that the other tests lean on is on under these settings."""
    code = (
        "import numpy as np; from curate.markup import kernel\n"
        "@kernel\ndef f(a, i): return a[i]\n"
        "try: f(np.zeros(3, np.uint8), 3)\nexcept IndexError: print('seen')\n"
    )
    path = tmp_path / "read.py"
    path.write_text(code)
    env = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, env=env, check=True)
    assert done.stdout == "seen\n"


def test_crafted_pages_mutated(tmp_path: Path) -> None:
    run(tmp_path, "--pages", "1000")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.data("html_gold", "html_pages")
def test_real_pages_mutated(tmp_path: Path, data_dir: Path) -> None:
    run(tmp_path, "--pages", "100000", "--data", str(data_dir))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_more_crafted_pages_mutated(tmp_path: Path) -> None:
    run(tmp_path, "--pages", "20000", "--seed", "2")


if __name__ == "__main__":
    main()
