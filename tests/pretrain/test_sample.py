"""Drawing: deterministic, inside top-k, stopped by end-of-text, sliding past the context."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curate.errors import InputError, ModelError
from pretrain.model import GPT
from pretrain.presets import ModelConfig, Preset
from pretrain.sample import SampleConfig, Sampler, generate
from pretrain.train import TrainConfig, Trainer

CPU = torch.device("cpu")


@pytest.fixture
def model() -> GPT:
    return GPT.create(ModelConfig(layers=1, width=16, heads=2, context=8), 50, seed=1)


@pytest.fixture
def run(tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: Any) -> Path:
    out = tmp_path / "run"
    Trainer(TrainConfig(data=str(tokens_dir), out=str(out), preset=micro, tokens=512, device="cpu"), recorder()).run()
    return out


def test_the_same_seed_draws_the_same_ids(model: GPT) -> None:
    drawn = [generate(model, [0, 1], 0, SampleConfig(tokens=40, seed=seed)) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert 0 not in drawn[0]


def test_greedy_takes_the_likeliest_given_the_last_context(model: GPT) -> None:
    ids = [0, 1]
    drawn = generate(model, ids, -1, SampleConfig(tokens=20, temperature=0))
    assert len(drawn) == 20
    for number, chosen in enumerate(drawn):
        window = [*ids, *drawn[:number]][-8:]
        assert chosen == int(model(torch.tensor([window]))[0, -1].argmax())
    assert drawn == generate(model, ids, -1, SampleConfig(tokens=20, temperature=0.9, top_k=1, seed=5))


def test_draws_follow_the_softmax_of_the_k_likeliest(model: GPT) -> None:
    with torch.no_grad():
        model.wte.weight.mul_(40)
    config = {"tokens": 1, "temperature": 0.7, "top_k": 5}
    drawn = [generate(model, [0, 1], -1, SampleConfig(seed=seed, **config))[0] for seed in range(1500)]
    top = model(torch.tensor([[0, 1]]))[0, -1].topk(5)
    want = (top.values / 0.7).softmax(-1).tolist()
    share = np.bincount(drawn, minlength=50) / len(drawn)
    assert set(np.flatnonzero(share)) <= set(top.indices.tolist())
    np.testing.assert_allclose(share[top.indices], want, atol=0.06)


def test_end_of_text_ends_the_text(model: GPT) -> None:
    full = generate(model, [0, 1], -1, SampleConfig(tokens=30))
    stop = full[10]
    assert generate(model, [0, 1], stop, SampleConfig(tokens=30)) == full[: full.index(stop)]


def test_a_checkpoint_writes_text(run: Path) -> None:
    config = SampleConfig(tokens=30, seed=1)
    text = Sampler(run, CPU).write("the cat", config)
    assert text
    assert text == Sampler(run, CPU).write("the cat", config)
    assert text == Sampler(run / "checkpoints" / "000000000512", CPU).write("the cat", config)


def test_folders_without_a_checkpoint_are_refused(tmp_path: Path, run: Path) -> None:
    with pytest.raises(InputError, match="holds no checkpoint"):
        Sampler(tmp_path / "empty", CPU)
    (run / "checkpoints" / "000000000512" / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer\.json is no tokenizer"):
        Sampler(run, CPU)


@pytest.mark.parametrize("changes", [{"tokens": 0}, {"temperature": -1.0}, {"top_k": 0}])
def test_settings_out_of_range_are_refused(changes: Any) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        SampleConfig(**changes)
