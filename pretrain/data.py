"""Windows of ids out of memory-mapped shards. Which window comes when is `plan`'s affair.

There is no state, no worker and no buffer to lose: a batch is read when it is asked for.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.shards import Ids, Split
from pretrain.plan import Plan


class Stream:
    """A split's shards, end to end."""

    def __init__(self, split: Split) -> None:
        self._shards: list[Ids] = [shard.ids for shard in split.shards]
        self._ends = np.cumsum([len(ids) for ids in self._shards], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if self._shards else 0

    def read(self, start: int, out: npt.NDArray[np.int64]) -> None:
        """Fill `out` with the ids from `start` on, across shards.

        Raises:
            IndexError: if they pass the end.
        """
        if not 0 <= start <= len(self) - len(out):
            raise IndexError(f"ids {start} to {start + len(out)} of a stream of {len(self)}")
        shard, done = int(np.searchsorted(self._ends, start, "right")), 0
        while done < len(out):
            ids = self._shards[shard]
            begin = start + done - (int(self._ends[shard]) - len(ids))
            piece = ids[begin : begin + len(out) - done]
            out[done : done + len(piece)] = piece
            shard, done = shard + 1, done + len(piece)


class Loader:
    """The batches of a plan, on a device."""

    def __init__(self, stream: Stream, plan: Plan, device: torch.device) -> None:
        self._stream, self._plan, self._device = stream, plan, device

    def windows(self, first: int, count: int) -> Tensor:
        """int64 [count, context + 1]: samples first, first + 1, ..."""
        out = torch.empty(count, self._plan.context + 1, dtype=torch.int64, pin_memory=self._device.type == "cuda")
        rows = out.numpy()
        for row, start in zip(rows, self._plan.starts(first, count), strict=True):
            self._stream.read(int(start), row)
        return out.to(self._device, non_blocking=True)

    def batch(self, first: int, count: int, micro: int) -> Iterator[Tensor]:
        """The same samples in pieces of at most `micro` windows."""
        for offset in range(0, count, micro):
            yield self.windows(first + offset, min(micro, count - offset))
