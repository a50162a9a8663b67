"""Checkpoints: a folder each, that appears whole or not at all, and nothing in it that could run code.

    checkpoints/000000131072/model.safetensors       weights, float32
                             optimizer.safetensors   AdamW's moments and steps, by parameter
                             tokenizer.json          the tokenizer that the ids belong to
                             state.json              what the run is and how far it came

Folders are named by the tokens consumed. A checkpoint is written under a temporary name, flushed to disk and renamed;
so any folder without that name is complete. Local disks only: a rename is what makes it atomic.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from curate import storage
from curate.errors import InputError, ModelError, UsageError
from curate.shards import TOKENIZER
from pretrain.model import GPT
from pretrain.plan import Plan
from pretrain.presets import Preset

VERSION = 1
FOLDER = "checkpoints"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
LOCK = ".lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All of a run that is not a tensor.

    Attributes:
        samples: windows consumed; with the plan, the loader's whole state.
        vocabulary: the tokenizer's, without padding.
        end_of_text: its id.
        threads: CPU threads, of which the last bits of a sum depend.
    """

    __pydantic_config__ = {"extra": "forbid"}
    version: int
    preset: Preset
    plan: Plan
    samples: int
    vocabulary: int
    end_of_text: int
    threads: int
    torch: str


def folder_of(run: Path, tokens: int) -> Path:
    """The checkpoint of a run after that many tokens."""
    return run / FOLDER / f"{tokens:012d}"


def find_all(run: Path) -> list[Path]:
    """The run's complete checkpoints, oldest first."""
    return sorted(path for path in (run / FOLDER).glob("*") if path.is_dir() and path.name.isdecimal())


def resolve(path: Path) -> Path:
    """The checkpoint that a user names by its folder, or the newest of the run that he names.

    Raises:
        InputError: if there is none.
    """
    if (path / STATE).is_file():
        return path
    found = find_all(path)
    if not found:
        raise InputError(f"{path} holds no checkpoint; name the --out folder of `pretrain train`, or one below it")
    return found[-1]


def local(path: str, flag: str) -> Path:
    """The path of a folder on a local disk.

    Raises:
        UsageError: if it is a URL.
    """
    if storage.is_remote(path):
        raise UsageError(f"{flag} {path} is remote; name a folder on a local disk")
    return Path(path.removeprefix("file://"))


@contextlib.contextmanager
def lock(run: Path) -> Iterator[None]:
    """Hold the run's folder, made if need be, against other processes of this machine; a kill releases it.

    Raises:
        InputError: if another holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with open(run / LOCK, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(f"another process is training in {run}; wait for it, or give another --out") from error
        yield


def save(run: Path, state: State, model: GPT, optimizer: torch.optim.Optimizer, tokenizer: Path, *, keep: int) -> Path:
    """Write a checkpoint and remove all but the newest `keep`."""
    target = folder_of(run, state.plan.tokens(state.samples))
    for left in target.parent.glob(f"{storage.TEMPORARY}*"):  # by a run that was killed
        shutil.rmtree(left)
    temporary = target.with_name(f"{storage.TEMPORARY}{target.name}")
    temporary.mkdir(parents=True)
    save_file(dict(model.state_dict()), temporary / MODEL)
    save_file(_moments(model, optimizer), temporary / OPTIMIZER)
    shutil.copyfile(tokenizer, temporary / TOKENIZER)
    (temporary / STATE).write_text(json.dumps(asdict(state), indent=1, sort_keys=True) + "\n")
    for path in [*temporary.iterdir(), temporary]:
        _flush(path)
    temporary.rename(target)
    _flush(target.parent)
    for old in find_all(run)[:-keep]:
        # Renamed first: a folder that is half removed must not look complete.
        shutil.rmtree(old.rename(old.with_name(f"{storage.TEMPORARY}{old.name}")))
    return target


def read_state(folder: Path) -> State:
    """The checkpoint's state.

    Raises:
        InputError: if the file is missing.
        ModelError: if it is damaged or of another version.
    """
    with storage.open_input(str(folder / STATE)) as file:
        raw = file.read()
    try:
        state = TypeAdapter(State).validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise ModelError(f"{folder / STATE} is no checkpoint state: {where}: {first['msg']}") from error
    if state.version != VERSION:
        raise ModelError(f"{folder / STATE} has version {state.version}, this code reads {VERSION}; train anew")
    return state


def load_model(folder: Path, state: State) -> GPT:
    """The model on the CPU.

    Raises:
        ModelError: if the file is damaged or holds other tensors than the state says.
    """
    with torch.device("meta"):
        model = GPT(state.preset.model, state.vocabulary)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.load_state_dict(_load(folder / MODEL, expected), assign=True)
    return model.requires_grad_(True)


def load_optimizer(folder: Path, model: GPT, optimizer: torch.optim.Optimizer) -> None:
    """Put the checkpoint's moments into the optimizer of this model.

    Raises:
        ModelError: if the file is damaged or holds other tensors than the optimizer needs.
    """
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    expected = {f"{kind}.{name}": shape for name, shape in shapes.items() for kind in ("exp_avg", "exp_avg_sq")}
    tensors = _load(folder / OPTIMIZER, expected | {f"step.{name}": torch.Size() for name in shapes})
    names = {parameter: name for name, parameter in model.named_parameters()}
    state = optimizer.state_dict()
    # torch numbers the parameters group by group.
    order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    kinds = ("exp_avg", "exp_avg_sq", "step")
    state["state"] = {index: {kind: tensors[f"{kind}.{name}"] for kind in kinds} for index, name in enumerate(order)}
    optimizer.load_state_dict(state)


def _moments(model: GPT, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{kind}.{name}": value
        for name, parameter in model.named_parameters()
        for kind, value in optimizer.state[parameter].items()
    }


def _load(path: Path, expected: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path} is unreadable: {storage.reason(error)}; remove {path.parent} to use the checkpoint before it"
        ) from error
    for name in expected.keys() | tensors.keys():
        want, have = expected.get(name), tensors[name].shape if name in tensors else None
        if want != have:
            raise ModelError(f"{path}: tensor {name} has shape {have}, the state says {want}")
    return tensors


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
