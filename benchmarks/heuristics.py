"""Gopher, C4 and FineWeb rules and the quality score against datatrove's filters on the same texts, one core each.

    python benchmarks/heuristics.py [PATH ...]

Each side judges every text by every rule set, C4 without the rule of the terminal mark, the text as given; ours counts
marks as words where datatrove does, which is not the default. Ours also
scores every text by a quality model, from the same word table: logistic regression as the recipe has it, trained on
one half of the texts against the other, since a model's speed does not depend on what it was taught. datatrove's side
has no such model: its fastText filter does not run on numpy 2 without a fork of fastText. So ours does more.
The agreement is that of the rules' decisions, for each rule set and for all together; docs/rules.md says where they
differ.
"""

import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from _clock import arguments, least, one_core, report
from _texts import load, megabytes

from classifiers import quality, train
from curate import words
from curate.filters import Judgement, c4, fineweb, first_failing, gopher

NAMES = ("gopher quality", "gopher repetition", "c4", "fineweb")
QUALITY = 10  # the first rules of gopher.RULES
AS_DATATROVE = gopher.Gopher(marks_are_words=True)
BATCH = 4096
MOST = 1000  # texts, spread evenly over those there are: datatrove takes some 10 ms for each
Table = words.WordTable


def judge(table: Table, config: gopher.Gopher = AS_DATATROVE) -> np.ndarray:
    """bool[texts, 4]: kept by each rule set."""
    measures = gopher.measure(table, config)
    keep, _ = c4.edit(table, c4.C4())
    edited, _ = words.keep_lines(table, keep)
    judgements: list[Judgement] = [
        first_failing(gopher.RULES[:QUALITY], config, measures, table.num_docs),
        first_failing(gopher.RULES[QUALITY:], config, measures, table.num_docs),
        c4.judge(edited, c4.C4()),
        fineweb.judge(table, fineweb.FineWeb()),
    ]
    return np.stack([judgement.reason == 0 for judgement in judgements], axis=1)


def in_batches(texts: list[str], work: Callable[[Table], np.ndarray]) -> np.ndarray:
    batches = (texts[i : i + BATCH] for i in range(0, len(texts), BATCH))
    return np.concatenate([work(words.table(pa.array(batch))) for batch in batches])


def judge_by_datatrove(texts: list[str]) -> np.ndarray:
    """The same by datatrove. A text without a word, over which one of its filters divides by zero, is not kept."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    filters = (
        GopherQualityFilter(),
        GopherRepetitionFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    )

    def kept(by: Callable[[Any], bool | tuple[bool, str]], text: str) -> bool:
        try:
            return by(Document(text=text, id="0")) is True
        except ZeroDivisionError:
            return False

    return np.array([[kept(rules.filter, text) for rules in filters] for text in texts])


def train_model(texts: list[str]) -> quality.Model:
    """A model that tells the texts at even places from those at odd places."""
    rows = [{"id": f"{i:032x}", "url": "", "source": "", "text": text} for i, text in enumerate(texts)]
    model, _ = train.train(
        pa.Table.from_pylist(rows[::2]), pa.Table.from_pylist(rows[1::2]), quality.Quality(min_examples=2), seed=0
    )
    return model


def main() -> None:
    args = arguments(__doc__)
    texts = load(args.paths, args.quick)
    texts = texts[:: -(-len(texts) // MOST)]
    core = one_core()
    model = train_model(texts)

    def judge_and_score(table: Table) -> np.ndarray:
        return np.column_stack([judge(table), quality.score(table, model)])

    in_batches(texts[:8], judge_and_score)  # compiled code is loaded on first use
    rules = least(lambda: in_batches(texts, judge))
    ours = least(lambda: in_batches(texts, judge_and_score))
    kept = in_batches(texts, judge)
    by_default = in_batches(texts, lambda table: judge(table, gopher.Gopher()))
    long = np.diff(words.table(pa.array(texts)).doc_words) >= 50
    print(f"{len(texts)} texts, {megabytes(texts):.1f} MB, {long.sum()} of 50 words and more; {core}")
    print(f"curate, rules alone: {len(texts) / rules:.0f} documents/s")
    print(f"curate, rules and quality score: {len(texts) / ours:.0f} documents/s")
    for name, among in (("all", np.ones(len(texts), bool)), ("50 words and more", long)):
        print(
            f"Gopher quality keeps of {name}: {by_default[among, 0].mean():.1%}; "
            f"with marks as words {kept[among, 0].mean():.1%}"
        )
    if importlib.util.find_spec("datatrove") is None:
        print("datatrove is not installed: no comparison")
        return
    judge_by_datatrove(texts[:8])  # tokenizers are loaded on first use
    found: list[np.ndarray] = []
    theirs = least(lambda: found.append(judge_by_datatrove(texts)), rounds=2)
    there = found[0]
    for i, name in enumerate(NAMES):
        same = kept[:, i] == there[:, i]
        print(
            f"{name:18} kept {kept[:, i].mean():6.1%}, datatrove {there[:, i].mean():6.1%}; "
            f"same decision {same.mean():6.2%}, of texts of 50 words and more {same[long].mean():6.2%}"
        )
    same = kept.all(axis=1) == there.all(axis=1)
    print(f"{'all together':18} same decision {same.mean():6.2%}, of the long {same[long].mean():6.2%}")
    same = by_default.all(axis=1) == there.all(axis=1)
    print(f"{'ours by default':18} same decision {same.mean():6.2%}, of the long {same[long].mean():6.2%}")
    print(f"datatrove, rules alone: {len(texts) / theirs:.0f} documents/s")
    report("heuristics", theirs / ours)


if __name__ == "__main__":
    main()
