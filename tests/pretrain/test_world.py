"""Two real processes against one: the same samples, the same losses, and checkpoints that either takes up."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from curate.errors import UsageError
from pretrain import checkpoint, world
from pretrain.metrics import read_metrics
from pretrain.presets import Preset
from pretrain.run import Silence
from pretrain.train import Trainer
from pretrain.world import World

SHARDINGS = pytest.mark.parametrize("sharding", ["ddp", "fsdp"])


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run) if "loss" in line]


@pytest.fixture(scope="module")
def worlds() -> Any:
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        import worlds
    finally:
        sys.path.pop(0)
    return worlds


@pytest.fixture(scope="module")
def folder(tokens_dir: Path, tmp_path_factory: pytest.TempPathFactory, worlds: Any, micro: Preset) -> Path:
    """A run in one process, one that is stopped, and what torchrun's two made."""
    folder = tmp_path_factory.mktemp("worlds")
    shutil.copytree(tokens_dir, folder / "tokens")
    preset = replace(micro, recipe=replace(micro.recipe, micro_windows=2, checkpoint_tokens=384))
    (folder / worlds.PRESET).write_text(json.dumps(asdict(preset)))
    Trainer(worlds.config(folder, "one"), Silence()).run()
    for sharding in ("ddp", "fsdp"):
        trainer = Trainer(worlds.config(folder, f"{sharding}-begun"), worlds.Halt(6))
        with pytest.raises(KeyboardInterrupt):
            trainer.run()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    script = Path(__file__).parent / "worlds.py"
    done = subprocess.run([*command, str(script), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@SHARDINGS
def test_two_processes_read_the_samples_of_one(folder: Path, sharding: str) -> None:
    logs = [json.loads((folder / f"{sharding}.{rank}.json").read_text()) for rank in range(2)]
    assert not set(logs[0]) & set(logs[1])
    assert sorted(logs[0] + logs[1]) == list(range(80))
    assert {sample // 4 % 2 for sample in logs[0]} == {0}


@SHARDINGS
def test_two_processes_have_the_losses_of_one(folder: Path, sharding: str) -> None:
    assert losses(folder / sharding) == pytest.approx(losses(folder / "one"), abs=1e-5)


@SHARDINGS
def test_one_goes_on_where_two_were_stopped(folder: Path, worlds: Any, sharding: str) -> None:
    out = folder / f"{sharding}-stopped"
    newest = checkpoint.resolve(out)
    assert (newest / checkpoint.MODEL).exists() == (sharding == "ddp")
    assert checkpoint.read_state(newest).samples == 32
    Trainer(worlds.config(folder, out.name), Silence()).run()
    assert losses(out) == pytest.approx(losses(folder / "one"), abs=1e-5)


@SHARDINGS
def test_two_go_on_where_one_was_stopped(folder: Path, sharding: str) -> None:
    assert losses(folder / f"{sharding}-begun") == pytest.approx(losses(folder / "one"), abs=1e-5)


def test_a_sharded_checkpoint_is_whole_and_none_else_is_left(folder: Path) -> None:
    checkpoints = folder / "fsdp" / checkpoint.FOLDER
    assert all(path.name.isdecimal() for path in checkpoints.iterdir())
    newest = checkpoint.resolve(folder / "fsdp")
    assert len(list(newest.glob("shard-*.safetensors"))) == 2
    state = checkpoint.read_state(newest)
    assert checkpoint.load_model(newest, state).num_parameters() > 0


def test_muon_is_not_sharded(folder: Path, worlds: Any) -> None:
    preset = worlds.config(folder, "muon").preset
    muon = replace(preset, recipe=replace(preset.recipe, optimizer="muon"))
    config = worlds.config(folder, "muon", preset=muon, sharding="fsdp")
    with pytest.raises(UsageError, match="muon works on whole matrices"):
        Trainer(config, Silence(), World(torch.device("cpu"), 0, 2))


def test_alone_without_torchrun() -> None:
    with world.join("cpu") as place:
        assert (place.rank, place.size, place.leads) == (0, 1, True)
