"""What machines are told: lines that are cut and written again, and what TensorBoard and Weights & Biases get of them.

Where the two are installed they are run for real, Weights & Biases offline; a stand-in holds the calls to it anyway.
"""

import dataclasses
import importlib
import importlib.util
import struct
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from curate.errors import UsageError
from pretrain import metrics
from pretrain.metrics import Metrics, read_metrics
from pretrain.presets import Preset
from pretrain.run import TrainConfig
from pretrain.train import Trainer

Curves = dict[str, dict[int, float]]


@pytest.fixture
def settings(tokens_dir: Path, tmp_path: Path, micro: Preset) -> TrainConfig:
    out = str(tmp_path / "run")
    return TrainConfig(
        data=str(tokens_dir), out=out, preset=micro, tokens=1280, device="cpu", threads=1, checkpoint_tokens=400
    )


def curves(run: Path) -> Curves:
    """Every number of metrics.jsonl by name and tokens."""
    out: Curves = {}
    for line in read_metrics(run):
        for name, value in metrics._numbers(line):
            out.setdefault(name, {})[line["tokens"]] = value
    return out


def stop_and_go_on(settings: TrainConfig, recorder: Any) -> None:
    """A run stopped after 6 steps, whose newest checkpoint is older, and taken up."""
    with pytest.raises(KeyboardInterrupt):
        Trainer(settings, recorder(stop_after=6)).run()
    Trainer(settings, recorder()).run()


def test_lines_are_cut_where_a_run_goes_on(tmp_path: Path) -> None:
    with Metrics(tmp_path, 0, []) as log:
        for samples in (8, 16, 24):
            log.add({"samples": samples, "tokens": samples * 16, "loss": 1.0})
    with (tmp_path / metrics.METRICS).open("ab") as file:
        file.write(b'{"samples": 32, "tok')
    Metrics(tmp_path, 16, []).__exit__(None, None, None)
    assert [line["samples"] for line in read_metrics(tmp_path)] == [8, 16]


@pytest.mark.parametrize(("changes", "words"), [({"tensorboard": True}, "tensorboard"), ({"wandb": "p"}, "wandb")])
def test_extras_that_are_not_installed_are_named(
    settings: TrainConfig, recorder: Any, monkeypatch: pytest.MonkeyPatch, changes: Any, words: str
) -> None:
    monkeypatch.setitem(sys.modules, words, None)
    with pytest.raises(UsageError, match=rf"install it with: pip install 'curate-pretrain\[{words}\]'"):
        Trainer(dataclasses.replace(settings, **changes), recorder()).run()


class Service:
    """A stand-in for the module wandb, which keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.points: list[dict[str, float]] = []
        self.ends: list[int] = []

    def init(self, **given: Any) -> Any:
        self.begun.append(given)
        return types.SimpleNamespace(
            id=given["id"] or "made-up",
            define_metric=lambda name, step_metric: None,
            log=self.points.append,
            finish=lambda exit_code: self.ends.append(exit_code),
        )


def test_wandb_goes_on_with_its_run(
    settings: TrainConfig, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    stop_and_go_on(dataclasses.replace(settings, wandb="corpus"), recorder)
    assert [(one["project"], one["id"], one["resume"]) for one in service.begun] == [
        ("corpus", None, "allow"),
        ("corpus", "made-up", "allow"),
    ]
    assert service.begun[0]["config"]["preset"]["name"] == "micro"
    assert service.ends == [1, 0]
    found: Curves = {}
    for point in service.points:
        for name, value in point.items():
            found.setdefault(name, {})[int(point["tokens"])] = value
    assert found.pop("tokens").keys() == {128 * step for step in range(1, 11)}
    assert found == curves(tmp_path / "run")
    assert {"loss", "rate", "norm", "held/all/bits_per_byte"} <= found.keys()


def test_wandb_that_is_asked_for_later_gets_what_was_before(
    settings: TrainConfig, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = Service()
    monkeypatch.setitem(sys.modules, "wandb", service)
    with pytest.raises(KeyboardInterrupt):
        Trainer(settings, recorder(stop_after=8)).run()
    Trainer(dataclasses.replace(settings, wandb="corpus"), recorder()).run()
    losses = {int(point["tokens"]): point["loss"] for point in service.points if "loss" in point}
    assert losses == curves(tmp_path / "run")["loss"]


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
@pytest.mark.filterwarnings("default")  # its own deprecations
def test_tensorboard_for_real(settings: TrainConfig, recorder: Any, tmp_path: Path) -> None:
    stop_and_go_on(dataclasses.replace(settings, tensorboard=True), recorder)
    events = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")
    read = events.EventAccumulator(str(tmp_path / "run" / metrics.TENSORBOARD), size_guidance={events.SCALARS: 0})
    read.Reload()
    want = curves(tmp_path / "run")
    assert set(read.Tags()["scalars"]) == set(want)
    for name, points in want.items():
        found = [(event.step, event.value) for event in read.Scalars(name)]
        assert [step for step, _ in found] == sorted(points)
        assert [value for _, value in found] == pytest.approx([points[step] for step, _ in found], rel=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("default")  # its own deprecations
def test_wandb_for_real(settings: TrainConfig, recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    stop_and_go_on(dataclasses.replace(settings, wandb="corpus"), recorder)
    importlib.import_module("wandb").teardown()  # until then its service may hold what it was given
    id_ = (tmp_path / "run" / metrics.WANDB).read_text("ascii")
    stored = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*/run-{id_}.wandb"))
    assert len(stored) == 2, "one file for each call, of one run"
    assert _losses(stored) == pytest.approx(curves(tmp_path / "run")["loss"])


def _losses(stored: list[Path]) -> dict[int, float]:
    """The losses by tokens in the files that `wandb sync` would send, later ones over earlier."""
    protocol = importlib.import_module("wandb.proto.wandb_internal_pb2")
    out = {}
    for path in stored:
        for data in _records(path.read_bytes()):
            record = protocol.Record()
            record.ParseFromString(data)
            items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            if "loss" in items:
                out[int(float(items["tokens"]))] = float(items["loss"])
    return out


def _records(data: bytes) -> Iterator[bytes]:
    """LevelDB's log: blocks of 32 KiB, pieces of (checksum, length, kind: whole, first, middle, last); here after a
    head of 7 bytes.
    """
    at, record = 7, b""
    while at < len(data):
        if at % 32768 > 32768 - 7:  # no room for another piece
            at += -at % 32768
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        record += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield record
            record = b""
