import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers import evaluate, quality

SCORES = st.lists(st.integers(0, 10).map(lambda i: i / 10), min_size=1, max_size=12)


def array(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@settings(max_examples=80, deadline=None)
@given(positives=SCORES, negatives=SCORES)
def test_auc_is_the_share_of_ordered_pairs(positives, negatives):
    pairs = [(p > n) + 0.5 * (p == n) for p in positives for n in negatives]
    assert evaluate.auc(array(*positives), array(*negatives)) == pytest.approx(sum(pairs) / len(pairs))


def test_judge_of_known_scores():
    found = evaluate.judge(array(0.9, 0.5, 0.2), array(0.6, 0.1, 0.0, 1.0), 9.0)
    assert (found["positives"], found["negatives"]) == (3, 4)
    assert found["precision"] == 2 / 4
    assert found["recall"] == 2 / 3
    assert found["f1"] == 4 / 7
    assert found["accuracy"] == 4 / 7
    assert found["kept_negatives"] == pytest.approx((1.4**-9 + 1.9**-9 + 2.0**-9 + 1) / 4)
    assert len(found["histogram_negatives"]) == evaluate.BINS
    assert sum(found["histogram_negatives"]) == 4
    assert found["histogram_negatives"][-1] == 1


def test_judge_without_scores():
    found = evaluate.judge(array(), array(0.2), 9.0)
    assert found["auc"] is found["recall"] is found["precision"] is found["kept_positives"] is None
    assert found["accuracy"] == 1.0


@pytest.mark.parametrize("alpha", [0.0, 2.0, 5.5, 9.0])
def test_fit_alpha_finds_the_alpha_that_made_the_positives(alpha):
    grid = np.linspace(0, 1, 4000)
    weight = quality.probability(grid, alpha)
    # Positives: the quantiles of the weighted grid.
    ladder = np.cumsum(weight) / weight.sum()
    positives = np.interp((np.arange(3000) + 0.5) / 3000, ladder, grid)
    assert evaluate.fit_alpha(positives, grid) == pytest.approx(alpha, abs=0.11)


def test_fit_alpha_stays_in_its_bounds_and_needs_both_classes():
    assert evaluate.fit_alpha(array(1.0, 1.0), array(0.1, 0.2, 0.9)) == 20.0
    assert evaluate.fit_alpha(array(0.0, 0.0), array(0.1, 0.2, 0.9)) == 0.0
    with pytest.raises(ValueError, match="not 0 and 1"):
        evaluate.fit_alpha(array(), array(0.1))
