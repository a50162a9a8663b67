"""The word table against a plain Python reading of its definition, and its hashes against golden values."""

import itertools
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import scan, unicode, words

MASK = 2**64 - 1
SPACES = {
    0x9,
    0xA,
    0xB,
    0xC,
    0xD,
    0x20,
    0x85,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
}
WHITE = "".join(map(chr, sorted(SPACES)))
TABLES = unicode.tables()


def bits(char):
    c = ord(char)
    return int(TABLES.classes[int(TABLES.class_index[c >> 8]) * 256 + (c & 255)])


def fold(char):
    c = ord(char)
    return chr(c + int(TABLES.fold[int(TABLES.fold_index[c >> 8]) * 256 + (c & 255)]))


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & MASK
    return x ^ (x >> 31)


def word_hash(folded):
    h = 0x2545F4914F6CDD1D
    for char in folded:
        h = (h ^ ord(char)) * 0xD6E8FEB86659FD93 & MASK
    return mix(h) or 1


def bytes_hash(data):
    h = mix(len(data) ^ 0x2545F4914F6CDD1D)
    for i in range(0, len(data) // 8 * 8 + 1, 8):
        h = mix(h ^ int.from_bytes(data[i : i + 8], "little"))
    return h or 1


def tokens(line):
    """(offset, token) of each run without white space."""
    at = 0
    for i in range(len(line) + 1):
        if i == len(line) or ord(line[i]) in SPACES:
            if i > at:
                yield at, line[at:i]
            at = i + 1


def words_of(line):
    """[(first, last + 1, folded word characters, has a letter)] of a line, offsets in characters."""
    found = []
    for at, token in tokens(line):
        units = []  # [first, last + 1, characters, is of a script without spaces]
        for i, char in enumerate(token, at):
            k = bits(char)
            if not k & unicode.WORD or (k & unicode.MARK and not (units and units[-1][1] == i)):
                continue
            solo = bool(k & unicode.SOLO)
            if not units or solo or (units[-1][3] and not k & unicode.MARK):
                units.append([i, i + 1, "", solo])
            units[-1][1] = i + 1
            units[-1][2] += char
        found += [
            (a, b, "".join(map(fold, chars)), any(bits(c) & unicode.LETTER for c in chars)) for a, b, chars, _ in units
        ]
    return found


def is_word(chars, i):
    k = bits(chars[i])
    return bool(k & unicode.WORD) and not (k & unicode.MARK and not (i and is_word(chars, i - 1)))


def pieces_of(line):
    """(parts, marks) by the definition in `scan`."""
    parts = marks = 0
    for _, token in tokens(line):
        runs = []  # [is word, character, text]
        for i, char in enumerate(token):
            word = is_word(token, i)
            if runs and runs[-1][0] == word and (word or runs[-1][1] == char):
                runs[-1][2] += char
            else:
                runs.append([word, char, char])
        inside = [i for i, run in enumerate(runs) if run[0]]
        for a, b in itertools.pairwise(inside):
            first = bits(runs[b][1])
            last_base = [c for c in runs[a][2] if not bits(c) & unicode.MARK][-1]
            letter, joint = bool(first & unicode.LETTER), runs[a + 1][1] if b == a + 2 else ""
            if first & unicode.SOLO or bits(last_base) & unicode.SOLO:
                marks += b - a - 1
            elif "//" not in "".join(r[2] for r in runs[:b]):
                if joint in tuple("-‐–—"):
                    marks += 2 - letter
                    parts += letter
                elif letter and joint == "/":
                    parts, marks = parts + 1, marks + 1
                elif letter and joint in ("'", "’"):
                    parts += 1
        marks += len(runs) if not inside else inside[0] + len(runs) - 1 - inside[-1]
    return parts, marks


def sentences_of(line):
    """Sentences by the definition in `scan`: `ends` remembers the mark since the last character that continues."""
    count, spoken, ends, wide = 0, False, False, False
    for at, char in enumerate(line):
        k = bits(char)
        if is_word(line, at):
            if ends and wide and spoken:
                count += 1
            ends, spoken = False, True
        elif k & unicode.WHITE:
            if ends and spoken:
                count, spoken = count + 1, False
        elif k & unicode.TERMINAL:
            wide = ord(char) >= 0x80 or (ends and wide)
            ends = True
        elif not k & unicode.CLOSER:
            ends = False
    return count + spoken


def ends_of(stripped):
    body = stripped
    while body and (bits(body[-1]) & (unicode.CLOSER | unicode.WHITE)) and not bits(body[-1]) & unicode.TERMINAL:
        body = body[:-1]
    flags = scan.ENDED if body and bits(body[-1]) & unicode.TERMINAL else 0
    flags |= scan.QUOTED if stripped.endswith(('"', "'", "”", "’", "»")) else 0
    flags |= scan.ELLIPSIS if stripped.endswith(("...", "…")) else 0
    flags |= scan.BULLETED if stripped and bits(stripped[0]) & unicode.BULLET else 0
    return flags | (scan.CURLY if "{" in stripped else 0)


def oracle(texts):
    """The table's columns as lists, with spans as (document, bytes before, bytes to the end)."""
    rows = {"words": [], "lines": [], "doc_words": [0], "doc_lines": [0], "line_first_word": [0]}
    for d, text in enumerate(texts):
        base = 0
        for line in text.split("\n"):
            stripped = line.strip(WHITE)
            lead = len(line) - len(line.lstrip(WHITE)) if stripped else len(line)
            place = len(line[:lead].encode()) + base
            for a, b, chars, letters in words_of(line):
                start, stop = base + len(line[:a].encode()), base + len(line[:b].encode())
                rows["words"].append((word_hash(chars), d, start, stop, len(chars), len(rows["lines"]), letters))
            rows["lines"].append(
                (
                    d,
                    place,
                    place + len(stripped.encode()),
                    bytes_hash(stripped.encode()) if stripped else 0,
                    len(stripped),
                    sentences_of(line),
                    *pieces_of(line),
                    stripped.count("#"),
                    stripped.count("...") + stripped.count("…"),
                    ends_of(stripped),
                )
            )
            rows["line_first_word"].append(len(rows["words"]))
            base += len(line.encode()) + 1
        rows["doc_words"].append(len(rows["words"]))
        rows["doc_lines"].append(len(rows["lines"]))
    return rows


def as_rows(table):
    """The table in the oracle's form."""
    word_doc = np.repeat(np.arange(table.num_docs), np.diff(table.doc_words))
    line_doc = np.repeat(np.arange(table.num_docs), np.diff(table.doc_lines))
    word_base, line_base = table.doc_start[word_doc], table.doc_start[line_doc]
    return {
        "words": columns(
            table.hash,
            word_doc,
            table.start - word_base,
            table.stop - word_base,
            table.chars,
            table.line,
            table.letters,
        ),
        "lines": columns(
            line_doc,
            table.line_start - line_base,
            table.line_stop - line_base,
            table.line_hash,
            table.line_chars,
            table.line_sentences,
            table.line_parts,
            table.line_marks,
            table.line_pounds,
            table.line_ellipses,
            table.line_ends,
        ),
        "doc_words": table.doc_words.tolist(),
        "doc_lines": table.doc_lines.tolist(),
        "line_first_word": table.line_first_word.tolist(),
    }


def columns(*arrays):
    return list(zip(*(a.tolist() for a in arrays), strict=True))


ALPHABET = "aAbß9.…/-’#{}\"'!?。»*•-  \t\n\n\u00a0\u3000漢テが゙กิ é\u0301\u200dẞİΣς한글𝒜😀ა\x1f"
any_text = st.one_of(st.text(), st.text(alphabet=ALPHABET))
batches = st.lists(any_text, max_size=8)


@settings(deadline=None)  # the first call compiles
@given(batches)
def test_equals_the_definition(texts):
    table = words.table(pa.array(texts, pa.string()))
    assert as_rows(table) == oracle(texts)
    assert bytes(table.text) == "".join(texts).encode()


@settings(deadline=None)  # the first call compiles
@given(batches, st.integers(0, 8), st.integers(0, 8))
def test_no_batching_or_slicing_changes_a_document(texts, first, count):
    whole = pa.array(texts, pa.string())
    part = whole.slice(min(first, len(texts)), count)
    assert as_rows(words.table(part)) == oracle(part.to_pylist())
    assert as_rows(words.table(part.cast(pa.large_string()))) == oracle(part.to_pylist())


@settings(deadline=None)  # the first call compiles
@given(batches, st.data())
def test_keep_lines_equals_a_new_scan(texts, data):
    table = words.table(pa.array(texts, pa.string()))
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=table.num_lines, max_size=table.num_lines)), bool)
    kept, new = words.keep_lines(table, keep)
    lines = iter(keep)
    assert new.to_pylist() == ["\n".join(line for line in text.split("\n") if next(lines)) for text in texts]
    new.validate(full=True)
    assert as_rows(kept) == as_rows(words.table(new))


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.binary(max_size=12), max_size=4))
def test_bytes_that_are_no_utf8_do_no_harm(chunks):
    text = np.frombuffer(b"".join(chunks), np.uint8)
    offsets = np.cumsum([0, *map(len, chunks)], dtype=np.int32)
    texts = pa.StringArray.from_buffers(len(chunks), pa.py_buffer(offsets), pa.py_buffer(text))
    table = words.table(texts)
    assert table.num_lines == sum(chunk.count(b"\n") + 1 for chunk in chunks)
    assert table.num_words <= scan.bounds(table.text)[1] + len(chunks) or not table.num_words


@settings(deadline=None)  # the first call compiles
@given(any_text)
def test_the_bound_of_words_holds(text):
    table = words.table(pa.array([text], pa.string()))
    assert table.num_words <= scan.bounds(table.text)[1] + 1


GOLDEN = {
    "dont": 0x278A6C63FEEAA10A,
    "the": 0x57209A4B5CFB7331,
    "straße": 0xE0BD78BBD96484B2,
    "漢": 0x6CF90F8B24FFCD82,
    "กิ": 0xE5938E7C0EB79952,
    "한국어": 0xC21ABA5327B19E07,
    "σίσυφοσ": 0x0591841CA1C03A64,
    "2026": 0x4E8C05478234AB63,
}


@pytest.mark.parametrize("word", GOLDEN)
def test_hashes_are_stable_for_ever(word):
    assert words.hashes(word).tolist() == [GOLDEN[word]]


def test_line_hashes_are_stable_for_ever():
    table = words.table(pa.array(["Stop.", "\t A line of more than eight bytes, naïve. \n"]))
    assert table.line_hash.tolist() == [0x05C415C31E3FAF88, 0xA80DEBE64C9B607C, 0]


SAME = [
    ("Don't,", "dont"),
    ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ("(STRAẞE)", "straße"),
    ("co\u00adoperate", "cooperate"),  # soft hyphen
    ("e-mail", "email"),
    ("Ⅷ", "ⅷ"),
    ("İ", "İ"),  # no simple folding
    ("漢字", "漢 字"),
    ("abc漢def", "abc 漢 def"),
    ("テスト", "テ ス ト"),
    ("ภาษา", "ภ า ษ า"),
]


@pytest.mark.parametrize(("text", "same"), SAME)
def test_words_are_folded_and_parted(text, same):
    assert words.hashes(text).tolist() == words.hashes(same).tolist() != []


DIFFERENT = [
    ("naïve", "naive"),
    ("e\u0301", "\u00e9"),
    ("dont", "don t"),
    ("ab", "ba"),
    ("STRASSE", "straße"),
    ("a", "а"),
]


@pytest.mark.parametrize(("text", "other"), DIFFERENT)
def test_words_that_differ(text, other):
    assert words.hashes(text).tolist() != words.hashes(other).tolist()


@pytest.mark.parametrize("text", ["", " \n\t", "-- | *** ... 😀", "\u2764\ufe0f", "\u200d"])
def test_no_words(text):
    assert words.hashes(text).tolist() == []


def test_one_kernel_serves_every_kind_of_batch():
    plain = pa.array(["a b", "", "c"], pa.string())
    for texts in (plain, plain.slice(1), plain.slice(0, 0), pa.array([], pa.string()), plain.cast(pa.large_string())):
        table = words.table(texts)
        words.keep_lines(table, np.ones(table.num_lines, bool))
    assert len(scan.scan.signatures) == len(scan.copy_lines.signatures) == 1


def test_columns_cannot_be_written():
    table = words.table(pa.array(["a"]))
    with pytest.raises(ValueError, match="read-only"):
        table.hash[0] = 1


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (pa.array(["a", None]), ValueError, "1 of 2 texts are null"),
        (pa.array([1]), TypeError, "int64"),
        (["a"], TypeError, "list"),
        (pa.array([b"a"]), TypeError, "binary"),
    ],
)
def test_refuses_what_is_no_text(texts, error, message):
    with pytest.raises(error, match=message):
        words.table(texts)


def test_refuses_a_mask_of_another_length():
    with pytest.raises(ValueError, match=r"\(3,\).* 1 lines"):
        words.keep_lines(words.table(pa.array(["a"])), np.ones(3, bool))


def test_import_compiles_nothing_and_reads_nothing():
    code = "from curate import scan, unicode, words; print(unicode.tables.cache_info().currsize, scan.scan.signatures)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["0", "[]"]
