"""The published rules: a text for each reason, oracles for what repeats, laws for judgements."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import words
from curate.filters import Judgement, c4, fineweb, first_failing, gopher, phrases, repetition
from curate.reasons import BY_CODE, CODES, LineReason, Reason

PROSE = (
    "The river rose in the night and took the lower bridge with it, so the children of the valley walked to school "
    "over the hill. Nobody complained. Their teacher had told them that a longer road gives a longer story, and by the "
    "time they arrived each of them had one to tell. She wrote the best on the board.\n"
    "In spring the men will build another bridge of stone. It is to have two arches, a low wall on either side and a "
    "lamp, which the miller has offered to light every evening until he grows too old for the ladder."
)


def of(*texts):
    return words.table(pa.array(texts, pa.string()))


def reasons(judgement: Judgement):
    return [BY_CODE[code] if code else None for code in judgement.reason.tolist()]


def distinct(count, chars=5):
    """So many different alphabetic words."""
    letters = "bcdfghjklmnpqrstvwxz"
    return ["".join(parts) for parts in itertools.islice(itertools.product(letters, repeat=chars), count)]


def only(config_class, **limits):
    """A config in which the named rules alone are on."""
    off = {f.name: None for f in dataclasses.fields(config_class) if f.name.startswith(("min_", "max_"))}
    return config_class(**(off | limits))


STOPS = "the and of to "
SOME = " ".join(distinct(100))

GOPHER = [
    (Reason.too_few_words, " ".join(distinct(46)) + " the and of", 49),
    (Reason.too_many_words, "a" + " a" * 100_000, 100_001),
    (Reason.words_too_short, "ab cd " * 40 + "the and", None),
    (Reason.words_too_long, " ".join(distinct(60, 11)), 11),
    (Reason.too_many_symbols, STOPS + SOME + " # " * 20, 20 / 104),
    (Reason.too_many_ellipses, STOPS + " ... ".join(distinct(60)), 59 / 64),
    (Reason.too_many_bullet_lines, "\n".join(f"• the and of {word}" for word in distinct(60)), 1),
    (Reason.too_many_ellipsis_lines, "\n".join(f"the and of to in on by {word}…" for word in distinct(60)), 1),
    (Reason.too_few_alphabetic_words, SOME + " the and" + " 1234567" * 40, 102 / 142),
    (Reason.too_few_stop_words, SOME + " the The THE", 1),
    (Reason.duplicate_lines, PROSE + "\nYes.\nNo.\nYes.\nNo.\nYes.\nNo.", 4 / 8),
    (Reason.duplicate_paragraphs, PROSE + "\n\nYes.\nA" + "\n\nB\nYes." * 3, 2 / 5),
    (Reason.duplicate_line_chars, PROSE + "\n" + PROSE.split("\n")[1] + "\nAnd so on.\nAnd on.", None),
    (Reason.duplicate_paragraph_chars, PROSE + "\n\n" + PROSE + "\n\nAnd so\n\non and on", None),
    (Reason.top_2_gram, PROSE + " old mill" * 30, None),
    (Reason.top_3_gram, PROSE + "".join(f" the old miller {word}" for word in distinct(20, 3)), None),
    (Reason.top_4_gram, PROSE + "".join(f" he oiled it and {word}" for word in distinct(25, 9)), None),
    (Reason.duplicate_5_grams, PROSE + "".join(f" there stood a bridge once {word}" for word in distinct(9, 3)), None),
]


@pytest.mark.parametrize(("reason", "text", "value"), GOPHER, ids=[str(reason) for reason, *_ in GOPHER])
def test_gopher_gives_the_reason(reason, text, value):
    rule = next(rule for rule in gopher.RULES if rule.reason == reason)
    default = getattr(gopher.Gopher(), rule.limit)
    alone = gopher.judge(of(text, PROSE), only(gopher.Gopher, **{rule.limit: default}))
    assert reasons(alone) == [reason, None]
    assert value is None or alone.value[0] == pytest.approx(value)
    assert np.isnan(alone.value[1])


@pytest.mark.parametrize("n", repetition.DUPLICATE)
def test_gopher_finds_repeated_n_grams(n):
    phrase = " ".join(distinct(n, 4))
    text = PROSE + "".join(f" {phrase} {word}" for word in distinct(8, 3))
    config = only(gopher.Gopher, **{f"max_duplicate_{n}_grams": 0.10})
    assert reasons(gopher.judge(of(text, PROSE), config)) == [Reason(f"duplicate_{n}_grams"), None]


def test_the_rules_stand_in_the_order_of_the_reasons():
    for rules in (gopher.RULES, c4.RULES, fineweb.RULES):
        codes = [CODES[rule.reason] for rule in rules]
        assert codes == sorted(set(codes))


@pytest.mark.parametrize(
    ("text", "on_words", "with_marks"),
    [
        ("One, two; three: four.", 1, 4 / 8),
        ("well-known isn't", 1, 4 / 5),  # well - known is n't
        ("3 4 five 6", 1 / 4, 1 / 4),
        ("-- | *", 0, 0),
        ("", 0, 0),
    ],
)
def test_gopher_counts_marks_where_it_is_told_to(text, on_words, with_marks):
    for marks, expected in ((False, on_words), (True, with_marks)):
        measured = gopher.measure(of(text), gopher.Gopher(marks_are_words=marks))
        assert measured["alphabetic_words"] == pytest.approx([expected])


def test_gopher_as_datatrove_drops_prose_of_short_clauses():
    text = (
        " ".join(f"the and {one}, {two};" for one, two in zip(distinct(30), distinct(30), strict=True)) + " " + "- " * 9
    )
    alone = {"min_alphabetic_words": 0.8}
    assert reasons(gopher.judge(of(text), only(gopher.Gopher, **alone))) == [None]
    strict = dataclasses.replace(only(gopher.Gopher, **alone), marks_are_words=True)
    assert reasons(gopher.judge(of(text), strict)) == [Reason.too_few_alphabetic_words]


FINEWEB = [
    (Reason.too_few_ended_lines, "one line\n" * 8 + "The end.", 1 / 9),
    (Reason.too_many_short_lines, "A short line.\nAnother one.\n" + PROSE.split("\n")[0], 2 / 3 + 1e-9),
    (Reason.too_many_repeated_chars, PROSE + "\n" + PROSE.split("\n")[0], None),
    (Reason.too_many_newlines, "\n".join(f"Now {word}." for word in distinct(20)), 19 / 60),
]


@pytest.mark.parametrize(("reason", "text", "value"), FINEWEB, ids=[str(reason) for reason, *_ in FINEWEB])
def test_fineweb_gives_the_reason(reason, text, value):
    rule = next(rule for rule in fineweb.RULES if rule.reason == reason)
    limit = 0.6 if reason is Reason.too_many_short_lines else getattr(fineweb.FineWeb(), rule.limit)
    alone = fineweb.judge(of(text, PROSE), only(fineweb.FineWeb, **{rule.limit: limit}))
    assert reasons(alone) == [reason, None]
    assert value is None or alone.value[0] == pytest.approx(value)


@pytest.mark.parametrize(
    "text", ["It ends.", "It ends!)", 'It ends."', "It ends.”", "終わり。", "Ende?»", "انتهى؟", "समाप्त।"]
)
def test_fineweb_knows_ended_lines(text):
    assert fineweb.measure(of(text), fineweb.FineWeb())["ended_lines"] == [1]


C4_PAGES = [
    (Reason.too_few_sentences, "This is one. This makes two? Here are three! And four", 4),
    (Reason.lorem_ipsum, PROSE + "\nLorem Ipsum dolor sit amet.", 1),
    (Reason.curly_bracket, PROSE + "\nif (x) { return it; }", 1),
    (Reason.bad_word, PROSE + " What a Bad, bad word.", 1),
]


@pytest.mark.parametrize(("reason", "text", "value"), C4_PAGES, ids=[str(reason) for reason, *_ in C4_PAGES])
def test_c4_gives_the_reason(reason, text, value):
    judgement = c4.judge(of(text, PROSE), c4.C4(bad_words=("worse", "bad word")))
    assert reasons(judgement) == [reason, None]
    assert judgement.value[0] == value


def test_c4_limits_the_length_of_the_page_before_the_edits():
    text = PROSE + "\n\nRead more.\n"
    table = of(text, PROSE)
    edited, _ = words.keep_lines(table, c4.edit(table, c4.C4())[0])
    assert c4.measure(edited, c4.C4(), table)["chars"].tolist() == [len(text), len(PROSE)]
    config = only(c4.C4, max_chars=len(PROSE))
    judgement = c4.judge(edited, config, table)
    assert reasons(judgement) == [Reason.too_many_chars, None]
    assert reasons(c4.judge(edited, config)) == [None, None]


def test_c4_limits_how_much_the_edits_cut():
    table = of("one two three\nfour\nfive six", PROSE, "cut", "")
    edited, _ = words.keep_lines(table, c4.edit(table, c4.C4())[0])
    judgement = c4.judge(edited, only(c4.C4, max_cut_words=0.05), table)
    assert reasons(judgement) == [Reason.too_many_cut_words, None, Reason.too_many_cut_words, None]
    assert judgement.value[0] == 3 / 6


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("As said.[1][23] It is so[citation needed].", "As said. It is so."),
        ("History[edit]\nEmpty [] too", "History\nEmpty  too"),
        ("x[i] and [a1] and [ 1 ] and [Edit] stay", "x[i] and [a1] and [ 1 ] and [Edit] stay"),
    ],
)
def test_c4_takes_citation_marks_out(text, edited):
    assert c4.uncite(pa.array([text, PROSE])).to_pylist() == [edited, PROSE]


C4_LINES = [
    ("This line has no end", LineReason.no_end_mark),
    ("This line trails off ...", LineReason.no_end_mark),
    ("This line trails off…", LineReason.no_end_mark),
    ("Read more.", LineReason.too_few_words),
    ("* - | Read more.", LineReason.too_few_words),
    (f"This word is {'x' * 1001} long.", LineReason.long_word),
    ("Please enable JavaScript, then reload.", LineReason.javascript),
    ("By going on you accept our (Terms of Use).", LineReason.policy),
    ("This site uses cookies to serve you.", LineReason.policy),
    ("This line is all right.", None),
    ('He said "this line is all right"', None),
    (f"This word is {'x' * 1000} long.", None),
]


@pytest.mark.parametrize(("line", "reason"), C4_LINES)
def test_c4_cuts_the_line(line, reason):
    keep, codes = c4.edit(of(f"{PROSE}\n{line}"), c4.C4(needs_end_mark=True))
    assert codes.tolist() == [0, 0, c4.LINE_CODES[reason] if reason else 0]
    assert keep.tolist() == [True, True, reason is None]


OFF = {
    LineReason.no_end_mark: {"needs_end_mark": False},
    LineReason.too_few_words: {"min_line_words": None},
    LineReason.long_word: {"max_word_chars": None},
    LineReason.javascript: {"javascript": None},
    LineReason.policy: {"policy": None},
}


@pytest.mark.parametrize(("line", "reason"), [case for case in C4_LINES if case[1]])
def test_c4_cuts_no_line_for_a_rule_that_is_off(line, reason):
    config = c4.C4(**({"needs_end_mark": True} | OFF[reason]))
    assert c4.LINE_CODES[reason] not in c4.edit(of(f"{PROSE}\n{line}"), config)[1]
    assert set(OFF) == set(LineReason)


def test_every_rule_has_its_crafted_text():
    crafted = {reason for reason, *_ in (*GOPHER, *FINEWEB, *C4_PAGES)} | {
        Reason(f"duplicate_{n}_grams") for n in range(6, 11)
    }
    own = {Reason.too_many_chars, Reason.too_many_cut_words}  # tests of their own
    assert crafted | own == {rule.reason for rules in (gopher.RULES, c4.RULES, fineweb.RULES) for rule in rules}


def test_c4_by_default_needs_no_end_mark():
    assert c4.edit(of("This line has no end"), c4.C4())[0].all()


BLANKS = [
    ("a a a\n\nb b b", "a a a\n\nb b b"),
    ("\n a a a \n\n\n", "\n a a a \n\n\n"),  # nothing is cut: nothing changes
    ("cut\n\na a a\n\n\ncut\n\nb b b\n\ncut\n", "a a a\n\n\nb b b"),
    ("a a a\ncut\n\ncut\n\nb b b", "a a a\n\nb b b"),
    ("a a a\ncut\nb b b", "a a a\nb b b"),
    ("cut\n\n", ""),
]


@pytest.mark.parametrize(("text", "edited"), BLANKS)
def test_c4_keeps_paragraphs_apart(text, edited):
    table = of(text)
    assert words.keep_lines(table, c4.edit(table, c4.C4())[0])[1].to_pylist() == [edited]


line = st.sampled_from(["", " ", "cut", "a b c", "d e f g.", "uses cookies here", "long " + "x" * 1001])
pages = st.lists(line, max_size=8).map("\n".join)


@settings(deadline=None)
@given(st.lists(pages, max_size=3))
def test_laws_of_the_edit(texts):
    table = of(*texts)
    keep, reason = c4.edit(table, c4.C4())
    assert not (keep & (reason != 0)).any()
    assert (keep == (reason == 0))[table.line_hash != 0].all()
    edited, _ = words.keep_lines(table, keep)
    assert c4.edit(edited, c4.C4())[0].all() or (edited.line_hash == 0).all()


def first_come(items):
    """Counts and characters of (key, characters) items that repeat an earlier one."""
    seen, count, chars = set(), 0, 0
    for key, size in items:
        count, chars = count + (key in seen), chars + size * (key in seen)
        seen.add(key)
    return count, chars


def top(tokens, n):
    counts = Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
    most = max(counts.values(), default=0)
    return most * max(len(" ".join(gram)) for gram, count in counts.items() if count == most) if most > 1 else 0


def repeated(tokens, n):
    seen, chars, i = set(), 0, 0
    while i + n <= len(tokens):
        gram = tuple(tokens[i : i + n])
        if gram in seen:
            chars, i = chars + len("".join(gram)), i + n
        else:
            seen.add(gram)
            i += 1
    return chars


vocabulary = st.sampled_from(["a", "bb", "ccc", "dddd"])
repetitive = st.one_of(
    st.lists(vocabulary, max_size=60),
    st.builds(lambda w, n: w * n, st.lists(vocabulary, max_size=12), st.integers(1, 5)),
)


@settings(deadline=None)
@given(st.lists(repetitive, max_size=4))
def test_n_grams_equal_the_plain_count(documents):
    found = repetition.grams(of(*map(" ".join, documents)))
    expected = [[top(d, n) for n in repetition.TOP] + [repeated(d, n) for n in repetition.DUPLICATE] for d in documents]
    assert found.tolist() == expected


def test_n_grams_of_texts_that_are_too_long_are_not_counted():
    table = of("a b a b", "a b a b a b", "a b a b")
    assert repetition.grams(table, 5)[:, 0].tolist() == [6, 0, 6]
    assert repetition.grams(table, 6)[:, 0].tolist() == [6, 9, 6]
    assert repetition.grams(table, 0).tolist() == [[0] * 9] * 3
    config = gopher.Gopher(min_words=1, max_words=5)
    assert reasons(gopher.judge(table, config))[1] == Reason.too_many_words


def test_quality_is_measured_without_repetition():
    table = of(PROSE, "a a a a")
    measures = gopher.measure(table, gopher.Gopher(), repeats=False)
    whole = gopher.measure(table, gopher.Gopher())
    assert {name: values.tolist() for name, values in measures.items()} == {
        name: whole[name].tolist() for name in measures
    }
    assert {rule.measure for rule in gopher.QUALITY} == set(measures)
    assert {rule.measure for rule in gopher.RULES} == set(whole)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["", " ", "x y", "z.", "longer line"]), max_size=12), max_size=4))
def test_lines_and_paragraphs_equal_the_plain_count(documents):
    table = of(*map("\n".join, documents))
    for d, lines in enumerate(documents):
        stripped = [line.strip() for line in lines]
        filled = [line for line in stripped if line]
        runs = [tuple(group) for blank, group in itertools.groupby(stripped, key=lambda line: not line) if not blank]
        result = repetition.lines(table)
        count, chars = first_come((line, len(line)) for line in filled)
        assert [array[d] for array in result] == [count, chars, len(filled)]
        result = repetition.paragraphs(table)
        count, chars = first_come((run, sum(map(len, run))) for run in runs)
        assert [array[d] for array in result] == [count, chars, len(runs)]


@settings(deadline=None)
@given(
    st.lists(st.text(alphabet="ab c.\n", max_size=30), max_size=4),
    st.lists(st.text(alphabet="abc ", max_size=5), max_size=4),
)
def test_phrases_equal_the_plain_search(texts, wanted):
    wanted = tuple(phrase for phrase in wanted if phrase.strip())
    table = of(*texts)

    def grams(text):
        tokens = ["".join(filter(str.isalnum, token)) for token in text.split()]
        return f" {' '.join(token for token in tokens if token)} "

    found = phrases.find(table, wanted, table.doc_words)
    assert found.tolist() == [[grams(phrase) in grams(text) for phrase in wanted] for text in texts]


MODULES = [(gopher, gopher.Gopher()), (c4, c4.C4(bad_words=("bad",))), (fineweb, fineweb.FineWeb())]
texts = st.lists(st.one_of(st.text(), st.just(PROSE), pages, st.just("bad {" + PROSE * 3)), min_size=1, max_size=5)


@settings(deadline=None)
@given(texts, st.sampled_from(MODULES))
def test_a_judgement_does_not_depend_on_the_batch(batch, case):
    module, config = case
    whole = module.judge(of(*batch), config)
    alone = [module.judge(of(text), config) for text in batch]
    assert whole.reason.tolist() == [j.reason[0] for j in alone]
    np.testing.assert_array_equal(whole.value, [j.value[0] for j in alone])
    np.testing.assert_array_equal(np.isnan(whole.value), whole.reason == 0)


@settings(deadline=None)
@given(texts, st.sampled_from(MODULES), st.data())
def test_a_rule_switched_off_judges_nothing_and_hides_nothing(batch, case, data):
    module, config = case
    rule = data.draw(st.sampled_from(module.RULES))
    table = of(*batch)
    on, off = module.judge(table, config), module.judge(table, dataclasses.replace(config, **{rule.limit: None}))
    fell = on.reason == CODES[rule.reason]
    assert (off.reason != CODES[rule.reason]).all()
    assert (off.reason[~fell] == on.reason[~fell]).all()
    assert ((off.reason[fell] == 0) | (off.reason[fell] > on.reason[fell])).all()


def test_without_rules_all_is_kept():
    batch = of("", " \n", "{", PROSE)
    for config_class, module in ((gopher.Gopher, gopher), (c4.C4, c4), (fineweb.FineWeb, fineweb)):
        assert reasons(module.judge(batch, only(config_class))) == [None] * 4


def test_zero_is_a_limit():
    assert reasons(fineweb.judge(of("a\nb"), only(fineweb.FineWeb, max_newlines_per_word=0))) == [
        Reason.too_many_newlines
    ]


def test_an_empty_text_fails_the_first_minimum():
    assert reasons(gopher.judge(of("", PROSE), gopher.Gopher())) == [Reason.too_few_words, None]
    assert reasons(fineweb.judge(of(""), fineweb.FineWeb())) == [Reason.too_few_ended_lines]
    assert gopher.judge(of(), gopher.Gopher()).reason.shape == (0,)


def test_the_first_failing_rule_is_told():
    judgement = first_failing(
        gopher.RULES[:3], gopher.Gopher(), {n: np.zeros(1) for n in ("words", "mean_word_chars")}, 1
    )
    assert reasons(judgement) == [Reason.too_few_words]


@pytest.mark.parametrize(
    ("config", "limits", "message"),
    [
        (gopher.Gopher, {"min_words": -1}, "min_words is -1"),
        (gopher.Gopher, {"max_top_2_gram": float("nan")}, "max_top_2_gram is nan"),
        (gopher.Gopher, {"min_words": 10, "max_words": 9}, "nothing could be kept"),
        (gopher.Gopher, {"stop_words": ("the",)}, "min_stop_words is 2 of 1"),
        (gopher.Gopher, {"stop_words": ("the", "--")}, "'--', which has no word"),
        (c4.C4, {"bad_words": ("",)}, "bad_words holds ''"),
        (c4.C4, {"min_sentences": -1}, "min_sentences is -1"),
        (fineweb.FineWeb, {"short_line_chars": -1}, "short_line_chars is -1"),
    ],
)
def test_a_config_refuses_what_cannot_be(config, limits, message):
    with pytest.raises(ValueError, match=message):
        config(**limits)


def test_one_kernel_serves_every_batch():
    for text in ("", PROSE):
        table = of(text)
        for module, config in MODULES:
            module.judge(table, config)
        c4.edit(table, c4.C4())
    kernels = (repetition._grams, repetition._duplicates, repetition._paragraphs, phrases._find, c4._keep_blanks)
    assert [len(kernel.signatures) for kernel in kernels] == [1] * len(kernels)
