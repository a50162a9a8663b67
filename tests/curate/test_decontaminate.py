"""Cuts against a plain Python reading of GPT-3's appendix C, and the files that benchmarks come in."""

import gzip
import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import decontaminate, words
from curate.decontaminate import Decontamination
from curate.errors import InputError

SMALL = Decontamination(ngram=4, min_words=2, window_chars=6, min_piece_chars=5, max_pieces=2, max_documents=2)


def word_spans(text):
    """(folded word, start, stop) in code points; for the alphabet of these tests, where a word is of letters."""
    found = []
    for token in re.finditer(r"\S+", text):
        letters = [i for i, char in enumerate(token.group()) if char.isalnum()]
        if letters:
            start = token.start() + letters[0]
            folded = "".join(char.lower() for char in token.group() if char.isalnum())
            found.append((folded, start, token.start() + letters[-1] + 1))
    return found


def grams_of(texts, config):
    out = set()
    for text in texts:
        own = [word for word, _, _ in word_spans(text)]
        if len(own) >= config.min_words:
            size = min(len(own), config.ngram)
            out |= {tuple(own[i : i + size]) for i in range(len(own) - size + 1)}
    return out


def hits_of(text, grams):
    """(gram, start, stop) of every place in the text where a gram stands."""
    own = word_spans(text)
    found = []
    for size in sorted({len(gram) for gram in grams}):
        for i in range(len(own) - size + 1):
            gram = tuple(word for word, _, _ in own[i : i + size])
            if gram in grams:
                found.append((gram, own[i][1], own[i + size - 1][2]))
    return found


def decontaminated(text, grams, config):
    """What stays of the text; None: it goes whole."""
    gone = np.zeros(len(text), bool)
    hits = hits_of(text, grams)
    if not hits:
        return text
    for _, start, stop in hits:
        left, right = max(0, start - config.window_chars), min(len(text), stop + config.window_chars)
        for _, first, last in word_spans(text):
            left = first if first < left < last else left
            right = last if first < right < last else right
        gone[left:right] = True
    pieces = "".join("\0" if cut else char for char, cut in zip(text, gone, strict=True)).split("\0")
    pieces = [piece.strip(" \n") for piece in pieces if piece.strip(" \n")]
    kept = [piece for piece in pieces if len(piece) >= (config.min_piece_chars or 0)]
    if not kept or (config.max_pieces is not None and len(pieces) > config.max_pieces):
        return None
    return "\n\n".join(kept)


def run(documents, benchmarks, config):
    """(texts after the cuts, SPANS) by the two passes."""
    texts = pa.array(documents, pa.string())
    table = words.table(texts)
    found = decontaminate.matches(table, decontaminate.index(benchmarks, config))
    common = decontaminate.common_grams(decontaminate.document_counts(found), config)
    spans = decontaminate.cuts(table, found, common, config)
    after = decontaminate.apply(texts, spans)
    assert after.type == texts.type
    return after.to_pylist(), spans


sentences = st.lists(st.sampled_from(["a", "Bé,", "ccc", "-", "dé\n", "éee."]), max_size=30).map(" ".join)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(sentences, max_size=6),
    st.lists(sentences.map(lambda text: text[:14]), max_size=4),
    st.builds(
        Decontamination,
        ngram=st.integers(3, 5),
        min_words=st.integers(2, 3),
        window_chars=st.integers(0, 12),
        min_piece_chars=st.none() | st.integers(0, 15),
        max_pieces=st.none() | st.integers(0, 3),
        max_documents=st.none() | st.integers(0, 3),
    ),
)
def test_cuts_by_definition(documents, benchmark, config):
    grams = grams_of(benchmark, config)
    seen = [{gram for gram, _, _ in hits_of(text, grams)} for text in documents]
    if config.max_documents is not None:
        grams = {gram for gram in grams if sum(gram in own for own in seen) <= config.max_documents}
    expected = [decontaminated(text, grams, config) for text in documents]
    got, spans = run(documents, {"one": benchmark}, config)
    assert got == [text or "" for text in expected]
    hit = [row for row, text in enumerate(documents) if hits_of(text, grams)]
    assert sorted(set(spans["row"].to_pylist())) == hit
    for row, start, stop, name, whole in zip(*spans.to_pydict().values(), strict=True):
        assert whole == (expected[row] is None)
        assert name == "one"
        if whole:
            assert (start, stop) == (0, len(documents[row].encode()))


@settings(deadline=None)
@given(st.lists(sentences, max_size=6), st.lists(sentences, max_size=3), st.data())
def test_matches_and_counts_do_not_depend_on_the_shards(documents, benchmark, data):
    index = decontaminate.index({"b": benchmark, "a": benchmark[:1]}, SMALL)
    whole = decontaminate.matches(words.table(pa.array(documents, pa.string())), index)
    cut = data.draw(st.integers(0, len(documents)))
    parts = [
        decontaminate.matches(words.table(pa.array(part, pa.string())), index)
        for part in (documents[:cut], documents[cut:])
    ]
    rows = [row + shift for part, shift in zip(parts, (0, cut), strict=True) for row in part["row"].to_pylist()]
    assert rows == whole["row"].to_pylist()
    assert pa.concat_tables(parts).drop(["row"]).equals(whole.drop(["row"]))
    counts = [decontaminate.document_counts(part) for part in parts]
    for order in (counts, counts[::-1]):
        assert decontaminate.merge_counts(order).equals(decontaminate.document_counts(whole))


def filler(n, start=0):
    """n distinct words of 8 characters with the space."""
    return " ".join(f"w{i:06d}" for i in range(start, start + n))


LEAK = " ".join(f"leak{i}" for i in range(20))


def test_a_leak_deep_in_a_long_book_is_found():
    """The paper's own filter missed matches in long documents: its appendix C."""
    before, after = filler(400_000), filler(250_000, 400_000)
    book = f"{before} {LEAK.title()}! {after}"
    assert len(book) > 5_000_000
    (text,), spans = run([book], {"test": [LEAK]}, Decontamination())
    assert spans["whole"].to_pylist() == [False]
    pieces = text.split("\n\n")
    assert [before.startswith(pieces[0]), after.endswith(pieces[1])] == [True, True]
    assert [len(before) - len(pieces[0]), len(after) - len(pieces[1])] == [200, 200]
    assert "leak" not in text.lower()


@pytest.mark.parametrize(("leaks", "stays"), [(1, True), (9, True), (10, False)])
def test_more_than_ten_pieces_go_whole(leaks, stays):
    document = f" {LEAK} ".join(filler(100, 1000 * i) for i in range(leaks + 1))
    (text,), spans = run([document], {"test": [LEAK]}, Decontamination())
    assert bool(text) == stays
    assert spans["whole"].to_pylist() == ([False] * leaks if stays else [True])


@pytest.mark.parametrize(("holders", "cut"), [(10, True), (11, False)])
def test_a_gram_in_more_than_ten_documents_is_ignored(holders, cut):
    documents = [f"{filler(100, 1000 * i)} {LEAK} {LEAK} {filler(100, 1000 * i + 500)}" for i in range(holders)]
    texts, _ = run(documents, {"test": [LEAK]}, Decontamination())
    assert [text != document for text, document in zip(texts, documents, strict=True)] == [cut] * holders


def test_short_pieces_go_and_short_documents_without_a_match_stay():
    config = Decontamination()
    short = "short, but nobody's test"
    texts, spans = run([f"{filler(10)} {LEAK} {filler(100)}", short], {"test": [LEAK]}, config)
    assert texts == [filler(75, 25), short]
    assert spans["start"].to_pylist() == [0]
    texts, _ = run([f"{filler(27)} {LEAK}"], {"test": [LEAK]}, config)
    assert texts == [""]


def test_texts_shorter_than_a_gram_are_matched_whole():
    config = Decontamination()
    eight, seven = " ".join(LEAK.split()[:8]), " ".join(LEAK.split()[:7])
    for text, found in ((eight, True), (seven, False)):
        table = words.table(pa.array([f"{filler(60)} {text} {filler(60)}", eight[:-5]]))
        matches = decontaminate.matches(table, decontaminate.index({"b": [text]}, config))
        assert matches["row"].to_pylist() == [0] * found


def test_windows_end_at_words_and_code_points():
    config = Decontamination(window_chars=3, min_piece_chars=None)
    texts, _ = run([f"äöüäöü ßßß {LEAK} 日本語 abcdef tail"], {"b": [LEAK]}, config)
    assert texts == ["äöüäöü\n\n語 abcdef tail"]


def test_benchmarks_are_told_apart():
    other = LEAK.replace("leak", "flaw")
    documents = [f"{filler(80)} {LEAK} {filler(80)} {other} {filler(80)}", filler(50)]
    texts, spans = run(documents, {"b": [other], "a": [LEAK, "too short"]}, Decontamination())
    assert spans["benchmark"].to_pylist() == ["a", "b"]
    assert texts[1] == documents[1]
    matches = decontaminate.matches(
        words.table(pa.array(documents)), decontaminate.index({"b": [LEAK], "a": [LEAK]}, Decontamination())
    )
    assert matches["benchmark"].to_pylist() == ["a", "b"] * 8
    found = np.unique(matches["gram"].to_numpy())
    hit = decontaminate.contaminated([LEAK, "too short", filler(30), f"more {LEAK}"], found, Decontamination())
    assert hit.tolist() == [True, False, False, True]


def test_nothing_in_nothing_out():
    for documents, benchmarks in (([], {"b": [LEAK]}), ([LEAK], {}), ([LEAK], {"b": []}), (["", " "], {"b": [""]})):
        texts, spans = run(documents, benchmarks, Decontamination())
        assert texts == documents
        assert spans.num_rows == 0
        assert spans.schema.equals(decontaminate.SPANS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_words": 14}, "min_words is 14"),
        ({"ngram": 5}, "min_words is 8"),
        ({"max_pieces": -1}, "max_pieces is -1"),
    ],
)
def test_config_names_the_bad_value(values, message):
    with pytest.raises(ValueError, match=message):
        Decontamination(**values)


RECORDS = [{"q": "one", "choices": ["two", {"text": "three"}], "gold": 1, "id": None}, {"q": "four"}]


@pytest.mark.parametrize(
    ("fields", "texts"), [((), ["one", "two", "three", "four"]), (("q", "text"), ["one", "three", "four"])]
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.JSONL.gz", "a.parquet"])
def test_benchmark_files(tmp_path, name, fields, texts):
    path = tmp_path / name
    if name.endswith("parquet"):
        pq.write_table(
            pa.Table.from_pylist(
                [
                    {
                        **r,
                        "choices": [r["choices"][0]] if "choices" in r else None,
                        "deep": {"text": "three"} if "choices" in r else None,
                    }
                    for r in RECORDS
                ]
            ),
            path,
        )
    else:
        lines = json.dumps(RECORDS) if name == "a.json" else "\n".join(map(json.dumps, RECORDS)) + "\n\n"
        path.write_bytes(gzip.compress(lines.encode()) if name.endswith("gz") else lines.encode())
    assert decontaminate.read_benchmark(str(path), fields) == texts


def test_paragraphs_of_plain_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n\r\n\r\n\r\nthree\r\n")
    assert [text.split() for text in decontaminate.read_benchmark(str(path))] == [["one", "two"], ["three"]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"x", "cannot tell what .*a.csv holds"),
        ("a.jsonl", b'{"a": "b"}\n{"a": ', "not JSON at line 2"),
        ("a.jsonl", b"\n", "holds no text"),
        ("a.txt", b"\xff\xfe", "cannot read .*a.txt"),
        ("a.txt.gz", gzip.compress(b"x" * 99)[:-12], "cannot read .*ends early"),
        ("a.parquet", b"PAR1", "not a readable Parquet"),
    ],
)
def test_bad_benchmark_files_are_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        decontaminate.read_benchmark(str(path))
    with pytest.raises(InputError, match="no such file"):
        decontaminate.read_benchmark(str(tmp_path / "missing.txt"))


@pytest.mark.data("eval", "books")
def test_real_benchmarks_in_books(data_dir):
    files = sorted((data_dir / "eval").rglob("*.jsonl")) + sorted((data_dir / "eval").rglob("*.jsonl.gz"))
    benchmarks = {str(path): decontaminate.read_benchmark(str(path)) for path in files if path.name != "manifest.jsonl"}
    config = Decontamination()
    index = decontaminate.index(benchmarks, config)
    assert [size for size, *_ in index.parts] == [8, 9, 10, 11, 12, 13]
    books = [
        path.read_text("utf-8", "replace") for path in sorted((data_dir / "books" / "gutenberg").glob("*.txt"))[:40]
    ]
    lambada = next(texts for name, texts in benchmarks.items() if name.endswith("lambada_test.jsonl"))
    leaks = [text for text in lambada if len(text.split()) > 60][: len(books)]
    planted = [
        f"{book[: len(book) // 2]} {leak} {book[len(book) // 2 :]}" for book, leak in zip(books, leaks, strict=True)
    ]
    texts = pa.array(planted)
    table = words.table(texts)
    found = decontaminate.matches(table, index)
    common = decontaminate.common_grams(decontaminate.document_counts(found), config)
    spans = decontaminate.cuts(table, found, common, config)
    after = decontaminate.apply(texts, spans).to_pylist()
    for leak, text in zip(leaks, after, strict=True):
        assert leak[20:-20] not in text
    whole = int(np.sum(spans["whole"].to_numpy()))
    print(f"{len(index.table)} grams of {len(benchmarks)} files, {len(common)} ignored")
    print(f"{len(found)} matches in {len(planted)} books, {len(spans)} cuts, {whole} books whole")
