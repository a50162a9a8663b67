"""The cascade's fast pass: which pages the full path would surely drop, before an extractor dearer than `blocks`.

It sees what `blocks` takes for main text, which is not the text that will be judged. So it rules a page out for its
language alone when it is sure, and by a rule on quality alone when both that main text and the whole of the page, menus
and all, fail it with its limit loosened. It keeps no text and decides nothing else.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate import language, tags
from curate.filters import papers
from curate.filters.papers import Filters
from curate.html import BlockTable
from curate.language import Identifier, Language
from curate.reasons import CODES, Reason
from curate.render import render

Mask = npt.NDArray[np.bool_]

# Of 12,998 real pages, 3,778 kept: docs/extraction.md, "The cascade".
MARGIN = 1.25  # by which a rule's limit is loosened
SURE = 0.5  # probability of a language that is not wanted
MIN_CHARS = 200  # of the main text, for its language to tell


@dataclass(frozen=True, slots=True)
class Cascade:
    """The languages and rules that the full path will ask."""

    wanted: Language
    identifier: Identifier
    filters: Filters

    def rule_out(self, table: BlockTable, main: Mask, spared: Mask) -> npt.NDArray[np.uint8]:
        """uint8[pages] of reasons.CODES, 0 for pages that may be kept.

        Args:
            table: the pages' blocks.
            main: bool[blocks], those that the fast pass takes for main text.
            spared: bool[pages], those that no rule on quality may take.
        """
        texts = render(table, main)
        reason = self._by_language(texts)
        asked = (reason == 0) & ~spared
        if asked.any():
            # A text's language decides which rules it meets, and this text's is not sure: it must fail them all.
            codes = [self._by_rules(table, texts, asked, rules) for rules in self.filters.each()]
            lost = np.logical_and.reduce(codes)
            reason[lost] = codes[0][lost]
        return reason

    def _by_language(self, texts: pa.StringArray) -> npt.NDArray[np.uint8]:
        reason = np.zeros(len(texts), np.uint8)
        if self.wanted.wanted is not None:
            languages, scores = language.identify(texts, self.identifier)
            other = ~np.isin(np.asarray(languages.to_pylist(), dtype=np.str_), list(self.wanted.wanted))
            long = pc.greater_equal(pc.utf8_length(texts), MIN_CHARS).to_numpy(zero_copy_only=False)
            reason[long & other & (scores >= np.float32(SURE))] = CODES[Reason.language_not_wanted]
        return reason

    def _by_rules(
        self, table: BlockTable, texts: pa.StringArray, asked: Mask, filters: Filters
    ) -> npt.NDArray[np.uint8]:
        """uint8[pages]: the code of the first rule by which the page goes, or 0."""
        rules = papers.foreseeable(filters)
        fails = np.zeros((len(rules), len(texts)), np.bool_)
        fails[:, asked] = papers.fails(texts.filter(pa.array(asked)), filters, MARGIN)
        suspect = np.logical_or.reduce(fails)
        if suspect.any():
            owner = np.repeat(np.arange(table.num_pages), np.diff(table.page_blocks))
            whole = render(table, suspect[owner] & (table.blocks["tag"] != tags.TITLE))
            fails[:, suspect] &= papers.fails(whole.filter(pa.array(suspect)), filters, MARGIN)
        reason = np.zeros(len(texts), np.uint8)
        for rule, failed in zip(rules, fails, strict=True):
            reason[failed & (reason == 0)] = CODES[rule.reason]
        return reason
