"""Lines of text: a block's characters cleaned and broken into lines, and what stands before each.

What a line may hold is what `curate.extract.tidy` leaves, but for NFC: see `curate.render`, whose kernels these are.
"""

import numpy as np

from curate.markup import is_letter, kernel

# An item or a quote around the text: of its lines all but an item's first begin with `width` blanks.
CONTAINER = np.dtype(
    [
        ("item", np.int32),  # ordinal within the page; 0 is a quote
        ("level", np.int32),  # lists, or quotes, open in it
        ("list", np.int32),  # ordinal of the item's list; 0: not known
        ("number", np.int32),
        ("width", np.int32),
        ("mark", np.uint8),  # before the item: - or * alone, . or ) after a number, a blank; 0: nothing
    ],
    align=True,
)

# What the kernels carry along.
PEN = np.dtype(
    [
        ("begin", np.int64),  # of the page in the output
        ("depth", np.int64),  # open containers
        ("markdown", np.bool_),
        ("odd", np.bool_),  # the page has characters that NFC may change
    ],
    align=True,
)

TEXT, CODE, HEADING, CELL = range(4)  # how a block's characters are written
_INK, _BLANK, _LINE, _NOTHING = range(4)  # kinds of characters: see `_look`


@kernel
def prefix(out, at, container, pen):  # type: ignore[no-untyped-def]
    """What a container puts before a line that is not its first."""
    if container.item == 0 and pen.markdown:
        at = fill(out, at, 1, 62)  # >
        return fill(out, at, 1, 32)
    return fill(out, at, container.width, 32)


@kernel
def begin_line(out, at, count, stack, depth, pen):  # type: ignore[no-untyped-def]
    """End the line and begin another within `depth` containers; a count of 2 leaves a blank line between."""
    for line in range(count):
        at = fill(out, at, 1, 10)
        for k in range(depth):
            at = prefix(out, at, stack[k], pen)
        while line + 1 < count and out[at - 1] == 32:
            at -= 1
    return at


@kernel
def fill(out, at, count, byte):  # type: ignore[no-untyped-def]
    for _ in range(count):
        out[at] = byte
        at += 1
    return at


@kernel
def write(text, i, stop, mode, out, at, stack, pen):  # type: ignore[no-untyped-def]
    """Write text[i:stop] with its line breaks within the open containers, without blanks at the ends of lines."""
    ink, lines, opening = at, 0, True  # past the last visible character; line breaks since; none on this line
    odd, escape = False, np.int64(-1)
    if mode == HEADING:  # a last word of # alone would be read as the heading's end
        escape = stop
        while escape > i and text[escape - 1] == 35:
            escape -= 1
        if escape > i and text[escape - 1] > 32:
            escape = np.int64(-1)
    barred = mode == CELL and pen.markdown
    while i < stop:
        byte = text[i]
        if 32 < byte < 127 and not opening and i != escape and not barred:  # most of all text, as fast as it can go
            out[at] = byte
            at += 1
            i += 1
            ink = at
            continue
        if 0xC3 <= byte < 0xE0 and not opening:
            out[at] = byte
            out[at + 1] = text[i + 1]
            odd |= not is_stable(byte, text[i + 1], text[i + 1])
            at += 2
            i += 2
            ink = at
            continue
        size, kind = _look(text, i)
        if kind == _INK:
            if opening and mode == TEXT and pen.markdown:
                escape = _escape(text, i, stop)
            if i == escape or (byte == 124 and barred):
                at = fill(out, at, 1, 92)  # a backslash
            ink, lines, opening = at + size, 0, False
        elif byte == 10 and mode in (TEXT, CODE):
            lines = min(lines + 1, 2)
            at = begin_line(out, ink, lines, stack, pen.depth, pen)
            opening = True
        if kind == _INK or (kind == _BLANK and byte != 10 and (mode == CODE or not opening)):
            for k in range(size):
                out[at + k] = text[i + k]
            at += size
            odd |= byte >= 0x80 and (kind == _BLANK or not is_stable(byte, text[i + 1], text[i + size - 1]))
        elif kind == _LINE or (byte == 10 and not opening):
            at = fill(out, at, 1, 32)
        i += size
    pen.odd |= odd
    return ink


@kernel
def is_stable(lead, second, last):  # type: ignore[no-untyped-def]
    """Whether NFC leaves a character beyond ASCII, of these bytes, alone, whatever stands around it.

    It does up to U+02FF, and in those rows of common characters that have neither marks, nor what composes with the
    character before, nor what decomposes (UAX 15, section 9). About texts with any other unicodedata is asked.
    """
    if lead == 0xE2:  # dashes and quotes, currencies, arrows, signs and shapes
        return (
            (second == 0x80 and last > 0x81)
            or second == 0x82
            or (second == 0x86 and last < 0x9A)
            or 0x94 <= second <= 0x9E
        )
    if lead == 0xE3:  # punctuation of Han
        return second == 0x80 and last < 0xAA
    if lead >= 0xEA:  # Hangul, full-width forms, emoji
        return (
            (lead == 0xEA and second >= 0xB0)
            or 0xEB <= lead <= 0xEC
            or (lead == 0xED and second < 0x9E)
            or (lead == 0xEF and 0xBC <= second <= 0xBD)
            or (lead == 0xF0 and second == 0x9F)
        )
    return lead < 0xCC or 0xD0 <= lead <= 0xD1 or lead >= 0xE4  # Latin, Cyrillic, Han


@kernel
def _look(text, i):  # type: ignore[no-untyped-def]
    """(bytes, kind) of the character at i: what `curate.extract.tidy` strips is a blank, what it deletes nothing."""
    byte = text[i]
    if byte < 0x80:
        if 32 < byte < 127:
            return 1, _INK
        return 1, _BLANK if byte == 32 or byte == 9 or byte == 10 else _NOTHING
    second = text[i + 1]
    if byte < 0xE0:
        if byte == 0xC2 and (second <= 0xA0 or second == 0xAD):
            return 2, _BLANK if second == 0xA0 else _NOTHING  # no-break space; C1 controls, soft hyphen
        return 2, _INK
    if byte >= 0xF0:
        return 4, _INK
    third = text[i + 2]
    if byte == 0xE2:
        if second == 0x80:
            if third == 0xA8 or third == 0xA9:  # line and paragraph separators
                return 3, _LINE
            if third <= 0x8A or third == 0xAF:
                return 3, _BLANK
        elif second == 0x81 and third == 0x9F:
            return 3, _BLANK
    elif byte == 0xE3:
        if second == 0x80 and third == 0x80:
            return 3, _BLANK
    elif byte == 0xE1:
        if second == 0x9A and third == 0x80:
            return 3, _BLANK
    elif byte == 0xEF and second == 0xBB and third == 0xBF:
        return 3, _NOTHING
    return 3, _INK


@kernel
def _escape(text, i, stop):  # type: ignore[no-untyped-def]
    """Where a line of Markdown text that begins at i needs a backslash to stay text, or -1."""
    byte = text[i]
    j = i
    while j < stop and text[j] == byte:
        j += 1
    run = j - i
    ends = j == stop or text[j] <= 32
    if byte == 62:  # >
        return i
    if byte == 35:  # #
        return i if run <= 6 and ends else np.int64(-1)
    if byte == 96 or byte == 126:  # ` ~
        return i if run >= 3 else np.int64(-1)
    if byte == 60:  # <
        return i if j < stop and (is_letter(text[j]) or text[j] in (33, 47, 63)) else np.int64(-1)
    if byte == 91:  # [: defines a link if ]: follows
        while j < stop and text[j] != 10 and text[j] != 93:
            j += 1
        return i if j + 1 >= stop or text[j] == 10 or text[j + 1] == 58 else np.int64(-1)
    if 48 <= byte <= 57:
        j = i
        while j < stop and 48 <= text[j] <= 57:
            j += 1
        mark = j < stop and j - i <= 9 and (text[j] == 46 or text[j] == 41)
        return j if mark and (j + 1 == stop or text[j + 1] <= 32) else np.int64(-1)
    if byte in (45, 43, 42) and run == 1 and ends:  # - + *
        return i
    if byte in (45, 42, 95, 61, 124, 58):  # - * _ = | :, and nothing else on the line but blanks
        table = byte in (45, 124, 58)
        while j < stop and text[j] != 10:
            if text[j] != byte and text[j] > 32 and not (table and text[j] in (45, 124, 58)):
                return np.int64(-1)
            j += 1
        return i
    return np.int64(-1)


@kernel
def trim(text, blocks, keep, first, last):  # type: ignore[no-untyped-def]
    """Fill first and last with what is visible of each kept block; of others they are equal. Blocks, bytes left."""
    shown = total = 0
    for k in range(len(blocks)):
        i, j = blocks[k].start, blocks[k].stop
        if not keep[k]:
            j = i
        while i < j:
            size, kind = _look(text, i)
            if kind == _INK:
                break
            i += size
        while i < j:
            back = j - 1
            while text[back] & 0xC0 == 0x80:
                back -= 1
            _, kind = _look(text, back)
            if kind == _INK:
                break
            j = back
        first[k], last[k] = i, j
        shown += i < j
        total += j - i
    return shown, total


@kernel
def enclosing(block, k):  # type: ignore[no-untyped-def]
    """(name, ordinal) of the block element that is k further out than the innermost; (0, 0) beyond the fourth."""
    if k == 0:
        return block.tag, block.element
    if k == 1:
        return block.tag2, block.element2
    if k == 2:
        return block.tag3, block.element3
    if k == 3:
        return block.tag4, block.element4
    return np.uint8(0), np.int32(0)
