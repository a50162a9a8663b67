"""The schedule at its corners, and which tensors decay."""

import dataclasses

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
