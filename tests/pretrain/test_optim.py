"""The schedule at its corners, and which tensors decay."""

import dataclasses
import math

import pytest
import torch

from pretrain import optim
from pretrain.model import GPT
from pretrain.presets import PRESETS, ModelConfig

RECIPE = dataclasses.replace(PRESETS["tiny"].recipe, peak_rate=1.0, warmup_tokens=100, final_share=0.1)


@pytest.mark.parametrize(
    ("tokens", "rate"),
    [(10, 0.1), (50, 0.5), (100, 1.0), (1050, 0.55), (2000, 0.1), (2500, 0.1)],
)
def test_learning_rate(tokens: int, rate: float) -> None:
    assert optim.learning_rate(RECIPE, tokens, 2000) == pytest.approx(rate)


def test_warmup_takes_at_most_a_tenth_of_the_run() -> None:
    assert optim.warmup_tokens(RECIPE, 500) == 50
    assert optim.learning_rate(RECIPE, 50, 500) == pytest.approx(1.0)


def test_a_run_of_one_token_has_a_rate() -> None:
    assert optim.learning_rate(RECIPE, 1, 1) == pytest.approx(0.1)


def test_the_rate_falls_all_the_way_after_the_warmup() -> None:
    rates = [optim.learning_rate(RECIPE, tokens, 2000) for tokens in range(100, 2001, 10)]
    assert rates == sorted(rates, reverse=True)


def test_matrices_decay_and_nothing_else() -> None:
    model = GPT.create(ModelConfig(layers=1, width=8, heads=2, context=4), 64, seed=0)
    optimizer = optim.optimizers(model, RECIPE)[0]
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {decay[id(p)] for n, p in model.named_parameters() if n.endswith("bias") or "norm" in n} == {0.0}
    assert {decay[id(p)] for n, p in model.named_parameters() if p.dim() == 2} == {0.1}
    assert len(decay) == len(list(model.parameters()))


def test_adamw_is_gpt3s() -> None:
    defaults = optim.optimizers(torch.nn.Linear(2, 2), RECIPE)[0].defaults
    assert (defaults["betas"], defaults["eps"], defaults["fused"]) == ((0.9, 0.95), 1e-8, True)


def test_set_rate_reaches_every_group() -> None:
    optimizer = optim.optimizers(torch.nn.Linear(2, 2), RECIPE)[0]
    optim.set_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_the_cosine_ends_after_its_tokens_and_stays_there() -> None:
    recipe = dataclasses.replace(RECIPE, cosine_tokens=1000)
    assert optim.learning_rate(recipe, 550, 2000) == pytest.approx(0.55)
    assert optim.learning_rate(recipe, 1000, 2000) == optim.learning_rate(recipe, 2000, 2000) == pytest.approx(0.1)
    assert optim.learning_rate(recipe, 500, 500) == pytest.approx(0.1), "a shorter run has all of it"


def test_muon_takes_the_matrices_of_the_blocks() -> None:
    model = GPT.create(ModelConfig(layers=1, width=8, heads=2, context=4), 64, seed=0)
    adamw, muon = optim.optimizers(model, dataclasses.replace(RECIPE, optimizer="muon"))
    names = {id(p): name for name, p in model.named_parameters()}
    taken = sorted(names[id(p)] for group in muon.param_groups for p in group["params"])
    assert taken == [f"blocks.0.{part}.weight" for part in ("attention.out", "attention.qkv", "mlp.down", "mlp.up")]
    rest = {names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert rest == set(names.values()) - set(taken)


def test_the_scale_halves_on_overflow_and_doubles_after_2000_good_steps() -> None:
    scale = optim.Scale().after(overflow=True)
    assert scale == optim.Scale(factor=32_768.0)
    for _ in range(1999):
        scale = scale.after(overflow=False)
    assert scale == optim.Scale(factor=32_768.0, good=1999)
    assert scale.after(overflow=False) == optim.Scale(factor=65_536.0)


def test_limits_are_sigmas_above_the_mean_of_a_full_window() -> None:
    recent = optim.Recent(4, [(1.0, 2.0), (3.0, 2.0), (1.0, 2.0)])
    assert recent.limits(3) == (math.inf, math.inf)
    recent.add(3.0, 2.0)
    assert recent.limits(3) == (5.0, 2.0)
    recent.add(3.0, 6.0)
    assert recent.steps == ((3.0, 2.0), (1.0, 2.0), (3.0, 2.0), (3.0, 6.0))
