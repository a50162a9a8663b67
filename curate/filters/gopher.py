"""Gopher's quality and repetition rules (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1 and table A1).

Words and lines are those of the word table; blank lines are no lines here. The appendix holds hash signs, ellipses and
alphabetic words against the same words whose number and mean length it limits, and a word of 3 to 10 characters is no
comma: so marks of punctuation are no words here. datatrove, and so FineWeb, counts them in those three rules, by which
the alphabetic rule drops ten times as many pages (docs/rules.md): `marks_are_words` does as they do.

A duplicate line, paragraph or n-gram is one that occurred before; its first occurrence is not held against the text
(Dolma counts it). Fractions of characters are of all characters of the text's lines, and an n-gram's characters are, as
in datatrove, those of its words, in the top n-grams with the spaces between them. Against datatrove, an n-gram that
occurs once is no top n-gram, stop words count in any case, and punctuation is in no n-gram.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curate import scan
from curate.filters import Judgement, Rule, check_limits, first_failing, phrases, ratio, repetition, total, total_pieces
from curate.reasons import Reason
from curate.words import WordTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Gopher:
    """Limits of appendix A.1.1 (quality) and table A1 (repetition). Fractions are of 1.

    The defaults are the paper's; its stop words are English, so a recipe for another language gives its own or none.
    """

    __pydantic_config__ = {"extra": "forbid"}

    min_words: int | None = 50
    max_words: int | None = 100_000
    min_mean_word_chars: float | None = 3
    max_mean_word_chars: float | None = 10
    max_symbols_per_word: float | None = 0.1  # hash signs
    max_ellipses_per_word: float | None = 0.1
    max_bullet_lines: float | None = 0.9  # lines that start with a bullet
    max_ellipsis_lines: float | None = 0.3  # lines that end with an ellipsis
    min_alphabetic_words: float | None = 0.8  # words with an alphabetic character
    marks_are_words: bool = False  # of the symbol, ellipsis and alphabetic rules: count marks among words, as datatrove
    min_stop_words: int | None = 2  # different ones
    stop_words: tuple[str, ...] = ("the", "be", "to", "of", "and", "that", "have", "with")
    max_duplicate_lines: float | None = 0.3
    max_duplicate_paragraphs: float | None = 0.3
    max_duplicate_line_chars: float | None = 0.2
    max_duplicate_paragraph_chars: float | None = 0.2
    max_top_2_gram: float | None = 0.20  # characters in the most frequent n-gram
    max_top_3_gram: float | None = 0.18
    max_top_4_gram: float | None = 0.16
    max_duplicate_5_grams: float | None = 0.15  # characters in repeated n-grams
    max_duplicate_6_grams: float | None = 0.14
    max_duplicate_7_grams: float | None = 0.13
    max_duplicate_8_grams: float | None = 0.12
    max_duplicate_9_grams: float | None = 0.11
    max_duplicate_10_grams: float | None = 0.10

    def __post_init__(self) -> None:
        check_limits(self)
        phrases.check(self.stop_words, "stop_words")
        if self.min_stop_words is not None and self.min_stop_words > len(set(self.stop_words)):
            raise ValueError(
                f"min_stop_words is {self.min_stop_words} of {len(set(self.stop_words))} stop words: "
                "give more stop_words, or null to switch the rule off"
            )


QUALITY = (
    Rule(Reason.too_few_words, "words", "min_words"),
    Rule(Reason.too_many_words, "words", "max_words"),
    Rule(Reason.words_too_short, "mean_word_chars", "min_mean_word_chars"),
    Rule(Reason.words_too_long, "mean_word_chars", "max_mean_word_chars"),
    Rule(Reason.too_many_symbols, "symbols_per_word", "max_symbols_per_word"),
    Rule(Reason.too_many_ellipses, "ellipses_per_word", "max_ellipses_per_word"),
    Rule(Reason.too_many_bullet_lines, "bullet_lines", "max_bullet_lines"),
    Rule(Reason.too_many_ellipsis_lines, "ellipsis_lines", "max_ellipsis_lines"),
    Rule(Reason.too_few_alphabetic_words, "alphabetic_words", "min_alphabetic_words"),
    Rule(Reason.too_few_stop_words, "stop_words", "min_stop_words"),
)
REPETITION = (
    Rule(Reason.duplicate_lines, "duplicate_lines", "max_duplicate_lines"),
    Rule(Reason.duplicate_paragraphs, "duplicate_paragraphs", "max_duplicate_paragraphs"),
    Rule(Reason.duplicate_line_chars, "duplicate_line_chars", "max_duplicate_line_chars"),
    Rule(Reason.duplicate_paragraph_chars, "duplicate_paragraph_chars", "max_duplicate_paragraph_chars"),
    *(Rule(Reason(f"top_{n}_gram"), f"top_{n}_gram", f"max_top_{n}_gram") for n in repetition.TOP),
    *(
        Rule(Reason(f"duplicate_{n}_grams"), f"duplicate_{n}_grams", f"max_duplicate_{n}_grams")
        for n in repetition.DUPLICATE
    ),
)
RULES = (*QUALITY, *REPETITION)


def measure(table: WordTable, config: Gopher, repeats: bool = True) -> dict[str, npt.NDArray[np.float64]]:
    """float64[docs] for each measure that `RULES` names, or without `repeats` those of `QUALITY`.

    Of the config only stop_words, marks_are_words and max_words matter: longer texts, whose verdict that is, have 0 for
    all n-grams.
    """
    num_words = np.diff(table.doc_words)
    chars = total(table.chars, table.doc_words)
    letters = total(table.letters, table.doc_words)
    pieces = num_words
    if config.marks_are_words:
        letters, pieces = letters + total(table.line_parts, table.doc_lines), total_pieces(table)
    filled = total(table.line_hash != 0, table.doc_lines)
    measures = {
        "words": num_words.astype(np.float64),
        "mean_word_chars": ratio(chars, num_words),
        "symbols_per_word": ratio(total(table.line_pounds, table.doc_lines), pieces),
        "ellipses_per_word": ratio(total(table.line_ellipses, table.doc_lines), pieces),
        "bullet_lines": ratio(total(table.line_ends & scan.BULLETED != 0, table.doc_lines), filled),
        "ellipsis_lines": ratio(total(table.line_ends & scan.ELLIPSIS != 0, table.doc_lines), filled),
        "alphabetic_words": ratio(letters, pieces),
        "stop_words": phrases.find(table, config.stop_words, table.doc_words).sum(axis=1).astype(np.float64),
    }
    return measures | _repeats(table, config.max_words) if repeats else measures


def _repeats(table: WordTable, max_words: int | None) -> dict[str, npt.NDArray[np.float64]]:
    line_chars = total(table.line_chars, table.doc_lines)
    lines, paragraphs = repetition.lines(table), repetition.paragraphs(table)
    grams = repetition.grams(table, max_words)
    measures = {
        "duplicate_lines": ratio(lines.repeated, lines.items),
        "duplicate_paragraphs": ratio(paragraphs.repeated, paragraphs.items),
        "duplicate_line_chars": ratio(lines.chars, line_chars),
        "duplicate_paragraph_chars": ratio(paragraphs.chars, line_chars),
    }
    names = [f"top_{n}_gram" for n in repetition.TOP] + [f"duplicate_{n}_grams" for n in repetition.DUPLICATE]
    return measures | {name: ratio(grams[:, i], line_chars) for i, name in enumerate(names)}


def judge(table: WordTable, config: Gopher) -> Judgement:
    """The first failing rule of each document, quality before repetition, in the paper's order."""
    return first_failing(RULES, config, measure(table, config), table.num_docs)
