"""Whole runs of a model of seconds: golden losses, exact resume after a kill, refusals."""

import dataclasses
import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from curate.errors import CurateError, InputError, ModelError, StaleError, UsageError
from pretrain import checkpoint, cli
from pretrain.metrics import METRICS, read_metrics
from pretrain.model import GPT
from pretrain.presets import Preset
from pretrain.run import TrainConfig
from pretrain.train import Trainer

STEPS = 20
# On the CPU in float32. Kernels of other processors and versions of torch round differently; over 20 steps that stays
# far below the tolerance of 1e-3.
GOLDEN = [
    5.55114,
    5.38271,
    5.18442,
    5.0415,
    4.91119,
    4.78355,
    4.64108,
    4.49606,
    4.39933,
    4.30369,
    4.20613,
    4.12048,
    4.06067,
    3.97615,
    3.94704,
    3.90613,
    3.89103,
    3.8779,
    3.84823,
    3.81333,
]


@pytest.fixture
def settings(tokens_dir: Path, tmp_path: Path, micro: Preset) -> Callable[..., TrainConfig]:
    """A config of 20 steps, with changes; checkpoints every 3 steps or so, validation every 6."""

    def make(**changes: Any) -> TrainConfig:
        base = TrainConfig(
            data=str(tokens_dir),
            out=str(tmp_path / "run"),
            preset=micro,
            tokens=STEPS * 128,
            device="cpu",
            threads=1,
            checkpoint_tokens=400,
            eval_tokens=700,
        )
        return dataclasses.replace(base, **changes)

    return make


def outputs(run: Path) -> dict[str, bytes]:
    """What a run leaves: its metrics, and its last checkpoint file by file."""
    last = checkpoint.resolve(run)
    return {path.name: path.read_bytes() for path in [run / METRICS, *sorted(last.iterdir())]} | {
        "name": last.name.encode()
    }


def test_golden_losses_of_twenty_steps(settings: Any, recorder: Any) -> None:
    watcher = recorder()
    summary = Trainer(settings(), watcher).run()
    losses = [step.loss for step in watcher.steps]
    assert losses == pytest.approx(GOLDEN, abs=1e-3)
    assert losses[0] == pytest.approx(math.log(257), abs=0.05)
    assert summary.loss == pytest.approx(sum(GOLDEN[-2:]) / 2, abs=1e-3)
    assert (summary.steps, summary.tokens, summary.trained) == (STEPS, STEPS * 128, STEPS * 128)
    assert [tokens for tokens, _ in watcher.scores] == [768, 1408, 2176, 2560]
    assert summary.held["all"]["documents"] == summary.held["books"]["documents"] + summary.held["crawl"]["documents"]


def test_metrics_hold_a_line_a_step_and_a_line_a_validation(settings: Any, recorder: Any, tmp_path: Path) -> None:
    watcher = recorder()
    Trainer(settings(), watcher).run()
    lines = read_metrics(tmp_path / "run")
    assert [line["step"] for line in lines if "step" in line] == list(range(1, STEPS + 1))
    assert [line["loss"] for line in lines if "loss" in line] == [step.loss for step in watcher.steps]
    held = [line["held"]["all"]["bits_per_byte"] for line in lines if "held" in line]
    assert held == [scores["all"].bits_per_byte for _, scores in watcher.scores]
    assert held[-1] < held[0]


@pytest.mark.parametrize("stop", [1, 4, 5, 11, 19, 20])
def test_a_run_stopped_at_any_step_goes_on_to_the_same_bytes(
    settings: Any, recorder: Any, tmp_path: Path, stop: int
) -> None:
    Trainer(settings(), recorder()).run()
    stopped = settings(out=str(tmp_path / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        Trainer(stopped, recorder(stop_after=stop)).run()
    Trainer(stopped, recorder()).run()
    assert outputs(tmp_path / "stopped") == outputs(tmp_path / "run")


@pytest.mark.parametrize("changes", [{"norm": "post", "dropout": 0.1}, {"band": 4, "dropout": 0.2}])
def test_what_dropout_drops_is_the_same_after_a_stop(
    settings: Any, recorder: Any, tmp_path: Path, micro: Preset, changes: Any
) -> None:
    """It depends on the seed and the sample alone, not on what torch's generator did before."""
    preset = dataclasses.replace(micro, model=dataclasses.replace(micro.model, **changes))
    Trainer(settings(preset=preset, tokens=1280), recorder()).run()
    stopped = settings(preset=preset, tokens=1280, out=str(tmp_path / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        Trainer(stopped, recorder(stop_after=5)).run()
    torch.manual_seed(12)
    Trainer(stopped, recorder()).run()
    assert outputs(tmp_path / "stopped") == outputs(tmp_path / "run")


def test_a_run_stopped_after_every_checkpoint_goes_on_to_the_same_bytes(
    settings: Any, recorder: Any, tmp_path: Path
) -> None:
    Trainer(settings(), recorder()).run()
    halting = settings(out=str(tmp_path / "halting"), checkpoint_tokens=128)
    for stop in range(2, STEPS + 1, 2):
        with pytest.raises(KeyboardInterrupt):
            Trainer(halting, recorder(stop_after=stop)).run()
    Trainer(halting, recorder()).run()
    assert outputs(tmp_path / "halting") == outputs(tmp_path / "run")


def test_killed_by_sigkill_it_goes_on_to_the_same_bytes(tokens_dir: Path, tmp_path: Path) -> None:
    def command(out: str) -> list[str]:
        line = f"train --data {tokens_dir} --preset tiny --tokens 12000 --device cpu --threads 1 --seed 5"
        return [*line.split(), "--checkpoint-tokens", "3000", "--eval-tokens", "4000", "--out", str(tmp_path / out)]

    for lines in (2, 9):
        process = subprocess.Popen(
            [sys.executable, "-m", "pretrain.cli", *command("killed")], stderr=subprocess.PIPE, stdout=subprocess.PIPE
        )
        metrics, limit = tmp_path / "killed" / METRICS, time.monotonic() + 120
        while not (metrics.exists() and metrics.read_bytes().count(b"\n") >= lines):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < limit
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    assert cli.main(command("killed")) == 0
    assert cli.main(command("whole")) == 0
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


def test_what_a_kill_left_half_written_is_ignored(settings: Any, recorder: Any, tmp_path: Path) -> None:
    Trainer(settings(), recorder()).run()
    want = outputs(tmp_path / "run")
    stopped = settings(out=str(tmp_path / "stopped"))
    with pytest.raises(KeyboardInterrupt):
        Trainer(stopped, recorder(stop_after=12)).run()
    half = tmp_path / "stopped" / checkpoint.FOLDER / ".tmp-000000001536"
    half.mkdir()
    (half / checkpoint.MODEL).write_bytes(b"half")
    with open(tmp_path / "stopped" / METRICS, "ab") as metrics:
        metrics.write(b'{"step": 13, "lo')
    Trainer(stopped, recorder()).run()
    assert outputs(tmp_path / "stopped") == want
    assert not half.exists()


def test_the_newest_checkpoints_stay(settings: Any, recorder: Any, tmp_path: Path) -> None:
    Trainer(settings(keep=3), recorder()).run()
    names = [path.name for path in sorted((tmp_path / "run" / checkpoint.FOLDER).iterdir())]
    assert names == ["000000002176", "000000002432", "000000002560"]


def test_a_finished_run_says_so_and_stays_as_it_is(settings: Any, recorder: Any, tmp_path: Path) -> None:
    first = Trainer(settings(), recorder()).run()
    before = outputs(tmp_path / "run")
    again = Trainer(settings(), recorder()).run()
    assert again.trained == 0
    assert dataclasses.replace(again, trained=first.trained, seconds=first.seconds) == first
    assert outputs(tmp_path / "run") == before


def test_gradient_accumulation_changes_rounding_alone(
    settings: Any, recorder: Any, tmp_path: Path, micro: Preset
) -> None:
    losses = []
    for pieces in (8, 3, 1):
        preset = dataclasses.replace(micro, recipe=dataclasses.replace(micro.recipe, micro_windows=pieces))
        watcher = recorder()
        Trainer(settings(preset=preset, out=str(tmp_path / f"run{pieces}")), watcher).run()
        losses.append([step.loss for step in watcher.steps])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)
    assert losses[2] == pytest.approx(losses[0], abs=1e-4)


def test_without_a_budget_it_trains_one_epoch(settings: Any, recorder: Any) -> None:
    trainer = Trainer(settings(tokens=None, checkpoint_tokens=None, eval_tokens=None), recorder())
    summary = trainer.run()
    assert summary.epochs == 1
    assert trainer.state.samples == trainer.state.plan.windows
    assert summary.tokens == trainer.state.plan.windows * 16


def test_the_seed_decides_weights_and_order(settings: Any, recorder: Any, tmp_path: Path) -> None:
    runs = []
    for number, seed in enumerate((0, 0, 1)):
        watcher = recorder()
        Trainer(settings(seed=seed, out=str(tmp_path / str(number))), watcher).run()
        runs.append(watcher.steps)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_changed_tokens_are_refused(settings: Any, recorder: Any, tmp_path: Path, make_tokens: Any) -> None:
    Trainer(settings(), recorder()).run()
    other = make_tokens(tmp_path / "other", seed=8)
    with pytest.raises(StaleError, match="give the tokens it was trained on, or another --out"):
        Trainer(settings(data=str(other)), recorder())


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"seed": 1}, "seed is 0, and this one's is 1"), ({"tokens": 1280}, "tokens is 2560, and this one's is 1280")],
)
def test_another_run_in_the_folder_is_refused(settings: Any, recorder: Any, changes: Any, words: str) -> None:
    Trainer(settings(), recorder()).run()
    with pytest.raises(StaleError, match=words):
        Trainer(settings(**changes), recorder())


def test_a_loss_that_is_no_number_stops_the_run_before_the_weights_move(
    settings: Any, recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(settings(), recorder())
    loss = GPT.loss
    monkeypatch.setattr(GPT, "loss", lambda self, windows, **given: loss(self, windows, **given) * torch.nan)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    with pytest.raises(CurateError, match=r"step 1 \(samples 0 to 8\): loss nan"):
        trainer.run()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_damaged_checkpoints_are_refused(settings: Any, recorder: Any, tmp_path: Path) -> None:
    Trainer(settings(), recorder()).run()
    folder = checkpoint.resolve(tmp_path / "run")
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    for name, damage in (
        (checkpoint.MODEL, lambda data: data[:1000]),
        (checkpoint.OPTIMIZER, lambda data: data[:-1]),
        (checkpoint.STATE, lambda data: data[:-20]),
        (checkpoint.STATE, lambda data: data.replace(b'"version": 1', b'"version": 9')),
        (checkpoint.STATE, lambda data: data.replace(b'"layers": 2', b'"layers": 3')),
    ):
        path = folder / name
        path.write_bytes(damage(whole[path]))
        with pytest.raises((ModelError, StaleError)) as caught:
            Trainer(settings(), recorder())
        assert str(folder) in str(caught.value) or "preset" in str(caught.value)
        path.write_bytes(whole[path])


def test_tensors_that_the_state_does_not_name_are_refused(settings: Any, recorder: Any, tmp_path: Path) -> None:
    Trainer(settings(), recorder()).run()
    folder = checkpoint.resolve(tmp_path / "run")
    state = checkpoint.read_state(folder)
    with pytest.raises(ModelError, match=r"tensor wte.weight has shape .*320, 32.*, the state says .*384, 32"):
        checkpoint.load_model(folder, dataclasses.replace(state, vocabulary=384))


def test_a_checkpoint_holds_tensors_by_name(settings: Any, recorder: Any, tmp_path: Path) -> None:
    trainer = Trainer(settings(), recorder())
    trainer.run()
    folder = checkpoint.resolve(tmp_path / "run")
    names = {name for name, _ in trainer.model.named_parameters()}
    assert set(load_file(folder / checkpoint.MODEL)) == names
    moments = load_file(folder / checkpoint.OPTIMIZER)
    assert set(moments) == {f"{kind}.{name}" for kind in ("exp_avg", "exp_avg_sq", "step") for name in names}
    assert moments["step.wte.weight"].item() == STEPS
    assert json.loads((folder / checkpoint.STATE).read_text())["samples"] == STEPS * 8


def test_other_threads_are_noted(settings: Any, recorder: Any) -> None:
    Trainer(settings(), recorder()).run()
    watcher = recorder()
    Trainer(settings(threads=2), watcher)
    assert "last bits" in watcher.notes[0]
    quiet = recorder()
    assert Trainer(settings(threads=None), quiet).state.threads == 1
    assert quiet.notes == []


def test_corpora_that_cannot_be_trained_on_are_refused(
    settings: Any, recorder: Any, tmp_path: Path, make_tokens: Any
) -> None:
    with pytest.raises(InputError, match="nowhere"):
        Trainer(settings(data=str(tmp_path / "nowhere")), recorder())
    small = make_tokens(tmp_path / "small", documents=6)
    preset = settings().preset
    wide = dataclasses.replace(
        preset,
        model=dataclasses.replace(preset.model, context=4096),
        recipe=dataclasses.replace(preset.recipe, batch_tokens=4096),
    )
    with pytest.raises(InputError, match="one window takes 4097"):
        Trainer(settings(data=str(small), preset=wide), recorder())


def test_two_processes_in_one_folder_are_refused(settings: Any, recorder: Any, tmp_path: Path) -> None:
    trainer = Trainer(settings(), recorder())
    with (
        checkpoint.lock(tmp_path / "run"),
        pytest.raises(InputError, match="another process is training in"),
    ):
        trainer.run()
    assert trainer.run().steps == STEPS


def test_damaged_metrics_are_refused(settings: Any, recorder: Any, tmp_path: Path) -> None:
    Trainer(settings(), recorder()).run()
    metrics = tmp_path / "run" / METRICS
    metrics.write_bytes(b"\xff" + metrics.read_bytes())
    with pytest.raises(InputError, match=r"metrics\.jsonl is damaged.*remove it"):
        Trainer(settings(), recorder()).run()
    metrics.unlink()
    assert Trainer(settings(), recorder()).run().trained == 0


def test_remote_folders_are_refused(settings: Any, recorder: Any) -> None:
    with pytest.raises(UsageError, match="--out s3://bucket/run is remote"):
        Trainer(settings(out="s3://bucket/run"), recorder())


@pytest.mark.parametrize("name", ["tokens", "threads", "checkpoint_tokens", "eval_tokens", "keep"])
def test_counts_below_one_are_refused(settings: Any, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 0"):
        settings(**{name: 0})


def recipe_of(settings: Any, **changes: Any) -> Preset:
    preset: Preset = settings().preset
    return dataclasses.replace(preset, recipe=dataclasses.replace(preset.recipe, **changes))


def stopped_and_whole(settings: Any, recorder: Any, tmp_path: Path, stop: int = 12, **changes: Any) -> Any:
    """Runs once through and once with a stop; holds both to the same bytes. Returns the watcher of the first."""
    watcher = recorder()
    Trainer(settings(**changes), watcher).run()
    halted = settings(out=str(tmp_path / "halted"), **changes)
    with pytest.raises(KeyboardInterrupt):
        Trainer(halted, recorder(stop_after=stop)).run()
    Trainer(halted, recorder()).run()
    assert outputs(tmp_path / "halted") == outputs(tmp_path / "run")
    return watcher


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "muon"},
        {"document_mask": True},
        {"first_batch_tokens": 32, "ramp_tokens": 250},
        {"cosine_tokens": 1000},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_each_recipe_learns_and_resumes_to_the_same_bytes(
    settings: Any, recorder: Any, tmp_path: Path, changes: Any
) -> None:
    watcher = stopped_and_whole(settings, recorder, tmp_path, preset=recipe_of(settings, **changes))
    assert watcher.steps[-1].loss < watcher.steps[0].loss - 0.7


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_follows_float32(settings: Any, recorder: Any, tmp_path: Path, precision: Any) -> None:
    watcher = stopped_and_whole(settings, recorder, tmp_path, precision=precision)
    losses = [step.loss for step in watcher.steps if step.skipped is None]
    assert losses == pytest.approx(GOLDEN[: len(losses)], abs=0.1)
    state = checkpoint.read_state(checkpoint.resolve(tmp_path / "run"))
    assert (state.scale is not None) == (precision == "fp16")


def test_an_overflow_halves_the_scale_and_moves_nothing(settings: Any, recorder: Any, tmp_path: Path) -> None:
    watcher = recorder()
    trainer = Trainer(settings(precision="fp16", tokens=256), watcher)
    trainer.state = dataclasses.replace(trainer.state, scale=dataclasses.replace(trainer.state.scale, factor=2.0**140))
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    trainer._step(1, None)
    assert watcher.steps[0].skipped == "overflow"
    assert trainer.state.scale.factor == 2.0**139
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_recomputed_blocks_change_nothing(settings: Any, recorder: Any, tmp_path: Path) -> None:
    runs = []
    for recompute in (False, True):
        watcher = recorder()
        Trainer(settings(recompute=recompute, out=str(tmp_path / str(recompute)), tokens=640), watcher).run()
        runs.append([step.loss for step in watcher.steps])
    assert runs[0] == runs[1]


def test_spikes_are_skipped_and_their_documents_named(
    settings: Any, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The eleventh batch is made to stand out."""
    preset = recipe_of(settings, spike_sigmas=6.0, spike_window=4)
    bad, loss = Trainer(settings(preset=preset), recorder()).loader.windows(80, 4), GPT.loss

    def spoiled(self: GPT, windows: torch.Tensor, **given: Any) -> torch.Tensor:
        return loss(self, windows, **given) * (30.0 if torch.equal(windows, bad) else 1.0)

    monkeypatch.setattr(GPT, "loss", spoiled)
    watcher = stopped_and_whole(settings, recorder, tmp_path, preset=preset)
    skipped = [step for step in watcher.steps if step.skipped]
    assert [(step.step, step.skipped) for step in skipped] == [(11, "spike")]
    assert watcher.steps[11].loss < 5, "the weights did not move"
    spikes = [line["spike"] for line in read_metrics(tmp_path / "run") if "spike" in line]
    assert [spike["number"] for spike in spikes] == [step.step for step in skipped]
    trainer = Trainer(settings(preset=preset), recorder())
    for spike, step in zip(spikes, skipped, strict=True):
        assert spike["documents"] == trainer.loader.documents(step.samples - 8, 8)
        assert step.loss > spike["loss_limit"] or step.norm > spike["norm_limit"]
    notes = [note for note in watcher.notes if "is skipped" in note]
    assert len(notes) == len(skipped)
    assert spikes[0]["documents"][0] in notes[0]


def test_weights_decide_what_is_read(settings: Any, recorder: Any, tmp_path: Path) -> None:
    weights = {"books": 3.0, "crawl": 1.0}
    watcher = stopped_and_whole(settings, recorder, tmp_path, weights=weights)
    assert any(note.startswith("books: 75.") or note.startswith("books: 74.") for note in watcher.notes)
    summary = Trainer(settings(weights=weights), recorder()).run()
    assert summary.mixture["books"]["share"] == pytest.approx(0.75, abs=0.02)
    assert summary.mixture["books"]["samples"] + summary.mixture["crawl"]["samples"] == STEPS * 8
    with pytest.raises(StaleError, match=r"weights is \{'books': 0.75, 'crawl': 0.25\}, and this one's is \{\}"):
        Trainer(settings(), recorder())


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"boks": 1.0, "crawl": 1.0}, "no source 'boks'; did you mean books"),
        ({"books": 1.0}, "source 'crawl' has no weight; give crawl=0"),
        ({"books": 0.0, "crawl": 0.0}, "one above"),
    ],
)
def test_weights_that_do_not_fit_are_refused(settings: Any, recorder: Any, weights: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Trainer(settings(weights=weights), recorder())


def test_a_run_begins_with_the_weights_of_another(
    settings: Any, recorder: Any, tmp_path: Path, make_tokens: Any
) -> None:
    first = Trainer(settings(), recorder())
    first.run()
    config = settings(out=str(tmp_path / "second"), init=str(tmp_path / "run"))
    second = Trainer(config, recorder())
    for mine, other in zip(second.model.parameters(), first.model.parameters(), strict=True):
        assert torch.equal(mine, other)
    assert second.run().loss < GOLDEN[-1]
    wide = dataclasses.replace(config.preset, model=dataclasses.replace(config.preset.model, layers=3))
    with pytest.raises(UsageError, match="has layers 2, and micro has 3; give --set layers=2"):
        Trainer(dataclasses.replace(config, preset=wide, out=str(tmp_path / "third")), recorder())


def test_the_best_checkpoint_stays(settings: Any, recorder: Any, tmp_path: Path) -> None:
    """A rate that ruins the model after some steps: the best is not among the newest."""
    preset = recipe_of(settings, peak_rate=0.05, warmup_tokens=0, final_share=1.0)
    summary = Trainer(settings(preset=preset, keep=1, eval_tokens=128, checkpoint_tokens=128), recorder()).run()
    names = sorted(path.name for path in (tmp_path / "run" / checkpoint.FOLDER).iterdir())
    lines = [line for line in read_metrics(tmp_path / "run") if "held" in line]
    best = min(lines, key=lambda line: line["held"]["all"]["bits_per_byte"])
    assert summary.best == checkpoint.Best(tokens=best["tokens"], bits_per_byte=best["held"]["all"]["bits_per_byte"])
    assert names == sorted({f"{best['tokens']:012d}", f"{STEPS * 128:012d}"})


def test_one_batch_is_learnt_by_heart(settings: Any, recorder: Any) -> None:
    preset = recipe_of(settings, peak_rate=1e-2, decay=0.0)
    trainer = Trainer(settings(preset=preset, tokens=128 * 300), recorder())
    windows = trainer.loader.windows(0, 4)
    loss = torch.zeros(())
    for _ in range(300):
        loss = trainer.model.loss(windows)
        loss.backward()
        trainer.optimizers[0].step()
        trainer.optimizers[0].zero_grad()
    assert loss.item() < 0.02


def test_a_checkpoint_that_cannot_be_written_fails_the_run(
    settings: Any, recorder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        Trainer(settings(), recorder()).run()
    assert checkpoint.find_all(tmp_path / "run") == []


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler meets its own deprecations
def test_compiled_blocks_have_the_losses_of_others(settings: Any, recorder: Any) -> None:
    watcher = recorder()
    Trainer(settings(compile=True), watcher).run()
    assert [step.loss for step in watcher.steps] == pytest.approx(GOLDEN, abs=1e-3)
