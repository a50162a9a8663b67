"""What a run tells machines: metrics.jsonl, and TensorBoard or Weights & Biases where they are asked for.

metrics.jsonl has a line a step, a line a validation and a line a skipped update; each names the samples consumed. There
is no clock in it, so that an interrupted run and an uninterrupted one leave the same bytes.
"""

import importlib
import json
import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from curate import storage
from curate.errors import InputError, UsageError

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
WANDB = "wandb.id"
# Of a line: where it stands, not what was measured.
_PLACES = {"step", "samples", "tokens", "total"}


class Sink(Protocol):
    """Whoever draws curves of numbers by tokens.

    Attributes:
        empty: it has nothing of the run yet, and is to be given what was measured before.
    """

    empty: bool

    def add(self, tokens: int, numbers: dict[str, float]) -> None: ...
    def close(self, *, failed: bool) -> None: ...


class TensorBoard:
    """Event files in the run's folder, written anew from metrics.jsonl whenever a run is taken up."""

    empty = True

    def __init__(self, out: Path) -> None:
        """
        Raises:
            UsageError: if it is not installed.
        """
        _need("tensorboard", "--tensorboard")
        folder = out / TENSORBOARD
        if folder.exists():
            shutil.rmtree(folder)
        self._writer: Any = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(folder))

    def add(self, tokens: int, numbers: dict[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, tokens)

    def close(self, *, failed: bool) -> None:
        self._writer.close()


class WandB:
    """A run of Weights & Biases, which takes keys and modes from its own settings. Its id lies in the run's folder, so
    that a run that is taken up goes on there too.
    """

    def __init__(self, project: str, out: Path, settings: dict[str, Any]) -> None:
        """
        Raises:
            UsageError: if it is not installed.
        """
        wandb = _need("wandb", "--wandb")
        path = out / WANDB
        self.empty = not path.exists()
        self._run = wandb.init(
            project=project,
            dir=str(out),
            id=None if self.empty else path.read_text("ascii"),
            name=out.resolve().name,
            resume="allow",
            config=settings,
        )
        # Steps that come again after a kill fall on the same place.
        self._run.define_metric("*", step_metric="tokens")
        if self.empty:
            with storage.atomic(str(path)) as file:
                file.write(self._run.id.encode("ascii"))

    def add(self, tokens: int, numbers: dict[str, float]) -> None:
        self._run.log({"tokens": tokens} | numbers)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def _need(module: str, flag: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{flag} needs {module}; install it with: pip install 'curate-pretrain[{module}]'") from error


class Metrics:
    """A run's metrics, open for writing. Lines after `samples` are cut off: they are about to be made again."""

    def __init__(self, out: Path, samples: int, sinks: list[Sink]) -> None:
        """
        Raises:
            InputError: if the file is damaged.
        """
        kept = [line for line in read_metrics(out) if line["samples"] <= samples]
        with storage.atomic(str(out / METRICS)) as file:
            file.write(b"".join(line_of(line) for line in kept))
        self._file = open(out / METRICS, "ab")  # noqa: SIM115
        self._sinks = sinks
        for sink in sinks:
            for line in kept if sink.empty else ():
                sink.add(line["tokens"], dict(_numbers(line)))

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        for sink in self._sinks:
            sink.close(failed=kind is not None)

    def add(self, line: dict[str, Any]) -> None:
        """Write a line; the numbers in it, at any depth, go to the sinks under their path."""
        self._file.write(line_of(line))
        self._file.flush()
        numbers = dict(_numbers(line))
        for sink in self._sinks:
            sink.add(line["tokens"], numbers)

    def sync(self) -> None:
        """To the disk: a checkpoint must not be newer than its metrics."""
        os.fsync(self._file.fileno())


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; none if it has not begun. A last line cut short by a kill is left out.

    Raises:
        InputError: if another line is damaged.
    """
    return read_lines(out / METRICS)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that grows by whole lines; none if there is none. A last one cut short is left out.

    Raises:
        InputError: if another line is damaged.
    """
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="ascii", errors="replace").split("\n")
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; remove it, the run does not need it") from error


def line_of(value: dict[str, Any]) -> bytes:
    """A line of JSON.

    Raises:
        ValueError: if a number is not finite.
    """
    return json.dumps(value, allow_nan=False).encode("ascii") + b"\n"


def _numbers(line: dict[str, Any], prefix: str = "") -> list[tuple[str, float]]:
    out: list[tuple[str, float]] = []
    for name, value in line.items():
        if name in _PLACES and not prefix:
            continue
        if isinstance(value, dict):
            out += _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            out.append((prefix + name, float(value)))
    return out
