"""Power laws: curves whose exponents are known."""

import itertools

import numpy as np
import pytest

from pretrain import presets, scaling


def test_a_curve_gives_its_exponent_back() -> None:
    compute = [1e10, 1e11, 3e12, 1e13]
    scale, exponent = scaling.fit(compute, 2.57 * np.array(compute) ** -0.048)
    assert np.exp(scale) == pytest.approx(2.57)
    assert exponent == pytest.approx(0.048)


def test_rows_are_fitted_each() -> None:
    compute, generator = [1e10, 1e11, 1e12], np.random.default_rng(0)
    rows = generator.uniform(1, 3, (5, 3))
    scales, exponents = scaling.fit(compute, rows)
    for row, scale, exponent in zip(rows, scales, exponents, strict=True):
        slope, intercept = np.polyfit(np.log(compute), np.log(row), 1)
        assert (scale, exponent) == (pytest.approx(intercept), pytest.approx(-slope))


@pytest.mark.parametrize("exponent", [0.03, 0.1, 0.2])
def test_bands_hold_the_true_law(exponent: float) -> None:
    """Noise of 1% a run: 50 times, the interval of the exponent and the band hold the truth in most."""
    rungs = scaling.ladder(presets.find("tiny"), 1_000_000, 4)
    compute, sizes = np.array([rung.compute for rung in rungs]), [np.full(20, 1000)]
    generator, held, inside = np.random.default_rng(7), 0, 0
    for _ in range(50):
        true = 100 * compute**-exponent
        bits = [[(level * generator.normal(1, 0.01, (5, 1))) * np.full((5, 20), 1000)] for level in true]
        law = scaling.law(rungs, bits, sizes, [compute[0], compute[-1]])
        held += law.exponent_low <= exponent <= law.exponent_high
        inside += law.low[0] <= true[0] <= law.high[0]
        assert law.exponent == pytest.approx(exponent, abs=0.02)
    assert held >= 43
    assert inside >= 43


def test_a_ladder_doubles() -> None:
    preset = presets.find("tiny")
    rungs = scaling.ladder(preset, 800_000, 4)
    assert rungs[-1].preset == preset
    assert rungs[-1].tokens == 800_000
    for small, large in itertools.pairwise(rungs):
        assert 1.7 < large.parameters / small.parameters < 2.4
        assert large.tokens / small.tokens == pytest.approx(large.parameters / small.parameters, rel=1e-3)
        assert small.preset.model.layers == preset.model.layers
    counted = presets.num_parameters(preset.model, 0) - preset.model.context * preset.model.width
    assert rungs[-1].compute == 6 * 800_000 * counted
    assert len({rung.preset.name for rung in rungs}) == 4


def test_a_narrow_preset_has_no_long_ladder() -> None:
    with pytest.raises(ValueError, match="too narrow for 12 sizes"):
        scaling.ladder(presets.find("tiny"), 1000, 12)
