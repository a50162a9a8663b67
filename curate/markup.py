"""HTML's lexis as kernels: attributes, comments, raw text, character references. No state beyond their arguments.

Each takes `data` (uint8, UTF-8) and a span, reads each byte of it at most a fixed number of times, and never beyond it.
Rules: WHATWG HTML, section 13.2.5 "tokenization". `keys`, `values`, `windows`: see `tags.Tables`.
"""

import numpy as np
from numba import njit

from curate import tags

# Kernels that allocate nothing: without reference counts on every array that a call passes, twice the speed. None is
# called from C: without entries for it, a worker that compiles them all holds 27 MB less.
kernel = njit(cache=True, nogil=True, _nrt=False, no_cfunc_wrapper=True)

# What a start tag's attributes say: see `attributes`.
TAG = np.dtype(
    [
        ("value", np.int64),  # span in `data` of the attribute that was asked for; 0: absent
        ("value_stop", np.int64),
        ("hints", np.uint32),  # tags.Hint
        ("number", np.int32),  # of an item or a list, if `numbered`
        ("property", np.uint8),  # tags.Meta by property, itemprop, rel or type
        ("name", np.uint8),  # ... by name
        ("numbered", np.bool_),
        ("hidden", np.bool_),
        ("href", np.bool_),
        ("slash", np.bool_),  # self-closing
    ],
    align=True,
)

_DISPLAY, _NONE, _VISIBILITY, _HIDDEN = (
    np.uint64(tags.fnv(word, tags.HINT)) for word in (b"display", b"none", b"visibility", b"hidden")
)


@kernel
def find(keys, values, key):  # type: ignore[no-untyped-def]
    """The value of a hash table's key, or 0."""
    slot = key & np.uint64(len(keys) - 1)
    while keys[slot] != 0:
        if keys[slot] == key:
            return values[slot]
        slot = (slot + np.uint64(1)) & np.uint64(len(keys) - 1)
    return np.uint64(0)


@kernel
def hash_name(data, start, stop, salt, lower):  # type: ignore[no-untyped-def]
    """`tags.fnv` of bytes; ASCII capitals folded if `lower`."""
    value = np.uint64(0xCBF29CE484222325) ^ np.uint64(salt << 8)
    for i in range(start, stop):
        byte = data[i]
        if lower and 65 <= byte <= 90:
            byte |= 32
        value = (value ^ np.uint64(byte)) * np.uint64(0x100000001B3)
    return value


@kernel
def is_space(byte):  # type: ignore[no-untyped-def]
    return byte == 32 or 9 <= byte <= 10 or 12 <= byte <= 13


@kernel
def is_letter(byte):  # type: ignore[no-untyped-def]
    return 97 <= (byte | 32) <= 122


@kernel
def read_hints(data, start, stop, keys, values):  # type: ignore[no-untyped-def]
    """The hint bits of an attribute's words; an inner capital begins a new word (articleBody)."""
    found = np.uint32(0)
    i = start
    while i < stop:
        first = i
        while i < stop and is_letter(data[i]) and (i == first or not 65 <= data[i] <= 90 or 65 <= data[i - 1] <= 90):
            i += 1
        if i > first:
            found |= np.uint32(find(keys, values, hash_name(data, first, i, tags.HINT, True)))
        else:
            i += 1
    return found


@kernel
def is_invisible(data, start, stop):  # type: ignore[no-untyped-def]
    """Whether a style attribute says display:none or visibility:hidden."""
    name = np.uint64(0)
    i = start
    while i < stop:
        first = i
        while i < stop and (is_letter(data[i]) or data[i] == 45):
            i += 1
        if i > first:
            word = hash_name(data, first, i, tags.HINT, True)
            if (name == _DISPLAY and word == _NONE) or (name == _VISIBILITY and word == _HIDDEN):
                return True
            name = word
        else:
            i += 1
    return False


@kernel
def read_property(data, start, stop, keys, values):  # type: ignore[no-untyped-def]
    """The tags.Meta that an attribute's words name, or 0."""
    i = start
    while i < stop:
        first = i
        while i < stop and not is_space(data[i]):
            i += 1
        if i > first:
            found = find(keys, values, hash_name(data, first, i, tags.PROPERTY_NAME, True))
            if found:
                return found
        i += 1
    return np.uint64(0)


@kernel
def attributes(data, start, stop, read, keys, values, tag):  # type: ignore[no-untyped-def]
    """Skip a tag's attributes: past its >. What they say goes into `tag`, if `read` (an attribute, see tags.Tables)."""
    if read:
        tag.hints = tag.property = tag.name = 0
        tag.hidden = tag.href = tag.numbered = False
        tag.value = tag.value_stop = 0
    tag.slash = False
    i = start
    while i < stop:
        byte = data[i]
        if byte == 62:  # >
            return i + 1
        if byte == 47 or is_space(byte):
            tag.slash = byte == 47
            i += 1
            continue
        tag.slash = False
        first = i
        i += 1
        while i < stop and data[i] != 62 and data[i] != 61 and data[i] != 47 and not is_space(data[i]):
            i += 1
        last = i
        while i < stop and is_space(data[i]):
            i += 1
        value, value_stop = i, i
        if i < stop and data[i] == 61:  # =
            i += 1
            while i < stop and is_space(data[i]):
                i += 1
            value = i
            if i < stop and (data[i] == 34 or data[i] == 39):
                value += 1
                i += 1
                while i < stop and data[i] != data[value - 1]:
                    i += 1
                value_stop = i
                i += 1
            else:
                while i < stop and data[i] != 62 and not is_space(data[i]):
                    i += 1
                value_stop = i
        if read and last - first <= tags.LONGEST_ATTRIBUTE:
            name = find(keys, values, hash_name(data, first, last, tags.ATTRIBUTE, True))
            if name:
                _attribute(data, value, value_stop, name, read, keys, values, tag)
    return stop


@kernel
def _attribute(data, start, stop, name, read, keys, values, tag):  # type: ignore[no-untyped-def]
    """Note what the attribute `name` with the value data[start:stop] says."""
    if name == tags.CLASS or name == tags.ITEMPROP:
        tag.hints |= read_hints(data, start, stop, keys, values)
    elif name == tags.HREF:
        tag.href = True
    elif name == tags.HIDDEN or (name == tags.STYLE and is_invisible(data, start, stop)):
        tag.hidden = True
    elif name == tags.NAME:
        tag.name = read_property(data, start, stop, keys, values)
    elif name == tags.START:
        number(data, start, stop, tag)
    if (name == tags.PROPERTY or name == tags.ITEMPROP) and tag.property == 0:
        tag.property = read_property(data, start, stop, keys, values)
    if name == read and tag.value == 0:
        tag.value, tag.value_stop = start, stop


@kernel
def number(data, start, stop, tag):  # type: ignore[no-untyped-def]
    """Note the integer, of at most 9 digits, that data[start:stop] is but for white space around."""
    i = start
    while i < stop and is_space(data[i]):
        i += 1
    negative = i < stop and data[i] == 45
    if negative:
        i += 1
    first, value = i, 0
    while i < stop and i - first < 10 and 48 <= data[i] <= 57:
        value = value * 10 + (data[i] - 48)
        i += 1
    digits = i - first
    while i < stop and is_space(data[i]):
        i += 1
    if 0 < digits < 10 and i == stop:
        tag.number, tag.numbered = -value if negative else value, True


@kernel
def declaration(data, start, stop, foreign):  # type: ignore[no-untyped-def]
    """Past the comment, doctype, CDATA section or processing instruction that begins at `start`."""
    i = start + 2
    if data[start + 1] == 33 and i + 1 < stop and data[i] == 45 and data[i + 1] == 45:  # !--
        i += 2
        if i < stop and data[i] == 62:
            return i + 1
        if i + 1 < stop and data[i] == 45 and data[i + 1] == 62:
            return i + 2
        while i + 2 < stop:
            if data[i] == 45 and data[i + 1] == 45:
                if data[i + 2] == 62:
                    return i + 3
                if data[i + 2] == 33 and i + 3 < stop and data[i + 3] == 62:
                    return i + 4
            i += 1
        return stop
    cdata = foreign and i + 6 < stop and data[i] == 91 and data[i + 6] == 91  # ![CDATA[
    while i < stop:
        if data[i] == 62 and (not cdata or (data[i - 1] == 93 and data[i - 2] == 93)):
            return i + 1
        i += 1
    return stop


@kernel
def end_tag(data, start, stop, name, name_stop):  # type: ignore[no-untyped-def]
    """Where the end tag of the raw-text element with the name data[name:name_stop] begins, or `stop`."""
    i = start
    while i + 1 < stop:
        if data[i] == 60 and data[i + 1] == 47 and _is_name(data, i + 2, stop, name, name_stop):
            return i
        i += 1
    return stop


@kernel
def script_end(data, start, stop, name, name_stop):  # type: ignore[no-untyped-def]
    """`end_tag` of a script: within <!-- and -->, a further <script> and its </script> belong to it (13.2.5.20)."""
    escaped, inner = False, False
    i = start
    while i + 1 < stop:
        byte, ahead = data[i], data[i + 1]
        if byte == 60:
            if ahead == 47:
                if _is_name(data, i + 2, stop, name, name_stop):
                    if not inner:
                        return i
                    inner = False
            elif ahead == 33:
                escaped |= i + 3 < stop and data[i + 2] == 45 and data[i + 3] == 45
                i += 1  # the dashes may be those of -->, too
            elif escaped and i + 1 + name_stop - name < stop:
                inner |= _is_name(data, i + 1, stop, name, name_stop)
        elif byte == 45 and escaped and ahead == 45 and i + 2 < stop and data[i + 2] == 62:
            escaped = inner = False
        i += 1
    return stop


@kernel
def _is_name(data, start, stop, name, name_stop):  # type: ignore[no-untyped-def]
    """Whether the tag name at `start` is data[name:name_stop], but for case."""
    size = name_stop - name
    if start + size > stop:
        return False
    for k in range(size):
        if data[start + k] | 32 != data[name + k] | 32:
            return False
    after = data[start + size] if start + size < stop else 62
    return after == 62 or after == 47 or is_space(after)


@kernel
def reference(data, start, stop, keys, values, windows):  # type: ignore[no-untyped-def]
    """The code points of the character reference at an ampersand and where it ends; (0, start + 1) for none."""
    i = start + 1
    if i < stop and data[i] == 35:  # #
        i += 1
        base = 10
        if i < stop and data[i] | 32 == 120:
            base = 16
            i += 1
        first, value = i, 0
        while i < stop:
            byte = data[i]
            if 48 <= byte <= 57:
                digit = byte - 48
            elif base == 16 and 97 <= (byte | 32) <= 102:
                digit = (byte | 32) - 87
            else:
                break
            value = min(value * base + digit, 0x110000)
            i += 1
        if i == first:
            return np.uint64(0), start + 1
        if i < stop and data[i] == 59:
            i += 1
        if 0x80 <= value < 0xA0:
            value = windows[value - 0x80]
        elif value == 0 or value >= 0x110000 or 0xD800 <= value < 0xE000:
            value = 0xFFFD
        return np.uint64(value), i
    while i < stop and i - start <= 32 and (is_letter(data[i]) or 48 <= data[i] <= 57):
        i += 1
    if i < stop and data[i] == 59:
        found = find(keys, values, hash_name(data, start + 1, i + 1, tags.REFERENCE, False))
        if found:
            return found, i + 1
    i = min(i, start + 7)  # old names may stand without a semicolon; the longest has 6 letters
    while i > start + 2:
        found = find(keys, values, hash_name(data, start + 1, i, tags.REFERENCE, False))
        if found:
            return found, i
        i -= 1
    return np.uint64(0), start + 1


@kernel
def put(out, at, point):  # type: ignore[no-untyped-def]
    """Write one code point as UTF-8; the next free place."""
    if point < 0x80:
        out[at] = point
        return at + 1
    if point < 0x800:
        out[at] = 0xC0 | point >> 6
        out[at + 1] = 0x80 | point & 63
        return at + 2
    if point < 0x10000:
        out[at] = 0xE0 | point >> 12
        out[at + 1] = 0x80 | point >> 6 & 63
        out[at + 2] = 0x80 | point & 63
        return at + 3
    out[at] = 0xF0 | point >> 18
    out[at + 1] = 0x80 | point >> 12 & 63
    out[at + 2] = 0x80 | point >> 6 & 63
    out[at + 3] = 0x80 | point & 63
    return at + 4


@kernel
def is_spaceless(point):  # type: ignore[no-untyped-def]
    """Han, kana, Thai, Lao, Myanmar, Khmer: no spaces between words."""
    return (
        0x0E00 <= point < 0x0F00
        or 0x1000 <= point < 0x10A0
        or 0x1780 <= point < 0x1800
        or 0x3040 <= point < 0x3100
        or 0x3400 <= point < 0xA000
        or 0xF900 <= point < 0xFB00
        or 0x20000 <= point < 0x32000
    )
