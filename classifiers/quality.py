"""The quality model: how like curated text a document is, from 0 to 1, and GPT-3's draw on that score.

GPT-3, appendix A: logistic regression on hashed word counts (Spark's Tokenizer and HashingTF) parts curated text from
unfiltered crawl, and a document stays if a Pareto draw exceeds one minus its score. Words and their hashes come from
the word table. `train` makes a model, `evaluate` judges it; this module scores, draws, saves and loads.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import numba
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as read_tensors
from safetensors.numpy import save as write_tensors
from scipy.sparse import csr_array

from classifiers.fasttext import FastText
from curate import draw, storage
from curate.errors import ModelError
from curate.words import WordTable

MODEL = "model.safetensors"
CARD = "card.json"
FILES = (MODEL, CARD)
VERSION = 1

_KEEP = "quality.keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """How the quality model is made, and what it filters.

    Attributes:
        model: `logistic` on hashed words as in GPT-3, appendix A, or `fasttext`.
        positives: the sources that count as curated text (GPT-3: WebText, Wikipedia and web books).
        sources: the sources that the draw may drop from.
        alpha: of the Pareto draw; GPT-3 took 9. `fit` chooses it as `evaluate.fit_alpha` does.
        dim: buckets that words are hashed into, a power of two; Spark's default, since GPT-3 gives none.
        c: inverse strength of the L2 penalty; the paper gives none. Books and Wikipedia against pages of 12 sites, each
            site on one side: AUC .994, .997 and .997 with 3, 30 and 300.
        min_examples: of each class; with fewer there is no model.
        max_examples: of each class; more are drawn down, by key.
        held: the share of examples that judge the model and do not train it.
    """

    __pydantic_config__ = {"extra": "forbid"}
    model: Literal["logistic", "fasttext"] = "logistic"
    positives: tuple[str, ...] = ("webtext", "wikipedia", "books")
    sources: tuple[str, ...] = ("crawl",)
    alpha: float | Literal["fit"] = 9.0
    dim: int = 2**18
    c: float = 30.0
    min_examples: int = 100
    max_examples: int = 50_000
    held: float = 0.1

    def __post_init__(self) -> None:
        if self.alpha != "fit" and not 0 <= self.alpha < 1000:
            raise ValueError(f"quality alpha is {self.alpha}; it must be in [0, 1000) or `fit`")
        if not 2 <= self.dim <= 2**30 or self.dim & (self.dim - 1):
            raise ValueError(f"quality dim is {self.dim}; it must be a power of two up to 2^30")
        if not 0 < self.c < float("inf"):
            raise ValueError(f"quality c is {self.c}; it must be positive")
        if not 0 < self.held < 1:
            raise ValueError(f"quality held is {self.held}; it must be in (0, 1)")
        if not 2 <= self.min_examples <= self.max_examples:
            raise ValueError(
                f"quality min_examples {self.min_examples} and max_examples {self.max_examples} are not 2 <= min <= max"
            )


class Model(Protocol):
    """What `score`, `save` and `train` need of a model: P(curated) as float32[n], and its arrays by name."""

    @property
    def kind(self) -> str: ...

    @property
    def alpha(self) -> float: ...

    def score(self, table: WordTable) -> npt.NDArray[np.float32]: ...

    def with_alpha(self, alpha: float) -> "Model": ...

    def tensors(self) -> dict[str, npt.NDArray[Any]]: ...


@dataclass(frozen=True, slots=True)
class Logistic:
    """Logistic regression on `features`; `weights` is float32[dim]. Its methods are those of `Model`."""

    kind: ClassVar[str] = "logistic"
    weights: npt.NDArray[np.float32]
    bias: float
    alpha: float

    def score(self, table: WordTable) -> npt.NDArray[np.float32]:
        x = features(table, self.weights.size) @ self.weights.astype(np.float64) + self.bias
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), np.float32)

    def with_alpha(self, alpha: float) -> "Logistic":
        return replace(self, alpha=alpha)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        return {"weights": self.weights, "bias": np.array([self.bias], np.float64)}


def features(table: WordTable, dim: int) -> csr_array:
    """csr[n, dim] of float64: one row a document.

    A word counts in bucket hash mod dim. A bucket's value is log(1 + count), and rows have length 1, so that a score
    hardly depends on a document's length, as it does with the raw counts of Spark. On the texts that chose `Quality.c`
    this gave AUC .997, square roots .997, counts of length 1 .984; trained on excerpts of 1,000 words .992. A row
    without words is zero.
    """
    indptr = np.zeros(table.num_docs + 1, np.int32)
    indices, values = np.empty(table.num_words, np.int32), np.empty(table.num_words, np.float64)
    _features(table.hash, table.doc_words, np.uint64(dim - 1), np.zeros(dim, np.int32), indptr, indices, values)
    size = indptr[-1]
    return csr_array((values[:size], indices[:size], indptr), shape=(table.num_docs, dim))


def score(table: WordTable, model: Model) -> npt.NDArray[np.float32]:
    """float32[n]: P(curated) of each document. One without words gets what the model says of no evidence."""
    return model.score(table)


def probability(scores: npt.NDArray[np.floating[Any]], alpha: float) -> npt.NDArray[np.float64]:
    """float64[n]: how likely each document stays, (2 - score)^-alpha.

    GPT-3 keeps a document if numpy's pareto(alpha) exceeds 1 - score; that is the Lomax distribution, whose tail is
    P(X > x) = (1 + x)^-alpha.
    """
    return np.asarray((2.0 - scores.astype(np.float64)) ** -alpha)


def keep(scores: npt.NDArray[np.floating[Any]], ids: Iterable[str], seed: int, alpha: float) -> npt.NDArray[np.bool_]:
    """bool[n]: GPT-3's rule, the draw keyed by document id."""
    return draw.draws(ids, seed, _KEEP) < probability(scores, alpha)


def save(folder: str, model: Model, card: dict[str, Any]) -> None:
    """Write the model's tensors, then its card with their digest; each file appears whole or not at all."""
    data = write_tensors(model.tensors())
    with storage.atomic(storage.join(folder, MODEL)) as file:
        file.write(data)
    head = {"version": VERSION, "kind": model.kind, "alpha": model.alpha, "sha256": hashlib.sha256(data).hexdigest()}
    storage.write_json(storage.join(folder, CARD), {**card, **head})


def load(folder: str) -> Model:
    """The model that `save` wrote.

    Raises:
        InputError: if a file is missing or the card is no JSON.
        ModelError: if the files do not belong together or hold no model that this code knows.
    """
    path, card_path = storage.join(folder, MODEL), storage.join(folder, CARD)
    card = storage.read_json(card_path)
    with storage.open_input(path) as file:
        data = file.read()
    try:
        version, kind, alpha, digest = card["version"], card["kind"], float(card["alpha"]), card["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{card_path} is no model card: {error!r}; train the model again") from error
    if version != VERSION or kind not in (Logistic.kind, FastText.kind):
        raise ModelError(f"{card_path} has version {version!r} and kind {kind!r}, unknown here; train the model again")
    if hashlib.sha256(data).hexdigest() != digest:
        raise ModelError(f"{path} is not the file that {card_path} describes; copy both again or train the model again")
    try:
        tensors = read_tensors(data)
        if kind == FastText.kind:
            return FastText(tensors["model"], alpha)
        weights, bias = tensors["weights"], float(tensors["bias"][0])
    except (SafetensorError, KeyError, IndexError, ValueError) as error:
        raise ModelError(f"{path} holds no {kind} model: {error}; train the model again") from error
    if weights.dtype != np.float32 or weights.ndim != 1 or weights.size & (weights.size - 1) or not weights.size:
        raise ModelError(f"{path} has weights {weights.dtype}{list(weights.shape)}; expected float32[power of two]")
    if not (np.isfinite(weights).all() and np.isfinite(bias)):
        raise ModelError(f"{path} has weights that are not finite; train the model again")
    return Logistic(weights, bias, alpha)


@numba.njit(cache=True, nogil=True)
def _features(hashes, doc_words, mask, counts, indptr, indices, values):  # type: ignore[no-untyped-def]
    """Fill the rows; `counts`, int32[dim], is zero before and after. Buckets stand in the order of first occurrence."""
    end = 0
    for row in range(doc_words.size - 1):
        begin = end
        for word in range(doc_words[row], doc_words[row + 1]):
            bucket = np.int32(hashes[word] & mask)
            if counts[bucket] == 0:
                indices[end] = bucket
                end += 1
            counts[bucket] += 1
        norm = 0.0
        for i in range(begin, end):
            value = np.log1p(np.float64(counts[indices[i]]))
            counts[indices[i]] = 0
            values[i] = value
            norm += value * value
        scale = 1.0 / np.sqrt(norm) if norm > 0 else 0.0
        for i in range(begin, end):
            values[i] *= scale
        indptr[row + 1] = end
