"""Not a test: runs of two real processes on gloo, which test_world.py starts by torchrun and then compares.

torchrun --nproc-per-node 2 worlds.py FOLDER

FOLDER holds tokens/ and preset.json.
"""

import contextlib
import dataclasses
import json
import sys
from pathlib import Path

import torch
from pydantic import TypeAdapter

from pretrain import world
from pretrain.data import Loader
from pretrain.presets import Preset
from pretrain.run import Silence, TrainConfig
from pretrain.train import Trainer

PRESET = "preset.json"


class Log(Loader):
    """Notes which samples are asked for."""

    def __init__(self, loader: Loader) -> None:
        self._loader, self.samples = loader, []

    def windows(self, first: int, count: int) -> torch.Tensor:
        self.samples += range(first, first + count)
        return self._loader.windows(first, count)


class Halt(Silence):
    """Stops a run after a step, in every process."""

    def __init__(self, after: int) -> None:
        self.after = after

    def step(self, step: object) -> None:
        if getattr(step, "step", 0) == self.after:
            raise KeyboardInterrupt


def config(folder: Path, out: str, **changes: object) -> TrainConfig:
    preset = TypeAdapter(Preset).validate_json((folder / PRESET).read_bytes())
    base = TrainConfig(
        data=str(folder / "tokens"), out=str(folder / out), preset=preset, tokens=1280, device="cpu", threads=1
    )
    return dataclasses.replace(base, **changes)


def main(folder: Path) -> None:
    with world.join("cpu") as place:
        for sharding in ("ddp", "fsdp"):
            trainer = Trainer(config(folder, sharding, sharding=sharding), Silence(), place)
            trainer.loader = log = Log(trainer.loader)
            trainer.run()
            (folder / f"{sharding}.{place.rank}.json").write_text(json.dumps(log.samples))
            # Stopped, to be taken up by one process.
            trainer = Trainer(config(folder, f"{sharding}-stopped", sharding=sharding), Silence(), place)
            trainer.watcher = Halt(6)
            with contextlib.suppress(KeyboardInterrupt):
                trainer.run()
            # Begun by one process, and taken up here.
            Trainer(config(folder, f"{sharding}-begun", sharding=sharding), Silence(), place).run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
