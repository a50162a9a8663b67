"""The word table: one pass over a batch's text gives each word's hash, span and line; all text statistics start here.

A *token* is a maximal run without white space. A *word* is what is left of a token when everything but letters,
numbers and the marks that follow them is left out, case folded: `Don't,` is the word dont. That is the gram of GPT-3,
appendix C ("lower-case, whitespace-delimited words without punctuation"). A token without any of them is no word.
Scripts without spaces (Han, kana, Thai, Lao, Khmer, Myanmar, Tibetan ...; `unicode.SOLO`): each base character with
the marks that follow it is a word of its own, so n-grams of words are n-grams of characters there. Hangul has spaces.

A *line* ends at U+000A or with the text; a text has one line more than it has U+000A. Lines are measured without the
white space at their ends, and one without anything else is *blank*. Hashes depend on the characters alone and stay the
same for ever (`curate.unicode`). Nothing is decided here, and no text is changed but by `keep_lines`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import scan, unicode

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class WordTable:
    """The words and lines of a batch of n documents, as read-only arrays over the whole batch.

    The words of document d are `[doc_words[d]:doc_words[d + 1]]`, its lines `[doc_lines[d]:doc_lines[d + 1]]`, and the
    words of line l `[line_first_word[l]:line_first_word[l + 1]]`. Offsets count bytes of `text`, counts of characters
    code points.
    """

    text: npt.NDArray[np.uint8]  # UTF-8; a view of the Arrow buffer
    doc_start: Ints  # [n + 1] offsets
    doc_words: Ints  # [n + 1]
    doc_lines: Ints  # [n + 1]

    hash: npt.NDArray[np.uint64]  # of the folded word characters; never 0
    start: Ints  # of the word's first word character: punctuation around it is outside, inside it is inside
    stop: Ints  # after its last one
    chars: npt.NDArray[np.int32]  # its word characters
    line: npt.NDArray[np.int32]  # the line it stands in, counted over the batch
    letters: npt.NDArray[np.bool_]  # has an alphabetic character

    line_start: Ints  # of the stripped line; a blank line's start and stop are the offset of its end
    line_stop: Ints
    line_first_word: Ints  # [lines + 1]
    line_hash: npt.NDArray[np.uint64]  # of the stripped line's bytes; 0: blank
    line_chars: npt.NDArray[np.int32]  # of the stripped line, spaces included
    line_sentences: npt.NDArray[np.int32]  # see `scan.scan`
    line_parts: npt.NDArray[np.int32]  # further parts of its words, as "n't"; see `scan.scan`
    line_marks: npt.NDArray[np.int32]  # punctuation marks and other symbols that stand for themselves; see there
    line_pounds: npt.NDArray[np.int32]  # times "#" occurs
    line_ellipses: npt.NDArray[np.int32]  # times "..." or U+2026 occurs
    line_ends: npt.NDArray[np.uint8]  # flags scan.ENDED ... scan.CURLY

    @property
    def num_docs(self) -> int:
        return len(self.doc_start) - 1

    @property
    def num_words(self) -> int:
        return len(self.hash)

    @property
    def num_lines(self) -> int:
        return len(self.line_hash)


def table(texts: pa.Array) -> WordTable:
    """The word table of a string array (string or large_string, sliced or not).

    Raises:
        TypeError: if it is no string array.
        ValueError: if it holds nulls, or more than 2^31 lines.
    """
    text, doc_start = _buffers(texts)
    newlines, most = scan.bounds(text)
    num_lines = newlines + len(doc_start) - 1
    if num_lines >= 2**31:
        raise ValueError(f"the batch has {num_lines} lines, more than 2^31: cut it into smaller batches")
    most += len(doc_start) - 1
    words = (
        np.empty(most, np.uint64),
        np.empty(most, np.int64),
        np.empty(most, np.int64),
        np.empty(most, np.int32),
        np.empty(most, np.int32),
        np.empty(most, np.bool_),
    )
    lines = (
        np.empty(num_lines, np.int64),
        np.empty(num_lines, np.int64),
        np.empty(num_lines + 1, np.int64),
        np.empty(num_lines, np.uint64),
        np.empty(num_lines, np.int32),
        np.empty(num_lines, np.int32),
        np.empty(num_lines, np.int32),
        np.empty(num_lines, np.int32),
        np.empty(num_lines, np.int32),
        np.empty(num_lines, np.int32),
        np.empty(num_lines, np.uint8),
    )
    doc_words, doc_lines = np.empty(len(doc_start), np.int64), np.empty(len(doc_start), np.int64)
    scan.scan(text, doc_start, tuple(unicode.tables()), doc_words, doc_lines, words, lines)
    return _frozen(text, doc_start, doc_words, doc_lines, *(column[: doc_words[-1]] for column in words), *lines)


def hashes(phrase: str) -> npt.NDArray[np.uint64]:
    """uint64[words]: the hashes of the phrase's words, as `table` gives them."""
    return table(pa.array([phrase], pa.string())).hash


def keep_lines(table: WordTable, keep: npt.NDArray[np.bool_]) -> tuple[WordTable, pa.Array]:
    """The texts with only the lines where `keep`, bool[lines], holds, and their word table; nothing is read again.

    Lines keep their own white space and are joined by U+000A; a document that keeps none becomes the empty text. The
    texts come as string, or as large_string where they are longer than 2^31 bytes.

    Raises:
        ValueError: if `keep` has another length than there are lines.
    """
    if keep.shape != (table.num_lines,):
        raise ValueError(f"keep has shape {keep.shape}, the table has {table.num_lines} lines")
    text = np.empty(len(table.text), np.uint8)
    doc_start, doc_lines = np.empty_like(table.doc_start), np.empty_like(table.doc_lines)
    moved = np.empty(table.num_lines, np.int64)
    source = np.empty(table.num_lines + table.num_docs, np.int32)
    scan.copy_lines(
        table.text, table.doc_start, table.doc_lines, table.line_stop, keep, text, doc_start, doc_lines, moved, source
    )
    text = text[: doc_start[-1]]
    source = source[: doc_lines[-1]]
    # source is -1 for the one line of a text that became empty; its place is that text's own.
    void = source < 0
    blank_at = np.repeat(doc_start[:-1], np.diff(doc_lines))
    line_start = np.where(void, blank_at, (table.line_start + moved)[source])
    line_stop = np.where(void, blank_at, (table.line_stop + moved)[source])
    others = [
        np.where(void, column.dtype.type(0), column[source])
        for column in (
            table.line_hash,
            table.line_chars,
            table.line_sentences,
            table.line_parts,
            table.line_marks,
            table.line_pounds,
            table.line_ellipses,
            table.line_ends,
        )
    ]
    counts = np.where(void, 0, np.diff(table.line_first_word)[source])
    line_first_word = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    kept = keep[table.line]
    shift = moved[table.line[kept]]
    result = _frozen(
        text,
        doc_start,
        line_first_word[doc_lines],
        doc_lines,
        table.hash[kept],
        table.start[kept] + shift,
        table.stop[kept] + shift,
        table.chars[kept],
        np.repeat(np.arange(len(source), dtype=np.int32), counts),
        table.letters[kept],
        line_start,
        line_stop,
        line_first_word,
        *others,
    )
    offsets = doc_start if doc_start[-1] >= 2**31 else doc_start.astype(np.int32)
    kind = pa.LargeStringArray if doc_start[-1] >= 2**31 else pa.StringArray
    return result, kind.from_buffers(table.num_docs, pa.py_buffer(offsets), pa.py_buffer(text))


def _buffers(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], Ints]:
    """The bytes of the array's texts without a copy, and their offsets int64[n + 1] from 0."""
    if not isinstance(texts, pa.StringArray | pa.LargeStringArray):
        raise TypeError(f"expected a pyarrow string array, got {getattr(texts, 'type', type(texts).__name__)}")
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null; leave them out or fill them")
    _, offset_buffer, data = texts.buffers()
    if len(texts) == 0:
        return _read_only(np.zeros(0, np.uint8)), _read_only(np.zeros(1, np.int64))
    width = np.dtype(np.int32 if isinstance(texts, pa.StringArray) else np.int64)
    offsets = np.frombuffer(offset_buffer, width, len(texts) + 1, texts.offset * width.itemsize).astype(np.int64)
    first, last = int(offsets[0]), int(offsets[-1])
    text = np.frombuffer(data, np.uint8, last - first, first) if last > first else np.zeros(0, np.uint8)
    return _read_only(text), _read_only(offsets - first)


def _frozen(*columns: npt.NDArray[Any]) -> WordTable:
    return WordTable(*map(_read_only, columns))


def _read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    array.flags.writeable = False  # always, or numba would compile a second kernel for the other kind
    return array
