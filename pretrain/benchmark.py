"""Tasks put to a model as GPT-3's were (Brown et al. 2020, section 2.4), and scored.

Every prompt begins with an end-of-text, as documents do in training. Context and completion are tokenized apart, so
that no token straddles them. The same checkpoint, task and threads give the same figures on the CPU.
"""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from curate import draw
from curate.errors import InputError
from pretrain.forms import Question
from pretrain.likelihood import Ids, Likelihood, Request, likelihoods, search
from pretrain.progress import Tick
from pretrain.sample import Sampler
from pretrain.tasks import NORMS, Norm, Task

# Questions whose prompts are held in memory at once.
_BLOCK = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean over questions, and its standard error; None: of a single question."""

    value: float
    error: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A task's figures.

    Attributes:
        questions: how many were asked.
        shots: examples asked for; mean_shots: examples that fitted.
        cut: questions whose prompt lost its beginning, because it did not fit even without examples.
        metrics: by name; headline: the name of the one that counts.
            choice: accuracy, that of the task's `normalize`, and accuracy_X of each normalisation X. completion:
            accuracy (every token the likeliest), perplexity (of the completion, as of LAMBADA's last word). free:
            exact_match and f1, of words without case, punctuation and articles (Rajpurkar et al. 2016).
    """

    task: str
    kind: str
    questions: int
    shots: int
    mean_shots: float
    cut: int
    headline: str
    metrics: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question ready to be read: ids before each option's completion, and the examples among them."""

    contexts: list[Ids]
    completions: list[Ids]
    shots: int
    cut: bool


class Bench:
    """A model that tasks are put to."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler, self._model = sampler, sampler.model
        self._window = sampler.model.config.context
        self._lengths: dict[str, int] = {}

    def run(
        self, task: Task, *, limit: int | None = None, seed: int = 0, tick: Tick = lambda done, total: None
    ) -> Result:
        """The task's figures, on all its questions or on a keyed draw of so many.

        Args:
            tick: told how many questions are done of how many.

        Raises:
            InputError: if a free answer's most tokens do not fit the model's window.
        """
        indices = list(range(len(task.questions)))
        if limit is not None and limit < len(indices):
            ranked = sorted(indices, key=lambda i: draw.key("pretrain.questions", seed, task.name, i))
            indices = sorted(ranked[:limit])
        shots, cut, asked = 0, 0, 0

        def done(count: int) -> None:
            nonlocal asked
            asked += count
            tick(asked, len(indices))

        values: dict[str, list[float]] = {}
        for first in range(0, len(indices), _BLOCK):
            block = indices[first : first + _BLOCK]
            prompts = [self.prompt(task, index, seed) for index in block]
            shots += sum(prompt.shots for prompt in prompts)
            cut += sum(prompt.cut for prompt in prompts)
            for row in self._scores(task, [task.questions[i] for i in block], prompts, done):
                for name, value in row.items():
                    values.setdefault(name, []).append(value)
        metrics = {name: _estimate(np.array(column)) for name, column in values.items()}
        if task.kind == "completion":
            # exp of a mean; its error by the first term of exp's series.
            mean, error = metrics["perplexity"].value, metrics["perplexity"].error
            value = math.exp(min(mean, 700.0))
            metrics["perplexity"] = Estimate(value=value, error=None if error is None else error * value)
        return Result(
            task=task.name,
            kind=task.kind,
            questions=len(indices),
            shots=task.config.shots,
            mean_shots=shots / len(indices),
            cut=cut,
            headline="exact_match" if task.kind == "free" else "accuracy",
            metrics=metrics,
        )

    def prompt(self, task: Task, index: int, seed: int) -> Prompt:
        """A question with the most examples, of those drawn for it and in their order, that fit the window."""
        question = task.questions[index]
        completions = [self._encode(completion) for _, completion in question.options]
        if not all(map(len, completions)):
            raise InputError(f"task {task.name}, question {index + 1}: the tokenizer makes no token of a completion")
        if task.kind == "free" and task.config.tokens > self._window:
            raise InputError(f"task {task.name}: `tokens` is {task.config.tokens}, the model's window {self._window}")
        reserve = task.config.tokens if task.kind == "free" else max(map(len, completions))
        room = max(1, self._window + 1 - reserve)
        examples = task.order(index, seed)

        def contexts(shots: int) -> list[Ids]:
            texts = [task.prompt(context, examples[:shots]) for context, _ in question.options]
            found = {text: self._begin(text) for text in dict.fromkeys(texts)}
            return [found[text] for text in texts]

        # Lengths of the examples by themselves tell nearly how many fit; tokens that reach across their ends, the rest.
        chosen = contexts(0)
        lengths = accumulate((self._length(task.shown(example)) for example in examples), initial=_longest(chosen))
        shots = max(0, sum(length <= room for length in lengths) - 1)
        chosen = contexts(shots)
        while shots and _longest(chosen) > room:
            shots -= 1
            chosen = contexts(shots)
        while shots < len(examples) and _longest(more := contexts(shots + 1)) <= room:
            shots, chosen = shots + 1, more
        return Prompt([ids[-room:] for ids in chosen], completions, shots, _longest(chosen) > room)

    def _length(self, text: str) -> int:
        if text not in self._lengths:
            self._lengths[text] = len(self._encode(text))
        return self._lengths[text]

    def _begin(self, text: str) -> Ids:
        return np.concatenate([np.array([self._sampler.end_of_text], np.int32), self._encode(text)])

    def _encode(self, text: str) -> Ids:
        return np.array(self._sampler.tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def _scores(
        self, task: Task, questions: list[Question], prompts: list[Prompt], done: Callable[[int], None]
    ) -> list[dict[str, float]]:
        """Of each question its value of each metric."""
        if task.kind == "free":
            out = []
            for question, prompt in zip(questions, prompts, strict=True):
                out.append(_free(self._answer(task, prompt), question))
                done(1)
            return out
        found = likelihoods(self._model, [_requests(p.contexts, p.completions) for p in prompts], done)
        if task.kind == "completion":
            return [{"accuracy": float(one.greedy), "perplexity": one.nats} for (one,) in found]
        free: list[list[Likelihood]] | None = None
        if task.config.answer_context is not None:
            context = self._begin(task.config.answer_context)
            free = likelihoods(self._model, [_requests([context] * len(p.completions), p.completions) for p in prompts])
        return [
            _choice(task.config.normalize, question, found[i], free[i] if free else None)
            for i, question in enumerate(questions)
        ]

    def _answer(self, task: Task, prompt: Prompt) -> str:
        """The likeliest text up to the task's `stop` or an end-of-text."""
        end, decode = self._sampler.end_of_text, self._sampler.tokenizer.decode

        def ends(ids: list[int]) -> bool:
            # White space may come first: a line break before the answer does not end it.
            return ids[-1] == end or task.config.stop in decode(ids, skip_special_tokens=False).lstrip()

        config = task.config
        ids = search(
            self._model,
            prompt.contexts[0].tolist(),
            ends,
            tokens=config.tokens,
            width=config.beams,
            penalty=config.length_penalty,
        )
        text: str = decode(ids[:-1] if ids[-1] == end else ids, skip_special_tokens=False)
        return text.lstrip().partition(config.stop)[0]


def _longest(rows: Sequence[Ids]) -> int:
    return max(map(len, rows))


def _requests(contexts: Sequence[Ids], completions: Sequence[Ids]) -> list[Request]:
    return list(zip(contexts, completions, strict=True))


def _choice(
    norm: Norm, question: Question, found: Sequence[Likelihood], free: Sequence[Likelihood] | None
) -> dict[str, float]:
    """Whether the right option has the fewest nats, by each normalisation; of equals the first is taken."""
    nats = np.array([one.nats for one in found])
    texts = [completion.strip() for _, completion in question.options]
    ranks = {
        "token": nats / [one.tokens for one in found],
        "character": nats / [len(text) for text in texts],
        "byte": nats / [len(text.encode()) for text in texts],
        "none": nats,
    }
    if free is not None:
        ranks["answer"] = nats - [one.nats for one in free]
    right = {name: float(int(ranks[name].argmin()) == question.gold) for name in NORMS if name in ranks}
    return {"accuracy": right[norm]} | {f"accuracy_{name}": value for name, value in right.items()}


def _free(text: str, question: Question) -> dict[str, float]:
    words = _words(text)
    right = [_words(answer) for answer in question.answers]
    return {
        "exact_match": float(words in right),
        "f1": max(_f1(words, answer) for answer in right),
    }


def _words(text: str) -> list[str]:
    bare = "".join(letter for letter in text.lower() if letter not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", bare).split()


def _f1(words: list[str], answer: list[str]) -> float:
    common = sum((Counter(words) & Counter(answer)).values())
    if not words or not answer:
        return float(words == answer)
    return 2 * common / (len(words) + len(answer))


def _estimate(values: npt.NDArray[np.float64]) -> Estimate:
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None
    return Estimate(value=math.fsum(values) / len(values), error=error)
