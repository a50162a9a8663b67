"""How often each document goes into the training tokens: a plan per source, then a keyed draw per document.

Weights are shares of *tokens*, as in GPT-3, table 2.2. That table cannot be taken at its word: its weights sum to 101%
and, with its 300 billion tokens, do not give the epochs it prints (WebText2: .22 x 300 / 19 = 3.5, printed 2.9). Here
one thing is honoured, and the plan says which: the weights, divided by their sum over the sources that have documents,
or the epochs. Within an epoch a document occurs once: sampling is without replacement (GPT-3, appendix B).

This module sees ids and counts. It neither reads text nor places copies in shards.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from curate import draw
from curate.errors import InputError

_COPIES = "mix.copies"
_SPLIT = "mix.split"
LEAST_HELD = 20  # documents: where one of them is not over a twentieth, the source has one to be validated on


def gpt3_weights() -> dict[str, float]:
    """GPT-3, table 2.2, with Books1 and Books2 as one source."""
    return {"crawl": 0.60, "webtext": 0.22, "books": 0.16, "wikipedia": 0.03}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """What the training tokens are made of.

    Attributes:
        weights: each source's share of the tokens, divided by their sum over the sources that have documents. A
            weight of 0 leaves a source out. None: sources weigh what they hold.
        epochs: how often each source is seen, instead of weights; `weights` must then be None.
        tokens: the budget of training tokens, end-of-text included. What a capped source cannot fill, the others do,
            by weight. None: every document at least once, and more often where the weights ask for it.
        max_epochs: no source is seen more often. Up to 4 epochs of repeated data are about as good as new data
            (Muennighoff et al. 2023, section 6); GPT-3's highest was 3.4. None: no cap.
        held: the share of documents held out of training; see `thresholds`.
    """

    __pydantic_config__ = {"extra": "forbid"}
    weights: dict[str, float] | None = field(default_factory=gpt3_weights)
    epochs: dict[str, float] | None = None
    tokens: int | None = None
    max_epochs: float | None = 4.0
    held: float = 0.005

    def __post_init__(self) -> None:
        for name, table in (("weights", self.weights), ("epochs", self.epochs)):
            bad = {s: v for s, v in (table or {}).items() if not (math.isfinite(v) and v >= 0)}
            if bad or (table is not None and not any(table.values())):
                raise ValueError(f"mixture {name} are {bad or table}; they must be finite, 0 or more, and not all 0")
        if self.epochs is not None and self.weights is not None:
            raise ValueError("mixture has weights and epochs; only one can be honoured, so set the other to null")
        if self.epochs is not None and self.tokens is not None:
            raise ValueError("mixture has epochs and tokens; the epochs give the tokens, so set tokens to null")
        if self.tokens is not None and self.tokens < 1:
            raise ValueError(f"mixture tokens is {self.tokens}; it must be positive, or null for no budget")
        if self.max_epochs is not None and not 1 <= self.max_epochs < math.inf:
            raise ValueError(f"mixture max_epochs is {self.max_epochs}; it must be 1 or more, or null for no cap")
        over = {s: e for s, e in (self.epochs or {}).items() if e > (self.max_epochs or math.inf)}
        if over:
            raise ValueError(f"mixture epochs {over} pass max_epochs {self.max_epochs}; lower them or raise the cap")
        if not 0 <= self.held < 1:
            raise ValueError(f"mixture held is {self.held}; it must be in [0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Available:
    """What a source has for training. `tokens` includes each document's end-of-text, `bytes` is UTF-8 text.

    `smallest` is the least of the documents' draws: that document is never left out.
    """

    documents: int
    tokens: int
    bytes: int
    smallest: float

    def __add__(self, other: "Available") -> "Available":
        return Available(
            documents=self.documents + other.documents,
            tokens=self.tokens + other.tokens,
            bytes=self.bytes + other.bytes,
            smallest=min(self.smallest, other.smallest),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One source's part in the plan.

    Attributes:
        weight: the share of the tokens that was asked for, over the sources present; None where epochs are honoured.
        epochs: how often the source is seen, on average over its tokens.
        tokens: what that gives, rounded.
        capped: whether `max_epochs` keeps it from its weight.
    """

    available: Available
    weight: float | None
    epochs: float
    tokens: int
    capped: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The mixture for the sources at hand. `notes` says, for the report, where it departs from the recipe."""

    honours: Literal["weights", "epochs", "size"]
    sources: dict[str, Share]
    tokens: int
    notes: tuple[str, ...]


def split_draws(ids: Iterable[str], seed: int) -> npt.NDArray[np.float64]:
    """float64[n] in [0, 1): a document whose draw is below its source's threshold is held out of training."""
    return draw.draws(ids, seed, _SPLIT)


def thresholds(found: Mapping[str, tuple[int, float]], held: float) -> dict[str, float]:
    """Below which draw a document of each source is held out: `held`, but no source of `LEAST_HELD` documents or more
    is left without any, as long as something is held at all.

    Args:
        found: by source, how many documents there are and the least of their draws.
    """
    return {
        source: math.nextafter(least, 1) if held and least >= held and documents >= LEAST_HELD else held
        for source, (documents, least) in sorted(found.items())
    }


def measure(
    ids: list[str],
    sources: list[str],
    tokens: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    seed: int,
) -> dict[str, Available]:
    """What a batch of training documents adds to each source; sum over batches with `combine`.

    Args:
        tokens: of each document, its end-of-text included.
        sizes: of each text in UTF-8 bytes.
    """
    draws = draw.draws(ids, seed, _COPIES)
    names = np.array(sources, dtype=object)
    found = {}
    for source in sorted(set(sources)):
        here = names == source
        found[source] = Available(
            documents=int(here.sum()),
            tokens=int(tokens[here].sum()),
            bytes=int(sizes[here].sum()),
            smallest=float(draws[here].min()),
        )
    return found


def combine(parts: Iterable[Mapping[str, Available]]) -> dict[str, Available]:
    """The sum of what `measure` found in batches, in whatever order."""
    total: dict[str, Available] = {}
    for part in parts:
        for source, found in part.items():
            total[source] = total[source] + found if source in total else found
    return dict(sorted(total.items()))


def plan(available: Mapping[str, Available], config: Mixture) -> Plan:
    """Epochs for each source.

    Without a budget the source that is largest for its weight is seen once, and every other one as often as its weight
    then asks, at most `max_epochs` times: no document is left out unless its source weighs 0.

    Raises:
        InputError: if there is no document, a source has no weight or epochs, or the budget cannot be filled.
    """
    present = {source: found for source, found in sorted(available.items()) if found.documents}
    if not present:
        raise InputError("no source has a document left to mix; the report says what dropped them")
    kind, wanted = _wanted(present, config)
    if not any(wanted.values()):
        raise InputError(f"mixture {kind} are 0 for every source that has documents: {', '.join(present)}")
    total = sum(wanted.values())
    if kind == "epochs":
        epochs, capped = wanted, set[str]()
    else:
        weights = {source: each / total for source, each in wanted.items()}
        cap = math.inf if config.max_epochs is None else config.max_epochs
        epochs, capped = _fill({s: found.tokens for s, found in present.items()}, weights, config.tokens, cap)
    shares = {
        source: Share(
            available=found,
            weight=None if kind == "epochs" else wanted[source] / total,
            epochs=epochs[source],
            tokens=round(epochs[source] * found.tokens),
            capped=source in capped,
        )
        for source, found in present.items()
    }
    named = config.epochs or config.weights or {}
    notes = [f"{s} has {kind} {v:g} and no document" for s, v in sorted(named.items()) if v and s not in present]
    if kind == "weights" and not math.isclose(total, 1):
        notes.append(f"the weights of the sources present sum to {total:.4g}; each was divided by that")
    notes += [
        f"{source} would be seen more than {epochs[source]:g} times and is capped there" for source in sorted(capped)
    ]
    return Plan(honours=kind, sources=shares, tokens=sum(s.tokens for s in shares.values()), notes=tuple(notes))


def copies(ids: Iterable[str], source: str, plan: Plan, seed: int) -> npt.NDArray[np.int32]:
    """int32[n]: how often each of the source's training documents goes into the tokens.

    With e epochs, floor(e) times and once more if its draw is below the fraction of e. The document with the source's
    smallest draw goes in at least once, so that no source with a share vanishes.

    Args:
        seed: the one that `measure` had.
    """
    share = plan.sources[source]
    whole = math.floor(share.epochs)
    draws = draw.draws(ids, seed, _COPIES)
    found = whole + (draws < share.epochs - whole)
    if share.epochs > 0:
        found = np.maximum(found, draws <= share.available.smallest)
    return found.astype(np.int32)


def compare(plan: Plan, achieved: Mapping[str, tuple[int, int]]) -> dict[str, dict[str, Any]]:
    """The plan beside what was written, for the report.

    Args:
        achieved: by source, documents (each copy counted) and tokens in the training shards.

    Returns:
        for each source: weight, epochs and tokens, planned and achieved.
    """
    written = sum(tokens for _, tokens in achieved.values())
    table: dict[str, dict[str, Any]] = {}
    for source, share in plan.sources.items():
        documents, tokens = achieved.get(source, (0, 0))
        table[source] = {
            "available_documents": share.available.documents,
            "available_tokens": share.available.tokens,
            "asked_weight": share.weight,
            "planned_weight": share.tokens / plan.tokens if plan.tokens else 0.0,
            "achieved_weight": tokens / written if written else 0.0,
            "planned_epochs": share.epochs,
            "achieved_epochs": tokens / share.available.tokens if share.available.tokens else 0.0,
            "planned_tokens": share.tokens,
            "achieved_tokens": tokens,
            "achieved_documents": documents,
            "capped": share.capped,
        }
    return table


def _wanted(
    present: Mapping[str, Available], config: Mixture
) -> tuple[Literal["weights", "epochs", "size"], dict[str, float]]:
    """What the plan honours, and its number for each source present."""
    table = config.weights if config.epochs is None else config.epochs
    if table is None:
        return "size", {source: float(found.tokens) for source, found in present.items()}
    kind: Literal["weights", "epochs"] = "weights" if config.epochs is None else "epochs"
    unnamed = sorted(set(present) - set(table))
    if unnamed:
        raise InputError(f"mixture {kind} do not name {', '.join(unnamed)}; give each a number, 0 to leave it out")
    return kind, {source: table[source] for source in present}


def _fill(
    tokens: Mapping[str, int], weights: Mapping[str, float], budget: int | None, cap: float
) -> tuple[dict[str, float], set[str]]:
    """Epochs by source, and the sources that the cap holds back. Weights sum to 1."""
    if budget is None:
        budget_of_all = max(tokens[s] / weight for s, weight in weights.items() if weight)
        asked = {s: _round(weight * budget_of_all / tokens[s]) for s, weight in weights.items()}
        return {s: min(each, cap) for s, each in asked.items()}, {s for s, each in asked.items() if each > cap}
    most = cap * sum(tokens[s] for s, weight in weights.items() if weight)
    if budget > most:
        raise InputError(
            f"mixture tokens is {budget}, but {cap:g} epochs give {most:.0f}; lower it or raise max_epochs"
        )
    capped: set[str] = set()
    while True:
        rest = budget - cap * sum(tokens[s] for s in capped) if capped else budget
        free = sum(weight for s, weight in weights.items() if s not in capped)
        share = {s: weight / free for s, weight in weights.items() if weight and s not in capped}
        epochs = {s: cap if s in capped else _round(share.get(s, 0) * rest / tokens[s]) for s in weights}
        over = {s for s, each in epochs.items() if each > cap}
        if not over:
            return epochs, capped
        capped |= over


def _round(epochs: float) -> float:
    """To 12 significant digits, so that a source seen once is seen exactly once."""
    return float(f"{epochs:.12g}")
