"""Which window of the training stream is which sample: arithmetic alone, no data, no state.

The shards of a split, end to end, are one stream of ids. It is cut into windows of context + 1 ids that overlap by one,
so each id is the target of one window. The last window is moved back to end with the stream: no tail is left unread,
and at most context - 1 targets are read twice in an epoch. Windows may straddle documents and shards.

Sample i is window `permutation(i mod windows)` of epoch `i div windows`, with a permutation keyed by the manifest, the
seed, the context and the epoch. So a batch depends on nothing else: not on the number of processes, the accumulation,
or where a run was stopped; and what a loader must remember is one integer, the samples consumed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate import draw
from curate.errors import InputError

# Four rounds make a Feistel network a strong pseudorandom permutation (Luby and Rackoff 1988), given wide halves; small
# streams have narrow ones, and more rounds cost nothing that can be measured.
_ROUNDS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole order of a run.

    Attributes:
        manifest: sha256 of the shard manifest.
        seed: the run's.
        stream: ids in the training stream.
        context: ids that a window predicts.
        batch: windows of one optimizer step.
        samples: windows of the whole run; the last step takes what is left, which may be less than a batch.
    """

    __pydantic_config__ = {"extra": "forbid"}
    manifest: str
    seed: int
    stream: int
    context: int
    batch: int
    samples: int

    @property
    def windows(self) -> int:
        """Windows of one epoch."""
        return num_windows(self.stream, self.context)

    @property
    def steps(self) -> int:
        return -(-self.samples // self.batch)

    def tokens(self, samples: int) -> int:
        """Ids predicted by that many samples."""
        return samples * self.context

    def order(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """int64[count]: the windows of samples first, first + 1, ...: the log by which two runs can be compared."""
        samples = np.arange(first, first + count)
        out = np.empty(count, np.int64)
        for epoch in range(first // self.windows, (first + count - 1) // self.windows + 1):
            inside = samples // self.windows == epoch
            key = draw.key("pretrain.plan", self.manifest, self.seed, self.context, epoch)
            out[inside] = permute(samples[inside] % self.windows, self.windows, key)
        return out

    def starts(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """int64[count]: where in the stream the windows of these samples begin."""
        return np.minimum(self.order(first, count) * self.context, self.stream - 1 - self.context)


def num_windows(stream: int, context: int) -> int:
    """Windows that cover a stream.

    Raises:
        InputError: if it does not fill one.
    """
    if stream < context + 1:
        raise InputError(
            f"the training split holds {stream} tokens, and one window takes {context + 1}; "
            "tokenize more text or take a preset with a smaller context"
        )
    return -(-(stream - 1) // context)


def permute(index: npt.NDArray[np.integer], size: int, key: int) -> npt.NDArray[np.int64]:
    """int64: the place of each index under a keyed permutation of range(size), in O(1) memory.

    A balanced Feistel network on the next even power of two, walked along its cycles until it falls inside the range
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"): at most four passes expected.
    """
    half = np.uint64(max(1, -(-(size - 1).bit_length() // 2)))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = [np.uint64(draw.key("pretrain.round", key, number)) for number in range(_ROUNDS)]
    out = _encrypt(index.astype(np.uint64), half, mask, keys)
    while (outside := out >= size).any():
        out[outside] = _encrypt(out[outside], half, mask, keys)
    return out.astype(np.int64)


def _encrypt(
    x: npt.NDArray[np.uint64], half: np.uint64, mask: np.uint64, keys: list[np.uint64]
) -> npt.NDArray[np.uint64]:
    left, right = x >> half, x & mask
    for key in keys:
        left, right = right, left ^ (draw.mix(right ^ key) & mask)
    return (left << half) | right
