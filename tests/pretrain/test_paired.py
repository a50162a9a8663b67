"""The statistics of comparisons: by hand, against slow oracles, and on made-up losses whose truth is known."""

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy.stats import binom, t

from pretrain import paired

Floats = npt.NDArray[np.float64]


def made_up(
    generator: np.random.Generator, *, seeds: int, effect: float = 0.0, documents: int = 40, spread: float = 0.03
) -> tuple[list[Floats], list[Floats], list[npt.NDArray[np.int64]]]:
    """(control, arm, bytes) of two sources: runs vary by .01 bits per byte, documents take to arms by `spread`."""
    sizes = [np.round(np.exp(generator.normal(8, 0.7, documents))).astype(np.int64) for _ in range(2)]
    hardness = [generator.normal(2, 0.3, documents) for _ in sizes]

    def arm(effect: float) -> list[Floats]:
        runs = generator.normal(effect, 0.01, (seeds, 1))
        taste = [generator.normal(0, spread, documents) for _ in sizes]
        return [
            (runs + hard + likes + generator.normal(0, 0.02, (seeds, documents))) * size
            for hard, likes, size in zip(hardness, taste, sizes, strict=True)
        ]

    return arm(0.0), arm(effect), sizes


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.03])
def test_equal_arms_are_undecided_in_19_of_20(seeds: int, spread: float) -> None:
    """200 comparisons; the bounds are binomial, passed by a true 5% once in 1,000."""
    generator = np.random.default_rng(seeds)
    decided = missed = 0
    for number in range(200):
        control, arm, sizes = made_up(generator, seeds=seeds, spread=spread)
        found = paired.compare(control, arm, sizes, error=0.05, purpose=f"{number}")
        decided += found.verdict != "undecided"
        missed += not found.low <= 0 <= found.high
    assert decided <= binom.ppf(0.999, 200, 0.05)
    assert missed <= binom.ppf(0.999, 200, 0.05)


def test_intervals_hold_the_true_effect_and_not_only_by_their_width() -> None:
    generator = np.random.default_rng(1)
    held = narrow = 0
    for number in range(200):
        control, arm, sizes = made_up(generator, seeds=4, effect=-0.1)
        found = paired.compare(control, arm, sizes, error=0.05, purpose=f"{number}")
        held += found.low <= -0.1 <= found.high
        narrow += found.verdict == "better"
    assert binom.ppf(0.001, 200, 0.95) <= held <= binom.ppf(0.999, 200, 0.97)
    assert narrow >= 195


def test_runs_that_are_the_same_differ_by_nothing() -> None:
    control, _, sizes = made_up(np.random.default_rng(2), seeds=3)
    found = paired.compare(control, control, sizes, error=0.05, purpose="x")
    assert (found.value, found.low, found.high, found.verdict) == (0, 0, 0, "undecided")
    assert found.seeds_to_decide is None


def test_the_sign_says_who_needs_fewer_bits() -> None:
    control, arm, sizes = made_up(np.random.default_rng(3), seeds=4, effect=-0.2)
    there = paired.compare(control, arm, sizes, error=0.05, purpose="x")
    back = paired.compare(arm, control, sizes, error=0.05, purpose="x")
    assert (there.verdict, back.verdict) == ("better", "worse")
    assert there.value == pytest.approx(-back.value)
    assert there.low == pytest.approx(-back.high)
    assert there.seeds_to_decide is not None
    assert there.seeds_to_decide <= 4


def test_losses_by_hand() -> None:
    bits = [np.array([[8.0, 16.0], [10.0, 20.0], [6.0, 12.0]]), np.array([[3.0], [6.0], [9.0]])]
    sizes = [np.array([4, 8]), np.array([3])]
    np.testing.assert_allclose(paired.by_seed(bits, sizes), [1.5, 2.25, 2.25])
    found = paired.noise(bits, sizes, 0.05)
    assert found.loss == pytest.approx(2)
    assert found.deviation == pytest.approx(math.sqrt(0.1875))
    assert found.floor == pytest.approx(t.ppf(0.975, 2) * math.sqrt(0.1875 * 2 / 3))


def test_the_bootstrap_equals_the_variance_of_a_mean() -> None:
    """With one document of weight, the variance over draws is that of the seeds' mean, with n - 1 below the line."""
    generator = np.random.default_rng(4)
    runs = generator.normal(2, 0.1, 6)
    bits = [np.outer(runs, [100, 100])]
    drawn = paired.resample(bits, [np.array([100, 100])], "x")
    assert drawn.mean() == pytest.approx(runs.mean(), abs=0.01)
    assert drawn.var(ddof=1) == pytest.approx(runs.var(ddof=1) / 6, rel=0.15)


def test_documents_and_chunks_of_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    control, _, sizes = made_up(np.random.default_rng(5), seeds=3)
    whole = paired.resample(control, sizes, "x")
    monkeypatch.setattr(paired, "_CHUNK", 100)
    np.testing.assert_allclose(paired.resample(control, sizes, "x"), whole, rtol=1e-12)
    assert not np.array_equal(paired.resample(control, sizes, "y"), whole)


def test_more_seeds_decide_a_small_effect_of_noisy_runs_and_none_that_documents_blur() -> None:
    generator = np.random.default_rng(6)
    control, arm, sizes = made_up(generator, seeds=4, effect=-0.01, documents=400, spread=0.0)
    found = paired.compare(control, arm, sizes, error=0.05, purpose="x")
    assert found.verdict == "undecided"
    assert found.seeds_to_decide is not None
    assert found.seeds_to_decide > 4
    control, arm, sizes = made_up(generator, seeds=4, effect=0.0, documents=5, spread=0.3)
    found = paired.compare(control, arm, sizes, error=0.05, purpose="x")
    assert found.verdict == "undecided"
    assert found.seeds_to_decide is None


def test_the_error_is_shared_among_all_intervals() -> None:
    assert paired.level(1, 1) == 0.05
    assert paired.level(1, 2) == pytest.approx(0.05 / 3)
    assert paired.level(2, 3) == pytest.approx(0.05 / 8)
