"""The transforms on small collections, with the real runner in this process."""

from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from curate import storage
from pipelines import io, recipe, tasks, transforms
from pipelines.context import Context
from pipelines.engine import Engine, check_flags, last_words


@pytest.fixture
def context(tmp_path) -> Context:
    return Context(str(tmp_path), "stage", recipe.Recipe())


def run(build: Any) -> None:
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        build(pipeline)


def double(context: Context, task: io.Task) -> None:
    if task.name == "bad":
        raise ValueError("seven")
    context.finish("step", task, io.Tally(), twice=2 * task.data["n"])


def test_each_task_leaves_a_receipt_or_a_note(context: Context) -> None:
    some = tasks.write(context.path("some"), [io.Task("a", {"n": 1}), io.Task("bad"), io.Task("b", {"n": 2})])
    run(lambda p: p | transforms.ReadTasks(some) | transforms.RunTasks(context, "step", double))
    found = dict(io.read_receipts(context.receipts("step")))
    assert {name: receipt["info"] for name, receipt in found.items()} == {"a": {"twice": 2}, "b": {"twice": 4}}
    assert storage.read_json(context.receipts("step") + "/failed/bad.json")["error"] == "ValueError: seven"


def send(context: Context, task: io.Task) -> Iterator[tuple[int, list[int]]]:
    for number in task.data["numbers"]:
        yield number % 2, [number]


def join(context: Context, key: int, blocks: list[list[int]]) -> Iterator[tuple[int, int]]:
    yield key, sum(block[0] for block in blocks)


def receive(context: Context, task: io.Task, blocks: list[int]) -> None:
    context.finish("step", task, io.Tally(), got=sorted(blocks))


def test_blocks_meet_by_partition_and_the_empty_one_is_there(context: Context) -> None:
    senders = [io.Task("x", {"numbers": [1, 2, 3]}), io.Task("y", {"numbers": [5]})]
    waiting = tasks.write(context.path("waiting"), [io.Task(f"p{number}", {"number": number}) for number in range(3)])
    run(
        lambda p: (
            p
            | beam.Create(senders)
            | transforms.Send(context, send)
            | transforms.Join(context, join)
            | transforms.Receive(context, "step", waiting, receive)
        )
    )
    got = {name: receipt["info"]["got"] for name, receipt in io.read_receipts(context.receipts("step"))}
    assert got == {"p0": [2], "p1": [9], "p2": []}


def read(context: Context, task: io.Task) -> Iterator[set[str]]:
    yield {task.name}


def union(parts: list[set[str]]) -> set[str]:
    return set().union(*parts)


def keep(context: Context, task: io.Task, merged: set[str]) -> None:
    context.finish("step", task, io.Tally(), merged=sorted(merged))


@pytest.mark.parametrize("names", [[], ["a"], list("abcdefgh")])
def test_merge_in_a_tree(context: Context, names: list[str]) -> None:
    readers = [io.Task(name) for name in names]
    run(lambda p: p | beam.Create(readers) | transforms.MergeInto(context, "step", io.Task("all"), read, union, keep))
    assert dict(io.read_receipts(context.receipts("step")))["all"]["info"]["merged"] == names


def test_local_processes_must_be_worth_it() -> None:
    def number(engine: Engine, size: int, tasks: int) -> int:
        return engine.options("x", size, tasks, bytes_per_worker=100).get_all_options()["direct_num_workers"]

    assert number(Engine(workers=4), size=50, tasks=9) == 1
    assert number(Engine(workers=4), size=250, tasks=9) == 3
    assert number(Engine(workers=4), size=9999, tasks=9) == 4
    assert number(Engine(workers=4), size=9999, tasks=1) == 1
    assert Engine(("--runner=PortableRunner",)).options("x", 9999, 9, 1).get_all_options()["runner"] == "PortableRunner"


def test_known_flags_pass() -> None:
    flags = ["--runner=PortableRunner", "--job_endpoint=localhost:1", "--environment_type", "LOOPBACK"]
    assert check_flags(flags) == tuple(flags)


def test_last_words_are_the_innermost_error() -> None:
    text = "Traceback\n  File\ncurate.errors.InputError: x is gone [while running 'A']\n\nbye"
    assert last_words(RuntimeError(text)) == "curate.errors.InputError: x is gone [while running 'A']"
    assert last_words(RuntimeError("plain")) == "plain"
