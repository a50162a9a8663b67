"""Tables of data: which rows are, and how they are written. `curate.render` has the rule and calls these kernels."""

import numpy as np

from curate import tags
from curate.lines import CELL, begin_line, enclosing, fill, write
from curate.markup import kernel
from curate.tags import Kind

# Characters of the longest cell of data, without white space: a paragraph of some 60 words. Ours.
LONGEST = 300
# Empty cells in a row that leave their place empty: more of them are blank space.
EMPTY = 16

_TR = tags.CODES["tr"]
_SECTIONS = tuple(tags.CODES[name] for name in ("thead", "tbody", "tfoot"))


@kernel
def find_table(blocks, start, i, stop, first, last):  # type: ignore[no-untyped-def]
    """(past the rows of data from block i on, their columns), or (past what is layout, 0)."""
    head = blocks[i]
    table, row, columns, wide = np.int32(0), np.int32(0), 0, False
    after = i
    while i < stop:
        if first[i] == last[i]:
            i += 1
            continue
        block = blocks[i]
        around = _table(block)
        if row > 0 and (block.row <= row or block.item != head.item or block.quotes != head.quotes):
            break
        if around > 0 and (around != table if table > 0 else row > 0 and around > head.element):
            break
        table = max(table, around)
        row, cell, cells, size = block.row, np.int32(0), 0, 0
        data = i == start or blocks[i - 1].row <= row  # else it goes on after a table within it
        while i < stop:
            if first[i] < last[i]:
                block = blocks[i]
                if block.row != row:
                    break
                data = data and block.cell > cell and block.chars <= LONGEST and block.item == head.item
                data = data and block.flags & (Kind.PREFORMATTED | Kind.HEADING) == 0
                if data:
                    size += 1 + _empty(blocks, start, i, cell)
                    cell = block.cell
                    cells += 1
            i += 1
        if not data:
            return (i, 0) if columns == 0 else (after, columns if wide else 0)
        wide = wide or cells > 1
        columns = max(columns, size)
        after = i
    return after, columns if wide else 0


@kernel
def _table(block):  # type: ignore[no-untyped-def]
    """Ordinal of the table around the innermost row, 0 if too far out."""
    for k in range(4):
        tag, _ = enclosing(block, k)
        if tag == _TR:
            outer, ordinal = enclosing(block, k + 1)
            return enclosing(block, k + 2)[1] if outer in _SECTIONS else ordinal
    return np.int32(0)


@kernel
def _empty(blocks, start, i, cell):  # type: ignore[no-untyped-def]
    """Cells without text between block i and the cell written before it in its row, 0 for none, at most EMPTY."""
    block = blocks[i]
    if cell > 0:
        return min(block.cell - cell - 1, EMPTY)
    for k in range(3):
        _, ordinal = enclosing(block, k)
        outer, row = enclosing(block, k + 1)
        if outer == _TR:  # as many elements as were opened in the row before this cell, if they are cells
            while i >= start and blocks[i].row == block.row:
                i -= 1
            before = blocks[i].cell if i >= start else 0
            return max(0, min(ordinal - row - 1, block.cell - before - 1, EMPTY))
    return 0


@kernel
def write_table(text, blocks, start, i, after, columns, first, last, out, at, stack, pen):  # type: ignore[no-untyped-def]
    row, cell, size, head = np.int32(0), np.int32(0), 0, True
    for k in range(i, after):
        if first[k] == last[k]:
            continue
        block = blocks[k]
        if block.row != row:
            if row > 0:
                at = _end_row(out, at, size, columns, head, stack, pen)
                at = begin_line(out, at, 1, stack, pen.depth, pen)
                head = False
            row, cell, size = block.row, np.int32(0), 0
        empty = _empty(blocks, start, k, cell)
        if pen.markdown:
            for _ in range(empty + 1):
                at = fill(out, fill(out, at, 1, 124), 1, 32)  # |
        elif at > pen.begin:  # no blanks before a page's first character
            at = fill(out, at, empty + (size > 0), 9)
        at = write(text, first[k], last[k], CELL, out, at, stack, pen)
        if pen.markdown:
            at = fill(out, at, 1, 32)
        cell, size = block.cell, size + empty + 1
    return _end_row(out, at, size, columns, head, stack, pen)


@kernel
def _end_row(out, at, size, columns, head, stack, pen):  # type: ignore[no-untyped-def]
    """End a row of `size` cells in Markdown: the first is filled up, and a line of dashes follows."""
    if pen.markdown:
        if head:
            for _ in range(columns - size):
                at = fill(out, fill(out, at, 1, 124), 1, 32)
        at = fill(out, at, 1, 124)
        if head:
            at = begin_line(out, at, 1, stack, pen.depth, pen)
            for _ in range(columns):
                at = fill(out, fill(out, at, 1, 124), 1, 32)
                at = fill(out, fill(out, at, 3, 45), 1, 32)
            at = fill(out, at, 1, 124)
    return at
