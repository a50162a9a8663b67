"""FineWeb's own rules (Penedo et al. 2024, arXiv 2406.17557, section 3.5): lines that end, short lines, repeated lines.

The paper gives three; the fourth, line breaks against words, is in the code that made the data set (datatrove). That
code works on text whose blank lines its C4 rules have removed, so blank lines count for nothing here: a line break is
one between two lines that are not blank. A line ends with a terminal mark of any script (Sentence_Terminal), and,
beyond datatrove, also where closing quotes or brackets follow it. Words are `total_pieces`, as spaCy's are there.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate import scan
from curate.filters import Judgement, Rule, check_limits, first_failing, ratio, repetition, total, total_pieces
from curate.reasons import Reason
from curate.words import WordTable


@dataclass(frozen=True, slots=True, kw_only=True)
class FineWeb:
    """Limits of section 3.5; fractions are of 1."""

    __pydantic_config__ = {"extra": "forbid"}

    min_ended_lines: float | None = 0.12  # lines that end with a terminal mark
    max_short_lines: float | None = 0.67
    short_line_chars: int = 30  # a line of so many characters is still short
    max_repeated_line_chars: float | None = 0.01  # characters in lines that occurred before
    max_newlines_per_word: float | None = 0.3

    def __post_init__(self) -> None:
        check_limits(self)
        if self.short_line_chars < 0:
            raise ValueError(f"short_line_chars is {self.short_line_chars}; give a number of at least 0")


RULES = (
    Rule(Reason.too_few_ended_lines, "ended_lines", "min_ended_lines"),
    Rule(Reason.too_many_short_lines, "short_lines", "max_short_lines"),
    Rule(Reason.too_many_repeated_chars, "repeated_line_chars", "max_repeated_line_chars"),
    Rule(Reason.too_many_newlines, "newlines_per_word", "max_newlines_per_word"),
)


def measure(table: WordTable, config: FineWeb) -> dict[str, npt.NDArray[np.float64]]:
    """float64[docs] for each measure that `RULES` names; of the config only short_line_chars matters."""
    filled = table.line_hash != 0
    lines = repetition.lines(table)
    ended = (table.line_ends & scan.ENDED != 0) & filled
    short = (table.line_chars <= config.short_line_chars) & filled
    return {
        "ended_lines": ratio(total(ended, table.doc_lines), lines.items),
        "short_lines": ratio(total(short, table.doc_lines), lines.items),
        "repeated_line_chars": ratio(lines.chars, total(table.line_chars, table.doc_lines)),
        "newlines_per_word": ratio(np.maximum(lines.items - 1, 0), total_pieces(table)),
    }


def judge(table: WordTable, config: FineWeb) -> Judgement:
    """The first failing rule of each document, in the order of datatrove's code."""
    return first_failing(RULES, config, measure(table, config), table.num_docs)
