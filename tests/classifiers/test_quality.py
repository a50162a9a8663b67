import json
import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers import quality
from curate import words
from curate.document import document_id
from curate.errors import InputError, ModelError

DIM = 64
IDS = [document_id("crawl", "file", i) for i in range(20_000)]
TEXTS = st.lists(
    st.lists(st.sampled_from(["the", "a", "Dog,", "日本", "x1", "...", "\n"]), max_size=12).map(" ".join), max_size=6
)


def table(texts: list[str]) -> words.WordTable:
    return words.table(pa.array(texts, pa.string()))


def model(alpha: float = 9.0) -> quality.Logistic:
    weights = np.sin(np.arange(DIM)).astype(np.float32) * 8
    return quality.Logistic(weights, -0.25, alpha)


def expected_score(text: str) -> float:
    """The definition, word by word."""
    counts = Counter(int(h) % DIM for h in words.hashes(text))
    values = {bucket: math.log(1 + count) for bucket, count in counts.items()}
    norm = math.sqrt(sum(v * v for v in values.values())) or 1.0
    x = sum(v / norm * float(model().weights[bucket]) for bucket, v in values.items()) + model().bias
    return 1 / (1 + math.exp(-x))


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS, cut=st.integers(0, 6))
def test_scores_are_as_defined_and_free_of_the_batch(texts, cut):
    scores = quality.score(table(texts), model())
    assert scores.dtype == np.float32
    assert scores.tolist() == pytest.approx([expected_score(text) for text in texts], abs=1e-6)
    parts = [quality.score(table(part), model()) for part in (texts[:cut], texts[cut:])]
    assert np.concatenate(parts).tolist() == scores.tolist()


@settings(max_examples=60, deadline=None)
@given(texts=TEXTS)
def test_features_have_length_one_or_none(texts):
    rows = quality.features(table(texts), DIM)
    assert rows.shape == (len(texts), DIM)
    norms = np.sqrt((rows.toarray() ** 2).sum(1))
    assert norms.tolist() == pytest.approx([float(len(words.hashes(text)) > 0) for text in texts])


# reference: GPT-3's rule worked out by hand from the Lomax tail.
@pytest.mark.parametrize(
    ("score", "alpha", "expected"),
    [
        (1.0, 9, 1.0),
        (0.99, 9, 0.914),
        (0.95, 9, 0.645),
        (0.9, 9, 0.424),
        (0.75, 9, 0.134),
        (0.5, 9, 0.026),
        (0.0, 9, 0.00195),
        (0.9, 3, 0.751),
        (0.5, 3, 0.296),
        (0.3, 0, 1.0),
    ],
)
def test_probability(score, alpha, expected):
    assert quality.probability(np.array([score]), alpha)[0] == pytest.approx(expected, rel=0.01)


def test_keep_is_gpt3s_rule():
    """As printed in appendix A: np.random.pareto(alpha) > 1 - score."""
    generator = np.random.default_rng(0)
    for score in (0.2, 0.7, 0.95):
        theirs = (generator.pareto(3.0, len(IDS)) > 1 - score).mean()
        ours = quality.keep(np.full(len(IDS), score, np.float32), IDS, 1, 3.0).mean()
        assert ours == pytest.approx(theirs, abs=4 * math.sqrt(0.25 / len(IDS)))


def test_keep_is_keyed_by_document():
    scores = np.linspace(0, 1, len(IDS), dtype=np.float32)
    kept = quality.keep(scores, IDS, 1, 9.0)
    assert quality.keep(scores[::-1], IDS[::-1], 1, 9.0).tolist() == kept[::-1].tolist()
    assert (quality.keep(scores, IDS, 2, 9.0) != kept).any()
    assert quality.keep(np.ones(len(IDS), np.float32), IDS, 1, 9.0).all()
    # A higher score or a lower alpha only ever adds documents.
    assert (quality.keep(np.minimum(scores + 0.1, 1), IDS, 1, 9.0) >= kept).all()
    assert (quality.keep(scores, IDS, 1, 5.0) >= kept).all()


def test_round_trip(tmp_path):
    quality.save(str(tmp_path), model(alpha=2.5), {"note": "mine"})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(quality.FILES)
    loaded = quality.load(str(tmp_path))
    assert isinstance(loaded, quality.Logistic)
    assert (loaded.kind, loaded.alpha, loaded.bias) == ("logistic", 2.5, -0.25)
    assert loaded.weights.tolist() == model().weights.tolist()
    assert json.loads((tmp_path / quality.CARD).read_text())["note"] == "mine"
    again = tmp_path / "again"
    quality.save(str(again), loaded, {"note": "mine"})
    for name in quality.FILES:
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("name", "damage", "error", "message"),
    [
        (quality.MODEL, lambda d: d[:-4], ModelError, "is not the file that"),
        (quality.MODEL, lambda d: d[:-4] + b"abcd", ModelError, "is not the file that"),
        (quality.MODEL, None, InputError, "cannot read"),
        (quality.CARD, None, InputError, "cannot read"),
        (quality.CARD, lambda d: d[:20], InputError, "is not JSON"),
        (quality.CARD, lambda d: b"[]", ModelError, "is no model card"),
        (quality.CARD, lambda d: d.replace(b'"version": 1', b'"version": 9'), ModelError, "version 9"),
        (quality.CARD, lambda d: d.replace(b'"logistic"', b'"forest"'), ModelError, "kind 'forest', unknown here"),
        (quality.CARD, lambda d: d.replace(b'"logistic"', b'"fasttext"'), ModelError, "holds no fasttext model"),
        (quality.CARD, lambda d: d.replace(b'"alpha": 9.0', b'"alpha": "x"'), ModelError, "is no model card"),
    ],
)
def test_damaged_files(tmp_path, name, damage, error, message):
    quality.save(str(tmp_path), model(), {})
    path = tmp_path / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(error, match=message):
        quality.load(str(tmp_path))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.zeros(3, np.float32), "power of two"),
        (np.zeros(4, np.float64), "power of two"),
        (np.zeros((2, 2), np.float32), "power of two"),
        (np.array([0, np.nan], np.float32), "not finite"),
    ],
)
def test_tensors_that_are_no_model(tmp_path, weights, message):
    quality.save(str(tmp_path), quality.Logistic(weights, 0.0, 9.0), {})
    with pytest.raises(ModelError, match=message):
        quality.load(str(tmp_path))


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"alpha": -1}, "alpha is -1"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"dim": 1000}, "power of two"),
        ({"c": 0}, "c is 0"),
        ({"held": 1}, "held is 1"),
        ({"min_examples": 9, "max_examples": 8}, "min_examples 9 and max_examples 8"),
    ],
)
def test_config_refuses(settings_, message):
    with pytest.raises(ValueError, match=message):
        quality.Quality(**settings_)
