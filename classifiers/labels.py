"""What is known of pages, put on their blocks: which are main text, title or comments, and which nobody knows.

A block is main text where its word 3-grams stand in the page's gold. Blocks too short to tell by themselves follow
their surroundings, and of a text that a page shows more often than its gold, the copy in the densest neighbourhood.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from classifiers.gold import Gold, tokens
from curate import tags
from curate.html import BlockTable
from curate.tags import Kind

Words = tuple[str, ...]
Mask = npt.NDArray[np.bool_]

GRAM = 3
# Blocks around a copy whose main text decides between copies, and around a short block that decide with it.
COPIES_REACH, SHORT_REACH = 7, 4
# Of the blocks around a short one that stands in the gold, this share must stand there too.
DENSE = 0.75
# A snippet says of its block what no count of words does; the agreement of two extractors says it less surely.
SNIPPET_WEIGHT, AGREED_WEIGHT = 3.0, 0.5
# Characters of a block that make it part of a longer snippet.
LEAST_PART, LEAST_BLOCK = 16, 8


@dataclass(frozen=True, slots=True)
class Labels:
    """Answers and how much each counts, 0 where nobody knows: float32[blocks] weights beside bool[blocks]."""

    main: Mask
    main_weight: npt.NDArray[np.float32]
    title: Mask
    title_weight: npt.NDArray[np.float32]
    comment: Mask
    comment_weight: npt.NDArray[np.float32]


def of_gold(
    table: BlockTable, golds: Sequence[Gold], agreed: Sequence[tuple[str, str]], titles: Sequence[str]
) -> Labels:
    """Labels of gold pages.

    Args:
        table: of these pages.
        golds: what is known of each.
        agreed: two extractors' texts of each page of which only snippets are known; else anything.
        titles: each page's title, empty where it gives none.
    """
    count = len(table.blocks)
    main, comment = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    weight, comment_weight = np.ones(count, np.float32), np.ones(count, np.float32)
    for page, gold in enumerate(golds):
        span = slice(table.page_blocks[page], table.page_blocks[page + 1])
        blocks = _Blocks(table, page)
        if gold.kind == "snippets":
            main[span], weight[span] = _agreement(blocks, *agreed[page], AGREED_WEIGHT)
            _snippets(table, gold, page, main, weight)
        else:
            main[span] = blocks.standing_in(gold.text, gold.kind == "prefix")
            if gold.kind == "prefix":  # of what comes after it nothing is known
                (found,) = np.nonzero(main[span])
                weight[span][found[-1] + 1 if len(found) else 0 :] = 0
        comment[span] = blocks.standing_in(gold.comments)
        if gold.set != "dragnet":  # elsewhere no one said which of the other blocks are comments
            comment_weight[span] = weight[span] * main[span]
    title, title_weight = of_titles(table, titles)
    return Labels(main & ~title, weight, title, title_weight, comment & ~main, comment_weight)


def of_agreement(table: BlockTable, texts: Sequence[tuple[str, str]], titles: Sequence[str]) -> Labels:
    """Labels of pages by the texts that two extractors took from each: what they do not agree on counts nothing."""
    count = len(table.blocks)
    main, weight = np.zeros(count, np.bool_), np.zeros(count, np.float32)
    for page, (one, other) in enumerate(texts):
        span = slice(table.page_blocks[page], table.page_blocks[page + 1])
        main[span], weight[span] = _agreement(_Blocks(table, page), one, other, 1.0)
    title, title_weight = of_titles(table, titles)
    nothing = np.zeros(count, np.bool_)
    return Labels(main & ~title, weight, title, title_weight, nothing, np.zeros(count, np.float32))


def of_titles(table: BlockTable, titles: Sequence[str]) -> tuple[Mask, npt.NDArray[np.float32]]:
    """The first shown block with just the words of the page's title; pages that show it nowhere count nothing."""
    title, weight = np.zeros(len(table.blocks), np.bool_), np.zeros(len(table.blocks), np.float32)
    for page, text in enumerate(titles):
        wanted = tuple(tokens(text))
        if not wanted:
            continue
        blocks = _Blocks(table, page)
        found = [k for k, words in enumerate(blocks.words) if words == wanted and not blocks.unseen[k]]
        if found:
            first = int(table.page_blocks[page])
            headings = [k for k in found if blocks.headings[k]]
            title[first + (headings or found)[0]] = True
            weight[first : table.page_blocks[page + 1]] = 1
    return title, weight


def standing_in(table: BlockTable, texts: Sequence[str]) -> Mask:
    """bool[blocks]: which make up the text that is given for each page."""
    found = [_Blocks(table, page).standing_in(text) for page, text in enumerate(texts)]
    return np.concatenate([np.zeros(0, np.bool_), *found])


class _Blocks:
    """The words of one page's blocks."""

    def __init__(self, table: BlockTable, page: int):
        first, stop = int(table.page_blocks[page]), int(table.page_blocks[page + 1])
        self.words: list[Words] = [tuple(tokens(table.block_text(i))) for i in range(first, stop)]
        self.sizes = np.array([len(words) for words in self.words], np.int64)
        of = table.blocks[first:stop]
        self.unseen: Mask = (of["flags"] & np.uint32(Kind.HIDDEN) != 0) | (of["tag"] == tags.TITLE)
        self.headings: Mask = of["flags"] & np.uint32(Kind.HEADING) != 0

    def standing_in(self, text: str, prefix: bool = False) -> Mask:
        """bool[blocks]: which make up the text; of a prefix, the block within which it ends too."""
        gold = tuple(tokens(text))
        result = np.zeros(len(self.words), np.bool_)
        if not gold:
            return result
        counts = {n: Counter(_grams(gold, n)) for n in range(1, GRAM + 1)}
        end = gold[-GRAM:]
        for k, words in enumerate(self.words):
            n = min(GRAM, len(words))
            if n:
                grams = _grams(words, n)
                stand = sum(gram in counts[n] for gram in grams)
                result[k] = 2 * stand >= len(grams)
                if prefix and stand >= min(GRAM, len(gold) - GRAM):
                    result[k] |= end in _grams(words, len(end))
        self._settle_short(result, {tuple(tokens(line)) for line in text.splitlines()})
        self._settle_copies(result, counts)
        return result

    def _settle_short(self, result: Mask, lines: set[Words]) -> None:
        """Words like "Home" stand in a menu and somewhere in the gold: a short block needs others that agree."""
        (long,) = np.nonzero(self.sizes >= GRAM)
        alone = result.copy()
        for k in np.flatnonzero(alone & (self.sizes < GRAM)).tolist():
            at = int(np.searchsorted(long, k))
            before = at > 0 and bool(alone[long[at - 1]])
            after = at < len(long) and bool(alone[long[at]])
            near = alone[max(0, k - SHORT_REACH) : k + SHORT_REACH + 1]
            result[k] = (before and after) or (self.words[k] in lines and (before or after)) or near.mean() >= DENSE

    def _settle_copies(self, result: Mask, counts: dict[int, Counter[Words]]) -> None:
        """Of equal blocks as many are main text as the gold has, those with most of it around, shown ones first."""
        copies: dict[Words, list[int]] = {}
        for k in np.flatnonzero(result & (self.sizes >= GRAM)).tolist():
            copies.setdefault(self.words[k], []).append(k)
        mass = np.concatenate(([0], np.cumsum(result * self.sizes)))
        for words, where in copies.items():
            if len(where) > 1:
                wanted = max(1, min(counts[GRAM][gram] for gram in _grams(words, GRAM)))
                around = {
                    k: int(mass[min(len(result), k + COPIES_REACH + 1)] - mass[max(0, k - COPIES_REACH)]) for k in where
                }
                where.sort(key=lambda k: (self.unseen[k], -around[k], k))
                result[where[wanted:]] = False


def _agreement(blocks: _Blocks, one: str, other: str, weight: float) -> tuple[Mask, npt.NDArray[np.float32]]:
    first, second = blocks.standing_in(one), blocks.standing_in(other)
    known = weight if one and other else 0.0
    return first & second, np.where(first == second, known, 0.0).astype(np.float32)


def _snippets(table: BlockTable, gold: Gold, page: int, main: Mask, weight: npt.NDArray[np.float32]) -> None:
    """Blocks that hold a snippet, or are a part of one; an unwanted one outweighs none that is wanted."""
    for snippets, wanted in ((gold.without, False), (gold.with_, True)):
        flat = [" ".join(snippet.split()) for snippet in snippets]
        for i in range(table.page_blocks[page], table.page_blocks[page + 1]):
            text = " ".join(table.block_text(i).split())
            if len(text) >= LEAST_BLOCK and any(
                snippet in text or (len(text) >= LEAST_PART and text in snippet) for snippet in flat
            ):
                main[i], weight[i] = wanted, SNIPPET_WEIGHT


def _grams(words: Words, n: int) -> list[Words]:
    return list(zip(*(words[k:] for k in range(n)), strict=False))
