"""Main text or not, for every block of a block table: features, a logistic regression over them, and the text it keeps.

The model is plain arrays in the package (blocks.safetensors) with a card beside it (blocks.json); `classifiers.blocks`
trains it. Features are layout and shape, never words of a language. A page's scores depend on that page alone.
"""

import functools
import json
import math
from dataclasses import dataclass
from importlib import resources

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load

from curate import tags
from curate.errors import ModelError
from curate.html import BlockTable
from curate.markup import kernel
from curate.tags import Hint, Kind

F32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

# Blocks on each side whose shape a block's features repeat: as Kohlschuetter et al. 2010 ("Boilerplate detection using
# shallow text features") found, the neighbours' link density and word count carry most of the decision.
NEIGHBOURS = (-3, -2, -1, 1, 2, 3)
_SHAPE = ("words", "link_share", "ended", "inner", "is_p", "is_heading", "is_li")
_TAGS = ("p", "li", "td", "div", "h1", "h2", "h3", "h4", "pre", "dd", "blockquote", "section", "article", "figcaption")
_HINTS = tuple(Hint)[:15]  # those that the packaged model was trained with
FEATURES: tuple[str, ...] = (
    *("words", "words_10", "words_25", "chars_per_word", "link_share", "all_link", "bold_share", "digit_share"),
    *("upper_share", "inner", "stops", "ended", "depth", "position", "position_squared", "page_words"),
    *("page_link_share", "share_of_longest", "mass_3", "mass_10", "mass_share_10", "distance", "siblings", "in_row"),
    "plain_words",
    *(f"tag_{name}" for name in _TAGS),
    *(f"in_{kind.name.lower()}" for kind in Kind),
    *(f"near_{hint.name.lower()}" for hint in _HINTS),
    *(f"far_{hint.name.lower()}" for hint in _HINTS),
    *(f"{name}_{at:+d}" for at in NEIGHBOURS for name in _SHAPE),
)


@dataclass(frozen=True, slots=True)
class Model:
    """Logistic regression: P(main text) = 1 / (1 + exp(-(bias + features @ weights))); kept from `threshold` up."""

    weights: npt.NDArray[np.float64]
    bias: float
    threshold: float

    def scores(self, table: BlockTable) -> F32:
        """float32[blocks]: P(main text)."""
        scores = np.empty(len(table.blocks), np.float32)
        _score(features(table), self.weights, self.bias, scores)
        return scores

    def keep(self, table: BlockTable) -> Mask:
        """bool[blocks]: main text; never a title or what a browser hides."""
        hidden = table.blocks["flags"] & np.uint32(Kind.HIDDEN) != 0
        result: Mask = (self.scores(table) >= self.threshold) & (table.blocks["tag"] != tags.TITLE) & ~hidden
        return result


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
        weights, described = load(arrays)["weights"].astype(np.float64), json.loads(card)
        names, model = described["features"], Model(weights, float(described["bias"]), float(described["threshold"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"blocks.safetensors or blocks.json is damaged ({error}): install the package again"
        ) from error
    if tuple(names) != FEATURES or weights.shape != (len(FEATURES),):
        raise ModelError(
            f"blocks.safetensors has {len(weights)} weights for {len(names)} features, this code has {len(FEATURES)}: "
            "train it again (classifiers.blocks.train)"
        )
    return model


def features(table: BlockTable) -> F32:
    """float32[blocks, len(FEATURES)]."""
    result = np.zeros((len(table.blocks), len(FEATURES)), np.float32)
    plain = np.zeros(len(table.blocks) + 1, np.int64)
    codes = np.array([tags.CODES[name] for name in _TAGS])
    _features(table.blocks, table.page_blocks, plain, codes, np.array(NEIGHBOURS), len(Kind), len(_HINTS), result)
    return result


def join(table: BlockTable, keep: Mask) -> list[str]:
    """Each page's kept blocks as plain text: items begin with "- ", the cells of a table row share a line."""
    columns = (table.blocks[name].tolist() for name in ("start", "stop", "tag", "row", "cell"))
    starts, stops, names, rows, cells = columns
    li, cell_tags = tags.CODES["li"], (tags.CODES["td"], tags.CODES["th"])
    data = table.text.tobytes()
    texts = []
    for page in range(table.num_pages):
        parts: list[str] = []
        last = -1
        for i in np.flatnonzero(keep[table.page_blocks[page] : table.page_blocks[page + 1]]).tolist():
            i += int(table.page_blocks[page])
            if last >= 0:
                beside = rows[i] and rows[i] == rows[last] and cells[i] != cells[last]
                if beside and names[i] in cell_tags and names[last] in cell_tags:
                    parts.append("\t")
                elif (names[i] == li == names[last]) or (rows[i] and rows[last] and names[i] in cell_tags):
                    parts.append("\n")
                else:
                    parts.append("\n\n")
            text = data[starts[i] : stops[i]].decode()
            parts.append(f"- {text}" if names[i] == li else text)
            last = i
        texts.append("".join(parts))
    return texts


@kernel
def _score(x, weights, bias, scores):  # type: ignore[no-untyped-def]
    for i in range(len(scores)):
        total = bias
        for j in range(len(weights)):  # in order: the sum must not depend on the batch
            total += x[i, j] * weights[j]
        scores[i] = 1.0 / (1.0 + math.exp(-total))


@kernel
def _features(blocks, page_blocks, plain, tag_codes, neighbours, kinds, hints, x):  # type: ignore[no-untyped-def]
    """Fill x. `plain` is scratch: words outside links before each block."""
    for page in range(len(page_blocks) - 1):
        first, stop = page_blocks[page], page_blocks[page + 1]
        longest = heart = first
        link = chars = words = 0
        for i in range(first, stop):
            block = blocks[i]
            mass = block.words * (block.chars - block.link_chars) // block.chars
            if block.tag == tags.TITLE or block.flags & Kind.HIDDEN:
                mass = 0
            plain[i + 1 - first] = plain[i - first] + mass
            link, chars, words = link + block.link_chars, chars + block.chars, words + block.words
            if mass > _mass(plain, first, longest, 0, stop):
                longest = i
        for i in range(first, stop):
            if _mass(plain, first, i, 5, stop) > _mass(plain, first, heart, 5, stop):
                heart = i
        total = plain[stop - first]
        for i in range(first, stop):
            block = blocks[i]
            row = x[i]
            mine = _mass(plain, first, i, 0, stop)
            row[0] = math.log1p(block.words)
            row[1] = block.words >= 10
            row[2] = block.words >= 25
            row[3] = min(block.chars / block.words, 20.0) / 10
            row[4] = block.link_chars / block.chars
            row[5] = block.link_chars == block.chars
            row[6] = block.bold_chars / block.chars
            row[7] = block.digits / block.chars
            row[8] = min(block.upper / block.words, 1.0)
            row[9] = min(block.inner / block.words, 1.0)
            row[10] = min(block.stops / block.words, 1.0)
            row[11] = block.ended
            row[12] = min(block.depth, 40) / 10
            row[13] = plain[i - first] / max(1, total)
            row[14] = row[13] * row[13]
            row[15] = math.log1p(words)
            row[16] = link / chars
            row[17] = mine / max(1, _mass(plain, first, longest, 0, stop))
            row[18] = math.log1p(_mass(plain, first, i, 3, stop))
            row[19] = math.log1p(_mass(plain, first, i, 10, stop))
            row[20] = _mass(plain, first, i, 10, stop) / max(1, total)
            row[21] = math.log1p(abs(i - heart))
            row[22] = (i > first and blocks[i - 1].depth == block.depth) + (
                i + 1 < stop and blocks[i + 1].depth == block.depth
            )
            row[23] = block.row > 0
            row[24] = math.log1p(mine)
            j = 25
            for code in tag_codes:
                row[j] = block.tag == code
                j += 1
            for bits, size in ((block.flags, kinds), (block.near, hints), (block.far, hints)):
                for k in range(size):
                    row[j] = bits >> k & 1
                    j += 1
            for step in neighbours:
                if first <= i + step < stop:
                    other = blocks[i + step]
                    row[j] = math.log1p(other.words)
                    row[j + 1] = other.link_chars / other.chars
                    row[j + 2] = other.ended
                    row[j + 3] = min(other.inner / other.words, 1.0)
                    row[j + 4] = other.tag == tags.P
                    row[j + 5] = other.flags & Kind.HEADING != 0
                    row[j + 6] = other.flags & Kind.ITEM != 0
                j += 7


@kernel
def _mass(plain, first, i, reach, stop):  # type: ignore[no-untyped-def]
    """Words outside links in the blocks within `reach` of block i."""
    return plain[min(i + reach + 1, stop) - first] - plain[max(i - reach, first) - first]
