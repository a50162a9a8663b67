"""Pages to a block table: one compiled pass over a batch's characters, without a DOM.

A *block* is a run of text that no block-level tag and no pair of line breaks divides: a paragraph, a heading, a list
item, a table cell. The kernel follows the WHATWG tokenizer and those of its tree rules that move text between blocks
(implied end tags, ignored end tags, raw text); inline formatting is not rebuilt. It decides nothing about which blocks
are worth keeping: see `curate.blocks`. Time is linear in the bytes and memory a small multiple of them, on any input.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import tags
from curate.markup import (
    attributes,
    declaration,
    end_tag,
    find,
    hash_name,
    is_letter,
    is_space,
    is_spaceless,
    kernel,
    put,
    reference,
)
from curate.tags import Kind, Rule

# Elements nested deeper than this only count their depth; browsers flatten the tree at 512 too (Blink's limit).
MAX_DEPTH = 512

BLOCK = np.dtype(
    [
        ("start", np.int64),  # bytes of BlockTable.text
        ("stop", np.int64),
        ("flags", np.uint32),  # kinds of the elements around: tags.Kind
        ("near", np.uint32),  # tags.Hint of the class, id and role words of the two innermost elements
        ("far", np.uint32),  # the same for all elements around
        ("depth", np.int32),  # open block elements
        ("row", np.int32),  # ordinal of the table row within its page, from 1; 0 outside tables
        ("cell", np.int32),  # ordinal of the table cell within its page, from 1; 0 outside cells
        ("chars", np.int32),  # code points that are not white space
        ("link_chars", np.int32),  # those within <a href>
        ("bold_chars", np.int32),  # those within <b>, <strong>
        ("words", np.int32),  # runs of non-white-space; each code point of a script without spaces counts as one
        ("digits", np.int32),  # ASCII digits
        ("upper", np.int32),  # words that begin with an ASCII capital
        ("inner", np.int32),  # commas and their like
        ("stops", np.int32),  # sentence-final marks
        ("tag", np.uint8),  # innermost block element: index into tags.NAMES
        ("ended", np.bool_),  # the last character is a sentence-final mark
    ],
    align=True,
)


ELEMENT = np.dtype(
    [
        ("kinds", np.uint32),  # of this element and all around it
        ("own", np.uint32),
        ("near", np.uint32),
        ("far", np.uint32),
        ("row", np.int32),
        ("cell", np.int32),
        ("tag", np.uint8),
    ],
    align=True,
)


@dataclass(frozen=True, slots=True)
class BlockTable:
    """The text blocks of a batch of pages, in document order."""

    text: npt.NDArray[np.uint8]  # UTF-8 of all blocks, one after another
    blocks: npt.NDArray[np.void]  # dtype BLOCK
    page_blocks: npt.NDArray[np.int64]  # [pages + 1]: page i owns blocks[page_blocks[i] : page_blocks[i + 1]]

    @property
    def num_pages(self) -> int:
        return len(self.page_blocks) - 1

    def block_text(self, index: int) -> str:
        """The characters of one block."""
        block = self.blocks[index]
        return self.text[block["start"] : block["stop"]].tobytes().decode()

    def titles(self) -> list[str]:
        """Each page's <title>, or empty."""
        found = [""] * self.num_pages
        (where,) = np.nonzero(self.blocks["tag"] == tags.TITLE)
        pages = np.searchsorted(self.page_blocks, where, side="right") - 1
        for page, index in zip(pages.tolist()[::-1], where.tolist()[::-1], strict=True):
            found[page] = self.block_text(index)
        return found

    def words(self) -> npt.NDArray[np.int64]:
        """int64[pages]: words in all blocks of each page, hidden ones too; no extractor finds more."""
        total = np.concatenate(([0], np.cumsum(self.blocks["words"], dtype=np.int64)))
        result: npt.NDArray[np.int64] = total[self.page_blocks[1:]] - total[self.page_blocks[:-1]]
        return result

    def depths(self) -> npt.NDArray[np.int32]:
        """int32[pages]: open block elements around the most deeply nested text."""
        result = np.zeros(self.num_pages, np.int32)
        owner = np.repeat(np.arange(self.num_pages), np.diff(self.page_blocks))
        np.maximum.at(result, owner, self.blocks["depth"])
        return result


def scan(pages: pa.StringArray) -> BlockTable:
    """The block table of decoded pages (null-free; a slice of an array will do)."""
    _, offsets, data = pages.buffers()
    starts = np.frombuffer(offsets, np.int32)[pages.offset : pages.offset + len(pages) + 1].astype(np.int64)
    text = np.frombuffer(data, np.uint8) if data is not None and data.size else np.zeros(0, np.uint8)
    total = int(starts[-1] - starts[0])
    # No reference yields more than 6 bytes for 5; no block takes fewer than 4 bytes of markup and text. Memory beyond
    # what the pages really fill is reserved, never touched.
    out = np.empty(total + total // 5 + 8, np.uint8)
    blocks = np.empty(total // 4 + len(pages) + 2, BLOCK)
    page_blocks = np.zeros(len(pages) + 1, np.int64)
    stack = np.zeros(MAX_DEPTH + 1, ELEMENT)  # stack[0] stands for the page
    opened = np.zeros(len(tags.NAMES), np.int32)  # open elements by name
    count, size = _scan(text, starts, out, blocks, page_blocks, stack, opened, *tags.tables())
    return BlockTable(out[:size].copy(), blocks[:count].copy(), page_blocks)


@kernel
def _scan(data, offsets, out, blocks, page_blocks, stack, opened, keys, values, rules, kinds, ends, walls, windows):  # type: ignore[no-untyped-def]
    """Fill out, blocks and page_blocks from the pages data[offsets[i]:offsets[i + 1]]: (blocks, bytes) written."""
    at = count = 0
    for page in range(len(offsets) - 1):
        i, end = offsets[page], offsets[page + 1]
        opened[:] = 0
        depth = overflow = rows = cells = bold = 0
        link = False
        title = 0  # 0: not seen, 1: inside, 2: seen
        pending = 0  # white space before the next character: 0 none, 1 a space, 2 a line break
        word = False
        _begin(blocks, count, at)
        while i < end:
            byte = data[i]
            if byte == 60:  # <
                ahead = data[i + 1] if i + 1 < end else np.uint8(0)
                closing = ahead == 47
                name = i + 2 if closing else i + 1
                if name < end and is_letter(data[name]):
                    name_stop = name
                    while (
                        name_stop < end
                        and data[name_stop] != 62
                        and data[name_stop] != 47
                        and not is_space(data[name_stop])
                    ):
                        name_stop += 1
                    code = np.int64(find(keys, values, hash_name(data, name, name_stop, tags.ELEMENT, True)))
                    if title != 1 or (closing and code == tags.TITLE):
                        rule = rules[code]
                        wanted = not closing and (code == tags.A or rule & Rule.BLOCK != 0)
                        i, hints, hidden, href, slash = attributes(data, name_stop, end, wanted, keys, values)
                        if code == 0:
                            continue
                        if code == tags.TITLE:
                            if closing and title == 1:
                                count, at = _finish(blocks, count, out, at, stack[0], 0, tags.TITLE)
                                pending, word, title = 0, False, 2
                            elif not closing and title == 0 and opened[tags.SVG] == 0:
                                count, at = _finish(
                                    blocks, count, out, at, stack[depth], depth + overflow, stack[depth].tag
                                )
                                pending, word, title = 0, False, 1
                            continue
                        if code == tags.A:
                            link = href and not closing
                            continue
                        if rule & Rule.BOLD:
                            bold = max(0, bold - 1) if closing else bold + 1
                            continue
                        if rule & Rule.RAW:
                            if not closing:
                                i = end_tag(data, i, end, name, name_stop)
                            continue
                        if code == tags.BR and pending != 2 and blocks[count].chars > 0:
                            pending, word = 2, False
                            continue
                        # everything else divides text
                        count, at = _finish(blocks, count, out, at, stack[depth], depth + overflow, stack[depth].tag)
                        pending, word = 0, False
                        if code == tags.BR or (code == tags.BODY and closing):
                            continue
                        below = _target(stack, depth, opened, overflow, rules, kinds, ends, walls, code, closing)
                        if below < depth:
                            depth, cut = _pop(stack, depth, opened, rules, below)
                            overflow = 0
                            if cut:  # formatting does not leave a cell
                                link, bold = False, 0
                        elif closing and overflow > 0:
                            overflow -= 1
                        if closing or rule & Rule.BLOCK == 0 or (rule & Rule.ALONE and opened[code] > 0):
                            continue
                        if slash and code == tags.SVG:
                            continue
                        if depth == MAX_DEPTH:
                            overflow += 1
                            continue
                        if rule & Rule.ROW:
                            rows += 1
                        if rule & Rule.CELL:
                            cells += 1
                        inside = kinds[code] | (np.uint32(Kind.HIDDEN) if hidden else np.uint32(0))
                        depth = _push(stack, depth, code, inside, hints)
                        opened[code] += 1
                        if rule & Rule.ROW:
                            stack[depth].row = rows
                        if rule & Rule.CELL:
                            stack[depth].cell = cells
                        continue
                elif title != 1 and name < end and (ahead == 33 or ahead == 63 or closing):
                    i = declaration(data, i, end, opened[tags.SVG] > 0)
                    continue
            point, second, i = _character(data, i, end, byte, keys, values, windows)
            if point == 32:
                word = False
                if stack[depth].kinds & Kind.PREFORMATTED and title != 1:
                    if blocks[count].chars > 0 and pending == 0:
                        out[at] = byte if is_space(byte) and byte != 13 else np.uint8(32)
                        at += 1
                elif pending == 0:
                    pending = 1
                continue
            if point == 0:
                continue
            if pending and blocks[count].chars > 0:
                out[at] = 10 if pending == 2 else 32
                at += 1
            pending = 0
            at = put(out, at, point)
            if second:
                at = put(out, at, second)
            word = _count(blocks, count, point, word, link, bold > 0)
        tag = tags.TITLE if title == 1 else stack[depth].tag
        count, at = _finish(blocks, count, out, at, stack[depth], depth + overflow, tag)
        page_blocks[page + 1] = count
    return count, at


@kernel
def _character(data, i, end, byte, keys, values, windows):  # type: ignore[no-untyped-def]
    """(code point, a second one or 0, next i): 32 for any white space, 0 for what is no text."""
    second = np.int64(0)
    if byte == 38:  # &
        found, after = reference(data, i, end, keys, values, windows)
        if found == 0:
            return np.int64(38), second, after
        point, second = np.int64(found & np.uint64(0xFFFFFFFF)), np.int64(found >> np.uint64(32))
    elif byte < 0x80:
        point, after = np.int64(byte), i + 1
    elif byte < 0xE0:
        point, after = np.int64(byte & 31) << 6 | np.int64(data[i + 1] & 63), i + 2
    elif byte < 0xF0:
        point = np.int64(byte & 15) << 12 | np.int64(data[i + 1] & 63) << 6 | np.int64(data[i + 2] & 63)
        after = i + 3
    else:
        point = np.int64(byte & 7) << 18 | np.int64(data[i + 1] & 63) << 12
        point |= np.int64(data[i + 2] & 63) << 6 | np.int64(data[i + 3] & 63)
        after = i + 4
    if point <= 32:
        point = np.int64(32) if is_space(point) else np.int64(0)
    elif point == 0xA0 or point == 0x85:
        point = np.int64(32)
    elif 0x7F <= point < 0xA0 or point == 0xAD:  # controls, and soft hyphens, which divide words for nothing
        point = np.int64(0)
    return point, second, after


@kernel
def _count(blocks, count, point, word, link, bold):  # type: ignore[no-untyped-def]
    """Count one visible character; whether a word is now open."""
    block = blocks[count]
    block.chars += 1
    if link:
        block.link_chars += 1
    if bold:
        block.bold_chars += 1
    if is_spaceless(point):
        block.words += 1
        word = False
    elif not word:
        block.words += 1
        block.upper += 65 <= point <= 90
        word = True
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
def _begin(blocks, count, at):  # type: ignore[no-untyped-def]
    block = blocks[count]
    block.start = at
    block.chars = block.link_chars = block.bold_chars = block.words = 0
    block.digits = block.upper = block.inner = block.stops = 0
    block.ended = False


@kernel
def _finish(blocks, count, out, at, element, depth, tag):  # type: ignore[no-untyped-def]
    """End the current block, which lies in `element`, and begin the next: (count, at). An empty block is none."""
    block = blocks[count]
    if block.chars == 0:
        _begin(blocks, count, block.start)
        return count, block.start
    while is_space(out[at - 1]):
        at -= 1
    block.stop = at
    block.tag = tag
    block.depth = depth
    block.flags, block.near, block.far = element.kinds, element.near, element.far
    block.row, block.cell = element.row, element.cell
    _begin(blocks, count + 1, at)
    return count + 1, at


@kernel
def _push(stack, depth, code, kinds, hints):  # type: ignore[no-untyped-def]
    outer, inner = stack[depth], stack[depth + 1]
    inner.tag = code
    inner.kinds = outer.kinds | kinds
    inner.own = hints
    inner.near = outer.own | hints
    inner.far = outer.far | hints
    inner.row, inner.cell = outer.row, outer.cell
    return depth + 1


@kernel
def _pop(stack, depth, opened, rules, below):  # type: ignore[no-untyped-def]
    """Close all elements above `below`: (depth, whether one of them was a barrier)."""
    cut = False
    while depth > below:
        code = stack[depth].tag
        opened[code] -= 1
        cut |= rules[code] & Rule.BARRIER != 0
        depth -= 1
    return depth, cut


@kernel
def _target(stack, depth, opened, overflow, rules, kinds, ends, walls, code, closing):  # type: ignore[no-untyped-def]
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
