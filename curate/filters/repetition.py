"""How much of a document repeats itself: lines, paragraphs and word n-grams, in time linear in its length."""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from curate.scan import mix
from curate.words import WordTable

TOP = (2, 3, 4)
DUPLICATE = (5, 6, 7, 8, 9, 10)


class Repeats(NamedTuple):
    """For each of n documents, int64: how many of its items repeat an earlier one, and their characters."""

    repeated: npt.NDArray[np.int64]
    chars: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]  # all of its items


def lines(table: WordTable) -> Repeats:
    """Lines that are not blank."""
    filled = table.line_hash != 0
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum(filled)])[table.doc_lines]
    return _repeats(table.line_hash[filled], table.line_chars[filled].astype(np.int64), bounds)


def paragraphs(table: WordTable) -> Repeats:
    """Runs of lines without a blank one between them."""
    hashes, chars = np.empty(table.num_lines, np.uint64), np.empty(table.num_lines, np.int64)
    bounds = np.empty_like(table.doc_lines)
    count = _paragraphs(table.line_hash, table.line_chars, table.doc_lines, hashes, chars, bounds)
    return _repeats(hashes[:count], chars[:count], bounds)


def grams(table: WordTable, max_words: int | None = None) -> npt.NDArray[np.int64]:
    """int64[n, 9]: characters in the most frequent 2-, 3- and 4-gram and in the repeated 5- to 10-grams.

    0 for documents of more than `max_words`, which are not looked at; None: all are. A word takes some 60 bytes of
    memory in the longest document that is.

    Characters are those of the words, in the most frequent n-gram with a space between two words.
    The most frequent n-gram counts with all its occurrences, but not if it occurs once; of equally frequent ones the
    longest counts. A repeated n-gram is one that occurred earlier; the search goes on after its last word, so that no
    character counts twice, and the first occurrence does not count.
    """
    found = np.zeros((table.num_docs, len(TOP) + len(DUPLICATE)), np.int64)
    num_words = np.diff(table.doc_words)
    most = int(num_words.max(where=num_words <= (np.inf if max_words is None else max_words), initial=0))
    _grams(table.hash, table.chars, table.doc_words, *_slots(most), np.empty(most, np.uint64), found)
    return found


def _repeats(hashes: npt.NDArray[np.uint64], chars: npt.NDArray[np.int64], bounds: npt.NDArray[np.int64]) -> Repeats:
    items = np.diff(bounds)
    repeats = Repeats(np.zeros(len(items), np.int64), np.zeros(len(items), np.int64), items)
    keys, marks, _ = _slots(int(items.max(initial=0)))
    _duplicates(hashes, chars, bounds, keys, marks, repeats.repeated, repeats.chars)
    return repeats


def _slots(items: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """An open hash table for up to `items` keys: (keys, the marks of those that are taken, their counts).

    A slot is taken in round r if its mark is r, so that nothing need be cleared between rounds.
    """
    size = 2 << max(items, 1).bit_length()
    return np.empty(size, np.uint64), np.zeros(size, np.int64), np.empty(size, np.int32)


@numba.njit(cache=True, nogil=True)
def _slot(key, mask, mark, keys, marks):  # type: ignore[no-untyped-def]
    """The slot that holds the key, or the free one where it belongs."""
    at = np.int64((key ^ (key >> np.uint64(32))) & np.uint64(mask))
    while marks[at] == mark and keys[at] != key:
        at = (at + 1) & mask
    return at


@numba.njit(cache=True, nogil=True)
def _mask(items):  # type: ignore[no-untyped-def]
    """A power of two of at least twice as many slots, less one: small documents stay in the cache."""
    size = 2
    while size < 2 * items:
        size *= 2
    return size - 1


@numba.njit(cache=True, nogil=True)
def _duplicates(hashes, chars, bounds, keys, marks, count, repeated):  # type: ignore[no-untyped-def]
    for d in range(len(bounds) - 1):
        mask = _mask(bounds[d + 1] - bounds[d])
        for i in range(bounds[d], bounds[d + 1]):
            at = _slot(hashes[i], mask, d + 1, keys, marks)
            if marks[at] == d + 1:
                count[d] += 1
                repeated[d] += chars[i]
            else:
                keys[at] = hashes[i]
                marks[at] = d + 1


@numba.njit(cache=True, nogil=True)
def _paragraphs(line_hash, line_chars, doc_lines, hashes, chars, bounds):  # type: ignore[no-untyped-def]
    p = -1
    for d in range(len(doc_lines) - 1):
        bounds[d] = p + 1
        inside = False
        for line in range(doc_lines[d], doc_lines[d + 1]):
            if line_hash[line] == 0:
                inside = False
            elif inside:
                hashes[p] = mix(mix(hashes[p]) ^ line_hash[line])  # the inner mix: equal lines must not cancel
                chars[p] += line_chars[line]
            else:
                p += 1
                hashes[p] = line_hash[line]
                chars[p] = line_chars[line]
                inside = True
    bounds[len(doc_lines) - 1] = p + 1
    return p + 1


@numba.njit(cache=True, nogil=True)
def _grams(words, word_chars, doc_words, keys, marks, counts, hashes, found):  # type: ignore[no-untyped-def]
    mark = 0
    for d in range(len(doc_words) - 1):
        begin = doc_words[d]
        num_words = doc_words[d + 1] - begin
        if num_words > len(hashes):
            continue
        mask = _mask(num_words)
        for i in range(num_words):
            hashes[i] = words[begin + i]
        repeats = True  # where no n-gram occurs twice, no longer one does
        for n in range(2, DUPLICATE[-1] + 1):
            num_grams = num_words - n + 1
            if num_grams < 2 or not repeats:
                break
            for i in range(num_grams):
                hashes[i] = hashes[i] * np.uint64(0x9E3779B97F4A7C15) + words[begin + i + n - 1]
            mark += 1
            if n <= TOP[-1]:
                chars = np.int64(n - 1)
                for i in range(n - 1):
                    chars += word_chars[begin + i]
                best = 1
                most = np.int64(0)
                for i in range(num_grams):
                    chars += word_chars[begin + i + n - 1]
                    at = _slot(hashes[i], mask, mark, keys, marks)
                    if marks[at] == mark:
                        counts[at] += 1
                        if counts[at] > best or (counts[at] == best and counts[at] * chars > most):
                            best = counts[at]
                            most = best * chars
                    else:
                        keys[at] = hashes[i]
                        marks[at] = mark
                        counts[at] = 1
                    chars -= word_chars[begin + i]
                found[d, n - TOP[0]] = most
                repeats = best > 1
            else:
                repeats = False
                i = 0
                while i < num_grams:
                    at = _slot(hashes[i], mask, mark, keys, marks)
                    if marks[at] == mark:
                        repeats = True
                        for k in range(n):
                            found[d, n - TOP[0]] += word_chars[begin + i + k]
                        i += n
                    else:
                        keys[at] = hashes[i]
                        marks[at] = mark
                        i += 1
