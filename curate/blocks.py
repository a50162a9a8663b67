"""Main text, title, comments or none of these, for every block of a block table.

Boosted trees look at each block's shape (`curate.shape`), and a second time with the first look's scores of the page
around it (`curate.vicinity`). The model is plain arrays in the package (blocks.safetensors) with a card beside them
(blocks.json); `classifiers.blocks` trains it. A page's result depends on that page alone.
"""

import functools
import json
import math
from dataclasses import dataclass
from enum import IntEnum
from importlib import resources

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from curate import shape, tags, vicinity
from curate.errors import ModelError
from curate.forest import Forest, vote
from curate.html import BlockTable
from curate.markup import kernel
from curate.shape import F32
from curate.tags import Hint, Kind

Mask = npt.NDArray[np.bool_]

# Of the first look (P(main text) by a block's shape), and of the second: P(main text), P(title), P(comment).
LOOKS = ("first", "main", "title", "comment")
FEATURES = (*shape.FEATURES, *vicinity.FEATURES)
FAVOURS = ("precision", "balanced", "recall")
# A page shows one title, and comments are set apart, where the trees are rather sure than not.
SURE = np.float32(0.5)
# A page no block of which reaches the threshold has its best blocks if they come this near; to show none is worse.
NEAR = np.float32(0.5)
_SHAPES = len(shape.FEATURES)
# Blocks that the first look gives less than this are not looked at again, unless they may be a title or a comment: more
# than half of all blocks. On 2,325 gold pages, by models without the page's host, no decision was another for it.
LEAST = np.float32(0.02)
_STRIP = 256  # blocks whose features are in memory at a time


class Part(IntEnum):
    """What a block is to its page."""

    NONE = 0
    MAIN = 1
    TITLE = 2
    COMMENT = 3


@dataclass(frozen=True, slots=True)
class Model:
    """Four forests, by the names of LOOKS, and the least P(main text) that is kept, by the names of FAVOURS."""

    forests: dict[str, Forest]
    thresholds: dict[str, float]

    def scores(self, table: BlockTable) -> F32:
        """float32[3, blocks]: P(main text), P(title), P(comment) of the second look; 0 where there is none."""
        scores = np.empty((3, len(table.blocks)), np.float32)
        trees = tuple((f.feature, f.threshold, f.value, f.bias) for f in (self.forests[name] for name in LOOKS))
        room, out = np.empty((_STRIP, len(FEATURES)), np.float32), np.empty((3, _STRIP), np.float32)
        longest = int(np.diff(table.page_blocks).max(initial=0))
        looked, which = np.empty(longest, np.float32), np.empty(longest, np.int64)
        _score(
            table.text, table.blocks, table.page_blocks, shape.scratch(table), trees, room, out, looked, which, scores
        )
        return scores

    def parts(self, table: BlockTable, favour: str = "balanced") -> npt.NDArray[np.uint8]:
        """uint8[blocks] of Part.

        Raises:
            ValueError: for an unknown favour.
        """
        if favour not in FAVOURS:
            raise ValueError(f"favour is {favour!r}; it must be one of {', '.join(FAVOURS)}")
        return decide(table, self.scores(table), self.thresholds[favour])

    def keep(self, table: BlockTable, favour: str = "balanced") -> Mask:
        """bool[blocks]: main text."""
        return np.equal(self.parts(table, favour), Part.MAIN)


def decide(table: BlockTable, scores: F32, threshold: float) -> npt.NDArray[np.uint8]:
    """uint8[blocks] of Part, from the scores of `Model.scores`."""
    parts = np.zeros(len(table.blocks), np.uint8)
    _decide(table.blocks, table.page_blocks, scores, np.float32(threshold), parts)
    return parts


@functools.cache
def packaged() -> Model:
    """The model that ships with the package.

    Raises:
        ModelError: if its files are damaged or of other features than this code's.
    """
    folder = resources.files("curate")
    return parse(folder.joinpath("blocks.safetensors").read_bytes(), folder.joinpath("blocks.json").read_bytes())


def parse(arrays: bytes, card: bytes) -> Model:
    """A model from its two files' bytes.

    Raises:
        ModelError: if they are damaged or of other features than this code's.
    """
    try:
        tensors, described = load(arrays), json.loads(card)
        biases, thresholds = described["biases"], described["thresholds"]
        if tuple(described["features"]) != FEATURES:
            raise ModelError(
                "blocks.json was trained on other features than this code has: train it again (curate train-extractor)"
            )
        forests = {name: Forest.parse(tensors, name, float(biases[name]), len(FEATURES)) for name in LOOKS}
        return Model(forests, {favour: float(thresholds[favour]) for favour in FAVOURS})
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"blocks.safetensors or blocks.json is damaged ({error}): install the package again"
        ) from error


def looks_twice(table: BlockTable, looked: F32) -> Mask:
    """bool[blocks]: which blocks the second look is for, by the first one's P(main text)."""
    mask = np.empty(len(table.blocks), np.bool_)
    _looks_twice(table.blocks, looked, mask)
    return mask


@kernel
def _looks_twice(blocks, looked, mask):  # type: ignore[no-untyped-def]
    for i in range(len(blocks)):
        mask[i] = _deserves(blocks[i], looked[i])


@kernel
def _deserves(block, look):  # type: ignore[no-untyped-def]
    return look >= LEAST or block.flags & Kind.HEADING != 0 or (block.near | block.far) & Hint.COMMENT != 0


@kernel
def _score(text, blocks, page_blocks, scratch, trees, room, out, looked, which, scores):  # type: ignore[no-untyped-def]
    """Fill scores page by page. Scratch: a strip's features and odds; a page's first scores, and blocks to look at."""
    first, main, title, comment = trees
    scores[:] = 0
    for page in range(len(page_blocks) - 1):
        start, stop = page_blocks[page], page_blocks[page + 1]
        if stop == start:
            continue
        of, count = blocks[start:stop], stop - start
        heart = shape.measure(text, of, scratch)
        for i in range(count):
            which[i] = i
        for low in range(0, count, _STRIP):
            high = min(low + _STRIP, count)
            shape.describe(of, scratch, heart, which[low:high], room)
            vote(room[: high - low], first[0], first[1], first[2], first[3], looked[low:high])
        _squash(looked[:count])
        ends = vicinity.weigh(of, looked[:count], scratch)
        chosen = 0
        for i in range(count):
            if _deserves(of[i], looked[i]):
                which[chosen] = i
                chosen += 1
        for low in range(0, chosen, _STRIP):
            strip = which[low : min(low + _STRIP, chosen)]
            shape.describe(of, scratch, heart, strip, room)
            vicinity.look(of, looked[:count], scratch, ends, strip, room, _SHAPES)
            x = room[: len(strip)]
            vote(x, main[0], main[1], main[2], main[3], out[0])
            vote(x, title[0], title[1], title[2], title[3], out[1])
            vote(x, comment[0], comment[1], comment[2], comment[3], out[2])
            for k in range(3):
                _squash(out[k, : len(strip)])
                for j in range(len(strip)):
                    scores[k, start + strip[j]] = out[k, j]


@kernel
def _squash(odds):  # type: ignore[no-untyped-def]
    """Log odds to probabilities, in place."""
    for i in range(len(odds)):
        odds[i] = 1.0 / (1.0 + math.exp(-odds[i]))


@kernel
def _decide(blocks, page_blocks, scores, threshold, parts):  # type: ignore[no-untyped-def]
    main, title, comment = scores[0], scores[1], scores[2]
    for page in range(len(page_blocks) - 1):
        start, stop = page_blocks[page], page_blocks[page + 1]
        named = -1
        best = np.float32(0)
        for i in range(start, stop):
            if blocks[i].tag == tags.TITLE:
                continue
            if title[i] >= SURE and (named < 0 or title[i] > title[named]):
                named = i
            best = max(best, main[i])
        least = threshold if best >= threshold else max(best * np.float32(0.9), threshold * NEAR)
        for i in range(start, stop):
            if blocks[i].tag == tags.TITLE:
                continue
            if i == named:
                parts[i] = Part.TITLE
            elif comment[i] >= SURE and comment[i] > main[i]:
                parts[i] = Part.COMMENT
            elif main[i] >= least:
                parts[i] = Part.MAIN
