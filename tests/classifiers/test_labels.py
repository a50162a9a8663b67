"""Labels of blocks from what is known of their pages: tables of small pages."""

import numpy as np
import pyarrow as pa
import pytest

from classifiers import labels
from classifiers.gold import Gold
from curate import html


def scan(page: str) -> html.BlockTable:
    return html.scan(pa.array([page]))


def known(page: str, gold: Gold, agreed: tuple[str, str] = ("", ""), title: str = "") -> labels.Labels:
    return labels.of_gold(scan(page), [gold], [agreed], [title])


@pytest.mark.parametrize(
    ("page", "text", "main"),
    [
        ("<p>one two three<p>two one three<p>six<p>--", "One two three four.", [1, 0, 0, 0]),
        # half of its 3-grams
        ("<p>a b c d x y<p>a b c x y z q", "a b c d", [1, 0]),
        # a short block between two that are known, and one in a menu
        ("<p>Home" + 5 * "<p>x y z" + "<p>a b c<p>Home<p>d e f", "a b c\nHome\nd e f", [0] * 6 + [1, 1, 1]),
        # a short one that is a line of the text, at its end
        ("<p>one two three<p>The end<p>x y z", "one two three\nThe end", [1, 1, 0]),
        # of two copies the one among the text, of three as many as the gold has
        ("<p>a b c" + 8 * "<p>x y z" + "<p>d e f g<p>a b c", "d e f g a b c", [0] * 9 + [1, 1]),
        ("<p>a b c<p>a b c<p>a b c", "a b c a b c", [1, 1, 0]),
        ("<p hidden>a b c<p>a b c", "a b c", [0, 1]),
        ("<p>anything", "", [0]),
    ],
)
def test_main_text(page: str, text: str, main: list[int]) -> None:
    assert known(page, Gold(kind="full", text=text)).main.tolist() == [bool(each) for each in main]


def test_a_prefix_ends_within_a_block_and_says_nothing_of_the_rest() -> None:
    page = "<p>x y z<p>one two three<p>four five six seven eight nine ten eleven<p>twelve thirteen"
    found = known(page, Gold(kind="prefix", text="one two three four five six seven eight"))
    assert found.main.tolist() == [False, True, True, False]
    assert found.main_weight.tolist() == [1, 1, 1, 0]


def test_snippets_weigh_more_than_agreement() -> None:
    page = "<p>Read this story to its end<p>Subscribe to our newsletter<p>both of them say this<p>one of them says that"
    gold = Gold(kind="snippets", with_=("this story to",), without=("our newsletter",))
    found = known(page, gold, ("both of them say this", "both of them say this one of them says that"))
    assert found.main.tolist() == [True, False, True, False]
    assert found.main_weight.tolist() == [3, 3, 0.5, 0]


def test_comments_are_known_of_one_set_and_elsewhere_only_as_not_main_text() -> None:
    page = "<p>one two three<p>nice one indeed<p>x y z"
    gold = Gold(kind="full", set="dragnet", text="one two three", comments="nice one indeed")
    found = known(page, gold)
    assert (found.comment.tolist(), found.comment_weight.tolist()) == ([False, True, False], [1, 1, 1])
    other = known(page, Gold(kind="full", set="fundus", text="one two three"))
    assert (other.comment.tolist(), other.comment_weight.tolist()) == ([False] * 3, [1, 0, 0])


def test_titles_are_no_main_text() -> None:
    page = "<title>A title here</title><div>A title here</div><h1>A Title, here</h1><p>one two three"
    found = known(page, Gold(kind="full", text="one two three"), title="A title here")
    assert found.title.tolist() == [False, False, True, False]
    assert found.main.tolist() == [False, False, False, True]
    assert not known(page, Gold(kind="full", text="x"), title="Something else").title_weight.any()


def test_agreement_of_two() -> None:
    table = scan("<p>one two three<p>four five six<p>x y z")
    found = labels.of_agreement(table, [("one two three four five six", "one two three")], [""])
    assert found.main.tolist() == [True, False, False]
    assert found.main_weight.tolist() == [1, 0, 1]
    assert not np.any(found.comment_weight)
    assert not labels.of_agreement(table, [("one two three", "")], [""]).main_weight.any()
