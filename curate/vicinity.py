"""What a first look at all blocks of a page says about each of them: the scores near it, and in the elements around.

A paragraph of five words is judged by the company that it keeps. The first look is at `curate.shape`'s features; these
stand beside them for the second: see `curate.blocks`.
"""

import numpy as np

from curate.html import BlockTable
from curate.markup import kernel
from curate.shape import F32, FAR, find_slot, measure, scratch, slots_for

NEIGHBOURS = (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)
WINDOWS = (2, 5, 12, 30)  # blocks on both sides
# A block of running text, as the first look has it: distances are counted to the next of them.
SURE, SURE_WORDS = 0.5, 8
FEATURES: tuple[str, ...] = (
    *("score", "score_of_page", "score_before", "score_after", "best", "mean", "from_first", "from_last"),
    *("since_sure", "until_sure"),
    *(f"score_{at:+d}" for at in NEIGHBOURS),
    *(f"score_within_{n}" for n in WINDOWS),
    *(f"score_in_{group}" for group in ("path", "element", "element_2", "element_3", "element_4")),
)


def features(table: BlockTable, scores: F32) -> F32:
    """float32[blocks, len(FEATURES)] of scores float32[blocks]: for those who train."""
    x = np.zeros((len(table.blocks), len(FEATURES)), np.float32)
    _features(table.text, table.blocks, table.page_blocks, scratch(table), np.arange(len(x)), scores, x)
    return x


@kernel
def _features(text, blocks, page_blocks, scratch, every, scores, x):  # type: ignore[no-untyped-def]
    for page in range(len(page_blocks) - 1):
        first, stop = page_blocks[page], page_blocks[page + 1]
        if stop > first:
            measure(text, blocks[first:stop], scratch)
            ends = weigh(blocks[first:stop], scores[first:stop], scratch)
            look(blocks[first:stop], scores[first:stop], scratch, ends, every[: stop - first], x[first:stop], 0)


@kernel
def weigh(blocks, scores, scratch):  # type: ignore[no-untyped-def]
    """Gather one page's scores; (first, last sure block or -1, best score). `shape.measure` has seen the page."""
    sums, elements, paths, sure = scratch.score_sums, scratch.score_elements, scratch.score_paths, scratch.sure
    count = len(blocks)
    slots = slots_for(count)
    for i in range(count):
        block = blocks[i]
        paths[find_slot(scratch.keys, slots, np.int64(block.path) + 1)] = 0
        for element in (block.element, block.element2, block.element3, block.element4):
            elements[element] = 0
    first = last = -1
    best = np.float32(0)
    for i in range(count):
        block = blocks[i]
        words = float(block.words)
        score = words * scores[i]
        sums[i + 1, 0], sums[i + 1, 1] = sums[i, 0] + score, sums[i, 1] + words
        of_path = paths[find_slot(scratch.keys, slots, np.int64(block.path) + 1)]
        of_path[0] += score
        of_path[1] += words
        for element in (block.element, block.element2, block.element3, block.element4):
            elements[element, 0] += score
            elements[element, 1] += words
        sure[i, 0] = min(FAR, i - last) if last >= 0 else FAR
        best = max(best, scores[i])
        if scores[i] > SURE and block.words >= SURE_WORDS:
            first = i if first < 0 else first
            last = i
    after = -1
    for i in range(count - 1, -1, -1):
        sure[i, 1] = min(FAR, after - i) if after >= 0 else FAR
        if scores[i] > SURE and blocks[i].words >= SURE_WORDS:
            after = i
    return first, last, best


@kernel
def look(blocks, scores, scratch, ends, which, x, j):  # type: ignore[no-untyped-def]
    """The features of one page's blocks[which] into the first rows of x, from column j on; `ends` is of `weigh`."""
    sums, elements = scratch.score_sums, scratch.score_elements
    first, last, best = ends
    count = len(blocks)
    slots = slots_for(count)
    total, words = max(1.0, sums[count, 0]), max(1.0, sums[count, 1])
    for at in range(len(which)):
        i = which[at]
        block, row = blocks[i], x[at]
        k = j
        row[k] = scores[i]
        row[k + 1] = sums[count, 0]
        row[k + 2] = sums[i, 0] / total
        row[k + 3] = (sums[count, 0] - sums[i + 1, 0]) / total
        row[k + 4] = best
        row[k + 5] = sums[count, 0] / words
        row[k + 6] = i - first if first >= 0 else FAR
        row[k + 7] = i - last if last >= 0 else FAR
        row[k + 8] = scratch.sure[i, 0]
        row[k + 9] = scratch.sure[i, 1]
        k += 10
        for step in NEIGHBOURS:
            row[k] = scores[i + step] if 0 <= i + step < count else -1
            k += 1
        for reach in WINDOWS:
            a, z = max(0, i - reach), min(count, i + reach + 1)
            row[k] = (sums[z, 0] - sums[a, 0]) / max(1.0, sums[z, 1] - sums[a, 1])
            k += 1
        of_path = scratch.score_paths[find_slot(scratch.keys, slots, np.int64(block.path) + 1)]
        row[k] = of_path[0] / max(1.0, of_path[1])
        k += 1
        for element in (block.element, block.element2, block.element3, block.element4):
            row[k] = elements[element, 0] / max(1.0, elements[element, 1])
            k += 1
