"""The compiled kernels of `curate.decontaminate`: find grams among words, and cut around them. Rules are told there."""

import numpy as np
from numba import njit

from curate.dedup.minhash import windows


@njit(cache=True, nogil=True)
def bits(grams, num_bits):  # type: ignore[no-untyped-def]
    """uint8[2^num_bits / 8]: the bit numbered by the top bits of each gram is set."""
    out = np.zeros(1 << (num_bits - 3), np.uint8)
    shift = np.uint64(64 - num_bits)
    for gram in grams:
        place = gram >> shift
        out[place >> np.uint64(3)] |= np.uint8(1 << (place & np.uint64(7)))
    return out


@njit(cache=True, nogil=True)
def search(hashes, doc_words, size, grams, filter_):  # type: ignore[no-untyped-def]
    """int64[4, m]: (doc, first word, last word, entry) of the runs of `size` words that are among the sorted grams;
    a gram that stands there several times is found as often. `filter_` is their `bits`."""
    shift = np.uint64(64 - 3)
    length = len(filter_)
    while length > 1:
        shift -= np.uint64(1)
        length >>= 1
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
            place = scratch[i] >> shift
            if not filter_[place >> np.uint64(3)] >> (place & np.uint64(7)) & np.uint64(1):
                continue
            entry = np.searchsorted(grams, scratch[i])
            while entry < len(grams) and grams[entry] == scratch[i]:
                if total == found.shape[1]:
                    longer = np.empty((4, 2 * total), np.int64)
                    longer[:, :total] = found
                    found = longer
                found[0, total] = d
                found[1, total] = begin + i
                found[2, total] = begin + i + size - 1
                found[3, total] = entry
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
