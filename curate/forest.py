"""Boosted trees as plain arrays, and the kernel that evaluates them: no class of a learner, nothing to unpickle.

Each tree is full: DEPTH comparisons lead every row to one of 2^DEPTH leaves, so that rows run through a tree without a
branch to mispredict. A learner's shallower leaf stands in all places below it. `classifiers.blocks` grows the trees.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate.errors import ModelError
from curate.markup import kernel

DEPTH = 6
INNER = (1 << DEPTH) - 1
_ROOT, _ONE, _LEAF = np.uint64(0), np.uint64(1), np.uint64(INNER)  # unsigned: an index that numba need not wrap

F32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Forest:
    """The log odds of a row are `bias` plus each tree's leaf; node k's children are 2k + 1 (x <= threshold), 2k + 2."""

    feature: npt.NDArray[np.uint8]  # [trees, INNER] column of x
    threshold: F32  # [trees, INNER]; +inf where the learner's tree has a leaf already
    value: F32  # [trees, INNER + 1]
    bias: float

    def odds(self, x: F32) -> F32:
        """float32[rows]: the log odds of the rows of x, float32[rows, features]."""
        out = np.empty(len(x), np.float32)
        for start in range(0, len(x), 1024):  # rows that stay near while all trees look at them
            vote(x[start : start + 1024], self.feature, self.threshold, self.value, self.bias, out[start:])
        return out

    def arrays(self, name: str) -> dict[str, npt.NDArray[np.generic]]:
        """The tensors to write, `bias` apart."""
        return {f"{name}.feature": self.feature, f"{name}.threshold": self.threshold, f"{name}.value": self.value}

    @classmethod
    def parse(cls, arrays: Mapping[str, npt.NDArray[np.generic]], name: str, bias: float, features: int) -> "Forest":
        """The forest that `arrays` gave, of at most `features` features.

        Raises:
            KeyError: for a tensor that is missing.
            ModelError: for tensors of another shape or dtype, or a feature that does not exist.
        """
        feature, threshold, value = (arrays[f"{name}.{part}"] for part in ("feature", "threshold", "value"))
        shapes = (len(feature), INNER), (len(feature), INNER), (len(feature), INNER + 1)
        if (feature.shape, threshold.shape, value.shape) != shapes or (feature.size and feature.max() >= features):
            raise ModelError(f"the trees {name!r} have shapes {feature.shape}, {threshold.shape}, {value.shape}")
        if feature.dtype != np.uint8 or threshold.dtype != np.float32 or value.dtype != np.float32:
            raise ModelError(f"the trees {name!r} have dtypes {feature.dtype}, {threshold.dtype}, {value.dtype}")
        return cls(feature, threshold, value, bias)  # type: ignore[arg-type]


@kernel
def vote(x, feature, threshold, value, bias, out):  # type: ignore[no-untyped-def]
    """out[i] = the log odds of row i of x. Each row adds its leaves in the trees' order, so that no batch matters."""
    rows = len(x)
    for i in range(rows):
        out[i] = bias
    for tree in range(len(feature)):
        asks, least, leaves = feature[tree], threshold[tree], value[tree]
        i = 0
        while i + 4 <= rows:  # side by side, since each waits for its loads: a quarter less time
            x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
            n0 = n1 = n2 = n3 = _ROOT
            for _ in range(DEPTH):
                n0 = (n0 << _ONE) + _ONE + np.uint64(x0[asks[n0]] > least[n0])
                n1 = (n1 << _ONE) + _ONE + np.uint64(x1[asks[n1]] > least[n1])
                n2 = (n2 << _ONE) + _ONE + np.uint64(x2[asks[n2]] > least[n2])
                n3 = (n3 << _ONE) + _ONE + np.uint64(x3[asks[n3]] > least[n3])
            out[i] += leaves[n0 - _LEAF]
            out[i + 1] += leaves[n1 - _LEAF]
            out[i + 2] += leaves[n2 - _LEAF]
            out[i + 3] += leaves[n3 - _LEAF]
            i += 4
        for k in range(i, rows):
            node = _ROOT
            for _ in range(DEPTH):
                node = (node << _ONE) + _ONE + np.uint64(x[k, asks[node]] > least[node])
            out[k] += leaves[node - _LEAF]
