"""How well scores part curated text from the rest, and the alpha whose draw makes the rest look like curated text.

It works on scores alone and knows no model.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from classifiers.quality import probability

Scores = npt.NDArray[np.floating[Any]]

BINS = 20
_MAX_ALPHA = 20.0


def judge(positives: Scores, negatives: Scores, alpha: float) -> dict[str, Any]:
    """What the card and the report say of held-out scores.

    AUC; accuracy, precision, recall and F1 at a score of 0.5; the share of each class that the draw with alpha keeps;
    the histograms over `BINS` equal bins of [0, 1]. None stands where a class has no score, or a ratio no denominator.
    """
    hits, alarms = int((positives >= 0.5).sum()), int((negatives >= 0.5).sum())
    total = positives.size + negatives.size
    precision, recall = _ratio(hits, hits + alarms), _ratio(hits, positives.size)
    return {
        "positives": int(positives.size),
        "negatives": int(negatives.size),
        "auc": auc(positives, negatives),
        "accuracy": _ratio(hits + negatives.size - alarms, total),
        "precision": precision,
        "recall": recall,
        "f1": _ratio(2 * hits, hits + alarms + positives.size),
        "kept_positives": _mean(probability(positives, alpha)),
        "kept_negatives": _mean(probability(negatives, alpha)),
        "histogram_positives": histogram(positives),
        "histogram_negatives": histogram(negatives),
    }


def auc(positives: Scores, negatives: Scores) -> float | None:
    """The chance that a positive scores higher than a negative, ties half; None without both."""
    if not (positives.size and negatives.size):
        return None
    labels = np.repeat([1, 0], [positives.size, negatives.size])
    return float(roc_auc_score(labels, np.concatenate([positives, negatives])))


def histogram(scores: Scores) -> list[int]:
    """Counts over `BINS` equal bins of [0, 1]."""
    return np.histogram(scores, BINS, (0.0, 1.0))[0].tolist()  # type: ignore[no-any-return]


def fit_alpha(positives: Scores, negatives: Scores) -> float:
    """The alpha in [0, 20] under which the kept part of `negatives` has scores most like those of `positives`.

    GPT-3, appendix A, chose alpha to match its classifier's scores on WebText and does not say how. Here the area
    between the two distribution functions (Wasserstein's distance) is smallest, each negative weighing as much as its
    chance to stay, over a grid of tenths. Where negatives hardly reach the positives' scores that is 20: the draw then
    keeps next to nothing, and the kept shares that `judge` gives say so.

    Raises:
        ValueError: if either has no score.
    """
    if not (positives.size and negatives.size):
        raise ValueError(f"alpha needs scores of both classes, not {positives.size} and {negatives.size}")
    points = np.unique(np.concatenate([positives, negatives]).astype(np.float64))
    wanted = np.searchsorted(np.sort(positives), points, "right") / positives.size
    order = np.sort(negatives.astype(np.float64))
    upto = np.searchsorted(order, points, "right")
    gaps = np.diff(points, append=points[-1])

    def distance(alpha: float) -> float:
        mass = np.concatenate([[0.0], np.cumsum(probability(order, alpha))])
        return float((np.abs(mass[upto] / mass[-1] - wanted) * gaps).sum())

    grid = np.round(np.arange(0, _MAX_ALPHA + 0.05, 0.1), 1)
    return float(min(grid, key=distance))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean(values: npt.NDArray[np.float64]) -> float | None:
    return float(values.mean()) if values.size else None
