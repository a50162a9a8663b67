"""The compiled kernels of the block list: URLs in, one code a URL out. What the codes lead to: `curate.blocklist`."""

import numba
import numpy as np

from curate.scan import mix

# What an entry's value holds beside the number of its list, from 1; 0: a host that only has listed pages.
ALONE, PAGES = np.uint16(1 << 15), np.uint16(1 << 14)
MOST_LISTS = (1 << 14) - 1
HARD = np.int64(-1)  # the number of a word of which one is enough; of the others from 0

# What the kernel says of a URL.
FREE, HOST, LOOK, ODD, ADDRESS, WORD, WORDS = range(7)

SEED, MULTIPLIER = np.uint64(0x2545F4914F6CDD1D), np.uint64(0xD6E8FEB86659FD93)
HOST_BYTE = np.zeros(256, np.uint8)  # the byte in lower case, where it may stand in a host name
HOST_BYTE[np.frombuffer(b"abcdefghijklmnopqrstuvwxyz0123456789-_.", np.uint8)] = np.frombuffer(
    b"abcdefghijklmnopqrstuvwxyz0123456789-_.", np.uint8
)
HOST_BYTE[65:91] = np.arange(97, 123)


@numba.njit(cache=True, nogil=True)
def _slot(keys, key):  # type: ignore[no-untyped-def]
    """The slot of a key, or the free one where it belongs."""
    slot = np.int64(((key >> np.uint64(32)) * np.uint64(len(keys))) >> np.uint64(32))
    while keys[slot] != 0 and keys[slot] != key:
        slot += 1
        if slot == len(keys):
            slot = np.int64(0)
    return slot


@numba.njit(cache=True, nogil=True)
def fill(keys, values, new, their):  # type: ignore[no-untyped-def]
    for i in range(len(new)):
        slot = _slot(keys, new[i])
        keys[slot] = new[i]
        values[slot] = their[i]


@numba.njit(cache=True, nogil=True)
def get(keys, values, key):  # type: ignore[no-untyped-def]
    return values[_slot(keys, key)]


@numba.njit(cache=True, nogil=True)
def _after_www(text, start, stop):  # type: ignore[no-untyped-def]
    """Where the host name begins without www., www2. ...: `url.normalise`'s rule."""
    while True:
        dots = 0
        for i in range(start, stop):
            dots += text[i] == 0x2E
        i = start
        while i < stop and i < start + 3 and text[i] | 0x20 == 0x77:
            i += 1
        if i < start + 3 or dots < 2:
            return start
        if i < stop and 0x30 <= text[i] <= 0x39:
            i += 1
        if i == stop or text[i] != 0x2E:
            return start
        start = i + 1


@numba.njit(cache=True, nogil=True)
def hash_hosts(text, starts, ends, hashes):  # type: ignore[no-untyped-def]
    """The hash of each line's host, read from its end as `judge` does; 0 where the line is anything else."""
    for line in range(len(starts)):
        start, stop = starts[line], ends[line]
        while stop > start and text[stop - 1] <= 0x20:
            stop -= 1
        start = _after_www(text, start, stop)
        h = SEED
        sound = stop > start and text[start] != 0x2E and text[stop - 1] != 0x2E
        for i in range(stop - 1, start - 1, -1):
            byte = HOST_BYTE[text[i]]
            sound = sound and byte != 0
            h = (h ^ np.uint64(byte)) * MULTIPLIER
        hashes[line] = mix(h) if sound else np.uint64(0)


@numba.njit(cache=True, nogil=True)
def judge(  # type: ignore[no-untyped-def]
    data, bounds, keys, values, words, numbers, stamps, most, ip_hosts, odd, pages, code
):
    """One of FREE ... for each URL; `odd`: say ODD of those whose spelling must be changed first; `pages`: say LOOK
    of those whose host has listed pages."""
    for u in range(len(bounds) - 1):
        i, end = bounds[u], bounds[u + 1]
        code[u] = FREE
        # Scheme and authority; what has neither is for Python to look at, if it is anything.
        secure = end - i >= 8 and data[i + 4] | 0x20 == 0x73
        start = i + 7 + secure
        if (
            end < start
            or data[i] | 0x20 != 0x68
            or data[i + 1] | 0x20 != 0x74
            or data[i + 2] | 0x20 != 0x74
            or data[i + 3] | 0x20 != 0x70
            or data[start - 3] != 0x3A
            or data[start - 2] != 0x2F
            or data[start - 1] != 0x2F
        ):
            code[u] = ODD if odd and end > i else FREE
            continue
        path = start
        plain = True
        colon = end
        while path < end:
            c = data[path]
            if c == 0x2F or c == 0x3F or c == 0x23 or c == 0x5C:
                break
            if c == 0x40:
                start = path + 1
                colon = end
            elif c == 0x3A:
                colon = min(colon, path)
            path += 1
        stop = min(path, colon)
        found = FREE
        if start < path and data[start] == 0x5B:  # an IPv6 address
            stop = start
            found = ADDRESS if ip_hosts else FREE
        while stop > start and data[stop - 1] == 0x2E:
            stop -= 1
        h = SEED
        digits = stop > start  # of the last label
        last = True
        for k in range(stop - 1, start - 2, -1):
            if k < start or data[k] == 0x2E:
                if last and digits and ip_hosts:
                    found = ADDRESS
                last = False
                value = np.int64(get(keys, values, mix(h)))
                if value & MOST_LISTS and (not value & ALONE or k < start or _after_www(data, start, stop) == k + 1):
                    found = HOST
                    break
                if value & PAGES and pages:
                    found = LOOK
                if k < start:
                    break
            byte = HOST_BYTE[data[k]]
            plain = plain and byte != 0
            digits = digits and (not last or 0x30 <= byte <= 0x39)
            h = (h ^ np.uint64(byte)) * MULTIPLIER
        if odd and not plain:
            code[u] = ODD
            continue
        if found == FREE and len(words) > 1:
            soft = 0
            h = SEED
            token = False
            k = start
            while k <= end:
                c = np.int64(data[k]) if k < end else 0
                c |= 0x20 if 65 <= c <= 90 else 0
                if 97 <= c <= 122 or 48 <= c <= 57:
                    h = (h ^ np.uint64(c)) * MULTIPLIER
                    token = True
                    k += 1
                    continue
                if token:
                    slot = _slot(words, mix(h))
                    if words[slot] != 0:
                        number = numbers[slot]
                        if number == HARD:
                            found = WORD
                            break
                        if stamps[number] != u:
                            stamps[number] = u
                            soft += 1
                            if soft >= most:
                                found = WORDS
                    h = SEED
                    token = False
                if c == 0x25 and k + 2 < end and _is_hex(data[k + 1]) and _is_hex(data[k + 2]):
                    k += 2
                k += 1
        code[u] = found


@numba.njit(cache=True, nogil=True)
def _is_hex(c):  # type: ignore[no-untyped-def]
    return 48 <= c <= 57 or 65 <= c <= 70 or 97 <= c <= 102
