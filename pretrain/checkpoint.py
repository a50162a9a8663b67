"""Checkpoints: a folder each, that appears whole or not at all, and nothing in it that could run code.

    checkpoints/000000131072/model.safetensors       weights, float32
                             optimizer.safetensors   the optimizers' moments and steps, by parameter
                             tokenizer.json          the tokenizer that the ids belong to
                             state.json              what the run is and how far it came

A run with sharded weights writes, with torch's distributed checkpoint, a safetensors file a process in place of the
first two; any number of processes reads either.

Folders are named by the tokens consumed. A checkpoint is copied in memory and written while training goes on, under a
temporary name, flushed to disk and renamed; so any folder without that name is complete. Local disks, or one that all
processes share: a rename is what makes it atomic.
"""

import contextlib
import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load as load_distributed
from torch.distributed.checkpoint.state_dict_saver import async_save
from torch.distributed.fsdp import FSDPModule
from torch.optim import Optimizer

from curate import storage
from curate.errors import InputError, ModelError, UsageError
from curate.shards import TOKENIZER
from pretrain import optim
from pretrain.model import GPT
from pretrain.optim import Scale
from pretrain.plan import Plan
from pretrain.presets import Preset
from pretrain.world import World

VERSION = 1
FOLDER = "checkpoints"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.safetensors"
STATE = "state.json"
LOCK = ".lock"
# Tensors of the optimizers are named `kind.parameter`.
_KINDS = ("exp_avg.", "exp_avg_sq.", "step.", "momentum_buffer.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Best:
    """The validation with the fewest bits per byte so far, over all sources, and the tokens before it."""

    __pydantic_config__ = {"extra": "forbid"}
    tokens: int
    bits_per_byte: float


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All of a run that is not a tensor.

    Attributes:
        samples: windows consumed; with the plan, the loader's whole state.
        vocabulary: the tokenizer's, without padding.
        end_of_text: its id.
        threads: CPU threads, on which the last bits of a sum depend.
        scale: of a float16 run's loss; None: another precision.
        recent: loss and gradient norm of the last steps, where spikes are skipped.
        best: None: nothing was validated yet.
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
    scale: Scale | None = None
    recent: tuple[tuple[float, float], ...] = ()
    best: Best | None = None


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


class Saver:
    """Writes a run's checkpoints beside its training, one at a time.

    As a context it ends with what it began: a checkpoint under way is complete when the context is left.
    """

    def __init__(self, run: Path, tokenizer: Path, world: World, *, keep: int) -> None:
        """Removes what a killed run left half written.

        Args:
            keep: newest checkpoints that stay, besides the best.
        """
        self._run, self._tokenizer, self._world, self._keep = run, tokenizer, world, keep
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._pending: Future[Any] | None = None
        # Its exchanges must not meet those of the training, which goes on.
        self._group: Any = dist.new_group(backend="gloo") if world.size > 1 else None
        if world.leads:
            for left in (run / FOLDER).glob(f"{storage.TEMPORARY}*"):
                shutil.rmtree(left)

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self.wait()
        finally:
            self._pool.shutdown()

    def wait(self) -> None:
        """Until the last checkpoint is complete.

        Raises:
            OSError: if it could not be written.
        """
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def save(self, state: State, model: GPT, optimizers: Sequence[Optimizer]) -> None:
        """Copy a checkpoint, and begin to write it; all processes of a run call this together.

        Raises:
            OSError: if the one before could not be written.
        """
        self.wait()
        target = folder_of(self._run, state.plan.tokens(state.samples))
        temporary = target.with_name(f"{storage.TEMPORARY}{target.name}")
        weights, moments = dict(model.state_dict()), _moments(model, optimizers)
        if isinstance(model, FSDPModule):
            temporary.mkdir(parents=True, exist_ok=True)
            writer = HuggingFaceStorageWriter(str(temporary), save_distributed=True)
            written = async_save(weights | moments, storage_writer=writer, process_group=self._group)
            assert isinstance(written, Future)
            # This process's is done when all are.
            self._pending = self._pool.submit(self._finish, written, state, target) if self._world.leads else written
        elif self._world.leads:
            copies = [
                {name: value.detach().to("cpu", copy=True) for name, value in d.items()} for d in (weights, moments)
            ]
            self._pending = self._pool.submit(self._write, copies, state, target)

    def _finish(self, written: "Future[Any]", state: State, target: Path) -> None:
        written.result()
        self._commit(state, target)

    def _write(self, tensors: Sequence[dict[str, Tensor]], state: State, target: Path) -> None:
        temporary = target.with_name(f"{storage.TEMPORARY}{target.name}")
        temporary.mkdir(parents=True, exist_ok=True)
        for name, part in zip((MODEL, OPTIMIZER), tensors, strict=True):
            write_tensors(temporary / name, part)
        self._commit(state, target)

    def _commit(self, state: State, target: Path) -> None:
        """Complete a folder of tensors, give it its name, and remove what is too old."""
        temporary = target.with_name(f"{storage.TEMPORARY}{target.name}")
        shutil.copyfile(self._tokenizer, temporary / TOKENIZER)
        (temporary / STATE).write_text(json.dumps(asdict(state), indent=1, sort_keys=True) + "\n")
        for path in [*temporary.iterdir(), temporary]:
            _flush(path)
        temporary.rename(target)
        _flush(target.parent)
        best = folder_of(self._run, state.best.tokens) if state.best else None
        for old in find_all(self._run)[: -self._keep]:
            if old != best:
                # Renamed first: a folder that is half removed must not look complete.
                shutil.rmtree(old.rename(old.with_name(f"{storage.TEMPORARY}{old.name}")))


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
        ModelError: if a file is damaged or holds other tensors than the state says.
    """
    with torch.device("meta"):
        model = GPT(state.preset.model, state.vocabulary)
    model.to_empty(device="cpu")
    load_weights(folder, model)
    return model


def load_weights(folder: Path, model: GPT) -> None:
    """Put the checkpoint's weights into a model, which may be sharded.

    Raises:
        ModelError: if a file is damaged or holds other tensors than the model has.
    """
    _load(folder, dict(model.state_dict()), moments=False)


def load_moments(folder: Path, model: GPT, optimizers: Sequence[Optimizer]) -> None:
    """Put the checkpoint's moments into the optimizers of a model, which may be sharded.

    Raises:
        ModelError: if a file is damaged or holds other tensors than the optimizers need.
    """
    _load(folder, _moments(model, optimizers), moments=True)


def _moments(model: GPT, optimizers: Sequence[Optimizer]) -> dict[str, Tensor]:
    owner = {p: each for each in optimizers for group in each.param_groups for p in group["params"]}
    return {
        f"{kind}.{name}": value
        for name, parameter in model.named_parameters()
        for kind, value in optim.moments(owner[parameter], parameter).items()
    }


@torch.no_grad()
def _load(folder: Path, tensors: Mapping[str, Tensor], *, moments: bool) -> None:
    """Fill these tensors, or the shards of them that lie here, from the folder's files, whoever wrote them."""
    advice = f"remove {folder} to use the checkpoint before it"
    reader = HuggingFaceStorageReader(str(folder))
    try:
        shapes = {
            name: meta.size
            for name, meta in reader.read_metadata().state_dict_metadata.items()
            if isinstance(meta, TensorStorageMetadata) and name.startswith(_KINDS) == moments
        }
        for name in tensors.keys() | shapes.keys():
            want, have = tensors[name].shape if name in tensors else None, shapes.get(name)
            if want != have:
                raise ModelError(f"{folder}: tensor {name} has shape {have}, the state says {want}")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "torch.distributed is disabled")  # so it is, in a single process
            load_distributed(dict(tensors), storage_reader=reader)
    except (SafetensorError, OSError, CheckpointException) as error:
        raise ModelError(f"{folder} is unreadable: {storage.reason(error)}; {advice}") from error


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, which appears whole or not at all, and is on the disk then.

    Raises:
        OSError: if it cannot be written.
    """
    temporary = path.with_name(f"{storage.TEMPORARY}{path.name}")
    with open(temporary, "wb") as file:
        mode = os.fstat(file.fileno()).st_mode
    try:
        save_file(tensors, temporary, metadata)
        # safetensors puts a file of its own there, which none but its owner may read.
        temporary.chmod(mode)
        _flush(temporary)
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
