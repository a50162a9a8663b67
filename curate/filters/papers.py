"""Which papers' rules apply to a text, and, for the cascade, which of them a text fails by a margin.

Where each text's verdict counts, `curate.ingest` asks the papers one after the other; here they are asked all at once.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import words
from curate.filters import Rule, c4, failing, fineweb, gopher
from curate.filters.c4 import C4
from curate.filters.fineweb import FineWeb
from curate.filters.gopher import Gopher
from curate.reasons import Reason

# FineWeb's without the one on repetition; Gopher's `QUALITY` leaves these out too. Extractors differ in the repeated
# lines that they leave in: by all rules the cascade would lose 1.3% of the pages that are kept, by these .2%.
_FINEWEB = tuple(rule for rule in fineweb.RULES if rule.reason != Reason.too_many_repeated_chars)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """The published rules that apply, in this order; None leaves a paper's out. C4 cuts lines before it judges.

    `languages` gives texts in a language, by its code, other rules in their stead: stop words of their own, say.
    """

    __pydantic_config__ = {"extra": "forbid"}

    gopher: Gopher | None = Gopher()
    c4: C4 | None = C4()
    fineweb: FineWeb | None = FineWeb()
    languages: dict[str, "Filters"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if nested := [code for code, rules in self.languages.items() if rules.languages]:
            raise ValueError(f"languages.{nested[0]} has languages of its own: give each beside the others")

    def each(self) -> list["Filters"]:
        """The rules of all languages."""
        return [self, *self.languages.values()]


def foreseeable(filters: Filters) -> list[Rule]:
    """The rules of all three papers but those on repetition, in their order."""
    papers = ((filters.gopher, gopher.QUALITY), (filters.c4, c4.RULES), (filters.fineweb, _FINEWEB))
    return [rule for config, rules in papers if config is not None for rule in rules]


def fails(texts: pa.StringArray, filters: Filters, margin: float) -> npt.NDArray[np.bool_]:
    """bool[rules, n]: whether a text fails each of `foreseeable`, its limit loosened by a factor, after C4's edits."""
    table = words.table(texts)
    found = [np.zeros((0, len(texts)), np.bool_)]
    if filters.gopher is not None:
        measures = gopher.measure(table, filters.gopher, repeats=False)
        found.append(failing(gopher.QUALITY, filters.gopher, measures, margin))
    if filters.c4 is not None:
        _, table, whole, _ = c4.clean(texts, table, filters.c4)
        found.append(failing(c4.RULES, filters.c4, c4.measure(table, filters.c4, whole), margin))
    if filters.fineweb is not None:
        found.append(failing(_FINEWEB, filters.fineweb, fineweb.measure(table, filters.fineweb), margin))
    return np.concatenate(found)
