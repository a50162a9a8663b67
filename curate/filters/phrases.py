"""Where given words and phrases stand in a batch, by the word table's hashes, whatever case, punctuation and spaces."""

import functools

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import words
from curate.words import WordTable

SLOTS = 4096


def check(phrases: tuple[str, ...], name: str) -> None:
    """Refuse phrases that can never be found.

    Raises:
        ValueError: for a phrase without a letter, number or mark.
    """
    for phrase in phrases:
        if not any(char.isalnum() for char in phrase):
            raise ValueError(f"{name} holds {phrase!r}, which has no word; take it out")


def find(table: WordTable, phrases: tuple[str, ...], rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """bool[rows, phrases]: whether the words [rows[i]:rows[i + 1]] of the table hold the phrase's words in a row.

    `rows`, int64[rows + 1], is `table.doc_words` or `table.line_first_word`.
    """
    seen = np.zeros((len(rows) - 1, len(phrases)), np.bool_)
    _find(table.hash, rows, *_compiled(phrases), seen)
    return seen


@functools.lru_cache(16)
def _compiled(
    phrases: tuple[str, ...],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(the phrases' words, their bounds, the first phrase of each slot, the next phrase of the same slot; -1: none)."""
    table = words.table(pa.array(phrases, pa.string()))
    first, after = np.full(SLOTS, -1, np.int64), np.full(len(phrases), -1, np.int64)
    for phrase in range(len(phrases)):
        slot = int(table.hash[table.doc_words[phrase]]) % SLOTS
        first[slot], after[phrase] = phrase, first[slot]
    for array in (first, after):
        array.flags.writeable = False
    return table.hash, table.doc_words, first, after


@numba.njit(cache=True, nogil=True)
def _find(words, rows, grams, bounds, first, after, seen):  # type: ignore[no-untyped-def]
    for row in range(len(rows) - 1):
        for i in range(rows[row], rows[row + 1]):
            phrase = first[words[i] % np.uint64(SLOTS)]
            while phrase >= 0:
                n = bounds[phrase + 1] - bounds[phrase]
                if i + n <= rows[row + 1]:
                    k = 0
                    while k < n and words[i + k] == grams[bounds[phrase] + k]:
                        k += 1
                    if k == n:
                        seen[row, phrase] = True
                phrase = after[phrase]
