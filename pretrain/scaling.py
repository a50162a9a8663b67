"""How an arm's loss falls with compute: a ladder of small models, and the power law through them.

The law is L = a C^-b, as in GPT-3's figure 3.1 (Brown et al. 2020), without a term for the loss that no compute
removes: a ladder of a few sizes within two orders of magnitude cannot tell such a term from a smaller b (Hoffmann et
al. 2022 fit theirs to some 400 runs). So a fit describes the range that it was made on; what lies beyond is a guess.

C is 6 N D floating-point operations: N parameters without the embeddings, D tokens (Kaplan et al. 2020, section 2.1).
Along the ladder D grows as N does (Hoffmann et al. 2022, section 3), so that no size is fed much better than another.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pretrain import paired
from pretrain.paired import Floats
from pretrain.presets import Preset, num_parameters

# A line through two points fits any two.
LEAST_SIZES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """A model of the ladder, and the tokens it is trained on."""

    preset: Preset
    parameters: int  # without embeddings
    tokens: int

    @property
    def compute(self) -> float:
        """Floating-point operations of its training."""
        return 6.0 * self.parameters * self.tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """loss = scale * compute ** -exponent, and 95% intervals.

    Attributes:
        compute: float64[points], where the band is given.
        loss, low, high: float64[points]: the law there and its band.
    """

    scale: float
    exponent: float
    exponent_low: float
    exponent_high: float
    compute: tuple[float, ...]
    loss: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


def ladder(preset: Preset, tokens: int, sizes: int) -> list[Rung]:
    """`sizes` models from small to the preset itself, each of about twice the parameters of the one before.

    Width alone shrinks, in whole steps of the heads; layers, context and the rest of the recipe stay.

    Raises:
        ValueError: if the preset is too narrow for so many.
    """
    model, out = preset.model, []
    whole = _parameters(preset)
    for step in reversed(range(sizes)):
        width = round(model.width * 2 ** (-step / 2) / model.heads) * model.heads
        smaller = preset
        if step:
            smaller = replace(
                preset, name=f"{preset.name}-{width}", model=replace(model, width=max(width, model.heads))
            )
        parameters = _parameters(smaller)
        out.append(Rung(preset=smaller, parameters=parameters, tokens=max(1, round(tokens * parameters / whole))))
    if len({rung.parameters for rung in out}) < sizes:
        raise ValueError(f"preset {preset.name} is too narrow for {sizes} sizes; give fewer, or a wider preset")
    return out


def _parameters(preset: Preset) -> int:
    return num_parameters(preset.model, 0) - preset.model.context * preset.model.width


def fit(compute: Sequence[float], loss: Floats) -> tuple[Floats, Floats]:
    """(log scale, exponent) of the power law through each row, by least squares of the logarithms.

    Args:
        compute: of the points; two at least.
        loss: float64[..., points].
    """
    x = np.log(np.asarray(compute, np.float64))
    y = np.log(loss)
    centred = x - x.mean()
    slope = (y * centred).sum(-1) / (centred**2).sum()
    return y.mean(-1) - slope * x.mean(), -slope


def law(
    rungs: Sequence[Rung],
    bits: Sequence[Sequence[Floats]],
    sizes: Sequence[npt.NDArray[np.int64]],
    points: Sequence[float],
) -> Law:
    """An arm's law and its band: what seeds and documents leave open, drawn anew as for differences, with the same
    documents for all rungs; and on top of it how far the points lie from the law. Student's t is of the fewer degrees
    of freedom, of seeds or of points.

    Args:
        bits: of each rung, [seeds, documents] of each source.
        sizes: bytes [documents] of each source.
        points: compute at which the band is wanted.
    """
    compute = [rung.compute for rung in rungs]
    means = np.array([paired.by_seed(each, sizes).mean() for each in bits])
    drawn = np.stack([paired.resample(each, sizes, "scaling", rung) for rung, each in enumerate(bits)], axis=1)
    a, b = fit(compute, means)
    as_, bs = fit(compute, drawn)
    x, at = np.log(np.asarray(points)), np.log(np.asarray(compute))
    middle, drawn_spread = a - b * x, (as_[:, None] - bs[:, None] * x).std(0, ddof=1)
    freedom, spread_x = len(at) - 2, float(((at - at.mean()) ** 2).sum())
    residual = float(((np.log(means) - (a - b * at)) ** 2).sum()) / freedom
    reach = paired.quantile(paired.ERROR, min(freedom, len(bits[0][0]) - 1))
    spread = np.sqrt(drawn_spread**2 + residual * (1 / len(at) + (x - at.mean()) ** 2 / spread_x))
    half = reach * math.sqrt(float(bs.var(ddof=1)) + residual / spread_x)
    return Law(
        scale=math.exp(float(a)),
        exponent=float(b),
        exponent_low=float(b) - half,
        exponent_high=float(b) + half,
        compute=tuple(points),
        loss=tuple(np.exp(middle).tolist()),
        low=tuple(np.exp(middle - reach * spread).tolist()),
        high=tuple(np.exp(middle + reach * spread).tolist()),
    )
