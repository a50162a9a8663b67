"""Windows of ids out of memory-mapped shards. Which window comes when is `plan`'s affair.

There is no state, no worker and no buffer to lose: a batch is read when it is asked for.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from curate.shards import Shard, Split
from pretrain.plan import Plan


class Stream:
    """A split's shards, end to end; or the documents of some sources, source after source.

    Attributes:
        lengths: ids of each source's stream, in order; empty without sources.
    """

    def __init__(self, split: Split, sources: Sequence[str] = ()) -> None:
        """
        Args:
            sources: their documents alone are read; none: all, as they lie.
        """
        self._shards = split.shards
        by_source = _runs(split.shards, sources)
        self.lengths = {name: sum(end - begin for _, begin, end in runs) for name, runs in by_source.items()}
        whole = [(number, 0, len(shard.ids)) for number, shard in enumerate(split.shards)]
        runs = [run for each in by_source.values() for run in each] if sources else whole
        # int64 [runs, 3]: shard, begin, end. A corpus may have millions, so they are no Python objects.
        self._runs = np.array(runs, np.int64).reshape(-1, 3)
        self._ends = np.cumsum(self._runs[:, 2] - self._runs[:, 1])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def read(self, start: int, out: npt.NDArray[np.int64]) -> None:
        """Fill `out` with the ids from `start` on, across shards.

        Raises:
            IndexError: if they pass the end.
        """
        done = 0
        for shard, begin, end in self._spans(start, len(out)):
            out[done : done + end - begin] = self._shards[shard].ids[begin:end]
            done += end - begin

    def documents(self, start: int, count: int) -> list[str]:
        """The ids of the documents that the next `count` ids from `start` on belong to, in order, each once.

        Raises:
            IndexError: if they pass the end.
            InputError, StaleError: if a shard's list of documents is damaged.
        """
        out: dict[str, None] = {}
        for number, begin, end in self._spans(start, count):
            shard = self._shards[number]
            first = int(np.searchsorted(shard.starts, begin, "right")) - 1
            last = int(np.searchsorted(shard.starts, end - 1, "right"))
            out |= dict.fromkeys(shard.documents()["id"].slice(first, last - first).to_pylist())
        return list(out)

    def _spans(self, start: int, count: int) -> Iterator[tuple[int, int, int]]:
        """(shard, begin, end) of what holds these ids."""
        if not 0 <= start <= len(self) - count:
            raise IndexError(f"ids {start} to {start + count} of a stream of {len(self)}")
        run = int(np.searchsorted(self._ends, start, "right"))
        while count:
            shard, begin, end = self._runs[run].tolist()
            begin = end - (int(self._ends[run]) - start)
            end = min(end, begin + count)
            yield shard, begin, end
            run, start, count = run + 1, start + end - begin, count - (end - begin)


def _runs(shards: Sequence[Shard], sources: Sequence[str]) -> dict[str, list[tuple[int, int, int]]]:
    """For each source (shard, begin, end) of its documents, neighbours together.

    Its first document begins with the end-of-text before it, as every other does.
    """
    out: dict[str, list[tuple[int, int, int]]] = {name: [] for name in sources}
    for number, shard in enumerate(shards if sources else ()):
        owners = shard.documents()["source"].combine_chunks().dictionary_encode()
        names, codes = owners.dictionary.to_pylist(), owners.indices.to_numpy()
        bounds = np.flatnonzero(np.diff(codes, prepend=-1, append=-1))
        for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            runs = out.get(names[codes[first]])
            if runs is not None:
                begin = int(shard.starts[first])
                runs.append((number, begin - (not runs and begin > 0), int(shard.starts[last])))
    return out


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

    def documents(self, first: int, count: int) -> list[str]:
        """The ids of the documents of which these samples hold a part, each once."""
        starts = self._plan.starts(first, count).tolist()
        found = (self._stream.documents(start, self._plan.context + 1) for start in starts)
        return list(dict.fromkeys(id_ for each in found for id_ in each))
