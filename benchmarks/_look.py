"""A page to look at: what an extractor kept of some pages, block by block, beside the gold.

Self-contained HTML; whatever comes from a page is escaped. It does not extract and does not choose the pages.
"""

import html
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from classifiers.gold import Gold

STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; margin: 0; background: #f3f3f0; color: #1c1c1a }
header { position: sticky; top: 0; z-index: 1; background: #1c1c1a; color: #fff; padding: .5rem 1rem; display: flex;
  gap: 1.2rem; align-items: center; flex-wrap: wrap }
header h1 { font-size: 1rem; margin: 0 }
section { margin: 1rem; background: #fff; border: 1px solid #d8d8d2; border-radius: 4px }
section > h2 { font-size: .95rem; font-weight: 600; margin: 0; padding: .5rem .8rem; background: #e8e8e2;
  overflow-wrap: anywhere }
h2 small { font-weight: 400; color: #55554f; margin-left: .8rem }
h2 b { font-variant-numeric: tabular-nums; margin-left: .8rem }
.columns { display: grid; grid-template-columns: 2fr 1fr 1fr }
.columns > div { padding: .5rem .8rem; max-height: 46rem; overflow: auto; border-left: 1px solid #e8e8e2; min-width: 0 }
h3 { font-size: .72rem; text-transform: uppercase; letter-spacing: .06em; color: #55554f; margin: 0 0 .4rem }
pre { white-space: pre-wrap; line-height: 1.5; overflow-wrap: anywhere; font: inherit; margin: 0 }
.block { display: grid; grid-template-columns: 2.8rem 5.2rem 1fr; border-left: 5px solid; margin: 0 0 2px;
  padding: 1px 4px }
.block i { font-style: normal; color: #77776f; font-size: .78rem; font-variant-numeric: tabular-nums }
.block span { overflow-wrap: anywhere }
.key { padding: 0 .5rem; border-left: 5px solid; color: #1c1c1a }
.kept { border-color: #2e8b57; background: #e3f4ea }
.dropped { border-color: #cfcfc8; color: #88887f }
.missed { border-color: #d98a00; background: #ffefcc }
.wrong { border-color: #c0392b; background: #fbe0dc }
header .dropped { color: #fff }
summary { cursor: pointer; color: #77776f; font-size: .78rem; padding: 1px 4px; margin-bottom: 2px }
@media (max-width: 900px) { .columns { grid-template-columns: 1fr } .columns > div { max-height: 30rem } }
"""
SCRIPT = """
const sets = document.getElementById("sets");
sets.onchange = () => document.querySelectorAll("section").forEach(
  (page) => { page.hidden = sets.value !== "" && page.dataset.set !== sets.value });
"""
FOLDED = 4  # longer runs of blocks rightly dropped are folded
KEYS = {"kept": "kept", "dropped": "dropped", "missed": "gold, but dropped", "wrong": "kept, but not gold"}


@dataclass(frozen=True, slots=True)
class Block:
    """A block of a page: its element, what the model gives it, whether it was kept, and whether the gold has it."""

    text: str
    tag: str
    score: float | None  # None: the extractor has none
    kept: bool
    wanted: bool | None  # None: the gold does not tell

    @property
    def state(self) -> str:
        if self.wanted is None or self.wanted == self.kept:
            return "kept" if self.kept else "dropped"
        return "wrong" if self.kept else "missed"


@dataclass(frozen=True, slots=True)
class Shown:
    """A page, the text taken from it, its figures in words, and its blocks in order."""

    gold: Gold
    text: str
    figures: str
    blocks: Sequence[Block]


def render(title: str, pages: Sequence[Shown]) -> str:
    """The whole HTML page."""
    names = sorted({page.gold.set for page in pages})
    options = "".join(f"<option>{html.escape(name)}</option>" for name in names)
    keys = "".join(f'<span class="key {name}">{said}</span>' for name, said in KEYS.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<style>{STYLE}</style></head>\n<body><header><h1>{html.escape(title)}</h1><label>set <select id="sets">'
        f'<option value="">all</option>{options}</select></label><div>{keys}</div></header>\n'
        + "\n".join(map(_section, pages))
        + f"\n<script>{SCRIPT}</script></body></html>\n"
    )


def _section(page: Shown) -> str:
    gold = page.gold
    about = " · ".join(filter(None, (gold.kind, gold.language, gold.url or gold.host)))
    blocks = ""
    for state, run in itertools.groupby(page.blocks, lambda block: block.state):
        lines = [_line(block) for block in run]
        fold = state == "dropped" and len(lines) > FOLDED
        blocks += f"<details><summary>{len(lines)} dropped</summary>" * fold + "".join(lines) + "</details>" * fold
    return (
        f'<section data-set="{html.escape(gold.set)}"><h2>{html.escape(gold.file)}<b>{html.escape(page.figures)}</b>'
        f"<small>{html.escape(about)}</small></h2><div class='columns'><div><h3>blocks</h3>{blocks}</div>"
        f"<div><h3>gold</h3>{_known(page)}</div>"
        f"<div><h3>extracted</h3><pre>{_lines(page.text)}</pre></div></div></section>"
    )


def _line(block: Block) -> str:
    score = "" if block.score is None else f"{block.score:.2f}"
    return (
        f'<div class="block {block.state}"><i>{score}</i><i>{html.escape(block.tag)}</i>'
        f"<span>{html.escape(block.text)}</span></div>"
    )


def _lines(text: str) -> str:
    """The text with its lines' ends, without empty lines: gold has many."""
    return html.escape("\n".join(filter(None, (" ".join(line.split()) for line in text.splitlines()))))


def _known(page: Shown) -> str:
    if page.gold.kind != "snippets":
        return f"<pre>{_lines(page.gold.text)}</pre>"
    flat = " ".join(page.text.split())
    wanted = [("kept" if " ".join(each.split()) in flat else "missed", each) for each in page.gold.with_]
    unwanted = [("wrong" if " ".join(each.split()) in flat else "dropped", each) for each in page.gold.without]
    return "".join(
        f'<p class="key {state}">{KEYS[state]}: {html.escape(each)}</p>' for state, each in [*wanted, *unwanted]
    )
