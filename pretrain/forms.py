"""Benchmark files as they are handed about, read as questions: JSON lines or .csv with a head, plain or .gz. A line's
keys tell its form.

Ours:
    {"context", "choices", "gold"}             which choice follows the context
    {"contexts", "completion", "gold"}         after which context the completion follows
    {"context", "completion"}                  what follows
    {"context", "answers"}                     free form; any of the answers will do, the first is shown as an example

Others' are the functions below; each takes the keys of its lines, with their types.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from curate import storage
from curate.errors import InputError

# OLMo's requests number from here those that repeat a question's choices after an unconditional context.
_UNCONDITIONAL = 1_000_000


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked.

    Attributes:
        options: (context, completion) pairs: of a choice two or more, else one.
        gold: the index of the right one.
        answers: of a free-form question, all that are right; empty: it is none.
    """

    options: tuple[tuple[str, str], ...]
    gold: int = 0
    answers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.gold < len(self.options):
            raise ValueError(f"{self.gold} is no option: there are {len(self.options)}, from 0")
        if not all(completion.strip() for _, completion in self.options):
            raise ValueError("a completion is empty")


def _choices(context: str, choices: list[str], gold: int) -> Question:
    return Question(tuple((context, choice) for choice in choices), gold)


def _contexts(contexts: list[str], completion: str, gold: int) -> Question:
    return Question(tuple((context, completion) for context in contexts), gold)


def _completion(context: str, completion: str) -> Question:
    return Question(((context, completion),))


def _answers(context: str, answers: list[str]) -> Question:
    if not answers:
        raise ValueError("there is no answer")
    return Question(((context, answers[0]),), answers=tuple(dict.fromkeys(answers)))


def _foundry_choices(query: str, choices: list[str], gold: int) -> Question:
    return _choices(query, choices, gold)


def _foundry_contexts(context_options: list[str], continuation: str, gold: int) -> Question:
    return _contexts(context_options, continuation, gold)


def _foundry_completion(context: str, continuation: str) -> Question:
    return _completion(context, continuation)


def _foundry_aliases(context: str, answer: str, aliases: list[str]) -> Question:
    return _answers(context, [answer, *aliases])


def _foundry_thoughts(context: str, answer: str, chain_of_thought: str) -> Question:
    return _answers(context, [answer])  # GPT-3 was asked for the answer alone


def _lambada(text: str) -> Question:
    context, _, word = text.rstrip().rpartition(" ")
    return _completion(context, word)


def _hellaswag(ctx: str, endings: list[str], label: int) -> Question:
    return _choices(ctx, endings, label)


def _piqa(goal: str, sol1: str, sol2: str, label: int) -> Question:
    return _choices(goal, [sol1, sol2], label)


def _gsm8k(question: str, answer: str) -> Question:
    return _answers(question, [answer.rpartition("####")[2].strip()])


def _story_cloze(
    InputSentence1: str,
    InputSentence2: str,
    InputSentence3: str,
    InputSentence4: str,
    RandomFifthSentenceQuiz1: str,
    RandomFifthSentenceQuiz2: str,
    AnswerRightEnding: int,
) -> Question:
    context = " ".join([InputSentence1, InputSentence2, InputSentence3, InputSentence4])
    return _choices(context, [RandomFifthSentenceQuiz1, RandomFifthSentenceQuiz2], AnswerRightEnding - 1)


# Each with the keys that its lines may have besides, and that are not read.
_FORMS: dict[Callable[..., Question], frozenset[str]] = {
    _choices: frozenset(),
    _contexts: frozenset(),
    _completion: frozenset(),
    _answers: frozenset(),
    _foundry_choices: frozenset(),
    _foundry_contexts: frozenset(),
    _foundry_completion: frozenset({"category"}),
    _foundry_aliases: frozenset(),
    _foundry_thoughts: frozenset(),
    _lambada: frozenset(),
    _hellaswag: frozenset({"ind", "activity_label", "ctx_a", "ctx_b", "split", "split_type", "source_id"}),
    _piqa: frozenset({"id"}),
    _gsm8k: frozenset(),
    _story_cloze: frozenset({"InputStoryid"}),
}
# Numbers that their files may give as text.
_TEXTUAL = {"label", "AnswerRightEnding"}
_OLMO = frozenset({"request", "request_type", "doc", "doc_id", "idx", "label", "native_id", "task_name"})


def read(path: str) -> tuple[list[Question], str | None]:
    """The file's questions, and the context of its unconditional requests, if it has such.

    Raises:
        InputError: if the file is missing, damaged or empty, or a line has no known form; it names the line.
    """
    questions: list[Question] = []
    requests: list[_Request] = []
    labels: list[str] = []
    for number, (where, row) in enumerate(rows(path)):
        try:
            if row.keys() == {"goal", "sol1", "sol2"}:
                labels = labels or _piqa_labels(path)
                row |= {"label": labels[number] if number < len(labels) else None}
            if row.keys() == _OLMO:
                requests.append(_request(row))
            else:
                questions.append(_question(row))
        except ValueError as error:
            raise InputError(f"{where}: {problem(error)}") from error
    if questions and requests:
        raise InputError(f"{path} mixes requests with questions; part it in two")
    context = None
    if requests:
        try:
            questions, context = _grouped(requests)
        except ValueError as error:
            raise InputError(f"{path}: {error}") from error
    if not questions:
        raise InputError(f"{path} holds no question")
    return questions, context


def rows(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line in words, object) of each line of JSON, or of text by column of a .csv; a .gz is unpacked.

    Raises:
        InputError: if the file is missing or damaged, or a line is no JSON object.
    """
    with storage.open_input(path) as raw:
        try:
            data = raw.read()
            text = (gzip.decompress(data) if path.endswith(".gz") else data).decode()
        except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
            raise InputError(f"cannot read {path!r}: {storage.reason(error)}") from error
    if path.removesuffix(".gz").endswith(".csv"):
        table = csv.DictReader(io.StringIO(text, newline=""), restkey="(no name)")
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(table, 1))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{where} is no JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{where} is no JSON object")
            yield where, row


def _piqa_labels(path: str) -> list[str]:
    """PIQA's labels, which its release has in a file beside the questions: valid-labels.lst for valid.jsonl."""
    beside = path.removesuffix(".gz").removesuffix(".jsonl") + "-labels.lst"
    with storage.open_input(beside) as file:
        return [line.decode("ascii", "replace").strip() for line in file.read().splitlines()]


def problem(error: ValueError) -> str:
    """What is wrong, in a phrase."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")


def _question(row: Mapping[str, Any]) -> Question:
    for form, besides in _FORMS.items():
        types = {key: kind for key, kind in get_type_hints(form).items() if key != "return"}
        if types.keys() <= row.keys() <= types.keys() | besides:
            values = {}
            for key, kind in types.items():
                try:
                    values[key] = TypeAdapter(kind).validate_python(row[key], strict=key not in _TEXTUAL)
                except ValidationError as error:
                    raise ValueError(f"{key}: {problem(error)}") from error
            return form(**values)
    raise ValueError(f"keys {', '.join(row)} are none of a known form; see docs/evaluation.md")


@dataclass(frozen=True, slots=True)
class _Request:
    """A line of OLMo's prepared requests: one option of a question, its examples included."""

    document: int
    option: int
    gold: int
    pair: tuple[str, str]


def _request(row: Mapping[str, Any]) -> _Request:
    pair = TypeAdapter(dict[str, str]).validate_python(row["request"], strict=True)
    document, option, gold = (
        TypeAdapter(int).validate_python(row[key], strict=True) for key in ("doc_id", "idx", "label")
    )
    if row["request_type"] != "loglikelihood" or pair.keys() != {"context", "continuation"}:
        raise ValueError(f"a request of type {row['request_type']!r} cannot be read, only loglikelihood")
    return _Request(document, option, gold, (pair["context"], pair["continuation"]))


def _grouped(requests: list[_Request]) -> tuple[list[Question], str | None]:
    unconditional = {request.pair[0] for request in requests if request.document >= _UNCONDITIONAL}
    if len(unconditional) > 1:
        raise ValueError(f"unconditional contexts differ: {sorted(unconditional)}")
    groups: dict[int, list[_Request]] = {}
    for request in requests:
        if request.document < _UNCONDITIONAL:
            groups.setdefault(request.document, []).append(request)
    questions = []
    for document, group in groups.items():
        group.sort(key=lambda request: request.option)
        if [r.option for r in group] != list(range(len(group))) or len({r.gold for r in group}) > 1:
            raise ValueError(f"the requests of doc_id {document} do not make up one question")
        questions.append(Question(tuple(request.pair for request in group), group[0].gold))
    return questions, unconditional.pop() if unconditional else None
