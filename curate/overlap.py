"""The compiled kernels of `curate.decontaminate`: find grams among words, and cut around them. Rules are told there."""

import numpy as np
from numba import njit

from curate.dedup.minhash import windows


@njit(cache=True, nogil=True)
def bits(grams):  # type: ignore[no-untyped-def]
    """uint64[a power of two]: a Bloom filter in which a gram sets two bits of one word, so that a look is one access.

    With at most 4 grams to a word, one in 60 values that are no gram passes.
    """
    size = 1
    while 4 * size < len(grams):
        size *= 2
    out = np.zeros(size, np.uint64)
    for gram in grams:
        out[gram & np.uint64(size - 1)] |= _mask(gram)
    return out


@njit(cache=True, nogil=True)
def _mask(gram):  # type: ignore[no-untyped-def]
    return np.uint64(1) << (gram >> np.uint64(58)) | np.uint64(1) << (gram >> np.uint64(52) & np.uint64(63))


@njit(cache=True, nogil=True)
def search(hashes, doc_words, size, grams, rows, filter_):  # type: ignore[no-untyped-def]
    """int64[4, m]: (doc, first word, last word, row) of the runs of `size` words that are among the sorted grams.

    A gram that stands there several times is found as often. `rows` numbers the grams; `filter_` is their `bits`.
    """
    low = np.uint64(len(filter_) - 1)
    longest = 0
    for d in range(len(doc_words) - 1):
        longest = max(longest, doc_words[d + 1] - doc_words[d])
    scratch = np.empty(longest, np.uint64)
    found = np.empty((4, 64), np.int64)
    total = 0
    for d in range(len(doc_words) - 1):
        begin, end = doc_words[d], doc_words[d + 1]
        if end - begin < size:
            continue
        for i in range(windows(hashes[begin:end], size, scratch)):
            gram = scratch[i]
            mask = _mask(gram)
            if filter_[gram & low] & mask != mask:
                continue
            entry = np.searchsorted(grams, gram)
            while entry < len(grams) and grams[entry] == gram:
                if total == found.shape[1]:
                    longer = np.empty((4, 2 * total), np.int64)
                    longer[:, :total] = found
                    found = longer
                found[0, total] = d
                found[1, total] = begin + i
                found[2, total] = begin + i + size - 1
                found[3, total] = rows[entry]
                total += 1
                entry += 1
    return found[:, :total]


@njit(cache=True, nogil=True)
def _left(text, begin, at, chars, starts, stops):  # type: ignore[no-untyped-def]
    """The offset so many code points before `at`, not before `begin`, moved to the start of a word that it breaks."""
    while chars > 0 and at > begin:
        at -= 1
        while at > begin and text[at] & 0xC0 == 0x80:
            at -= 1
        chars -= 1
    word = np.searchsorted(starts, at) - 1  # the last that starts before it
    return starts[word] if word >= 0 and at < stops[word] else at


@njit(cache=True, nogil=True)
def _right(text, end, at, chars, starts, stops):  # type: ignore[no-untyped-def]
    """The offset so many code points after `at`, not after `end`, moved to the end of a word that it breaks."""
    while chars > 0 and at < end:
        at += 1
        while at < end and text[at] & 0xC0 == 0x80:
            at += 1
        chars -= 1
    word = np.searchsorted(starts, at) - 1
    return stops[word] if word >= 0 and at < stops[word] else at


@njit(cache=True, nogil=True)
def _chars(text, start, stop):  # type: ignore[no-untyped-def]
    """Code points of the stretch without ASCII white space at its ends."""
    while start < stop and (text[start] == 0x20 or 9 <= text[start] <= 13):
        start += 1
    while start < stop and (text[stop - 1] == 0x20 or 9 <= text[stop - 1] <= 13):
        stop -= 1
    count = 0
    for i in range(start, stop):
        count += text[i] & 0xC0 != 0x80
    return count


@njit(cache=True, nogil=True)
def cuts(  # type: ignore[no-untyped-def]
    text, doc_start, doc_words, word_start, word_stop, row, start, stop, window, min_chars, max_pieces
):
    """(row, start, stop, match that opened it, whole) of each cut; the matches are sorted by row and start."""
    n = len(row)
    out_row, out_start, out_stop = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    out_match, out_whole = np.empty(n, np.int64), np.zeros(n, np.bool_)
    total = 0
    i = 0
    while i < n:
        d = row[i]
        begin, end = doc_start[d], doc_start[d + 1]
        starts, stops = word_start[doc_words[d] : doc_words[d + 1]], word_stop[doc_words[d] : doc_words[d + 1]]
        opened = total  # the document's first cut
        pieces = 0
        kept = 0
        reached = begin  # the end of the last window
        while i < n and row[i] == d:
            left = _left(text, begin, begin + start[i], window, starts, stops)
            right = _right(text, end, begin + stop[i], window, starts, stops)
            chars = _chars(text, reached, left) if left > reached else 0
            pieces += chars > 0
            stays = chars > 0 and chars >= min_chars
            kept += stays
            if stays or total == opened:
                out_row[total] = d
                out_start[total] = left - begin if stays else 0
                out_match[total] = i
                total += 1
            reached = max(reached, right)
            out_stop[total - 1] = reached - begin
            i += 1
        chars = _chars(text, reached, end)
        pieces += chars > 0
        if chars > 0 and chars >= min_chars:
            kept += 1
        else:
            out_stop[total - 1] = end - begin
        if kept == 0 or pieces > max_pieces:
            total = opened + 1
            out_start[opened] = 0
            out_stop[opened] = end - begin
            out_whole[opened] = True
    return out_row[:total], out_start[:total], out_stop[:total], out_match[:total], out_whole[:total]
