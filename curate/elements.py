"""The open block elements as a stack of records: what each says of the text inside, and which tags close which.

Rules: WHATWG HTML, section 13.2.6 "tree construction", so far as they move text from one block to another.
"""

import numpy as np

from curate import tags
from curate.markup import kernel
from curate.tags import Kind, Rule

# Elements nested deeper than this only count their depth; browsers flatten the tree at 512 too (Blink's limit).
MAX_DEPTH = 512

ELEMENT = np.dtype(
    [
        ("kinds", np.uint32),  # of this element and all around it
        ("own", np.uint32),  # hints of this element, of it and the next one, of it and all around
        ("near", np.uint32),
        ("far", np.uint32),
        ("path", np.uint32),
        ("ordinal", np.int32),  # this element's within the page
        ("row", np.int32),  # ordinals of the nearest row, cell and item
        ("cell", np.int32),
        ("item", np.int32),
        ("number", np.int32),  # of the nearest li in its ol
        ("next", np.int32),  # of an ol: its next item's number
        ("list", np.int32),  # depth of the nearest list
        ("tag", np.uint8),
        ("lists", np.uint8),
        ("quotes", np.uint8),
    ],
    align=True,
)

# The last ordinal of its kind that a page's elements were given.
ORDINALS = np.dtype([(name, np.int32) for name in ("element", "row", "cell", "item")], align=True)


@kernel
def push(stack, depth, code, kinds, rule, tag, last):  # type: ignore[no-untyped-def]
    """Open an element of the name `code` and the start tag `tag` within stack[depth]: the new depth."""
    outer, inner = stack[depth], stack[depth + 1]
    inner.tag = code
    inner.kinds = outer.kinds | kinds
    inner.own = tag.hints
    inner.near = outer.own | tag.hints
    inner.far = outer.far | tag.hints
    inner.path = np.uint32((outer.path ^ np.uint32(code)) * np.uint32(0x01000193))
    inner.row, inner.cell, inner.item, inner.number = outer.row, outer.cell, outer.item, outer.number
    last.element += 1
    inner.ordinal = last.element
    if tag.hidden:
        inner.kinds |= np.uint32(Kind.HIDDEN)
    if rule & Rule.ROW:
        last.row += 1
        inner.row = last.row
    if rule & Rule.CELL:
        last.cell += 1
        inner.cell = last.cell
    if kinds & Kind.ITEM:
        last.item += 1
        inner.item = last.item
    inner.list, inner.lists, inner.quotes = outer.list, outer.lists, outer.quotes
    if kinds & Kind.LIST:
        inner.list = depth + 1
        inner.lists = min(outer.lists + 1, 255)
        inner.next = tag.number if tag.numbered else 1
    elif code == tags.LI:
        around = stack[outer.list]
        inner.number = 0
        if around.tag == tags.OL:
            inner.number = tag.number if tag.numbered else around.next
            around.next = inner.number + 1
    elif kinds & Kind.QUOTE:
        inner.quotes = min(outer.quotes + 1, 255)
    return depth + 1


@kernel
def pop(stack, depth, opened, rules, below):  # type: ignore[no-untyped-def]
    """Close all elements above `below`: (depth, whether one of them was a barrier)."""
    cut = False
    while depth > below:
        code = stack[depth].tag
        opened[code] -= 1
        cut |= rules[code] & Rule.BARRIER != 0
        depth -= 1
    return depth, cut


@kernel
def target(stack, depth, opened, overflow, rules, kinds, ends, walls, code, closing):  # type: ignore[no-untyped-def]
    """The depth that a tag leaves of the open elements, before its own is opened."""
    rule = rules[code]
    heading = kinds[code] & Kind.HEADING
    below = depth
    if closing:
        if (opened[code] == 0 and heading == 0) or overflow > 0:
            return depth
    elif rule & Rule.ENDS == 0 and (rule & Rule.CLOSES_P == 0 or opened[tags.P] == 0):
        return depth
    for k in range(depth, 0, -1):
        tag = stack[k].tag
        if closing:
            if tag == code or (heading and kinds[tag] & Kind.HEADING):
                return k - 1
        elif ends[code, tag]:
            return k - 1
        elif tag == tags.P and rule & Rule.CLOSES_P:
            below = k - 1
            if rule & Rule.ENDS == 0:
                return below
        wall = tag == tags.TABLE if rule & Rule.TABLE else rules[tag] & Rule.BARRIER != 0
        if wall or (not closing and walls[code, tag]):
            break
    return below
