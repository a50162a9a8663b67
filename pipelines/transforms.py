"""PTransforms that wire and count, and never think: as little logic as possible, each calls one function elsewhere.

Elements are tasks (a name and a few numbers) or blocks (Arrow batches, numpy arrays): never single documents.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics

from pipelines import guard, io, tasks, web
from pipelines.context import Context

PARTS_HELD = 32  # files of a list of tasks, by each worker


@dataclass
class ReadTasks(beam.PTransform):
    """Nothing -> PCollection[Task]: what was listed, spread over the workers. Neither the graph nor the shuffle holds a
    task, but its place in the list."""

    listed: tasks.Listed

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        folder, parts = self.listed.folder, range(self.listed.parts)
        return (
            begin
            | "Parts" >> beam.Create(parts)
            | "Places" >> beam.FlatMap(_places, folder)  # (part, row)
            | "Spread" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_TakeTask(folder))
        )


def _places(part: int, folder: str) -> Iterator[tuple[int, int]]:
    return ((part, row) for row in range(len(tasks.load(folder, part))))


class _TakeTask(beam.DoFn):
    """(part, row) -> Task."""

    def __init__(self, folder: str):
        self.folder = folder

    def setup(self) -> None:
        self.load = functools.lru_cache(PARTS_HELD)(functools.partial(tasks.load, self.folder))

    def process(self, place: tuple[int, int]) -> Iterator[io.Task]:
        part, row = place
        yield tasks.take(self.load(part), row)


class AttemptTask(beam.DoFn):
    """Task -> nothing: the work writes its files and its receipt; failures are noted and the others go on."""

    def __init__(self, context: Context, step: str, work: Callable[..., None]):
        self.context = context
        self.step = step
        self.work = work
        self.done = Metrics.counter(step, "tasks-done")
        self.failed = Metrics.counter(step, "tasks-failed")

    def setup(self) -> None:
        web.install(self.context.recipe.fetch)

    def process(self, task: io.Task, *blocks: Any) -> None:
        folder = self.context.receipts(self.step)
        good = guard.attempt(folder, task.name, lambda: self.work(self.context, task, *blocks))
        (self.done if good else self.failed).inc()


@dataclass
class RunTasks(beam.PTransform):
    """PCollection[Task] -> PCollection[]: each task on its own."""

    context: Context
    step: str
    work: Callable[[Context, io.Task], None]

    def expand(self, tasks: beam.PCollection) -> beam.PCollection:
        return tasks | "Work" >> beam.ParDo(AttemptTask(self.context, self.step, self.work))


@dataclass
class Send(beam.PTransform):
    """PCollection[Task] -> PCollection[(key, block)]: each task sends blocks to partitions."""

    context: Context
    send: Callable[[Context, io.Task], Iterable[tuple[Any, Any]]]

    def expand(self, tasks: beam.PCollection) -> beam.PCollection:
        return tasks | "Blocks" >> beam.FlatMap(
            lambda task, send, context: send(context, task), self.send, self.context
        )


@dataclass
class Join(beam.PTransform):
    """PCollection[(key, block)] -> PCollection[(int, block)]: what the blocks of one key have in common."""

    context: Context
    join: Callable[[Context, Any, list[Any]], Iterable[tuple[int, Any]]]

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        return (
            blocks
            | "Group" >> beam.GroupByKey()
            | "Blocks"
            >> beam.FlatMap(lambda pair, join, context: join(context, pair[0], list(pair[1])), self.join, self.context)
        )


class _Receive(beam.DoFn):
    """(number, {blocks, task}) -> nothing, for the tasks that are still to do."""

    def __init__(self, attempt: AttemptTask):
        self.attempt = attempt

    def process(self, pair: tuple[int, dict[str, Iterable[Any]]]) -> None:
        _, both = pair
        for task in both["task"]:
            self.attempt.process(task, list(both["blocks"]))


@dataclass
class Receive(beam.PTransform):
    """PCollection[(int, block)] -> PCollection[]: the task whose number is k works on all blocks of partition k, in no
    stated order.

    The tasks take part, so that a partition to which nobody sent anything still writes its empty file.
    """

    context: Context
    step: str
    listed: tasks.Listed
    work: Callable[[Context, io.Task, list[Any]], None]

    def expand(self, blocks: beam.PCollection) -> beam.PCollection:
        numbered = (
            blocks.pipeline
            | "Tasks" >> ReadTasks(self.listed)
            | "Number" >> beam.Map(lambda task: (task.data["number"], task))
        )
        return (
            {"blocks": blocks, "task": numbered}
            | "Group" >> beam.CoGroupByKey()
            | "Work" >> beam.ParDo(_Receive(AttemptTask(self.context, self.step, self.work)))
        )


class _Merge(beam.CombineFn):
    """Merge by an associative, commutative function over a neutral value."""

    def __init__(self, merge: Callable[[list[Any]], Any]):
        self.merge = merge

    def create_accumulator(self) -> Any:
        return self.merge([])

    def add_input(self, accumulator: Any, block: Any) -> Any:
        return self.merge([accumulator, block])

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        return self.merge(list(accumulators))

    def extract_output(self, accumulator: Any) -> Any:
        return accumulator


@dataclass
class MergeInto(beam.PTransform):
    """PCollection[Task] -> PCollection[]: a block per task, merged in a tree, and one task that works on the result."""

    context: Context
    step: str
    task: io.Task
    read: Callable[[Context, io.Task], Iterator[Any]]
    merge: Callable[[list[Any]], Any]
    work: Callable[[Context, io.Task, Any], None]

    def expand(self, tasks: beam.PCollection) -> beam.PCollection:
        attempt = AttemptTask(self.context, self.step, self.work)
        return (
            tasks
            | "Read" >> beam.FlatMap(lambda task, read, context: read(context, task), self.read, self.context)
            | "Merge" >> beam.CombineGlobally(_Merge(self.merge)).with_fanout(16)
            | "Work" >> beam.Map(lambda block, attempt, task: attempt.process(task, block), attempt, self.task)
        )
