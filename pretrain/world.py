"""The processes of a run: one, or those that torchrun started. What is trained does not depend on their number.

`ddp` holds the whole model in each process; `fsdp` (FSDP2) parts weights, gradients and moments among them.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from pretrain import machine
from pretrain.model import GPT

Sharding = Literal["ddp", "fsdp"]


@dataclass(frozen=True, slots=True)
class World:
    """This process among `size`."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes and speaks for all."""
        return self.rank == 0

    def total(self, value: Tensor) -> Tensor:
        """The sum over all processes, in each."""
        if self.size > 1:
            dist.all_reduce(value)
        return value


@contextlib.contextmanager
def join(name: machine.DeviceName) -> Iterator[World]:
    """This process's place among those of torchrun, on a device of its own; alone without torchrun.

    Raises:
        UsageError: if the device is cuda and there is none.
    """
    device = machine.find_device(name)
    if not dist.is_torchelastic_launched():
        yield World(device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(device, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class _Loss(nn.Module):
    """DDP wraps a module's forward; this one's is the loss."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows_BT: Tensor, arguments: dict[str, Any]) -> Tensor:
        return self.model.loss(windows_BT, **arguments)


class Parallel:
    """A model's loss on this process's share of a step, with gradients that are the mean over all processes."""

    def __init__(self, model: GPT, world: World) -> None:
        """
        Args:
            model: sharded or not: see `shard`.
        """
        self._model = model
        alone = world.size == 1 or isinstance(model, FSDPModule)
        self._ddp = None if alone else DistributedDataParallel(_Loss(model), gradient_as_bucket_view=True)

    def loss(self, windows_BT: Tensor, **arguments: Any) -> Tensor:
        """As `GPT.loss`."""
        if self._ddp is None:
            return self._model.loss(windows_BT, **arguments)
        loss: Tensor = self._ddp(windows_BT, arguments)
        return loss

    @contextlib.contextmanager
    def last(self, last: bool) -> Iterator[None]:
        """Within it, gradients are exchanged in a step's last backward pass alone; before, they add up."""
        if isinstance(self._model, FSDPModule):
            self._model.set_requires_gradient_sync(last)
        with contextlib.nullcontext() if last or self._ddp is None else self._ddp.no_sync():
            yield


def shard(model: GPT, world: World) -> None:
    """Part the model's weights among the processes, block by block."""
    mesh = init_device_mesh(world.device.type, (world.size,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for method in ("loss", "nats"):
        register_fsdp_forward_method(model, method)


def whole(value: Tensor) -> Tensor:
    """A sharded tensor put together, in every process; another as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def compile_blocks(model: GPT) -> None:
    """Have each block compiled when it first runs; they are alike, so it is done once."""
    for block in model.blocks:
        block.compile()


def compiled(wanted: bool, *, use: bool) -> contextlib.AbstractContextManager[object]:
    """Within it compiled blocks run as such, or as they were written: windows of training have one shape, while what
    is scored or sampled has many, and each would be compiled anew. Without `wanted` there is nothing to switch.
    """
    if not wanted:
        return contextlib.nullcontext()
    stance: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("default" if use else "force_eager")
    return stance
