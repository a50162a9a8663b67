"""Published rules that keep or drop a document: one module a paper, masks over a batch from its word table.

Each module has a frozen config with the paper's numbers, `measure`, one value a document, and `judge`. A rule's limit
is a field named min_... or max_...; only None switches a rule off, 0 is a number. A measure with an empty denominator
is 0: the empty text fails every minimum and no maximum. Filters decide and never change a text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.reasons import CODES, Reason
from curate.words import WordTable


@dataclass(frozen=True, slots=True)
class Rule:
    """A document goes for `reason` if `measure` is below the limit in the config's field min_..., or above max_..."""

    reason: Reason
    measure: str
    limit: str


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """The verdict on each of n documents."""

    reason: npt.NDArray[np.uint8]  # [n] reasons.CODES of the first rule that the document fails; 0: kept
    value: npt.NDArray[np.float64]  # [n] what that rule measured; NaN: kept


def failing(
    rules: Sequence[Rule], config: Any, measures: Mapping[str, npt.NDArray[np.float64]], margin: float = 1.0
) -> npt.NDArray[np.bool_]:
    """bool[rules, n]: which documents fail which rule by the limits in `config`, each loosened by the factor `margin`.

    A limit of None is no rule.
    """
    fails = [np.zeros(len(measures[rule.measure]), np.bool_) for rule in rules]
    for found, rule in zip(fails, rules, strict=True):
        limit, value = getattr(config, rule.limit), measures[rule.measure]
        if limit is not None:
            found[:] = value < limit / margin if rule.limit.startswith("min_") else value > limit * margin
    return np.array(fails)


def first_failing(
    rules: Sequence[Rule], config: Any, measures: Mapping[str, npt.NDArray[np.float64]], num_docs: int
) -> Judgement:
    """The judgement of `rules`, tried in their order, with the limits in `config`; a limit of None is no rule."""
    verdict = Judgement(np.zeros(num_docs, np.uint8), np.full(num_docs, np.nan))
    for rule, fails in zip(rules, failing(rules, config, measures), strict=True):
        first = fails & (verdict.reason == 0)
        verdict.reason[first] = CODES[rule.reason]
        verdict.value[first] = measures[rule.measure][first]
    return verdict


def check_limits(config: Any) -> None:
    """Refuse a limit that no measure can have.

    Raises:
        ValueError: for a negative number or NaN, or a minimum above its maximum.
    """
    limits = {f.name: getattr(config, f.name) for f in fields(config) if f.name.startswith(("min_", "max_"))}
    for name, limit in limits.items():
        if limit is not None and not limit >= 0:
            raise ValueError(f"{name} is {limit}; give a number of at least 0, or null to switch the rule off")
        most = limits.get("max_" + name.removeprefix("min_"))
        if limit is not None and most is not None and limit > most:
            raise ValueError(f"{name} is {limit} and max_{name.removeprefix('min_')} is {most}: nothing could be kept")


def ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """part / whole, and 0 where whole is 0."""
    quotient = np.zeros(len(whole))
    np.divide(part, whole, out=quotient, where=whole != 0)
    return quotient


def total(values: npt.NDArray[Any], bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """int64[n]: the sum of values[bounds[i]:bounds[i + 1]]."""
    sums = np.zeros(len(values) + 1, np.int64)
    np.cumsum(values, out=sums[1:])
    return sums[bounds[1:]] - sums[bounds[:-1]]


def total_pieces(table: WordTable) -> npt.NDArray[np.int64]:
    """int64[n]: words, their further parts and marks of punctuation: what a tokenizer such as spaCy's would count."""
    return np.diff(table.doc_words) + total(table.line_parts + table.line_marks, table.doc_lines)
