"""Which window of the training stream is which sample: arithmetic alone, no data, no state.

The shards of a split, end to end, are one stream of ids. It is cut into windows of context + 1 ids that overlap by one,
so each id is the target of one window. The last window is moved back to end with the stream: no tail is left unread,
and at most context - 1 targets are read twice in an epoch. Windows may straddle documents and shards.

Sample i is window `permutation(i mod windows)` of epoch `i div windows`, with a permutation keyed by the manifest, the
seed, the context and the epoch. So a batch depends on nothing else: not on the number of processes, the accumulation,
or where a run was stopped; and what a loader must remember is one integer, the samples consumed.

With weights each source is a stream of its own, and they take turns: sample i is the next window of the source whose
turn it is. The turns repeat after `SHARES` samples; within them a source's are spread as evenly as the golden section
spreads points on a circle, so that any stretch of a run holds the sources by their weights, to a few samples.
"""

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate import draw
from curate.errors import InputError

# Four rounds make a Feistel network a strong pseudorandom permutation (Luby and Rackoff 1988), given wide halves; small
# streams have narrow ones, and more rounds cost nothing that can be measured.
_ROUNDS = 8

# A weight is a number of turns out of so many: a precision of .0015%. A power of two, and so prime to the odd stride
# 65,536 / 1.618..., whose multiples fall evenly on the circle (Knuth, volume 3, section 6.4).
SHARES = 65_536
_STRIDE = 40_503


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source of a weighted run: `tokens` ids in its stream, and `share` of `SHARES` turns."""

    __pydantic_config__ = {"extra": "forbid"}
    name: str
    tokens: int
    share: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Realised:
    """What a run reads of a source."""

    samples: int
    share: float  # of all samples
    epochs: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole order of a run.

    Attributes:
        manifest: sha256 of the shard manifest.
        seed: the run's.
        stream: ids in the training stream; with sources, in theirs together.
        context: ids that a window predicts.
        batch: windows of one optimizer step.
        samples: windows of the whole run; the last step takes what is left, which may be less than a batch.
        first_batch: windows of the first step, from which batches grow linearly, by multiples of it.
        ramp: samples after which a batch has its full size; 0: all have.
        sources: those of a weighted run, in the order of their streams; none: all documents as they lie.
    """

    __pydantic_config__ = {"extra": "forbid"}
    manifest: str
    seed: int
    stream: int
    context: int
    batch: int
    samples: int
    first_batch: int = 1
    ramp: int = 0
    sources: tuple[Source, ...] = ()

    @property
    def weights(self) -> dict[str, float]:
        """Each source's share of the samples; empty where there are no weights."""
        return {source.name: source.share / SHARES for source in self.sources}

    @property
    def windows(self) -> int:
        """Windows of one epoch, of all sources."""
        return sum(num_windows(source.tokens, self.context) for source in self._streams)

    @property
    def steps(self) -> int:
        return self.steps_before(self.samples)

    @property
    def _streams(self) -> tuple[Source, ...]:
        return self.sources or (Source(name="", tokens=self.stream, share=SHARES),)

    def tokens(self, samples: int) -> int:
        """Ids predicted by that many samples."""
        return samples * self.context

    def count(self, first: int) -> int:
        """Windows of the step that begins with sample `first`."""
        size = self.batch
        if first < self.ramp:
            size = self.first_batch + (self.batch - self.first_batch) * first // self.ramp
            size = max(1, size // self.first_batch) * self.first_batch
        return min(size, self.samples - first)

    def steps_before(self, samples: int) -> int:
        """Steps that it takes to consume that many samples, which end a step."""
        steps, done = 0, 0
        while done < min(self.ramp, samples):
            steps, done = steps + 1, done + self.count(done)
        return steps + max(0, -(-(samples - done) // self.batch))

    def pieces(self, first: int, micro: int, rank: int = 0, size: int = 1) -> Iterator[tuple[int, int]]:
        """(first sample, samples) of each forward pass of a process in the step that begins with sample `first`.

        The step's samples are parted among `size` processes, as evenly as they divide, and each takes at most `micro`
        at a time. All make the same number of passes, so some may be of 0 samples.
        """
        count = self.count(first)
        begin, end = (first + count * each // size for each in (rank, rank + 1))
        most = -(-count // size)
        for number in range(-(-most // micro)):
            start = min(begin + number * micro, end)
            yield start, min(micro, end - start)

    def order(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """int64[count]: the windows of samples first, first + 1, ...: the log by which two runs can be compared.

        With sources, windows are counted through all of them.
        """
        samples = np.arange(first, first + count)
        out, base = np.empty(count, np.int64), 0
        owners, places = _turns(tuple(source.share for source in self._streams))
        for number, source in enumerate(self._streams):
            mine = np.flatnonzero(owners[samples % SHARES] == number)
            turns = samples[mine] // SHARES * source.share + places[samples[mine] % SHARES]
            windows = num_windows(source.tokens, self.context)
            name = (source.name,) if self.sources else ()
            for epoch in np.unique(turns // windows).tolist():
                inside = turns // windows == epoch
                key = draw.key("pretrain.plan", self.manifest, self.seed, self.context, epoch, *name)
                out[mine[inside]] = base + permute(turns[inside] % windows, windows, key)
            base += windows
        return out

    def starts(self, first: int, count: int) -> npt.NDArray[np.int64]:
        """int64[count]: where in the stream the windows of these samples begin; streams of sources lie end to end."""
        out, order, before, base = np.empty(count, np.int64), self.order(first, count), 0, 0
        for source in self._streams:
            windows = num_windows(source.tokens, self.context)
            mine = (order >= before) & (order < before + windows)
            out[mine] = base + np.minimum((order[mine] - before) * self.context, source.tokens - 1 - self.context)
            before, base = before + windows, base + source.tokens
        return out

    def realised(self, samples: int) -> dict[str, Realised]:
        """What the first so many samples read of each source; empty without sources."""
        owners, _ = _turns(tuple(source.share for source in self._streams))
        rest, out = owners[: samples % SHARES], {}
        for number, source in enumerate(self.sources):
            count = samples // SHARES * source.share + int((rest == number).sum())
            epochs = count / num_windows(source.tokens, self.context)
            out[source.name] = Realised(samples=count, share=count / max(1, samples), epochs=epochs)
        return out


def shares(weights: Mapping[str, float]) -> dict[str, int]:
    """Turns out of `SHARES` by weight, of the sources whose weight is not 0; what is left over goes to the largest
    remainders.

    Raises:
        ValueError: if a weight is negative or no number, all are 0, or one is too small for a single turn.
    """
    total = math.fsum(weights.values())
    if not all(0 <= weight < math.inf for weight in weights.values()) or not 0 < total < math.inf:
        raise ValueError(f"weights {dict(weights)}: give numbers of at least 0, and one above")
    exact = {name: weight / total * SHARES for name, weight in weights.items() if weight}
    out = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: out[name] - exact[name])[: SHARES - sum(out.values())]:
        out[name] += 1
    small = [name for name, share in out.items() if not share]
    if small:
        raise ValueError(f"the weight of {small[0]} is below 1 / {SHARES} of all; raise it, or give 0")
    return out


@functools.lru_cache(maxsize=8)
def _turns(share: tuple[int, ...]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """int64[SHARES] each: whose turn it is, and how many turns the same had before."""
    slots = np.arange(SHARES) * _STRIDE % SHARES
    owners = np.searchsorted(np.cumsum(share), slots, "right")
    places = np.empty(SHARES, np.int64)
    for number, count in enumerate(share):
        places[owners == number] = np.arange(count)
    return owners, places


def num_windows(stream: int, context: int) -> int:
    """Windows that cover a stream.

    Raises:
        InputError: if it does not fill one.
    """
    if stream < context + 1:
        raise InputError(
            f"the training split, or a source of it, holds {stream} tokens, and one window takes {context + 1}; "
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
