"""The device, and torch's process-wide switches while a command runs on it."""

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch

from curate.errors import UsageError

DeviceName = Literal["auto", "cpu", "cuda"]


def find_device(name: DeviceName) -> torch.device:
    """The device of that name; auto takes the GPU where there is one.

    Raises:
        UsageError: if it is cuda and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch finds no GPU; take --device cpu or auto")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def mixed(device: torch.device) -> torch.autocast:
    """Matrix products in bfloat16 on a GPU; float32 throughout on the CPU."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")


@contextlib.contextmanager
def switches(device: torch.device, threads: int | None) -> Iterator[None]:
    """That many CPU threads (None: as they are); on the CPU an operation that is not deterministic is an error.

    What was set before is restored.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads or before[0])
    torch.use_deterministic_algorithms(before[1] or device.type == "cpu")
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
