"""C4's rules (Raffel et al. 2020, arXiv 1910.10683, section 2.2): lines to cut, and pages to drop.

`edit` says which lines go; `judge` judges the text that is left, so hand it the table of `words.keep_lines`. So does
the original code: a curly bracket in a line that is cut does not condemn the page. Paper and code differ in two
numbers; the defaults are the paper's and datatrove's: at least 5 sentences a page and 3 words a line (the code has 3
and 5). As FineWeb did, lines need no terminal mark by default. Off by default, since the paper has none of them: the
code's limit on the length of a page, its removal of citation marks (which would also take the indices out of code), and
RefinedWeb's limit on how much the edits may cut. A word is the word table's: `JavaScript,` is javascript, and a policy
phrase is found across punctuation. The bad words are the recipe's; none are shipped.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate import scan, words
from curate.filters import Judgement, Rule, check_limits, first_failing, phrases, ratio, total
from curate.reasons import LineReason, Reason
from curate.words import WordTable

LINE_CODES: dict[LineReason, int] = {reason: code for code, reason in enumerate(LineReason, start=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class C4:
    """Rules of section 2.2 and, where noted, of the code (tensorflow_datasets, text/c4_utils.py)."""

    __pydantic_config__ = {"extra": "forbid"}

    needs_end_mark: bool = False  # a line must end with a terminal or quotation mark, and not with an ellipsis
    min_line_words: int | None = 3
    max_word_chars: int | None = 1000  # the code's; a line with a longer word goes
    javascript: tuple[str, ...] | None = ("javascript",)  # a line with one of these goes
    policy: tuple[str, ...] | None = (  # the code's; likewise
        "terms of use",
        "privacy policy",
        "cookie policy",
        "uses cookies",
        "use of cookies",
        "use cookies",
    )
    min_sentences: int | None = 5
    max_lorem_ipsum: int | None = 0  # lines with the phrase
    max_curly_brackets: int | None = 0  # lines with a "{"
    max_bad_words: int | None = 0  # different ones
    max_chars: int | None = None  # of the page before the edits; the code has 190,000
    max_cut_words: float | None = None  # words in the lines cut, of all; RefinedWeb (2306.01116, G.2) has 0.05
    cuts_citations: bool = False  # the code's: take [1], [edit] and [citation needed] out of lines
    bad_words: tuple[str, ...] = ()  # words and phrases

    def __post_init__(self) -> None:
        check_limits(self)
        for name in ("javascript", "policy", "bad_words"):
            phrases.check(getattr(self, name) or (), name)


RULES = (
    Rule(Reason.too_few_sentences, "sentences", "min_sentences"),
    Rule(Reason.lorem_ipsum, "lorem_ipsum", "max_lorem_ipsum"),
    Rule(Reason.curly_bracket, "curly_brackets", "max_curly_brackets"),
    Rule(Reason.bad_word, "bad_words", "max_bad_words"),
    Rule(Reason.too_many_chars, "chars", "max_chars"),
    Rule(Reason.too_many_cut_words, "cut_words", "max_cut_words"),
)

_CITATION = r"\[(?:\d*|edit|citation needed)\]"


def uncite(texts: pa.Array) -> pa.Array:
    """The texts without citation marks; each that has none is as it was."""
    return pc.replace_substring_regex(texts, _CITATION, "")


class Cleaned(NamedTuple):
    """Documents after the rules on lines."""

    texts: pa.StringArray
    table: WordTable
    whole: WordTable  # before lines were cut
    reason: npt.NDArray[np.uint8]  # of each line of `whole`, as `edit` gives it


def clean(texts: pa.StringArray, table: WordTable, config: C4) -> Cleaned:
    """Take citation marks out, where the config asks for it, and lines; `table` is of the texts."""
    if config.cuts_citations:
        texts = uncite(texts)
        table = words.table(texts)
    keep, reason = edit(table, config)
    if keep.all():
        return Cleaned(texts, table, table, reason)
    kept, texts = words.keep_lines(table, keep)
    return Cleaned(texts, kept, table, reason)


def edit(table: WordTable, config: C4) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8]]:
    """(keep, bool[lines]; reason, uint8[lines]): the lines to keep, and `LINE_CODES` of the rule that cuts a line.

    The rules in the code's order: long words, end mark, words, javascript, policy. No rule looks at blank lines; one
    run of them stays between two lines that stay, so that paragraphs stay apart, and the others go with reason 0.
    Where no line is cut, all blank lines stay and the text is as it was.
    """
    reason = np.zeros(table.num_lines, np.uint8)
    filled = table.line_hash != 0

    def cut(lines: npt.NDArray[np.bool_], code: LineReason) -> None:
        reason[lines & filled & (reason == 0)] = LINE_CODES[code]

    if config.max_word_chars is not None:
        long = np.zeros(table.num_lines, np.bool_)
        long[table.line[table.chars > config.max_word_chars]] = True
        cut(long, LineReason.long_word)
    if config.needs_end_mark:
        cut(table.line_ends & (scan.ENDED | scan.QUOTED) == 0, LineReason.no_end_mark)
        cut(table.line_ends & scan.ELLIPSIS != 0, LineReason.no_end_mark)
    if config.min_line_words is not None:
        num_words = np.diff(table.line_first_word)
        cut(num_words < config.min_line_words, LineReason.too_few_words)
    for found, code in ((config.javascript, LineReason.javascript), (config.policy, LineReason.policy)):
        if found is not None:
            cut(np.logical_or.reduce(phrases.find(table, found, table.line_first_word), axis=1), code)
    keep = filled & (reason == 0)
    _keep_blanks(filled, reason, table.doc_lines, keep)
    return keep, reason


def measure(table: WordTable, config: C4, whole: WordTable | None = None) -> dict[str, npt.NDArray[np.float64]]:
    """float64[docs] for each measure that `RULES` names; of the config only the bad words matter.

    `whole` is the table of the same documents before the edits; None: nothing was cut.
    """
    whole = table if whole is None else whole
    lorem = phrases.find(table, ("lorem ipsum",), table.line_first_word)[:, 0]
    measures = {
        "sentences": total(table.line_sentences, table.doc_lines),
        "lorem_ipsum": total(lorem, table.doc_lines),
        "curly_brackets": total(table.line_ends & scan.CURLY != 0, table.doc_lines),
        "bad_words": phrases.find(table, config.bad_words, table.doc_words).sum(axis=1),
        "chars": total(whole.line_chars, whole.doc_lines) + np.diff(whole.doc_lines) - 1,
    }
    num_words, all_words = np.diff(table.doc_words), np.diff(whole.doc_words)
    return {name: values.astype(np.float64) for name, values in measures.items()} | {
        "cut_words": ratio(all_words - num_words, all_words)
    }


def judge(table: WordTable, config: C4, whole: WordTable | None = None) -> Judgement:
    """The first failing page rule of each document, whose cut lines are gone already; `whole` as for `measure`."""
    return first_failing(RULES, config, measure(table, config, whole), table.num_docs)


@numba.njit(cache=True, nogil=True)
def _keep_blanks(filled, reason, doc_lines, keep):  # type: ignore[no-untyped-def]
    """Keep the first run of blank lines after each kept line, if another line is kept later."""
    for d in range(len(doc_lines) - 1):
        whole = True
        for line in range(doc_lines[d], doc_lines[d + 1]):
            whole = whole and reason[line] == 0
        after = False  # a line was kept before
        first = last = doc_lines[d]  # the first run of blank lines since
        for line in range(doc_lines[d], doc_lines[d + 1]):
            if whole:
                keep[line] = True
            elif keep[line]:
                keep[first:last] = True
                after = True
                first = last = line + 1
            elif after and not filled[line] and (first == last or last == line):
                first = line if first == last else first
                last = line + 1
