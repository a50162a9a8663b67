"""Labelled sets, the inputs that GPT-1 makes of them (Radford et al. 2018, section 3.3 and figure 1), and how well they
are answered. JSON lines:

    task            a line                                             the network reads
    classification  {"text", "label"}                                  start text extract
    entailment      {"premise", "hypothesis", "label"}                 start premise delimiter hypothesis extract
    similarity      {"first", "second", "label"}                       start first delimiter second extract, and with
                                                                       the two exchanged; both last states are added
    score           {"first", "second", "score"}                     as similarity
    choice          {"context", "choices", "gold"}, or another form    start context delimiter choice extract, for each
                    of a choice that `forms` reads                     choice; softmax over the choices

A label is a text or a whole number, a score any number (STS-B's are 0 to 5). Start, delimiter and extract are three new
tokens behind the vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import FiniteFloat, TypeAdapter, ValidationError
from scipy.stats import rankdata
from tokenizers import Tokenizer

from curate.errors import InputError
from pretrain import forms

TaskName = Literal["classification", "entailment", "similarity", "score", "choice"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
SPECIALS = 3

Ids = npt.NDArray[np.int32]
# Mean and standard deviation of scores.
Scale = tuple[float, float]

# The keys of a line's texts.
_KEYS: dict[TaskName, tuple[str, ...]] = {
    "classification": ("text",),
    "entailment": ("premise", "hypothesis"),
    "similarity": ("first", "second"),
    "score": ("first", "second"),
}
_LABEL: TypeAdapter[str | int] = TypeAdapter(str | int)
_SCORE: TypeAdapter[float] = TypeAdapter(FiniteFloat)


@dataclass(frozen=True, slots=True)
class Example:
    """The texts of each sequence, and the label or score; of a choice the index of the right sequence; None: not
    given.
    """

    sequences: tuple[tuple[str, ...], ...]
    label: str | float | None


def read(path: str, task: TaskName, *, labels: bool = True) -> list[Example]:
    """The examples of a file, in its order.

    Args:
        labels: each line must have its label; else those of a task other than choice may lack it.

    Raises:
        InputError: if the file is missing, damaged or empty, or a line is not of the task's form; it names the line.
    """
    if task == "choice":
        found = []
        for number, question in enumerate(forms.read(path)[0], 1):
            if len(question.options) < 2:
                raise InputError(f"{path}, question {number} is no choice: it has a single option")
            found.append(Example(question.options, str(question.gold)))
        return found
    examples = []
    keys, name = _KEYS[task], "score" if task == "score" else "label"
    for where, row in forms.rows(path):
        if row.keys() - {name} != set(keys) or (labels and name not in row):
            raise InputError(f"{where} has keys {', '.join(row)}; a line of {task} has {', '.join(keys)}, {name}")
        label: str | float | None = None
        try:
            texts = TypeAdapter(list[str]).validate_python([row[key] for key in keys], strict=True)
            if name in row:
                label = _SCORE.validate_python(row[name], strict=True) if task == "score" else _label(row[name])
        except ValidationError as error:
            kind = "a number" if task == "score" else "a text or a whole number"
            raise InputError(f"{where}: {keys} must be texts, and {name} {kind}") from error
        both = task in ("similarity", "score")
        examples.append(Example((tuple(texts), tuple(texts[::-1])) if both else (tuple(texts),), label))
    if not examples:
        raise InputError(f"{path} holds no example")
    return examples


def _label(value: object) -> str:
    return str(_LABEL.validate_python(value, strict=True))


def outputs(path: str, examples: Sequence[Example], task: TaskName) -> tuple[tuple[str, ...], Scale | None]:
    """What a head learns of a training set: its labels in order, or mean and standard deviation of its scores; of a
    choice neither.

    Raises:
        InputError: if all examples have the same.
    """
    if task == "choice":
        return (), None
    known = {example.label for example in examples}
    if len(known) < 2:
        name = "score" if task == "score" else "label"
        raise InputError(f"{path} has the single {name} {known.pop()!r}; there is nothing to learn")
    if task != "score":
        return tuple(sorted(map(str, known))), None
    found = np.array([example.label for example in examples], np.float64)
    return (), (float(found.mean()), float(found.std()))


def targets(path: str, examples: Sequence[Example], labels: tuple[str, ...], scale: Scale | None) -> list[float]:
    """What is right: the index of the label or choice, or the score in standard deviations from the mean.

    Raises:
        InputError: if a label is unknown.
    """
    out = []
    for example in examples:
        assert example.label is not None
        if labels and example.label not in labels:
            raise InputError(f"{path} has the label {example.label!r}, which the training set lacks")
        out.append(labels.index(str(example.label)) if labels else float(example.label))
    return out if scale is None else [(score - scale[0]) / scale[1] for score in out]


def scores(found: Sequence[float], scale: Scale) -> list[float]:
    """The scores that stand so many standard deviations from the mean."""
    return [scale[0] + scale[1] * one for one in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Of a labelled set: the share that is right, its standard error, and the mean nats of the right label.

    Attributes:
        matthews: Matthews' correlation, which GPT-1 gives for CoLA, of any number of labels (Gorodkin 2004); None of a
            choice, and where all that is right or all that is said is one label.
        f1: of two labels that of the second in order, which GPT-1 gives for MRPC and QQP; None of others.
    """

    examples: int
    accuracy: float
    error: float | None
    nats: float
    matthews: float | None = None
    f1: float | None = None

    def __str__(self) -> str:
        spread = "" if self.error is None else f" (standard error {self.error:.4f})"
        more = {"Matthews": self.matthews, "F1": self.f1}
        rest = "".join(f", {name} {one:.4f}" for name, one in more.items() if one is not None)
        return f"{self.examples:,} examples, accuracy {self.accuracy:.4f}{spread}{rest}, {self.nats:.4f} nats"


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """Of a scored set: Pearson's correlation, which GPT-1 gives for STS-B, and Spearman's, of ranks, with the scores;
    None where either side is constant. And the root of the mean squared error.
    """

    examples: int
    pearson: float | None
    spearman: float | None
    error: float

    def __str__(self) -> str:
        pearson, spearman = ("-" if one is None else f"{one:.4f}" for one in (self.pearson, self.spearman))
        return f"{self.examples:,} examples, Pearson {pearson}, Spearman {spearman}, root mean square {self.error:.4f}"


def accuracy(chances: Sequence[Sequence[float]], gold: Sequence[float], *, choice: bool) -> Accuracy:
    """How well the chances name what is right, an index; of equal chances the first counts as named.

    Args:
        choice: indices are places among an example's own choices, and no labels.
    """
    said = np.array([int(np.argmax(row)) for row in chances])
    right = (said == np.array(gold)).astype(np.float64)
    nats = math.fsum(-math.log(max(row[int(one)], 1e-300)) for row, one in zip(chances, gold, strict=True))
    error = float(right.std(ddof=1) / math.sqrt(len(right))) if len(right) > 1 else None
    found = Accuracy(examples=len(right), accuracy=float(right.mean()), error=error, nats=nats / len(right))
    if choice:
        return found
    labels = len(chances[0])
    table = np.zeros((labels, labels))
    np.add.at(table, (np.array(gold, np.int64), said), 1)
    is_, says, hits, size = table.sum(1), table.sum(0), np.diag(table), table.sum()
    below = math.sqrt((size**2 - is_ @ is_) * (size**2 - says @ says))
    matthews = float((hits.sum() * size - is_ @ says) / below) if below else None
    f1 = float(2 * hits[1] / (is_[1] + says[1])) if labels == 2 and is_[1] + says[1] else None
    return replace(found, matthews=matthews, f1=f1)


def correlation(found: Sequence[float], gold: Sequence[float]) -> Correlation:
    """How well the scores that were found follow those that are right."""
    error = math.sqrt(math.fsum((a - b) ** 2 for a, b in zip(found, gold, strict=True)) / len(gold))
    ranks = _pearson(rankdata(found), rankdata(gold))
    return Correlation(examples=len(gold), pearson=_pearson(found, gold), spearman=ranks, error=error)


def _pearson(a: npt.ArrayLike, b: npt.ArrayLike) -> float | None:
    rows = np.array([a, b], np.float64)
    if not np.ptp(rows, axis=1).all():
        return None
    x, y = rows - rows.mean(axis=1, keepdims=True)
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


class Encoder:
    """Sequences as ids, at most the window long."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: int, window: int) -> None:
        """
        Args:
            vocabulary: without the three tokens.
        """
        self._encode: Callable[[str], Sequence[int]] = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
        self._start, self._delimiter, self._extract = range(vocabulary, vocabulary + SPECIALS)
        self._window = window

    def __call__(self, texts: tuple[str, ...]) -> Ids:
        """One sequence; of texts that are too long together, the longest lose their ends."""
        parts = [np.array(self._encode(text), np.int32) for text in texts]
        over = sum(map(len, parts)) + len(parts) + 1 - self._window
        while over > 0:
            lengths = sorted({len(part) for part in parts}, reverse=True)
            longest = next(index for index, part in enumerate(parts) if len(part) == lengths[0])
            # Down to the next in length, or by one where all are equal.
            less = min(over, lengths[0] - lengths[1] if len(lengths) > 1 else 1)
            parts[longest] = parts[longest][: lengths[0] - less]
            over -= less
        pieces: list[Ids] = []
        for mark, part in zip([self._start] + [self._delimiter] * (len(parts) - 1), parts, strict=True):
            pieces += [np.array([mark], np.int32), part]
        return np.concatenate([*pieces, np.array([self._extract], np.int32)])
