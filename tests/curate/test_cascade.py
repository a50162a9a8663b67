"""What the fast pass rules out, what it leaves in doubt, and that on real pages nearly the same ones are kept."""

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate import html, ingest, language, tags
from curate.cascade import Cascade
from curate.dedup.minhash import MinHash
from curate.document import Page, document_id
from curate.filters.c4 import C4
from curate.filters.gopher import Gopher
from curate.filters.papers import Filters
from curate.ingest import Entry, Ingest, Rules
from curate.language import Language
from curate.reasons import BY_CODE, Reason

PROSE = (
    "The river rose in the night and took the lower bridge with it, so the children of the valley walked to school "
    "over the hill. Nobody complained. Their teacher had told them that a longer road gives a longer story. By the "
    "time they arrived each of them had one to tell. She wrote the best on the board. Then they all went home again. "
)
GERMAN = "Das ist ein deutscher Satz, der lang genug ist, um sicher erkannt zu werden. " * 5


ALL = Filters()


def rule_out(pages: list[str], filters: Filters = ALL, spared: bool = False, main: bool = True) -> list[Reason | None]:
    """The fast pass's reasons, where all of each page's <p> is main text, or none of it."""
    table = html.scan(pa.array(pages))
    chosen = np.equal(table.blocks["tag"], tags.CODES["p"]) & main
    wanted = Language()
    fast = Cascade(wanted, language.load(wanted), filters)
    return [BY_CODE.get(code) for code in fast.rule_out(table, chosen, np.full(len(pages), spared)).tolist()]


def test_a_language_goes_when_it_is_sure() -> None:
    pages = [f"<p>{text}" for text in (GERMAN, PROSE, GERMAN[:60])]
    assert rule_out(pages, Filters(gopher=None, c4=None, fineweb=None)) == [Reason.language_not_wanted, None, None]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (39, Reason.too_few_words),
        (40, None),  # 50 / 1.25
    ],
)
def test_limits_are_loosened(words: int, reason: Reason | None) -> None:
    page = "<p>" + " ".join(PROSE.split()[:words])
    assert rule_out([page], Filters(gopher=Gopher(), c4=None, fineweb=None)) == [reason]


def test_the_whole_page_must_fail_the_same_rule() -> None:
    short = "<p>The end of the story, and that is all.</p>"
    assert rule_out([short]) == [Reason.too_few_words]
    assert rule_out([short + f"<div>{PROSE}</div>"]) == [None]  # the fast pass may have missed the text
    assert rule_out([f"<p>{PROSE}</p>"], main=False) == [None]
    shouted = "<p>" + PROSE.replace(".", "!\n") + "{ }</p>"
    assert rule_out([shouted], Filters(gopher=None, c4=C4(), fineweb=None)) == [Reason.curly_bracket]


def test_repetition_is_not_foreseen() -> None:
    assert rule_out([f"<p>{PROSE}</p>" * 5]) == [None]


def test_the_mildest_of_the_languages_rules_counts() -> None:
    page = "<p>" + " ".join(PROSE.split()[:20])
    mild = Filters(gopher=Gopher(min_words=10), c4=None, fineweb=None)
    assert rule_out([page]) == [Reason.too_few_words]
    assert rule_out([page], Filters(languages={"de": mild})) == [None]


def test_no_rule_on_quality_takes_the_spared() -> None:
    pages = ["<p>The end.", f"<p>{GERMAN}"]
    assert rule_out(pages, spared=True) == [None, Reason.language_not_wanted]


def run(
    pages: list[Page], extractor: str, cascade: bool, filters: Filters
) -> tuple[set[str], list[ingest.Fate], set[str]]:
    """(ids kept, fates, ids of the sample)."""
    rules = Rules.load(Ingest(extractor=extractor, cascade=cascade, sample_rate=0.5), filters, MinHash(), 0)
    outcome = rules.ingest_block(
        [Entry(document_id("crawl", "a.warc", page.offset), "crawl", "a.warc", page) for page in pages]
    )
    assert outcome.documents.num_rows + len(outcome.fates) == len(pages)
    return set(outcome.documents["id"].to_pylist()), outcome.fates, set(outcome.sample["id"].to_pylist())


def test_the_sample_is_the_same_with_the_cascade() -> None:
    """It is of the crawl before any rule on quality: a page that is drawn meets the full extractor."""
    page = "<html><body><article><h1>Heading</h1><p>{}</p></article></body></html>"
    pages = [Page(i, page.format(PROSE[: 150 + 5 * i]).encode(), "", "", "text/html") for i in range(60)]
    found = [run(pages, "trafilatura", on, ALL) for on in (False, True)]
    assert found[0][0] == found[1][0]
    assert found[0][2] == found[1][2] != set()
    foreseen = {fate.entry.id for fate in found[1][1] if fate.detail == ingest.FORESEEN}
    assert foreseen
    assert not foreseen & found[1][2]
    assert not [fate for fate in found[0][1] if fate.detail == ingest.FORESEEN]


def agreement(files: list[Path], filters: Filters) -> float:
    """Pages that are kept either way, of those that are kept one way or the other."""
    full: set[str] = set()
    fast: set[str] = set()
    for start in range(0, len(files), 256):
        part = files[start : start + 256]
        pages = [Page(start + i, file.read_bytes(), "", "", "text/html") for i, file in enumerate(part)]
        for kept, on in ((full, False), (fast, True)):
            ids, _, _ = run(pages, "trafilatura", on, filters)
            kept |= ids
    assert len(full) > 0.2 * len(files)
    assert not fast - full
    return len(fast) / len(full)


def html_paths(data_dir: Path) -> list[Path]:
    files = sorted(path for name in ("html_gold", "html_pages") for path in (data_dir / name).rglob("*.htm*"))
    random.Random(7).shuffle(files)
    return files


@pytest.mark.data("html_gold", "html_pages")
def test_the_cascade_keeps_whom_the_full_path_keeps(data_dir: Path) -> None:
    assert agreement(html_paths(data_dir)[:512], ALL) >= 0.99


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.data("html_gold", "html_pages")
@pytest.mark.parametrize("marks_are_words", [False, True])
def test_the_cascade_keeps_whom_the_full_path_keeps_of_all_pages(data_dir: Path, marks_are_words: bool) -> None:
    filters = Filters(gopher=Gopher(marks_are_words=marks_are_words))
    shared = agreement(html_paths(data_dir), filters)
    print(f"{shared:.4f} of the pages kept")
    assert shared >= 0.99
