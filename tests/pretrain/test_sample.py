"""Drawing: deterministic, inside top-k, stopped by end-of-text, sliding past the context."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from curate.errors import InputError, ModelError
from pretrain import sample
from pretrain.model import GPT
from pretrain.presets import ModelConfig, Preset
from pretrain.run import TrainConfig
from pretrain.sample import SampleConfig, Sampler, generate
from pretrain.train import Trainer

CPU = torch.device("cpu")


@pytest.fixture
def model() -> GPT:
    return GPT.create(ModelConfig(layers=1, width=16, heads=2, context=8), 50, seed=1)


@pytest.fixture
def run(tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: Any) -> Path:
    out = tmp_path / "run"
    Trainer(TrainConfig(data=str(tokens_dir), out=str(out), preset=micro, tokens=512, device="cpu"), recorder()).run()
    return out


def draw(model: GPT, end_of_text: int = -1, **settings: Any) -> list[int]:
    return list(generate(model, [0, 1], end_of_text, SampleConfig(**settings)))


def test_the_same_seed_draws_the_same_ids(model: GPT) -> None:
    drawn = [draw(model, 0, tokens=40, seed=seed) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert 0 not in drawn[0]


def test_greedy_takes_the_likeliest_given_the_last_context(model: GPT) -> None:
    drawn = draw(model, tokens=20, temperature=0)
    assert len(drawn) == 20
    for number, chosen in enumerate(drawn):
        window = [0, 1, *drawn[:number]][-8:]
        assert chosen == int(model(torch.tensor([window]))[0, -1].argmax())
    assert drawn == draw(model, tokens=20, temperature=0.9, top_k=1, seed=5)


def test_draws_follow_the_softmax_of_the_k_likeliest(model: GPT) -> None:
    with torch.no_grad():
        model.wte.weight.mul_(40)
    config: Any = {"tokens": 1, "temperature": 0.7, "top_k": 5}
    drawn = [draw(model, seed=seed, **config)[0] for seed in range(1500)]
    top = model(torch.tensor([[0, 1]]))[0, -1].topk(5)
    want = (top.values / 0.7).softmax(-1).tolist()
    share = np.bincount(drawn, minlength=50) / len(drawn)
    assert set(np.flatnonzero(share)) <= set(top.indices.tolist())
    np.testing.assert_allclose(share[top.indices], want, atol=0.06)


def test_end_of_text_ends_the_text(model: GPT) -> None:
    full = draw(model, tokens=30)
    stop = full[10]
    assert draw(model, stop, tokens=30) == full[: full.index(stop)]


def test_a_checkpoint_writes_text(run: Path) -> None:
    config = SampleConfig(tokens=30, seed=1)
    text = [*Sampler(run, CPU).write("the cat", config)]
    assert "".join(text)
    assert text == [*Sampler(run, CPU).write("the cat", config)]
    assert text == [*Sampler(run / "checkpoints" / "000000000512", CPU).write("the cat", config)]


def test_text_is_shown_as_it_is_drawn_and_no_character_in_halves(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler, drawn = Sampler(run, CPU), list[int]()
    letters = [sampler.tokenizer.encode(letter).ids for letter in ("a", "ß", "\N{SNOWMAN}", "b")]
    cut = letters[2][:2]  # of a character whose last byte never comes

    def script(*_: object) -> Any:
        for next_id in [*(id_ for ids in letters for id_ in ids), *cut]:
            drawn.append(next_id)
            yield next_id

    monkeypatch.setattr(sample, "generate", script)
    shown = [(piece, len(drawn)) for piece in sampler.write("", SampleConfig())]
    assert shown == [("a", 1), ("ß", 3), ("\N{SNOWMAN}", 6), ("b", 7), ("\ufffd", 9)]


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
