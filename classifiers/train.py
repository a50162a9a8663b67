"""Documents to a quality model and its card: which examples are taken, which judge the model, and the fit.

Reading documents and writing the model is not done here.
"""

import hashlib
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from classifiers import evaluate, fasttext
from classifiers.quality import Logistic, Model, Quality, features
from curate import draw, words
from curate.dedup import exact
from curate.errors import InputError
from curate.words import WordTable

_EXAMPLES = "quality.examples"
_FOLD = "quality.fold"
_MAX_ITERATIONS = 1000

CLASSES = ("positives", "negatives")


class TooFewError(InputError):
    """Too few distinct examples of a class."""


def train(positives: pa.Table, negatives: pa.Table, config: Quality, seed: int) -> tuple[Model, dict[str, Any]]:
    """The model, and its card for `quality.save`.

    A text counts once, and a negative that is also a positive is no example. Both classes give equally many, at most
    `config.max_examples`, by keyed draw. The documents of a host are all held out or all trained on, unless the host
    has more than a `config.held` share of a class, as Wikipedia does. The same examples give the same bytes, in
    whatever order they come.

    Args:
        positives, negatives: tables with the columns id, url, source and text.

    Raises:
        TooFewError: if a class has fewer than `config.min_examples` distinct texts with words.
        InputError: if all examples were held out.
    """
    known: set[bytes] = set()
    distinct = [_distinct(table, known) for table in (positives, negatives)]
    for name, table in zip(CLASSES, distinct, strict=True):
        if len(table) < config.min_examples:
            raise TooFewError(f"{len(table)} distinct {name} where quality.min_examples asks for {config.min_examples}")
    number = min(config.max_examples, *map(len, distinct))
    drawn = [table.take(np.argsort(draw.keys(_ids(table), seed, _EXAMPLES))[:number]) for table in distinct]
    held = _held(drawn, config.held, seed)
    trained, judged = (
        [t.filter(pa.array(h == side)) for t, h in zip(drawn, held, strict=True)] for side in (False, True)
    )
    if not all(map(len, trained)):
        raise InputError(f"{config.held} of {number} examples a class leaves none to train on; lower quality.held")
    table, labels = words.table(_texts(pa.concat_tables(trained))), np.repeat([True, False], [len(t) for t in trained])
    alpha = 0.0 if config.alpha == "fit" else config.alpha
    model: Model
    report: dict[str, Any] = {}
    if config.model == "fasttext":
        model = fasttext.train(table, labels, alpha)
    else:
        model, report = _fit(table, labels, config, alpha)
    positive, negative = (model.score(words.table(_texts(each))) for each in judged)
    if config.alpha == "fit":
        if not (positive.size and negative.size):
            raise InputError("no example of one class is held out to fit alpha on; raise quality.held or name an alpha")
        model = model.with_alpha(evaluate.fit_alpha(positive, negative))
    card = {
        "config": asdict(config),
        "seed": seed,
        "examples": {
            name: dict(sorted(Counter(each["source"].to_pylist()).items()))
            for name, each in zip(CLASSES, drawn, strict=True)
        },
        "examples_sha256": _fingerprint(drawn),
        "trained_on": {name: len(each) for name, each in zip(CLASSES, trained, strict=True)},
        "held_out": evaluate.judge(positive, negative, model.alpha),
        **report,
    }
    return model, card


def _distinct(table: pa.Table, known: set[bytes]) -> pa.Table:
    """The documents whose text has words and is not known yet, sorted by id, with the text's hash as `content`."""
    table = table.sort_by("id")
    texts = _texts(table)
    content = exact.content_hashes(texts)
    some = np.diff(words.table(texts).doc_words) > 0
    keep = np.zeros(len(table), bool)
    for row, each in enumerate(content.to_pylist()):
        if some[row] and each not in known:
            known.add(each)
            keep[row] = True
    return table.append_column("content", content).filter(pa.array(keep))


def _held(classes: Sequence[pa.Table], share: float, seed: int) -> list[npt.NDArray[np.bool_]]:
    """bool[n] for each class: whether the document is held out, by a draw keyed by its host, or else by its id."""
    hosts = [[urlsplit(each).hostname or "" for each in table["url"].to_pylist()] for table in classes]
    large = {""}
    for each in hosts:
        large |= {host for host, number in Counter(each).items() if number > share * len(each)}
    found = []
    for table, each in zip(classes, hosts, strict=True):
        groups = (id_ if host in large else host for id_, host in zip(_ids(table), each, strict=True))
        keys = (hashlib.blake2b(group.encode(), digest_size=16).hexdigest() for group in groups)
        found.append(draw.draws(keys, seed, _FOLD) < share)
    return found


def _fit(
    table: WordTable, labels: npt.NDArray[np.bool_], config: Quality, alpha: float
) -> tuple[Logistic, dict[str, Any]]:
    # Sums over threads, or over buckets in another order, would give other last bits.
    with threadpool_limits(1), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        fitted = LogisticRegression(C=config.c, max_iter=_MAX_ITERATIONS).fit(features(table, config.dim), labels)
    model = Logistic(fitted.coef_[0].astype(np.float32), float(fitted.intercept_[0]), alpha)
    return model, {"iterations": int(fitted.n_iter_[0]), "converged": not caught}


def _fingerprint(classes: Sequence[pa.Table]) -> str:
    """sha256 of class, id and content of every example."""
    digest = hashlib.sha256()
    for name, table in zip(CLASSES, classes, strict=True):
        for id_, content in sorted(zip(_ids(table), table["content"].to_pylist(), strict=True)):
            digest.update(f"{name} {id_} ".encode() + content)
    return digest.hexdigest()


def _ids(table: pa.Table) -> list[str]:
    return table["id"].to_pylist()  # type: ignore[no-any-return]


def _texts(table: pa.Table) -> pa.Array:
    return pa.concat_arrays(
        [pa.array([], pa.large_string()), *(c.cast(pa.large_string()) for c in table["text"].chunks)]
    )
