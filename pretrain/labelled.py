"""Labelled sets and the inputs that GPT-1 makes of them (Radford et al. 2018, section 3.3 and figure 1). JSON lines:

    task            a line                                             the network reads
    classification  {"text", "label"}                                  start text extract
    entailment      {"premise", "hypothesis", "label"}                 start premise delimiter hypothesis extract
    similarity      {"first", "second", "label"}                       start first delimiter second extract, and with
                                                                       the two exchanged; both last states are added
    choice          {"context", "choices", "gold"}, or another form    start context delimiter choice extract, for each
                    of a choice that `forms` reads                     choice; softmax over the choices

A label is a text or a whole number. Start, delimiter and extract are three new tokens behind the vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from tokenizers import Tokenizer

from curate.errors import InputError
from pretrain import forms

TaskName = Literal["classification", "entailment", "similarity", "choice"]
TASKS: tuple[TaskName, ...] = get_args(TaskName)
SPECIALS = 3

Ids = npt.NDArray[np.int32]

# The keys of a line's texts.
_KEYS: dict[TaskName, tuple[str, ...]] = {
    "classification": ("text",),
    "entailment": ("premise", "hypothesis"),
    "similarity": ("first", "second"),
}
_LABEL: TypeAdapter[str | int] = TypeAdapter(str | int)


@dataclass(frozen=True, slots=True)
class Example:
    """The texts of each sequence, and the label; of a choice the index of the right sequence; None: not given."""

    sequences: tuple[tuple[str, ...], ...]
    label: str | None


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
    for where, row in forms.rows(path):
        keys = _KEYS[task]
        if row.keys() - {"label"} != set(keys) or (labels and "label" not in row):
            raise InputError(f"{where} has keys {', '.join(row)}; a line of {task} has {', '.join(keys)}, label")
        try:
            texts = TypeAdapter(list[str]).validate_python([row[key] for key in keys], strict=True)
            label = str(_LABEL.validate_python(row["label"], strict=True)) if "label" in row else None
        except ValidationError as error:
            raise InputError(f"{where}: {keys} must be texts, and label a text or a whole number") from error
        both = task == "similarity"
        examples.append(Example((tuple(texts), tuple(texts[::-1])) if both else (tuple(texts),), label))
    if not examples:
        raise InputError(f"{path} holds no example")
    return examples


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
