"""Blocks to text: the chosen blocks of a block table as plain text or as Markdown, all pages of a batch in one pass.

Structure is what the elements say: headings, lists, rows of tables, code, quotes. Inline formatting and links are gone
by now (see `curate.html`), so Markdown has no emphasis, and characters are escaped only where a line's first ones
would be read as structure. It does not choose blocks: see `curate.blocks`. Lines:

- Paragraphs, headings, tables and code are parted by a blank line. A <br> stays a line break, but in a cell and in a
  heading of Markdown, where it is a space.
- Items of a list are a line each, "- " or "3. " before them, and in a <dl> terms are bare and definitions indented.
  What lies in an item, further paragraphs too, is indented with it, by two spaces a level (in Markdown by the width of
  the item's mark, with a blank line between), at most `LEVELS` deep. An item with nothing chosen leaves no level.
- Rows of data are a line each, with a tab between cells; Markdown has a pipe table with the first row as its head.
  A row is data if each of its cells is one block of at most `rows.LONGEST` characters, neither code nor a heading nor
  of a list of its own; a table is a run of such rows, one of which has two cells. All others are layout: their cells
  read as paragraphs. An empty or not chosen cell leaves its place empty; the spans of cells are not known.
- <pre> keeps its line breaks and indentation, but for blank lines in a row; Markdown has a fence around it.
- Quotes are paragraphs, and "> " goes before their lines in Markdown.
"""

import unicodedata

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import tags
from curate.html import BlockTable
from curate.lines import CODE, CONTAINER, HEADING, PEN, TEXT, begin_line, enclosing, fill, prefix, trim, write
from curate.markup import kernel
from curate.rows import EMPTY, find_table, write_table
from curate.tags import Kind

# Items and quotes within one another that are shown: what is deeper stands at the last level.
LEVELS = 8
_LI, _DT, _DD = _ITEMS = tuple(tags.CODES[name] for name in ("li", "dt", "dd"))
_LISTS = tuple(tags.CODES[name] for name in ("ul", "ol", "dl", "dir", "menu"))
_PRES = (tags.CODES["pre"], tags.CODES["listing"])
_H1, _H6 = tags.CODES["h1"], tags.CODES["h6"]  # h1 to h6 follow one another
_QUOTE = tags.CODES["blockquote"]
_MOST_NUMBER = 999_999_999  # of an item, CommonMark 5.2
_MOST_PREFIX = LEVELS * (len(str(_MOST_NUMBER)) + 2)


def render(table: BlockTable, keep: npt.NDArray[np.bool_], *, markdown: bool = False) -> pa.StringArray:
    """Each page's kept blocks as text that `curate.extract.tidy` would leave as it is; empty where none is kept.

    Args:
        table: the block table.
        keep: bool[blocks], the chosen ones.
        markdown: Markdown (CommonMark with GFM's tables) in place of plain text.

    Raises:
        OverflowError: for a batch of 2 GiB of text.
    """
    first, last = np.empty(len(table.blocks), np.int64), np.empty(len(table.blocks), np.int64)
    shown, size = trim(table.text, table.blocks, keep, first, last)
    # A character needs at most one more as its escape, a line at most two prefixes, a block two lines more and its
    # share of the empty cells and of the line below a table's head. Reserved, not touched.
    lines = int(np.count_nonzero(table.text == ord("\n"))) + 3 * shown
    out = np.empty(3 * size + 2 * lines * (_MOST_PREFIX + 2) + shown * (EMPTY + 1) * 8, np.uint8)
    ends = np.zeros(table.num_pages + 1, np.int64)
    odd = np.zeros(table.num_pages, np.bool_)
    stack, pen = np.zeros(LEVELS, CONTAINER), np.zeros(1, PEN)
    pen["markdown"] = markdown
    _render(table.text, table.blocks, table.page_blocks, first, last, stack, pen, out, ends, odd)
    written = out[: ends[-1]].tobytes()
    parts, start = [], 0
    sizes = np.diff(ends)
    for page in np.flatnonzero(odd).tolist():
        text = written[ends[page] : ends[page + 1]].decode()
        if not unicodedata.is_normalized("NFC", text):
            normal = unicodedata.normalize("NFC", text).encode()
            parts += [written[start : ends[page]], normal]
            start, sizes[page] = int(ends[page + 1]), len(normal)
    if parts:
        written = b"".join([*parts, written[start:]])
    if len(written) > np.iinfo(np.int32).max:
        raise OverflowError(
            f"a batch of {table.num_pages} pages has {len(written)} bytes of text; make batches smaller"
        )
    offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int32)
    return pa.StringArray.from_buffers(table.num_pages, pa.py_buffer(offsets), pa.py_buffer(written))


@kernel
def _render(text, blocks, page_blocks, first, last, stack, pens, out, ends, odd):  # type: ignore[no-untyped-def]
    """Write all pages, page i to out[ends[i]:ends[i + 1]]; `odd` says which of them may not be in NFC."""
    at = np.int64(0)
    pen = pens[0]
    for page in range(len(page_blocks) - 1):
        start, stop = page_blocks[page], page_blocks[page + 1]
        i = layout = start  # before `layout` no table of data begins
        pen.begin, pen.depth, pen.odd = at, 0, False
        previous = np.int32(0)  # the item of the block before
        while i < stop:
            if first[i] == last[i]:
                i += 1
                continue
            block = blocks[i]
            code = block.flags & Kind.PREFORMATTED != 0
            after, columns, inmost = i + 1, np.int64(0), block.item
            if code:
                after = _find_code(blocks, i, stop)
                inmost = np.int32(0) if _code(block)[1] else inmost
            elif block.row > 0 and i >= layout:
                after, columns = find_table(blocks, start, i, stop, first, last)
                if columns == 0:
                    layout, after = after, i + 1
            kept, item, parted = _enter(stack, block, inmost, pen)
            if at > pen.begin:
                near = previous > 0 and inmost > 0 and not parted
                if pen.markdown:  # there a paragraph ends before an item's mark, else at a blank line
                    near = near and item >= 0 and stack[item].mark > 0
                at = begin_line(out, at, 1 if near else 2, stack, kept, pen)
            at = _open(out, at, stack, kept, pen)
            if code:
                at = _write_code(text, blocks, i, after, first, last, out, at, stack, pen)
            elif columns > 0:
                at = write_table(text, blocks, start, i, after, columns, first, last, out, at, stack, pen)
            else:
                level = _level(block) if pen.markdown else 0
                if level > 0:
                    at = fill(out, at, level, 35)  # #
                    at = fill(out, at, 1, 32)
                at = write(text, first[i], last[i], HEADING if level > 0 else TEXT, out, at, stack, pen)
            previous = inmost
            i = after
        ends[page + 1] = at
        odd[page] = pen.odd


@kernel
def _enter(stack, block, inmost, pen):  # type: ignore[no-untyped-def]
    """Close the containers that the block is not in and open those it is in; its item is `inmost`, or 0.

    Returns how many stayed open, the place of the item that was opened or -1, and whether a blank line has to part it
    from the item before.
    """
    kept = quotes = 0
    inside = False  # the block's item is open
    while kept < pen.depth:
        container = stack[kept]
        if container.item == 0:
            if container.level > block.quotes:
                break
            quotes += 1
        elif container.item == inmost:
            inside = True
        elif container.item > inmost or container.level >= block.lists:
            break
        kept += 1
    opens = inmost > 0 and not inside
    if opens and kept == LEVELS:
        kept -= 1
    depth, item, parted = kept, -1, False
    if opens:
        tag, around, quoted = _item(block)
        number, mark, other = np.int32(0), 45, 42  # - *
        if tag == _DT:
            mark = 0
        elif tag == _DD:
            mark = 45 if pen.markdown else 32
        elif 1 <= block.ordinal <= _MOST_NUMBER:
            number, mark, other = block.ordinal, 46, 41  # . )
        if kept < pen.depth and stack[kept].item > 0:
            beside = stack[kept]
            parted = bool(beside.level >= block.lists and around > 0 and beside.list > 0 and around != beside.list)
            # In Markdown a list goes on for as long as the mark is the same.
            if pen.markdown and mark > 0 and (beside.mark == (mark if parted else other)):
                mark = other
        elif pen.markdown:
            parted = bool(number > 1)  # such a list does not end a paragraph
        while not quoted and quotes < block.quotes and depth < LEVELS - 1:
            quotes += 1
            _open_quote(stack[depth], quotes)
            depth += 1
        item = depth
        container = stack[item]
        container.item, container.level, container.list = inmost, block.lists, around
        container.number, container.mark = number, mark
        container.width = 0 if mark == 0 else 2
        if pen.markdown:
            while number > 0:
                container.width += 1
                number //= 10
        depth += 1
    while quotes < block.quotes and depth < LEVELS:
        quotes += 1
        _open_quote(stack[depth], quotes)
        depth += 1
    pen.depth = depth
    return kept, item, parted


@kernel
def _open_quote(container, level):  # type: ignore[no-untyped-def]
    container.item, container.level, container.width = 0, level, 0


@kernel
def _item(block):  # type: ignore[no-untyped-def]
    """Of the innermost item its name and its list's ordinal, 0 if too far out, and whether it has a quote in it."""
    quoted = False
    for k in range(4):
        tag, _ = enclosing(block, k)
        if tag in _ITEMS:
            outer, ordinal = enclosing(block, k + 1)
            return tag, ordinal if outer in _LISTS else np.int32(0), quoted
        quoted = quoted or tag == _QUOTE
    return np.uint8(0), np.int32(0), quoted


@kernel
def _level(block):  # type: ignore[no-untyped-def]
    """1 to 6 for a heading, else 0."""
    if block.flags & Kind.HEADING:
        for k in range(4):
            tag, _ = enclosing(block, k)
            if _H1 <= tag <= _H6:
                return tag - _H1 + 1
    return 0


@kernel
def _find_code(blocks, i, stop):  # type: ignore[no-untyped-def]
    """Past the blocks from i on that share its <pre>."""
    ordinal, _ = _code(blocks[i])
    while i < stop and blocks[i].flags & Kind.PREFORMATTED and _code(blocks[i])[0] == ordinal:
        i += 1
    return i


@kernel
def _code(block):  # type: ignore[no-untyped-def]
    """Of the innermost <pre> its ordinal, 0 if too far out, and whether the block's item lies within it."""
    item = False
    for k in range(4):
        tag, ordinal = enclosing(block, k)
        if tag in _PRES:
            return ordinal, item
        item = item or tag in _ITEMS
    return np.int32(0), False


@kernel
def _write_code(text, blocks, i, after, first, last, out, at, stack, pen):  # type: ignore[no-untyped-def]
    fence = 3
    if pen.markdown:
        for k in range(i, after):
            run = 0
            for j in range(first[k], last[k]):
                run = run + 1 if text[j] == 96 else 0
                fence = max(fence, run + 1)
        at = fill(out, at, fence, 96)
        at = begin_line(out, at, 1, stack, pen.depth, pen)
    before = i
    for k in range(i, after):
        if first[k] < last[k]:
            if blocks[k].row > 0 and blocks[k].row == blocks[before].row and blocks[k].cell != blocks[before].cell:
                at = fill(out, at, 1, 9)
            elif k > i:  # parted by two <br>, or by a line's own element
                at = begin_line(out, at, 2 if blocks[k].element == blocks[before].element else 1, stack, pen.depth, pen)
            at = write(text, first[k], last[k], CODE, out, at, stack, pen)
            before = k
    if pen.markdown:
        at = begin_line(out, at, 1, stack, pen.depth, pen)
        at = fill(out, at, fence, 96)
    return at


@kernel
def _open(out, at, stack, kept, pen):  # type: ignore[no-untyped-def]
    """Begin a line: the marks of the containers opened since `kept`."""
    for k in range(kept, pen.depth):
        container = stack[k]
        if container.item == 0:
            at = prefix(out, at, container, pen)
        elif container.number > 0:
            size = 1
            rest = container.number // 10
            while rest > 0:
                size, rest = size + 1, rest // 10
            rest = container.number
            for j in range(size):
                out[at + size - 1 - j] = 48 + rest % 10
                rest //= 10
            out[at + size] = container.mark
            out[at + size + 1] = 32
            at += size + 2
        elif container.mark != 0 and (container.mark != 32 or at > pen.begin):
            out[at] = container.mark
            out[at + 1] = 32
            at += 2
    return at
