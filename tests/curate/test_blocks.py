"""The block model at work: features, the forest against an oracle, parts of pages, and what a page depends on."""

import json
from importlib import resources

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import blocks, html, shape, tags, vicinity
from curate.blocks import FAVOURS, Part
from curate.errors import ModelError
from curate.forest import INNER, Forest

STORY = "The {i} story has words, and more words, that a reader would like to read to the very end of it. Really so."
LINKS = "".join(f"<li><a href=/{k}>Section {k}</a></li>" for k in range(8))


def page(i: int, paragraphs: int = 6) -> str:
    story = "".join(f"<p>{STORY.format(i=f'{i}-{k}')}</p>" for k in range(paragraphs))
    return (
        f"<title>Story {i} of a paper | Paper</title><nav><ul>{LINKS}</ul></nav><article><h1>Story {i} of a paper</h1>"
        f"{story}</article><div class=comments><p class=comment>I liked it!</p></div><footer>Imprint {i}</footer>"
    )


def table(*pages: str) -> html.BlockTable:
    return html.scan(pa.array(pages))


def test_features_have_names_and_are_finite() -> None:
    found = table(page(1), "", "<p>x", "<title>t</title>", page(2))
    x = shape.features(found)
    around = vicinity.features(found, np.linspace(0, 1, len(x)).astype(np.float32))
    assert x.shape[1] == len(shape.FEATURES)
    assert around.shape[1] == len(vicinity.FEATURES)
    assert len(set(blocks.FEATURES)) == len(blocks.FEATURES) <= 256  # trees name them by a byte
    assert np.isfinite(x).all()
    assert np.isfinite(around).all()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("words", [7, 2, 2, 5, 23, 3, 23, 2]),
        ("link_share", [0, 1, 1, 0, 0, 0, 0, 0]),
        ("in_title", [0, 0, 0, 21 / 27, 0, 0, 0, 0]),
        ("since_title", [-1, -1, -1, 0, 1, 2, 3, 4]),
        ("copies", [1, 1, 1, 1, 2, 1, 2, 1]),
        ("copies_before", [0, 0, 0, 0, 0, 0, 1, 0]),
        ("since_text", [99, 99, 99, 99, 99, 1, 2, 1]),
        ("until_text", [4, 3, 2, 1, 2, 1, 99, 99]),
        ("since_heading", [99, 99, 99, 99, 1, 2, 3, 4]),
        ("h1_before", [0, 0, 0, 0, 1, 1, 1, 1]),
        ("in_an_item", [0, 1, 1, 0, 0, 0, 0, 0]),
        ("words_-1", [-1, 7, 2, 2, 5, 23, 3, 23]),
        ("words_+1", [2, 2, 5, 23, 3, 23, 2, -1]),
        ("near_footer", [0, 0, 0, 0, 0, 0, 0, 1]),
    ],
)
def test_features_of_a_page(name: str, values: list[float]) -> None:
    text = STORY.format(i="x")
    found = table(
        "<title>Story of a long paper | Pap</title><ul><li><a href=/>Section one</a><li><a href=/>Section two</a></ul>"
        f"<h1>Story of a long paper</h1><p>{text}</p><p>A short one</p><p>{text}</p><p class=footer>Imprint here"
    )
    column = shape.features(found)[:, shape.FEATURES.index(name)]
    assert column.tolist() == pytest.approx(values)


def test_a_forest_is_its_trees() -> None:
    """Against a walk in Python, bit for bit: leaves are added in float32, in the trees' order."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(1500, 5)).astype(np.float32)
    forest = Forest(
        rng.integers(0, 5, (9, INNER)).astype(np.uint8),
        np.where(rng.random((9, INNER)) < 0.1, np.inf, rng.normal(size=(9, INNER))).astype(np.float32),
        rng.normal(size=(9, INNER + 1)).astype(np.float32),
        0.25,
    )
    expected = []
    for row in x:
        total = np.float32(forest.bias)
        for tree in range(9):
            node = 0
            while node < INNER:
                node = 2 * node + 1 + int(row[forest.feature[tree, node]] > forest.threshold[tree, node])
            total += forest.value[tree, node - INNER]
        expected.append(total)
    assert forest.odds(x).tolist() == expected


def test_parts_of_a_page() -> None:
    found = table(page(1), page(2))
    parts = blocks.packaged().parts(found)
    said = {found.block_text(i): Part(parts[i]) for i in range(len(parts))}
    assert said["Story 1 of a paper"] == Part.TITLE
    assert said[STORY.format(i="1-0")] == said[STORY.format(i="2-5")] == Part.MAIN
    assert said["Section 3"] == said["Imprint 1"] == Part.NONE
    assert np.count_nonzero(parts == Part.TITLE) == 2
    assert not parts[found.blocks["tag"] == tags.TITLE].any()


def test_favours_are_in_order() -> None:
    found = table(*(page(i, i % 5) for i in range(20)))
    model = blocks.packaged()
    precision, balanced, recall = (model.keep(found, favour) for favour in FAVOURS)
    assert (precision <= balanced).all()
    assert (balanced <= recall).all()
    with pytest.raises(ValueError, match="favour is 'both'; it must be one of precision, balanced, recall"):
        model.keep(found, "both")


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([page(1), page(2, 1), "", "<p>x", "<li>a<li>b", "x" * 3000, "<p>a<hr>" * 700]), min_size=1)
)
def test_a_page_depends_on_itself_alone(pages: list[str]) -> None:
    """Pages longer than a strip of features too."""
    model = blocks.packaged()
    together = model.scores(table(*pages))
    alone = np.concatenate([model.scores(table(one)) for one in pages], axis=1)
    assert np.array_equal(together, alone)
    assert np.array_equal(
        model.scores(table(*pages[::-1])), np.concatenate([model.scores(table(p)) for p in pages[::-1]], axis=1)
    )


def test_the_first_look_feeds_the_second_as_in_training() -> None:
    """Scores page by page, in strips, are those of the features as a matrix."""
    found = table(page(1), "<p>a<hr>" * 700, page(2, 40).replace(LINKS, LINKS * 30))
    model = blocks.packaged()
    x = shape.features(found)

    def probability(odds: np.ndarray) -> np.ndarray:
        return (1 / (1 + np.exp(-odds.astype(np.float64)))).astype(np.float32)

    looked = probability(model.forests["first"].odds(x))
    seen = np.concatenate([x, vicinity.features(found, looked)], axis=1)
    again = blocks.looks_twice(found, looked)
    assert 0 < again.sum() < len(again)
    for row, name in enumerate(blocks.LOOKS[1:]):
        expected = probability(model.forests[name].odds(seen)) * again
        np.testing.assert_allclose(model.scores(found)[row], expected, atol=1e-6)


def test_a_page_of_which_nothing_is_likely_shows_its_best() -> None:
    scores = np.zeros((3, 3), np.float32)
    found = table("<p>one<p>two<p>three")
    scores[0] = 0.3, 0.31, 0.1
    assert blocks.decide(found, scores, 0.5).tolist() == [Part.MAIN, Part.MAIN, Part.NONE]
    scores[0] = 0.2, 0.1, 0.1
    assert not blocks.decide(found, scores, 0.5).any()


def test_damaged_files() -> None:
    folder = resources.files("curate")
    arrays, card = (folder.joinpath(f"blocks.{kind}").read_bytes() for kind in ("safetensors", "json"))
    assert blocks.parse(arrays, card).thresholds == blocks.packaged().thresholds
    for broken in (b"", arrays[:-9], b"x" * 99):
        with pytest.raises(ModelError, match="damaged"):
            blocks.parse(broken, card)
    with pytest.raises(ModelError, match="damaged"):
        blocks.parse(arrays, b"{}")
    other = json.loads(card) | {"features": ["words"]}
    with pytest.raises(ModelError, match="train it again"):
        blocks.parse(arrays, json.dumps(other).encode())
    assert len(arrays) + len(card) < 1 << 20
