"""What is known of a text block: its record, and the kernels that begin, count and end one.

Where a block begins and ends is decided in `curate.html`; which blocks are worth keeping in `curate.blocks`.
"""

import numpy as np

from curate import tags
from curate.markup import is_space, is_spaceless, kernel
from curate.tags import Kind, Rule

BLOCK = np.dtype(
    [
        ("start", np.int64),  # bytes of BlockTable.text
        ("stop", np.int64),
        ("page_start", np.int64),  # bytes of the page: from its first visible character to past the last
        ("page_stop", np.int64),
        ("flags", np.uint32),  # kinds of the elements around: tags.Kind
        ("own", np.uint32),  # tags.Hint of the class, id, role and itemprop words of the innermost element
        ("near", np.uint32),  # of the two innermost elements
        ("far", np.uint32),  # of all elements around
        ("path", np.uint32),  # hash of the names of the open block elements, outermost first
        ("text_hash", np.uint32),  # hash of text[start:stop]
        ("depth", np.int32),  # open block elements
        # Ordinals within the page, from 1: the innermost block element and those around it (0: the page itself) ...
        ("element", np.int32),
        ("element2", np.int32),
        ("element3", np.int32),
        ("element4", np.int32),
        ("row", np.int32),  # ... the table row, the cell, the li, dt or dd around; 0 outside of any
        ("cell", np.int32),
        ("item", np.int32),
        ("ordinal", np.int32),  # number that a browser shows before the innermost open li: 0 but in an <ol>
        ("chars", np.int32),  # code points that are not white space
        ("link_chars", np.int32),  # those within <a href>
        ("bold_chars", np.int32),  # those within <b>, <strong>
        ("words", np.int32),  # runs of non-white-space; each code point of a script without spaces counts as one
        ("short", np.int32),  # words of at most 3 code points, in scripts with spaces
        ("digits", np.int32),  # ASCII digits
        ("upper", np.int32),  # words that begin with a capital of the Latin, Greek or Cyrillic script
        ("lower", np.int32),  # ... with a small letter of these
        ("inner", np.int32),  # commas and their like
        ("stops", np.int32),  # sentence-final marks
        ("links", np.int16),  # <a href> that begin in the block or are open at its first character
        ("breaks", np.int16),  # <br> within or just after
        ("images", np.int16),  # start tags since the block before: img, picture, video, iframe, figure
        ("inputs", np.int16),  # ... input, textarea, select, button
        ("tag", np.uint8),  # innermost block element: index into tags.NAMES
        ("tag2", np.uint8),  # the one around it, and so on; 0: the page itself
        ("tag3", np.uint8),
        ("tag4", np.uint8),
        ("lists", np.uint8),  # open ul, ol, dl, menu
        ("quotes", np.uint8),  # open blockquotes
        ("ended", np.bool_),  # the last character is a sentence-final mark
    ],
    align=True,
)

MOST = np.iinfo(np.int16).max
_BASIS, _PRIME = np.uint32(0x811C9DC5), np.uint32(0x01000193)  # FNV-1a, 32 bits


@kernel
def begin(blocks, count, at):  # type: ignore[no-untyped-def]
    """Make blocks[count] an empty block whose text begins at `at`."""
    block = blocks[count]
    block.start = at
    block.chars = block.link_chars = block.bold_chars = block.words = block.short = 0
    block.digits = block.upper = block.lower = block.inner = block.stops = 0
    block.links = block.breaks = 0
    block.ended = False


@kernel
def finish(blocks, count, out, at, stack, depth, overflow, title, hidden):  # type: ignore[no-untyped-def]
    """End the current block, a title or in stack[depth], and begin the next: (count, at). An empty block is none."""
    block = blocks[count]
    if block.chars == 0:
        begin(blocks, count, block.start)
        return count, block.start
    while is_space(out[at - 1]):
        at -= 1
    block.stop = at
    value = _BASIS
    for i in range(block.start, at):
        value = np.uint32((value ^ np.uint32(out[i])) * _PRIME)
    block.text_hash = value
    if title:
        depth, overflow = 0, 0
    inner = stack[depth]
    block.flags, block.own, block.near, block.far = inner.kinds, inner.own, inner.near, inner.far
    block.path, block.depth = inner.path, depth + overflow
    block.row, block.cell, block.item, block.ordinal = inner.row, inner.cell, inner.item, inner.number
    block.lists, block.quotes = inner.lists, inner.quotes
    outer, third, fourth = stack[max(depth - 1, 0)], stack[max(depth - 2, 0)], stack[max(depth - 3, 0)]
    block.tag, block.tag2, block.tag3, block.tag4 = inner.tag, outer.tag, third.tag, fourth.tag
    block.element, block.element2, block.element3 = inner.ordinal, outer.ordinal, third.ordinal
    block.element4 = fourth.ordinal
    if title:
        block.tag = tags.TITLE
    if hidden:
        block.flags |= np.uint32(Kind.HIDDEN)
    begin(blocks, count + 1, at)
    blocks[count + 1].images = blocks[count + 1].inputs = 0
    return count + 1, at


@kernel
def embed(block, rule):  # type: ignore[no-untyped-def]
    """Count an image or an input before or in the block."""
    if rule & Rule.IMAGE:
        block.images = min(block.images + 1, MOST)
    if rule & Rule.INPUT:
        block.inputs = min(block.inputs + 1, MOST)


@kernel
def add(block, point, word, link, bold):  # type: ignore[no-untyped-def]
    """Count one visible character: the code points of the word that is now open."""
    block.chars += 1
    if link:
        block.link_chars += 1
    if bold:
        block.bold_chars += 1
    if is_spaceless(point):
        block.words += 1
        word = 0
    elif word == 0:
        case = letter_case(point)
        block.words += 1
        block.short += 1
        block.upper += case > 0
        block.lower += case < 0
        word = 1
    else:
        word += 1
        block.short -= word == 4
    if point < 0x80:
        block.digits += 48 <= point <= 57
        block.inner += point == 44 or point == 58 or point == 59  # , : ;
        stop = point == 46 or point == 33 or point == 63  # . ! ?
        quote = point == 34 or point == 39 or point == 41
    else:  # CJK, Arabic, Devanagari and their like
        block.inner += point in (0x3001, 0xFF0C, 0xFF1A, 0xFF1B, 0x060C, 0x061B)
        stop = point in (0x3002, 0xFF01, 0xFF1F, 0x2026, 0x061F, 0x06D4, 0x0964)
        quote = point in (0x2019, 0x201D, 0xBB, 0x300D, 0xFF09)
    block.stops += stop
    block.ended = stop or (quote and block.ended)
    return word


@kernel
def letter_case(point):  # type: ignore[no-untyped-def]
    """1 for a capital, -1 for a small letter, 0 for all else: ASCII, Latin-1, Latin Extended-A, Greek, Cyrillic."""
    if point < 0x80:
        return np.int64(65 <= point <= 90) - np.int64(97 <= point <= 122)
    if point < 0xC0 or point == 0xD7 or point == 0xF7:
        return np.int64(0)
    if point < 0x100:
        return np.int64(1) if point < 0xDF else np.int64(-1)
    if point < 0x180:  # pairs, the capital first: at even points, but from 0x139 to 0x148 and from 0x179 on at odd ones
        odd = 0x139 <= point <= 0x148 or point >= 0x179
        return np.int64(1) if (point & 1 == 1) == odd else np.int64(-1)
    if 0x386 <= point < 0x3D0:
        return np.int64(1) if point < 0x3AC and point != 0x390 else np.int64(-1)
    if 0x400 <= point < 0x460:
        return np.int64(1) if point < 0x430 else np.int64(-1)
    if 0x460 <= point < 0x530:
        return np.int64(1) if point & 1 == 0 else np.int64(-1)
    return np.int64(0)
