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

from curate import block, tags
from curate.block import BLOCK
from curate.elements import ELEMENT, ORDINALS, pop, push, target
from curate.elements import MAX_DEPTH as MAX_DEPTH  # those who take a table ask for it
from curate.markup import (
    TAG,
    attributes,
    declaration,
    end_tag,
    find,
    hash_name,
    is_letter,
    is_space,
    kernel,
    put,
    reference,
    script_end,
)
from curate.tags import Kind, Meta, Rule

META = np.dtype(
    [
        ("start", np.int64),  # bytes of the page
        ("stop", np.int64),
        ("kind", np.uint8),  # tags.Meta
    ],
    align=True,
)
# Of one kind a page's first this many are noted: an index page has a date at each entry.
MOST_META = 16
# Content of an element that is an author or a date ends within this many bytes, or it is none.
MOST_CONTENT = 1024


@dataclass(frozen=True, slots=True)
class BlockTable:
    """The text blocks of a batch of pages, in document order."""

    text: npt.NDArray[np.uint8]  # UTF-8 of all blocks, one after another
    blocks: npt.NDArray[np.void]  # dtype BLOCK
    page_blocks: npt.NDArray[np.int64]  # [pages + 1]: page i owns blocks[page_blocks[i] : page_blocks[i + 1]]
    meta: npt.NDArray[np.void]  # dtype META: what the pages say of themselves outside their text, in their order
    page_meta: npt.NDArray[np.int64]  # [pages + 1]: page i owns meta[page_meta[i] : page_meta[i + 1]]

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
    # No reference yields more than 6 bytes for 5. A block takes at least 4 bytes, and a tag or the end of its page.
    text = text[starts[0] : starts[-1]]
    starts -= starts[0]
    most = min(total // 4, int(np.count_nonzero(text == 60))) + len(pages) + 2
    out = np.empty(total + total // 5 + 8, np.uint8)
    blocks = np.empty(most, BLOCK)
    page_blocks = np.zeros(len(pages) + 1, np.int64)
    meta = np.empty(len(pages) * MOST_META * len(Meta), META)
    page_meta = np.zeros(len(pages) + 1, np.int64)
    stack = np.zeros(MAX_DEPTH + 1, ELEMENT)  # stack[0] stands for the page
    opened = np.zeros(len(tags.NAMES), np.int32)  # open elements by name
    noted = np.zeros(len(Meta) + 1, np.int32)  # spans of each kind
    state = (stack, opened, noted, np.zeros(1, ORDINALS), np.zeros(1, TAG))
    count, size, said = _scan(text, starts, out, blocks, page_blocks, meta, page_meta, state, tags.tables())
    out.resize(size, refcheck=False)  # in place: a hostile page's table is large enough once
    blocks.resize(count, refcheck=False)
    return BlockTable(out, blocks, page_blocks, meta[:said].copy(), page_meta)


@kernel
def _scan(data, offsets, out, blocks, page_blocks, meta, page_meta, state, tables):  # type: ignore[no-untyped-def]
    """Fill out, blocks, page_blocks, meta and page_meta from the pages data[offsets[i]:offsets[i + 1]].

    Returns how many blocks, bytes of text and spans of metadata it wrote.
    """
    at = count = said = 0
    stack, opened, noted, ordinals, seen = state
    keys, values, rules, kinds, read, ends, walls, windows = tables
    last, tag = ordinals[0], seen[0]
    for page in range(len(offsets) - 1):
        first, end = offsets[page], offsets[page + 1]
        opened[:] = 0
        noted[:] = 0
        last.element = last.row = last.cell = last.item = 0
        i = plain = first  # before `plain` nothing is markup: a title's content
        depth = overflow = bold = 0
        title = link = linked = False  # within <title>, within <a href>, which begins in this block
        # A hidden element that is no block: hash of its name, how many of that name are open, where it stands. Its text
        # goes, but from the first block within it on it is in hidden blocks.
        veil, veils, veiled, behind = np.uint64(0), 0, 0, False
        pending = 0  # white space before the next character: 0 none, 1 a space, 2 a line break
        word = 0  # code points of the open word
        block.begin(blocks, count, at)
        blocks[count].images = blocks[count].inputs = 0
        while i < end:
            byte = data[i]
            if byte == 60 and i >= plain:  # <
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
                    key = hash_name(data, name, name_stop, tags.ELEMENT, True)
                    code = np.int64(find(keys, values, key))
                    i = attributes(data, name_stop, end, np.uint8(0) if closing else read[code], keys, values, tag)
                    rule = rules[code]
                    verbatim = stack[depth].kinds & Kind.PREFORMATTED != 0 and not title
                    if code == tags.BR and (pending != 2 or verbatim) and blocks[count].chars > 0:
                        word = 0
                        if verbatim:  # what follows is the next line's indentation
                            out[at] = 10
                            at += 1
                        else:
                            pending = 2
                        blocks[count].breaks = min(blocks[count].breaks + 1, block.MOST)
                        continue
                    if code == tags.TITLE and (opened[tags.SVG] > 0 or closing != title):
                        continue
                    divides = rule & (Rule.BLOCK | Rule.BREAK) != 0
                    if divides or code == tags.TITLE or code == tags.BR:
                        count, at = block.finish(blocks, count, out, at, stack, depth, overflow, title, behind)
                        pending, word, linked, behind = 0, 0, False, veil != 0
                    if not closing:
                        block.embed(blocks[count], rule)
                    if not closing and read[code]:
                        if tag.hidden and veil == 0 and code in (0, tags.A, tags.SPAN, tags.TIME):
                            veil, veiled = key, depth
                        kind, start, stop = _say(data, i, end, name, name_stop, code, tag, noted)
                        if kind:
                            noted[kind] += 1
                            meta[said].kind, meta[said].start, meta[said].stop = kind, start - first, stop - first
                            said += 1
                    if key == veil:
                        veils += -1 if closing else 1
                        if veils == 0:
                            if behind:
                                count, at = block.finish(blocks, count, out, at, stack, depth, overflow, title, behind)
                                pending, word, linked = 0, 0, False
                            veil, behind = np.uint64(0), False
                    if code == tags.TITLE:
                        title = not closing
                        plain = end_tag(data, i, end, name, name_stop) if title else i
                    elif code == tags.A:
                        link = linked = tag.href and not closing
                        blocks[count].links = min(blocks[count].links + link, block.MOST)
                    elif rule & Rule.BOLD:
                        bold = max(0, bold - 1) if closing else bold + 1
                    elif rule & Rule.RAW:
                        if closing or (tag.slash and opened[tags.SVG] > 0):
                            continue
                        if code == tags.SCRIPT:
                            i = script_end(data, i, end, name, name_stop)
                        else:
                            i = end_tag(data, i, end, name, name_stop)
                    elif divides and (code != tags.BODY or not closing):
                        below = target(stack, depth, opened, overflow, rules, kinds, ends, walls, code, closing)
                        if below < depth:
                            depth, cut = pop(stack, depth, opened, rules, below)
                            overflow = 0
                            if depth < veiled:
                                veil, veils, veiled, behind = np.uint64(0), 0, 0, False
                            if cut:  # formatting does not leave a cell
                                link, bold = False, 0
                        elif closing and overflow > 0:
                            overflow -= 1
                        if closing or rule & Rule.BLOCK == 0 or (rule & Rule.ALONE and opened[code] > 0):
                            continue
                        if tag.slash and code == tags.SVG:
                            continue
                        if depth == MAX_DEPTH:
                            overflow += 1
                            continue
                        depth = push(stack, depth, code, kinds[code], rule, tag, last)
                        opened[code] += 1
                    continue
                elif name < end and (ahead == 33 or ahead == 63 or closing):
                    i = declaration(data, i, end, opened[tags.SVG] > 0)
                    continue
            before = i
            point, second, i = _character(data, i, end, byte, keys, values, windows)
            if point == 0 or (veil and not behind):
                continue
            if point == 32:
                word = 0
                if stack[depth].kinds & Kind.PREFORMATTED and not title:
                    if blocks[count].chars > 0:
                        out[at] = byte if is_space(byte) and byte != 13 else np.uint8(32)
                        at += 1
                elif pending == 0:
                    pending = 1
                continue
            if blocks[count].chars == 0:
                blocks[count].page_start = before - first
                if link and not linked:
                    blocks[count].links = min(blocks[count].links + 1, block.MOST)
            elif pending:
                out[at] = 10 if pending == 2 else 32
                at += 1
            pending = 0
            at = put(out, at, point)
            if second:
                at = put(out, at, second)
            word = block.add(blocks[count], point, word, link, bold > 0)
            blocks[count].page_stop = i - first
        count, at = block.finish(blocks, count, out, at, stack, depth, overflow, title, behind)
        page_blocks[page + 1] = count
        page_meta[page + 1] = said
    return count, at, said


@kernel
def _say(data, i, end, name, name_stop, code, tag, noted):  # type: ignore[no-untyped-def]
    """(tags.Meta, start, stop) of what a start tag, or its element's content from i on, says; a kind of 0: nothing."""
    kind, start, stop = np.int64(tag.property), tag.value, tag.value_stop
    inside = False
    if code == tags.META:
        kind = kind if kind else np.int64(tag.name)
    elif code == tags.HTML:
        kind = np.int64(Meta.LANGUAGE)
    elif code == tags.LINK:
        kind = kind if kind == Meta.CANONICAL else np.int64(0)
    elif code == tags.SCRIPT:
        kind = kind if kind == Meta.JSON else np.int64(0)
    elif kind < Meta.AUTHOR or kind > Meta.MODIFIED:
        kind = np.int64(Meta.TIME) if code == tags.TIME else np.int64(0)
    elif start == stop:
        kind = np.int64(Meta.BYLINE) if kind == Meta.AUTHOR else kind
        inside = True
    if kind == 0 or noted[kind] == MOST_META:
        return np.int64(0), start, stop
    if kind == Meta.JSON:
        start, stop = i, script_end(data, i, end, name, name_stop)
    elif inside:
        most = min(end, i + MOST_CONTENT)
        start, stop = i, end_tag(data, i, most, name, name_stop)
        if stop == most:
            start = stop
    return (kind if start < stop else np.int64(0)), start, stop


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
        point = np.int64(32) if is_space(point) or point == 11 else np.int64(0)
    elif point == 0xA0 or point == 0x85 or point == 0x3000 or 0x2000 <= point <= 0x200A or 0x2028 <= point <= 0x2029:
        point = np.int64(32)
    elif 0x7F <= point < 0xA0 or point == 0xAD or point == 0xFEFF:  # controls, soft hyphens, byte order marks
        point = np.int64(0)
    return point, second, after
