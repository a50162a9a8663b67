"""The compiled kernels of the word table: bytes in, columns out. What the columns mean is told in `curate.words`."""

import numba
import numpy as np

from curate.unicode import BULLET, CLOSER, LETTER, MARK, SOLO, TERMINAL, WHITE, WORD

# Bits of `line_ends`.
ENDED = 1  # the last character is a terminal mark, or closing quotes and brackets after one
QUOTED = 2  # the last character is a closing quotation mark
ELLIPSIS = 4  # ends with "..." or U+2026
BULLETED = 8  # the first character is a bullet
CURLY = 16  # holds a "{"

_SEED = np.uint64(0x2545F4914F6CDD1D)
_MULTIPLIER = np.uint64(0xD6E8FEB86659FD93)
_NEWLINE, _POUND, _DOT, _SLASH, _CURLY, _ELLIPSIS = 0x0A, 0x23, 0x2E, 0x2F, 0x7B, 0x2026


@numba.njit(cache=True, nogil=True)
def mix(x: np.uint64) -> np.uint64:
    """SplitMix64's finalizer, as `draw.mix`, for kernels."""
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@numba.njit(cache=True, nogil=True)
def bounds(text):  # type: ignore[no-untyped-def]
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
def _is_dash(c):  # type: ignore[no-untyped-def]
    return c == 0x2D or c == 0x2010 or c == 0x2013 or c == 0x2014


@numba.njit(cache=True, nogil=True)
def _parts(c):  # type: ignore[no-untyped-def]
    """Whether a further part of the word begins where a letter follows c."""
    return _is_dash(c) or c == _SLASH or c == 0x27 or c == 0x2019


@numba.njit(cache=True, nogil=True)
def scan(text, doc_start, tables, doc_words, doc_lines, words, lines):  # type: ignore[no-untyped-def]
    """Fill the table's columns. Sentences of a line: the runs of text that hold a word and end with a terminal mark
    before white space (with closing quotes and brackets between), with a terminal mark beyond ASCII before a word, or
    with the line. An abbreviation's full stop ends one too.

    Parts and marks are what a tokenizer that splits off punctuation would find beside the words. A run of one character
    at either end of a token, or between words of a script without spaces, is a mark. Inside a word a dash is a mark and
    begins a further part, and so is a slash before a letter, but not in a token with "//"; an apostrophe before a
    letter begins a further part. A part that does not begin with a letter counts among the marks."""
    ascii_fold, class_index, classes, fold_index, fold = tables
    (
        line_start,
        line_stop,
        line_first_word,
        line_hash,
        line_chars,
        sentences,
        parts,
        marks,
        pounds,
        ellipses,
        line_ends,
    ) = lines
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
            num_sentences = num_parts = num_marks = num_pounds = num_ellipses = 0
            flags = 0
            tail = np.int64(-1)  # the last character that is not white, -1 for a word character
            dots = 0  # the run of full stops that ends there
            ended = 0  # a sentence may end here: 1 before white space, 2 before a word too
            spoken = False  # the current sentence has a word
            kind = 0  # of the open word: 0 none, 1 ordinary, SOLO
            pending = 0  # runs of other characters since the word's last
            joint = np.int64(0)  # their character, if they are one run
            address = False  # the token has a "//"
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
                if k & MARK and not (kind and stop == i):
                    k = np.int64(0)
                if k & WORD:
                    if pending:
                        if k & SOLO or kind == SOLO:
                            num_marks += pending
                        elif not address:
                            num_parts += k & LETTER != 0 and _parts(joint)
                            num_marks += _is_dash(joint) + (_is_dash(joint) and not k & LETTER)
                            num_marks += k & LETTER != 0 and joint == _SLASH
                        pending = 0
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
                    tail = np.int64(-1)
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
                        address = False
                        points += 1
                        i += 1
                elif k & WHITE:
                    i += n
                    if kind:
                        w = _close(words, w, h, chars, letters, stop)
                        kind = 0
                    num_marks += pending
                    pending = 0
                    address = False
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
                        if k & BULLET:
                            flags |= BULLETED
                    if c != tail or last != i:  # a run begins
                        joint = c if kind and stop == i else np.int64(0)
                        num_marks += kind == 0
                        pending += kind != 0
                    elif c == _SLASH:
                        address = True
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
            num_marks += pending
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
            parts[line] = num_parts
            marks[line] = num_marks
            pounds[line] = num_pounds
            ellipses[line] = num_ellipses
            line_ends[line] = flags
            line += 1
    line_first_word[line] = w
    doc_words[len(doc_start) - 1] = w
    doc_lines[len(doc_start) - 1] = line


@numba.njit(cache=True, nogil=True)
def copy_lines(  # type: ignore[no-untyped-def]
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
