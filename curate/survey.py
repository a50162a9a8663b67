"""The first look at a page's bytes: which bodies are UTF-8 as they stand, and where others go beyond ASCII."""

import numpy as np

from curate.markup import kernel

# SWAR, "subtract with borrow" test for a zero byte: H. S. Warren, Hacker's Delight, section 6-1.
_ONES, _TOPS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_ESC, _TILDE = _ONES * np.uint64(0x1B), _ONES * np.uint64(0x7E)


@kernel
def bodies(data, words, lead, offsets, marked, replaced):  # type: ignore[no-untyped-def]
    """For each body data[offsets[i]:offsets[i + 1]]: marked[i] = length of its UTF-8 mark, or -1 if it needs `decode`.

    Bodies that need it: not valid UTF-8, or with NUL, escape or ~{, which may mean another charset. replaced[i] counts
    U+FFFD in the others. `words` are the bytes from `lead` on, eight at a time.
    """
    for page in range(len(offsets) - 1):
        i, stop = np.int64(offsets[page]), np.int64(offsets[page + 1])
        mark = 0
        if stop - i >= 3 and data[i] == 0xEF and data[i + 1] == 0xBB and data[i + 2] == 0xBF:
            mark = 3
            i += 3
        sure, lost = True, 0
        while i < stop:
            if (i - lead) & 7 == 0:
                while i + 8 <= stop:
                    word = words[(i - lead) >> 3]
                    escape, tilde = word ^ _ESC, word ^ _TILDE
                    # Borrows make false alarms only beside a true one, and bytes beyond ASCII go the slow way anyhow.
                    if (word | (word - _ONES) | (escape - _ONES) | (tilde - _ONES)) & _TOPS:
                        break
                    i += 8
                if i >= stop:
                    break
            byte = data[i]
            if byte < 0x80:
                if byte == 0 or byte == 0x1B or (byte == 0x7E and i + 1 < stop and data[i + 1] == 0x7B):
                    sure = False
                    break
                i += 1
                continue
            size, good = _sequence(data, i, stop)
            sure = good == size
            if not sure:
                break
            lost += byte == 0xEF and data[i + 1] == 0xBF and data[i + 2] == 0xBD
            i += size
        marked[page] = mark if sure else -1
        replaced[page] = lost


@kernel
def _sequence(data, i, stop):  # type: ignore[no-untyped-def]
    """(bytes of the character that the byte beyond ASCII at i begins, 0 if none; how many of them stand there)."""
    # Well-formed sequences: the Unicode Standard, table 3-7.
    byte, size, low, high = data[i], 0, 0x80, 0xBF
    if 0xC2 <= byte <= 0xDF:
        size = 2
    elif 0xE0 <= byte <= 0xEF:
        size = 3
        if byte == 0xE0:
            low = 0xA0
        elif byte == 0xED:
            high = 0x9F
    elif 0xF0 <= byte <= 0xF4:
        size = 4
        if byte == 0xF0:
            low = 0x90
        elif byte == 0xF4:
            high = 0x8F
    good = 1
    while good < size and i + good < stop and low <= data[i + good] <= high:
        low, high = 0x80, 0xBF
        good += 1
    return size, good


@kernel
def damage(data):  # type: ignore[no-untyped-def]
    """(U+FFFD, characters beyond ASCII) of the bytes as UTF-8, where each longest beginning of a character that breaks
    off is one U+FFFD (the Unicode Standard, section 3.9), and one that the bytes' end cuts off is nothing."""
    replaced = beyond = i = 0
    while i < len(data):
        if data[i] < 0x80:
            i += 1
            continue
        size, good = _sequence(data, i, len(data))
        if good < size and i + good == len(data):
            break
        beyond += 1
        replaced += good != size or (size == 3 and data[i] == 0xEF and data[i + 1] == 0xBF and data[i + 2] == 0xBD)
        i += good
    return replaced, beyond


@kernel
def cut_out(data, out):  # type: ignore[no-untyped-def]
    """Fill out with the runs between angle brackets that hold a byte beyond ASCII, a line each; how much was filled."""
    size = start = 0
    beyond = False
    for i in range(len(data) + 1):
        if i < len(data) and data[i] != 60 and data[i] != 62:
            beyond |= data[i] > 127
            continue
        if beyond:
            if size > 0:
                out[size] = 10
                size += 1
            for k in range(start, min(i, start + len(out) - size)):
                out[size] = data[k]
                size += 1
            if size == len(out):
                break
        start = i + 1
        beyond = False
    return size
