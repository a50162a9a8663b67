"""The word table: one pass over a batch's text gives each word's hash, span and line; all text statistics start here.

A *token* is a maximal run without white space. A *word* is what is left of a token when everything but letters,
numbers and marks is left out, case folded: `Don't,` is the word dont. That is the gram of GPT-3, appendix C
("lower-case, whitespace-delimited words without punctuation"). A token without a word character is no word.
Scripts without spaces (Han, kana, Thai, Lao, Khmer, Myanmar, Tibetan ...; `unicode.SOLO`): each base character with
the marks that follow it is a word of its own, so n-grams of words are n-grams of characters there. Hangul has spaces.

A *line* ends at U+000A or with the text; a text has one line more than it has U+000A. Lines are measured without the
white space at their ends, and one without anything else is *blank*. Hashes depend on the characters alone and stay the
same for ever (`curate.unicode`). Nothing is decided here, and no text is changed but by `keep_lines`.
"""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import unicode
from curate.unicode import CLOSER, LETTER, MARK, SOLO, TERMINAL, WHITE, WORD

# Bits of `line_ends`.
ENDED = 1  # the last character is a terminal mark, or closing quotes and brackets after one
QUOTED = 2  # the last character is a closing quotation mark
ELLIPSIS = 4  # ends with "..." or U+2026
BULLETED = 8  # the first character is a bullet
CURLY = 16  # holds a "{"

_SEED = np.uint64(0x2545F4914F6CDD1D)
_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
_NEWLINE, _POUND, _DOT, _CURLY, _ELLIPSIS = 0x0A, 0x23, 0x2E, 0x7B, 0x2026

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
    line_sentences: npt.NDArray[np.int32]  # see `_scan`
    line_pounds: npt.NDArray[np.int32]  # times "#" occurs
    line_ellipses: npt.NDArray[np.int32]  # times "..." or U+2026 occurs
    line_ends: npt.NDArray[np.uint8]  # flags ENDED ... CURLY

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
    newlines, most = _bounds(text)
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
        np.empty(num_lines, np.uint8),
    )
    doc_words, doc_lines = np.empty(len(doc_start), np.int64), np.empty(len(doc_start), np.int64)
    _scan(text, doc_start, tuple(unicode.tables()), doc_words, doc_lines, words, lines)
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
    _copy_lines(
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


@numba.njit(cache=True, nogil=True)
def mix(x: np.uint64) -> np.uint64:
    """SplitMix64's finalizer, as `draw.mix`, for kernels."""
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def _bounds(text):  # type: ignore[no-untyped-def]
    """(times U+000A occurs, at most so many words beside one a document). A further word needs a character at or below
    U+0020 before it, U+0085 or U+00A0 (first byte 0xC2), or one of three bytes and more, which may part two words."""
    newlines = 0
    most = 0
    for i in range(1, len(text)):
        newlines += text[i] == _NEWLINE
        most += (text[i - 1] <= 0x20) & (text[i] > 0x20)
        most += (text[i] == 0xC2) + 2 * (text[i] >= 0xE0)
    if len(text):
        newlines += text[0] == _NEWLINE
        most += 2
    return newlines, min(most, len(text))


@numba.njit(cache=True, nogil=True)
def _bytes_hash(text, start, stop):  # type: ignore[no-untyped-def]
    """A hash of text[start:stop], eight bytes at a time; never 0."""
    h = mix(np.uint64(stop - start) ^ _SEED)
    i = start
    while i + 8 <= stop:
        chunk = np.uint64(0)
        for k in range(8):
            chunk |= np.uint64(text[np.uint64(i) + np.uint64(k)]) << np.uint64(8 * k)
        h = mix(h ^ chunk)
        i += 8
    chunk = np.uint64(0)
    for k in range(stop - i):
        chunk |= np.uint64(text[i + k]) << np.uint64(8 * k)
    h = mix(h ^ chunk)
    return h if h else np.uint64(1)


@numba.njit(cache=True, nogil=True)
def _character(text, i, end):  # type: ignore[no-untyped-def]
    """(code point, bytes) of the character at i; bytes that are no UTF-8 count one by one, as U+FFFD."""
    b = np.int64(text[i])
    if b < 0x80:
        return b, 1
    if 0xC2 <= b < 0xE0 and i + 2 <= end:
        return (b & 0x1F) << 6 | np.int64(text[i + 1]) & 0x3F, 2
    if 0xE0 <= b < 0xF0 and i + 3 <= end:
        return (b & 0x0F) << 12 | (np.int64(text[i + 1]) & 0x3F) << 6 | np.int64(text[i + 2]) & 0x3F, 3
    if 0xF0 <= b < 0xF5 and i + 4 <= end and (b < 0xF4 or text[i + 1] < 0x90):
        high = (b & 0x07) << 18 | (np.int64(text[i + 1]) & 0x3F) << 12
        return high | (np.int64(text[i + 2]) & 0x3F) << 6 | np.int64(text[i + 3]) & 0x3F, 4
    return np.int64(0xFFFD), 1


@numba.njit(cache=True, nogil=True)
def _close(words, w, h, chars, letters, stop):  # type: ignore[no-untyped-def]
    """Finish word w, whose start and line were set when it was opened."""
    h = mix(h)
    words[0][w] = h if h else np.uint64(1)
    words[2][w] = stop
    words[3][w] = chars
    words[5][w] = letters != 0
    return w + 1


@numba.njit(cache=True, nogil=True)
def _scan(text, doc_start, tables, doc_words, doc_lines, words, lines):  # type: ignore[no-untyped-def]
    """Fill the table's columns. Sentences of a line: the runs of text that hold a word and end with a terminal mark
    before white space (with closing quotes and brackets between), with a terminal mark beyond ASCII before a word, or
    with the line. An abbreviation's full stop ends one too."""
    ascii_fold, class_index, classes, fold_index, fold = tables
    line_start, line_stop, line_first_word, line_hash, line_chars, sentences, pounds, ellipses, line_ends = lines
    w = 0
    line = 0
    for d in range(len(doc_start) - 1):
        doc_words[d] = w
        doc_lines[d] = line
        i = doc_start[d]
        end = doc_start[d + 1]
        more = True
        while more:
            line_first_word[line] = w
            first = np.int64(-1)  # offset of the first character that is not white
            last = i  # offset after the last one
            points = points_first = points_last = 0  # code points: so far, before `first`, up to `last`
            num_sentences = num_pounds = num_ellipses = 0
            flags = 0
            tail = np.int64(0)  # the last character that is not white, 0 for a word character
            dots = 0  # the run of full stops that ends there
            ended = 0  # a sentence may end here: 1 before white space, 2 before a word too
            spoken = False  # the current sentence has a word
            kind = 0  # of the open word: 0 none, 1 ordinary, SOLO
            h = _SEED
            chars = 0
            letters = np.int64(0)
            stop = i
            more = False
            while i < end:
                f = ascii_fold[text[i]]
                c = np.int64(text[i])
                n = 1
                if c < 0x80:
                    k = np.int64(classes[c])
                else:
                    c, n = _character(text, i, end)
                    k = np.int64(classes[np.int64(class_index[c >> 8]) * 256 + (c & 255)])
                if k & WORD:
                    if kind and (k & SOLO or (kind == SOLO and not k & MARK)):
                        w = _close(words, w, h, chars, letters, stop)
                        kind = 0
                    if kind == 0:
                        kind = SOLO if k & SOLO else 1
                        h = _SEED
                        chars = 0
                        letters = np.int64(0)
                        words[1][w] = i
                        words[4][w] = line
                        if first < 0:
                            first = i
                            points_first = points
                    if ended == 2 and spoken:
                        num_sentences += 1
                    ended = 0
                    spoken = True
                    tail = np.int64(0)
                    if n > 1:
                        c += fold[np.int64(fold_index[c >> 8]) * 256 + (c & 255)]
                        h = (h ^ np.uint64(c)) * _MULTIPLIER
                        letters |= k & LETTER
                        chars += 1
                        points += 1
                        i += n
                    else:
                        begin = i
                        while f:
                            h = (h ^ np.uint64(f)) * _MULTIPLIER
                            letters |= np.int64(f) & 0x40  # set in a lower-case letter, not in a digit
                            i += 1
                            if i == end:
                                break
                            f = ascii_fold[text[i]]
                        chars += i - begin
                        points += i - begin
                    stop = last = i
                    points_last = points
                    if i < end and text[i] == 0x20:  # as the branch for white space would do it
                        w = _close(words, w, h, chars, letters, stop)
                        kind = 0
                        points += 1
                        i += 1
                elif k & WHITE:
                    i += n
                    if kind:
                        w = _close(words, w, h, chars, letters, stop)
                        kind = 0
                    if ended and spoken:
                        num_sentences += 1
                        spoken = False
                    if c == _NEWLINE:
                        more = True
                        break
                    points += 1
                else:
                    if first < 0:
                        first = i
                        points_first = points
                        if k & unicode.BULLET:
                            flags |= BULLETED
                    if c == _DOT:
                        dots = dots + 1 if tail == _DOT and last == i else 1
                        num_ellipses += dots % 3 == 0
                    elif c == _ELLIPSIS:
                        num_ellipses += 1
                    elif c == _POUND:
                        num_pounds += 1
                    elif c == _CURLY:
                        flags |= CURLY
                    if k & TERMINAL:
                        ended = 2 if n > 1 else max(ended, 1)
                    elif not k & CLOSER:
                        ended = 0
                    tail = c
                    points += 1
                    i += n
                    last = i
                    points_last = points
            if kind:
                w = _close(words, w, h, chars, letters, stop)
            if ended:
                flags |= ENDED
            if tail == 0x22 or tail == 0x27 or tail == 0x201D or tail == 0x2019 or tail == 0xBB:
                flags |= QUOTED
            if tail == _ELLIPSIS or (tail == _DOT and dots >= 3):
                flags |= ELLIPSIS
            blank = first < 0
            if blank:
                first = last = i - more
            line_start[line] = first
            line_stop[line] = last
            line_hash[line] = np.uint64(0) if blank else _bytes_hash(text, first, last)
            line_chars[line] = points_last - points_first
            sentences[line] = num_sentences + spoken
            pounds[line] = num_pounds
            ellipses[line] = num_ellipses
            line_ends[line] = flags
            line += 1
    line_first_word[line] = w
    doc_words[len(doc_start) - 1] = w
    doc_lines[len(doc_start) - 1] = line


@numba.njit(cache=True, nogil=True)
def _copy_lines(  # type: ignore[no-untyped-def]
    text, doc_start, doc_lines, line_stop, keep, out_text, out_start, out_lines, moved, source
):
    """Copy kept lines; `moved` takes how far each goes, `source` the old number of each new line (-1: made blank)."""
    at = 0
    new = 0
    for d in range(len(doc_start) - 1):
        out_start[d] = at
        out_lines[d] = new
        i = doc_start[d]
        for line in range(doc_lines[d], doc_lines[d + 1]):
            stop = line_stop[line]
            while stop < doc_start[d + 1] and text[stop] != _NEWLINE:  # white space only
                stop += 1
            if keep[line]:
                if new > out_lines[d]:
                    out_text[at] = _NEWLINE
                    at += 1
                moved[line] = at - i
                for j in range(i, stop):
                    out_text[at] = text[j]
                    at += 1
                source[new] = line
                new += 1
            i = stop + 1
        if new == out_lines[d]:
            source[new] = -1
            new += 1
    out_start[len(doc_start) - 1] = at
    out_lines[len(doc_start) - 1] = new
