"""Tasks: a benchmark's questions and how they are put to a model, in a YAML file of our own. No model here.

items: arc_easy.jsonl        # questions, in a form that `forms` reads; relative to the YAML file
examples: arc_train.jsonl    # where the examples of few-shot prompts come from
after: "\\nAnswer:"
normalize: answer
answer_context: "Answer:"
shots: 50
"""

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import yaml
from pydantic import TypeAdapter, ValidationError

from curate import draw, storage
from curate.errors import InputError
from pretrain import forms
from pretrain.forms import Question
from pretrain.presets import nearest

Kind = Literal["choice", "completion", "free"]
# By what an option's log-likelihood is divided; answer: nothing, but that of the same completion after `answer_context`
# is subtracted.
Norm = Literal["token", "character", "byte", "none", "answer"]
NORMS: tuple[Norm, ...] = get_args(Norm)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskConfig:
    """How a task is put. Defaults are GPT-3's (Brown et al. 2020, section 2.4) where it has one.

    A prompt is the instruction, the examples, each with its completion and followed by the separator, and the
    question: `before`, its context, `after`. Spaces at the end of that go; a completion that begins with no white space
    gets the delimiter.

    Attributes:
        items, examples: files of questions; without examples these are drawn from the items, never the asked one, as
            GPT-3 did for Winograd and, from the development set, for LAMBADA and StoryCloze.
        name: in the results; None: the file's.
        kind: choice: which option is likeliest. completion: is it what the model would write, and how likely is it.
            free: beam search, and is the text an answer. None: what the form of the questions says.
        normalize: of a choice. Per token, and for ARC, OpenBookQA and RACE answer; none: the sum.
        answer_context: of normalize answer; "Answer:" or "A:" in the paper. None: that of the file, if it has one.
        shots: examples of a prompt, or as many as fit the window. 0: zero-shot, 1: one-shot.
        beams, length_penalty, tokens, stop: of the free form: the search, the most tokens of an answer, and the text
            that ends it.
    """

    __pydantic_config__ = {"extra": "forbid"}
    items: str
    examples: str | None = None
    name: str | None = None
    kind: Kind | None = None
    instruction: str = ""
    before: str = ""
    after: str = ""
    delimiter: str = " "
    separator: str = "\n\n"
    normalize: Norm = "token"
    answer_context: str | None = None
    shots: int = 0
    beams: int = 4
    length_penalty: float = 0.6
    tokens: int = 32
    stop: str = "\n"

    def __post_init__(self) -> None:
        if self.shots < 0 or min(self.beams, self.tokens) < 1 or self.length_penalty < 0 or not self.stop:
            raise ValueError(
                "shots and length_penalty must be 0 or more, beams and tokens 1 or more, and stop not empty"
            )
        if self.answer_context is not None and not self.answer_context.strip():
            raise ValueError("answer_context is empty; leave it out, or give 'Answer:'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task with its questions, each joined as the settings say: a completion begins with its delimiter."""

    name: str
    kind: Kind
    config: TaskConfig
    questions: tuple[Question, ...]
    examples: tuple[Question, ...] | None

    def order(self, index: int, seed: int) -> list[Question]:
        """The examples of a question, in the order of its own keyed draw; at most `shots`."""
        pool = self.questions if self.examples is None else self.examples
        own = index if self.examples is None else None
        salt = np.uint64(draw.key("pretrain.shots", seed, self.name, index))
        keys = draw.mix(draw.mix(np.arange(len(pool), dtype=np.uint64)) ^ salt)
        best = [int(i) for i in np.argsort(keys, kind="stable")[: self.config.shots + 1] if i != own]
        return [pool[i] for i in best[: self.config.shots]]

    def shown(self, example: Question) -> str:
        """An example as it stands in a prompt."""
        return "".join(example.options[example.gold]) + self.config.separator

    def prompt(self, context: str, examples: list[Question]) -> str:
        """All that stands before a completion."""
        return self.config.instruction + "".join(map(self.shown, examples)) + context


def load(path: str, *, shots: int | None = None) -> Task:
    """The task of a .yaml file, or of a bare file of questions with the default settings.

    Args:
        shots: instead of the file's.

    Raises:
        InputError: if a file is missing or damaged, or has what the task does not allow.
    """
    config = _config(path) if path.endswith((".yaml", ".yml")) else TaskConfig(items=path)
    if shots is not None:
        config = replace(config, shots=shots)
    questions, context = forms.read(config.items)
    config = replace(config, answer_context=config.answer_context or context)
    examples = None if config.examples is None else forms.read(config.examples)[0]
    kind = config.kind or _kind(questions[0])
    for question in (*questions, *(examples or ())):
        if (_kind(question) == "choice") != (kind == "choice"):
            raise InputError(f"{path}: kind is {kind}, and there is a question with {len(question.options)} option(s)")
    if config.normalize == "answer" and config.answer_context is None:
        raise InputError(f"{path}: normalize is answer; give answer_context, for example 'Answer:'")
    return Task(
        name=config.name or Path(path).name.split(".")[0],
        kind=kind,
        config=config,
        questions=tuple(_joined(question, kind, config) for question in questions),
        examples=None if examples is None else tuple(_joined(question, kind, config) for question in examples),
    )


def _config(path: str) -> TaskConfig:
    with storage.open_input(path) as file:
        raw = file.read()
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise InputError(f"{path} is no YAML: {error}") from error
    known = [field.name for field in fields(TaskConfig)]
    for key in map(str, value if isinstance(value, dict) else ()):
        if key not in known:
            raise InputError(f"{path}: no key {key!r}; {nearest(key, known)}")
    try:
        config = TypeAdapter(TaskConfig).validate_python(value)
    except ValidationError as error:
        raise InputError(f"{path}: {forms.problem(error)}") from error
    folder = Path(path).parent
    return replace(
        config,
        items=str(folder / config.items),
        examples=None if config.examples is None else str(folder / config.examples),
    )


def _kind(question: Question) -> Kind:
    if len(question.options) > 1:
        return "choice"
    return "free" if question.answers else "completion"


def _joined(question: Question, kind: Kind, config: TaskConfig) -> Question:
    options = tuple(
        (
            f"{config.before}{context}{config.after}".rstrip(" "),
            completion if completion[0].isspace() else config.delimiter + completion,
        )
        for context, completion in question.options
    )
    answers = question.answers
    if kind == "free" and not answers:
        answers = (question.options[0][1].strip(),)
    return Question(options, question.gold, answers if kind == "free" else ())
