"""What two arms' losses on the same documents, with the same seeds, say about their difference: statistics alone.

Losses are bits of documents, [seeds, documents], one array a held-out source. A source's loss is its bits divided by
its bytes; the loss over several sources is the mean of theirs, each source counting the same.

Intervals: seeds and documents are both drawn anew, crossed, since every seed reads every document (the pigeonhole
bootstrap of Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1(2)). One fewer is drawn of each than
there are, which makes the variance of a mean of few unbiased (McCarthy and Snowden 1985). Percentiles of so few seeds
would be too narrow, so the interval is the bootstrap's standard error times Student's t, with the degrees of freedom of
Satterthwaite 1946.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from curate import draw

Verdict = Literal["better", "worse", "undecided"]
Floats = npt.NDArray[np.float64]

DRAWS = 2000
# With two, intervals missed a true 0 in 12 of 100 simulated comparisons instead of 5; from three on they hold.
LEAST_SEEDS = 3
# Chance that a comparison of arms that do not differ names a winner anywhere.
ERROR = 0.05
_MOST_SEEDS = 10_000
# Drawn indices held at once.
_CHUNK = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """How much the control's loss varies with the seed alone, in bits per byte.

    Attributes:
        loss: mean over seeds.
        deviation: standard deviation of a run.
        floor: smallest difference that so many seeds of two arms would show if pairing them gained nothing.
    """

    loss: float
    deviation: float
    floor: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """An arm's loss less the control's, in bits per byte: below 0 the arm is better.

    Attributes:
        loss: the arm's own.
        value, low, high: the difference and its interval.
        error: standard error, from seeds and documents.
        seed_deviation: standard deviation of the difference of one pair of runs.
        freedom: degrees of freedom of the error.
        verdict: undecided if the interval holds 0, or the difference is below the floor.
        seeds_to_decide: pairs of runs that would decide, were the difference and the noise what they seem; None: no
            number would, more documents are needed.
    """

    loss: float
    value: float
    low: float
    high: float
    error: float
    seed_deviation: float
    freedom: float
    verdict: Verdict
    seeds_to_decide: int | None


def level(arms: int, sources: int) -> float:
    """The error that each interval may have, so that all together have `ERROR` (Bonferroni).

    Args:
        arms: besides the control.
        sources: held-out sources; two or more have an interval of their mean too.
    """
    return ERROR / (arms * (sources + (sources > 1)))


def noise(bits: Sequence[Floats], sizes: Sequence[npt.NDArray[np.int64]], error: float) -> Noise:
    """The control's noise.

    Args:
        bits: [seeds, documents] of each source.
        sizes: bytes [documents] of each source.
        error: see `level`.
    """
    losses = by_seed(bits, sizes)
    deviation = float(losses.std(ddof=1))
    return Noise(
        loss=float(losses.mean()),
        deviation=deviation,
        floor=quantile(error, len(losses) - 1) * deviation * math.sqrt(2 / len(losses)),
    )


def compare(
    control: Sequence[Floats],
    arm: Sequence[Floats],
    sizes: Sequence[npt.NDArray[np.int64]],
    *,
    error: float,
    purpose: str,
) -> Difference:
    """The difference of two arms.

    Args:
        control, arm: [seeds, documents] of each source; at least `LEAST_SEEDS` seeds, and two documents a source.
        sizes: bytes [documents] of each source.
        error: see `level`.
        purpose: what the draws are keyed by.
    """
    gaps = [b - a for a, b in zip(control, arm, strict=True)]
    pairs = by_seed(gaps, sizes)
    count, value = len(pairs), float(pairs.mean())
    variance = float(resample(gaps, sizes, purpose).var(ddof=1))
    seed_variance = float(pairs.var(ddof=1))
    rest = max(0.0, variance - seed_variance / count)
    documents = sum(each.size - 1 for each in sizes)
    control_deviation = noise(control, sizes, error).deviation

    def reach(seeds: int) -> tuple[float, float, float]:
        """(half the interval, floor, degrees of freedom) of so many seeds."""
        parts = (seed_variance / seeds, seeds - 1), (rest, documents)
        total = sum(part for part, _ in parts)
        spread = sum(part * part / freedom for part, freedom in parts)
        freedom = total * total / spread if spread else float(seeds - 1)
        floor = quantile(error, seeds - 1) * control_deviation * math.sqrt(2 / seeds)
        return quantile(error, freedom) * math.sqrt(total), floor, freedom

    half, floor, freedom = reach(count)
    decided = abs(value) > half and abs(value) >= floor
    needed = (n for n in _trials() if abs(value) > (there := reach(n))[0] and abs(value) >= there[1])
    return Difference(
        loss=float(by_seed(arm, sizes).mean()),
        value=value,
        low=value - half,
        high=value + half,
        error=math.sqrt(seed_variance / count + rest),
        seed_deviation=math.sqrt(seed_variance),
        freedom=freedom,
        verdict="undecided" if not decided else "better" if value < 0 else "worse",
        seeds_to_decide=next(needed, None),
    )


def by_seed(bits: Sequence[Floats], sizes: Sequence[npt.NDArray[np.int64]]) -> Floats:
    """float64[seeds]: the loss over the sources, or its difference, of each seed."""
    parts = [each.sum(1) / size.sum() for each, size in zip(bits, sizes, strict=True)]
    return np.asarray(np.mean(parts, axis=0), np.float64)


def resample(bits: Sequence[Floats], sizes: Sequence[npt.NDArray[np.int64]], purpose: str, group: int = 0) -> Floats:
    """float64[DRAWS]: the mean loss over the seeds, with seeds and documents drawn anew; documents within each source.

    Args:
        group: runs of other groups have noise of their own, so that seeds are drawn for each; documents for all alike.
    """
    seeds = len(bits[0])
    seed_counts = _counts(draw.key("pretrain.compare.seeds", purpose, group), 0, DRAWS, seeds) / (seeds - 1)
    out = np.zeros(DRAWS)
    for number, (each, size) in enumerate(zip(bits, sizes, strict=True)):
        key = draw.key("pretrain.compare.documents", purpose, number)
        step = max(1, _CHUNK // size.size)
        for first in range(0, DRAWS, step):
            counts = _counts(key, first, min(step, DRAWS - first), size.size)
            here = slice(first, first + len(counts))
            out[here] += ((counts @ each.T) * seed_counts[here]).sum(1) / (counts @ size)
    return out / len(bits)


def quantile(error: float, freedom: float) -> float:
    """Student's t that is passed, on either side, with that chance in all."""
    return float(stdtrit(freedom, 1 - error / 2))


def _trials() -> list[int]:
    """Numbers of seeds to try: all small ones, then in steps of some percent."""
    out = [LEAST_SEEDS]
    while out[-1] < _MOST_SEEDS:
        out.append(max(out[-1] + 1, out[-1] * 21 // 20))
    return out


def _counts(key: int, first: int, draws: int, size: int) -> Floats:
    """float64[draws, size]: how often each of `size` is drawn when size - 1 are, with replacement."""
    places = np.arange(first * (size - 1), (first + draws) * (size - 1), dtype=np.uint64)
    picks = (draw.mix(places ^ np.uint64(key)) % np.uint64(size)).astype(np.int64)
    rows = np.repeat(np.arange(draws), size - 1)
    return np.bincount(rows * size + picks, minlength=draws * size).reshape(draws, size).astype(np.float64)
