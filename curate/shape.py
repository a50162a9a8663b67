"""The shape of each text block as numbers: what a person sees of it without reading a word of its language.

Counts of a block, its place in the page, the text around it and in the elements that hold it, what its neighbours look
like, and the bits of its elements' names and classes. Every number depends on the block's page alone. What to make of
them is learned: see `curate.blocks`.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curate import tags
from curate.html import BlockTable
from curate.markup import kernel
from curate.tags import Hint, Kind

F32 = npt.NDArray[np.float32]

# Elements, from those that mostly hold running text to those that hardly ever do: an order that trees split with few
# comparisons.
_ORDER = (
    *("p", "blockquote", "pre", "listing", "h1", "h2", "h3", "h4", "h5", "h6", "article", "main", "section", "div"),
    *(
        "center",
        "details",
        "summary",
        "figcaption",
        "figure",
        "caption",
        "dd",
        "dt",
        "dl",
        "li",
        "ol",
        "ul",
        "td",
        "th",
    ),
    *("tr", "tbody", "thead", "tfoot", "table", "body", "address", "fieldset", "legend", "form", "button", "option"),
    *("optgroup", "select", "dir", "menu", "search", "header", "hgroup", "aside", "footer", "nav", "dialog", "object"),
    *("canvas", "audio", "video", "svg", "template", "noscript"),
)
RANK = np.full(len(tags.NAMES), len(_ORDER), np.float32)
for _rank, _name in enumerate(_ORDER):
    RANK[tags.CODES[_name]] = _rank
_H1, _ARTICLE = tags.CODES["h1"], tags.CODES["article"]
_KINDS, _HINTS = len(Kind), len(Hint)

# Words outside links that make a block running text, when distances to such blocks are counted.
TEXT_WORDS = 12
FAR = 99  # a distance to nothing

NEIGHBOURS = (-2, -1, 1, 2)
WINDOWS = (2, 5, 12, 30)  # blocks on both sides
SIDES = (8, 20)  # blocks on one side
_OWN = (
    *("words", "chars", "chars_per_word", "link_share", "bold_share", "digit_share", "upper_share", "lower_share"),
    *("short_share", "inner_share", "stop_share", "ended", "links", "images", "inputs", "breaks", "depth", "lists"),
    *("ordinal", "quotes", "in_an_item", "in_a_row", "tag", "tag_2", "tag_3", "tag_4", "mass"),
)
_PLACE = (
    *("blocks_before", "blocks_after", "position", "mass_before", "page_words", "page_blocks", "page_link_share"),
    *("page_mass", "share_of_longest", "from_heart", "copies"),
)
_RUNNING = (
    *("in_title", "since_title", "since_heading", "heading_tag", "heading_link_share", "h1_before"),
    *("articles", "copies_before"),
)
_REACH = ("since_text", "until_text")
_OWNS, _PLACES, _STEPS = len(_OWN), len(_PLACE), len(_RUNNING) + len(_REACH)
_GROUPS = ("path", "element", "element_2", "element_3", "element_4")
FEATURES: tuple[str, ...] = (
    *_OWN,
    *_PLACE,
    *_RUNNING,
    *_REACH,
    *(f"{name}_within_{n}" for n in WINDOWS for name in ("mass", "mass_share", "link_share")),
    *(f"{name}_{n}_{side}" for side in ("before", "after") for n in SIDES for name in ("mass", "link_share", "chars")),
    *(f"{group}_{name}" for group in _GROUPS for name in ("mass", "share", "link_share", "blocks", "stops", "average")),
    *(f"{name}_{at:+d}" for at in NEIGHBOURS for name in ("words", "link_share", "ended", "tag", "upper_share")),
    *(f"in_{kind.name.lower()}" for kind in Kind),
    *(f"near_{hint.name.lower()}" for hint in Hint),
    *(f"far_{hint.name.lower()}" for hint in Hint),
)

_TITLE_BYTES = 1000  # of a <title> that are searched, and
_MOST_IN_TITLE = 400  # of a block that is looked for in it
_REPEATED = np.int64(1) << 40  # apart from the hashes of paths


class Scratch(NamedTuple):
    """What is known of one page while its blocks are described; made once for a batch."""

    sums: npt.NDArray[np.float64]  # [blocks + 1, 3] before each block: mass, characters in links, characters
    running: F32  # [blocks, _STEPS]
    elements: npt.NDArray[np.float64]  # [elements + 1, 5]: mass, characters in links, characters, blocks, final marks
    keys: npt.NDArray[np.int64]  # a hash table with linear probing, 0 is empty: paths, and texts + _REPEATED
    values: npt.NDArray[np.float64]  # [slots, 5] of a path as `elements`; of a text: copies, copies seen
    # For `curate.vicinity`, once there are scores:
    score_sums: npt.NDArray[np.float64]  # [blocks + 1, 2] before each block: words x score, words
    score_elements: npt.NDArray[np.float64]  # [elements + 1, 2]
    score_paths: npt.NDArray[np.float64]  # [slots, 2]
    sure: npt.NDArray[np.int32]  # [blocks, 2] blocks since and until the next sure one


def scratch(table: BlockTable) -> Scratch:
    """Room for the largest page of the table."""
    blocks = table.blocks
    longest = int(np.diff(table.page_blocks).max(initial=0))
    inner = ("element", "element2", "element3", "element4")
    most = max((int(blocks[name].max(initial=0)) for name in inner), default=0)
    slots = slots_for(longest)
    return Scratch(
        np.zeros((longest + 1, 3)),
        np.zeros((longest, _STEPS), np.float32),
        np.zeros((most + 1, 5)),
        np.zeros(slots, np.int64),
        np.zeros((slots, 5)),
        np.zeros((longest + 1, 2)),
        np.zeros((most + 1, 2)),
        np.zeros((slots, 2)),
        np.zeros((longest, 2), np.int32),
    )


def features(table: BlockTable) -> F32:
    """float32[blocks, len(FEATURES)]: all pages' blocks, for those who train."""
    x = np.zeros((len(table.blocks), len(FEATURES)), np.float32)
    _features(table.text, table.blocks, table.page_blocks, scratch(table), np.arange(len(x)), x)
    return x


@kernel
def _features(text, blocks, page_blocks, scratch, every, x):  # type: ignore[no-untyped-def]
    for page in range(len(page_blocks) - 1):
        first, stop = page_blocks[page], page_blocks[page + 1]
        if stop > first:
            heart = measure(text, blocks[first:stop], scratch)
            describe(blocks[first:stop], scratch, heart, every[: stop - first], x[first:stop])


@kernel
def slots_for(count):  # type: ignore[no-untyped-def]
    """Slots of the hash table for a page of so many blocks: each has a path and a text."""
    size = 16
    while size < 3 * count:
        size *= 2
    return size


@kernel
def find_slot(keys, slots, key):  # type: ignore[no-untyped-def]
    """Where the key is or would be."""
    slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(20)) & (slots - 1)
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & (slots - 1)
    return slot


@kernel
def _gather(into, mass, block):  # type: ignore[no-untyped-def]
    into[0] += mass
    into[1] += block.link_chars
    into[2] += block.chars
    into[3] += 1
    into[4] += block.stops


@kernel
def measure(text, blocks, scratch):  # type: ignore[no-untyped-def]
    """Fill the scratch from one page's blocks; its heart: the block with the most text within 5 blocks."""
    count = len(blocks)
    sums, elements, keys, values = scratch.sums, scratch.elements, scratch.keys, scratch.values
    slots = slots_for(count)
    keys[:slots] = 0
    most = 0
    for i in range(count):
        block = blocks[i]
        most = max(most, block.element, block.element2, block.element3, block.element4)
    elements[: most + 1] = 0
    title_start = title_stop = np.int64(0)
    for i in range(count):
        block = blocks[i]
        mass = block.words * (block.chars - block.link_chars) / block.chars
        if block.tag == tags.TITLE or block.flags & Kind.HIDDEN:
            mass = 0.0
        if block.tag == tags.TITLE and title_stop == 0:
            title_start, title_stop = block.start, min(block.stop, block.start + _TITLE_BYTES)
        sums[i + 1, 0] = sums[i, 0] + mass
        sums[i + 1, 1] = sums[i, 1] + block.link_chars
        sums[i + 1, 2] = sums[i, 2] + block.chars
        path = np.int64(block.path) + 1
        slot = find_slot(keys, slots, path)
        if keys[slot] == 0:
            keys[slot] = path
            values[slot] = 0
        _gather(values[slot], mass, block)
        copy = np.int64(block.text_hash) + _REPEATED
        slot = find_slot(keys, slots, copy)
        if keys[slot] == 0:
            keys[slot] = copy
            values[slot] = 0
        values[slot, 0] += 1
        for element in (block.element, block.element2, block.element3, block.element4):
            _gather(elements[element], mass, block)
    heart, best = 0, -1.0
    for i in range(count):
        mass = sums[min(count, i + 6), 0] - sums[max(0, i - 5), 0]
        if mass > best:
            heart, best = i, mass
    _run(text, blocks, scratch, slots, title_start, title_stop)
    return heart


@kernel
def _run(text, blocks, scratch, slots, title_start, title_stop):  # type: ignore[no-untyped-def]
    """What one learns on the way through the page, and back."""
    sums, running, keys, values = scratch.sums, scratch.running, scratch.keys, scratch.values
    count = len(blocks)
    title = heading = near = -1
    tag = linked = np.float32(0)
    firsts = articles = 0
    article = np.int32(0)
    for i in range(count):
        block = blocks[i]
        size = block.stop - block.start
        sought = block.tag != tags.TITLE and block.words > 1 and size <= min(title_stop - title_start, _MOST_IN_TITLE)
        share = 0.0
        if sought and _stands(text, block.start, block.stop, title_start, title_stop):
            share = size / (title_stop - title_start)
        if share > 0.3:
            title = i
        slot = find_slot(keys, slots, np.int64(block.text_hash) + _REPEATED)
        row = running[i]
        row[0] = share
        row[1] = i - title if title >= 0 else -1
        row[2] = i - heading if heading >= 0 else FAR
        row[3] = tag
        row[4] = linked
        row[5] = firsts
        inside = _article(block)
        if inside > 0 and inside != article:
            articles, article = articles + 1, inside
        row[6] = articles if inside > 0 else -1
        row[7] = values[slot, 1]
        row[8] = i - near if near >= 0 else FAR
        values[slot, 1] += 1
        if sums[i + 1, 0] - sums[i, 0] >= TEXT_WORDS:
            near = i
        if block.flags & Kind.HEADING:
            heading, tag, linked = i, RANK[block.tag], np.float32(block.link_chars / block.chars)
            firsts += block.tag == _H1
    near = -1
    for i in range(count - 1, -1, -1):
        running[i, 9] = near - i if near >= 0 else FAR
        if sums[i + 1, 0] - sums[i, 0] >= TEXT_WORDS:
            near = i


@kernel
def _article(block):  # type: ignore[no-untyped-def]
    """The ordinal of the innermost <article> of the four elements that are known; 0: none."""
    if block.tag == _ARTICLE:
        return block.element
    if block.tag2 == _ARTICLE:
        return block.element2
    if block.tag3 == _ARTICLE:
        return block.element3
    return block.element4 if block.tag4 == _ARTICLE else np.int32(0)


@kernel
def _stands(text, start, stop, within, end):  # type: ignore[no-untyped-def]
    """Whether text[start:stop] stands in text[within:end]."""
    size = stop - start
    for at in range(within, end - size + 1):
        k = 0
        while k < size and text[at + k] == text[start + k]:
            k += 1
        if k == size:
            return True
    return False


@kernel
def describe(blocks, scratch, heart, which, x):  # type: ignore[no-untyped-def]
    """The features of one page's blocks[which] into the first rows of x; `measure` has seen the page."""
    sums, running, elements = scratch.sums, scratch.running, scratch.elements
    keys, values = scratch.keys, scratch.values
    count = len(blocks)
    slots = slots_for(count)
    longest = 1.0
    for i in range(count):
        longest = max(longest, sums[i + 1, 0] - sums[i, 0])
    total = max(1.0, sums[count, 0])
    for at in range(len(which)):
        i = which[at]
        block, row = blocks[i], x[at]
        mass = sums[i + 1, 0] - sums[i, 0]
        j = _own(block, mass, row)
        slot = find_slot(keys, slots, np.int64(block.text_hash) + _REPEATED)
        row[j] = i
        row[j + 1] = count - i - 1
        row[j + 2] = i / count
        row[j + 3] = sums[i, 0] / total
        row[j + 4] = sums[count, 2]
        row[j + 5] = count
        row[j + 6] = sums[count, 1] / max(1.0, sums[count, 2])
        row[j + 7] = sums[count, 0]
        row[j + 8] = mass / longest
        row[j + 9] = i - heart
        row[j + 10] = values[slot, 0]
        j += _PLACES
        for k in range(_STEPS):
            row[j + k] = running[i, k]
        j += _STEPS
        for reach in WINDOWS:
            a, z = max(0, i - reach), min(count, i + reach + 1)
            row[j] = sums[z, 0] - sums[a, 0]
            row[j + 1] = (sums[z, 0] - sums[a, 0]) / total
            row[j + 2] = (sums[z, 1] - sums[a, 1]) / max(1.0, sums[z, 2] - sums[a, 2])
            j += 3
        for reach in SIDES:
            j = _side(sums, max(0, i - reach), i, row, j)
        for reach in SIDES:
            j = _side(sums, i + 1, min(count, i + 1 + reach), row, j)
        slot = find_slot(keys, slots, np.int64(block.path) + 1)
        j = _group(values[slot], total, row, j)
        for element in (block.element, block.element2, block.element3, block.element4):
            j = _group(elements[element], total, row, j)
        for step in NEIGHBOURS:
            if 0 <= i + step < count:
                other = blocks[i + step]
                row[j] = other.words
                row[j + 1] = other.link_chars / other.chars
                row[j + 2] = other.ended
                row[j + 3] = RANK[other.tag]
                row[j + 4] = other.upper / other.words
            else:
                row[j : j + 5] = -1
            j += 5
        for k in range(_KINDS):
            row[j + k] = block.flags >> k & 1
        j += _KINDS
        for k in range(_HINTS):
            row[j + k] = block.near >> k & 1
            row[j + _HINTS + k] = block.far >> k & 1


@kernel
def _own(block, mass, row):  # type: ignore[no-untyped-def]
    chars, words = max(1, block.chars), max(1, block.words)
    row[0] = block.words
    row[1] = block.chars
    row[2] = block.chars / words
    row[3] = block.link_chars / chars
    row[4] = block.bold_chars / chars
    row[5] = block.digits / chars
    row[6] = block.upper / words
    row[7] = block.lower / words
    row[8] = block.short / words
    row[9] = block.inner / words
    row[10] = block.stops / words
    row[11] = block.ended
    row[12] = block.links
    row[13] = block.images
    row[14] = block.inputs
    row[15] = block.breaks
    row[16] = block.depth
    row[17] = block.lists
    row[18] = block.ordinal
    row[19] = block.quotes
    row[20] = block.item > 0
    row[21] = block.row > 0
    row[22] = RANK[block.tag]
    row[23] = RANK[block.tag2]
    row[24] = RANK[block.tag3]
    row[25] = RANK[block.tag4]
    row[26] = mass
    return _OWNS


@kernel
def _side(sums, start, stop, row, j):  # type: ignore[no-untyped-def]
    if stop > start:
        chars = sums[stop, 2] - sums[start, 2]
        row[j] = sums[stop, 0] - sums[start, 0]
        row[j + 1] = (sums[stop, 1] - sums[start, 1]) / max(1.0, chars)
        row[j + 2] = chars / (stop - start)
    else:
        row[j : j + 3] = -1
    return j + 3


@kernel
def _group(of, total, row, j):  # type: ignore[no-untyped-def]
    row[j] = of[0]
    row[j + 1] = of[0] / total
    row[j + 2] = of[1] / max(1.0, of[2])
    row[j + 3] = of[3]
    row[j + 4] = of[4] / of[3]
    row[j + 5] = of[0] / of[3]
    return j + 6
