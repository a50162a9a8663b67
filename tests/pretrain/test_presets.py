"""The presets against what the papers print."""

import math

import pytest
import torch

from pretrain import presets
from pretrain.model import GPT
from pretrain.presets import PRESETS, PRINTED, ModelConfig, num_parameters

# OpenAI's own correction of GPT-2's table 2, in the README of the released code, millions.
CORRECTED = {"gpt2": 124, "gpt2-medium": 355, "gpt2-large": 774, "gpt2-xl": 1558}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_stands_on_the_meta_device(name: str) -> None:
    model, vocabulary = PRESETS[name].model, PRINTED[name].vocabulary if name in PRINTED else 50_257
    with torch.device("meta"):
        built = GPT(model, vocabulary)
    assert built.num_parameters() == num_parameters(model, vocabulary)


@pytest.mark.parametrize("name", PRINTED)
def test_parameters_are_those_printed(name: str) -> None:
    """To the last digit printed, or corrected by OpenAI; GPT-3's 1,320M and 12,850M are printed to ten millions."""
    printed = PRINTED[name]
    millions = num_parameters(PRESETS[name].model, printed.vocabulary) / 1e6
    want = CORRECTED.get(name, printed.parameters)
    digit = 10 ** (len(str(want)) - len(str(want).rstrip("0"))) if want > 1000 else 1
    assert abs(millions - want) <= digit / 2
    assert abs(millions - printed.parameters) / printed.parameters < 0.065  # GPT-2's 117M is the farthest off


@pytest.mark.parametrize("name", PRINTED)
def test_shapes_and_rates_are_those_printed_but_where_a_remark_says_otherwise(name: str) -> None:
    printed, model, rate = PRINTED[name], PRESETS[name].model, PRESETS[name].recipe.peak_rate
    assert model.layers == printed.layers
    assert printed.rate in (None, rate)
    if "built" not in printed.remark:
        assert model.width == printed.width
        assert printed.heads in (None, model.heads)
        assert printed.head_width in (None, model.width // model.heads)
    if printed.head_width:
        # The head's width is what all of table 2.1 agrees on.
        assert model.width // model.heads == printed.head_width
        assert ("built" in printed.remark) == (printed.heads * printed.head_width != printed.width)


def test_published_shapes() -> None:
    """Heads of 64 in GPT-1 and GPT-2; contexts; norms; which are banded."""
    for name, preset in PRESETS.items():
        model, family = preset.model, name.partition("-")[0]
        if name in PRINTED:
            assert model.context == {"gpt1": 512, "gpt2": 1024, "gpt3": 2048}[family]
            assert family == "gpt3" or model.width // model.heads == 64
        assert (model.norm == "post") == (family == "gpt1") == (model.dropout == 0.1)
        assert (model.band is not None) == (family == "gpt3")


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("gpt1", 64 * 512),
        ("gpt2", 512 * 1024),
        ("gpt2-xl", 512 * 1024),
        ("gpt3-125m", 0.5e6),
        ("gpt3-350m", 0.5e6),
        ("gpt3-760m", 0.5e6),
        ("gpt3-1.3b", 1e6),
        ("gpt3-2.7b", 1e6),
        ("gpt3-6.7b", 2e6),
        ("gpt3-13b", 2e6),
        ("gpt3-175b", 3.2e6),
    ],
)
def test_batches_are_those_printed(name: str, tokens: float) -> None:
    """GPT-3's "M" is read as a power of two: at most 5% more."""
    assert tokens <= PRESETS[name].recipe.batch_tokens <= tokens * 1.05


def test_gpt1_decays_to_nothing() -> None:
    recipe = PRESETS["gpt1"].recipe
    assert (recipe.final_share, recipe.decay, recipe.beta2) == (0.0, 0.01, 0.999)
    assert recipe.warmup_tokens == 2000 * recipe.batch_tokens


def test_layers_alternate() -> None:
    shape = {"layers": 5, "width": 8, "heads": 2, "context": 8}
    assert ModelConfig(**shape).bands == (None,) * 5
    assert ModelConfig(**shape, band=3).bands == (None, 3, None, 3, None)
    assert ModelConfig(**shape, band=3, dense_first=False).bands == (3, None, 3, None, 3)
    assert PRESETS["gpt3-175b"].model.bands == (None, 256) * 48


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layers": 0}, "below 1"),
        ({"heads": 3}, "does not divide"),
        ({"dropout": 1.0}, r"dropout 1\.0"),
        ({"dropout": math.nan}, "dropout nan"),
        ({"band": 0}, "attends to itself"),
    ],
)
def test_shapes_that_cannot_be_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ModelConfig(**{"layers": 2, "width": 8, "heads": 2, "context": 8} | changes)  # type: ignore[arg-type]


def test_amended_presets() -> None:
    preset = presets.amend(presets.find("gpt3-tiny"), ["band=none", "peak_rate=1e-3", "optimizer=muon", "layers=2"])
    assert (preset.model.band, preset.model.layers) == (None, 2)
    assert (preset.recipe.peak_rate, preset.recipe.optimizer) == (1e-3, "muon")
    assert presets.amend(preset, []) == preset


def test_gpt3s_ramp_and_cosine() -> None:
    recipe = presets.find("gpt3-175b").recipe
    assert (recipe.first_batch_tokens, recipe.ramp_tokens, recipe.cosine_tokens) == (32_768, 12 * 10**9, 260 * 10**9)
    assert presets.find("gpt2").recipe.ramp_tokens is None
