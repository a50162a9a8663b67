"""Tasks on their way to the workers: tables in the run directory, since the graph of a job may hold but few.

A crawl makes a million tasks. Dataflow refuses a graph above 10 MB, and every runner sends all of it to every worker;
what the graph holds here is a folder and the number of files in it, and what is shuffled is a place in them.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from curate import storage
from pipelines.io import Task

PART_BYTES = 1 << 18  # of tasks as JSON in one file: it is read for each of its tasks, unless it is still at hand
SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("data", pa.string(), nullable=False)])


def folder(receipts: str, *name: str) -> str:
    """Below the step's receipts, for as long as the step is not done."""
    return storage.join(receipts, "tasks", *name)


@dataclass(frozen=True, slots=True)
class Listed:
    """Tasks that were written to a folder. `size`: bytes of input, all together."""

    folder: str
    parts: int
    number: int
    size: int

    def read(self) -> Iterator[Task]:
        """All of them, in their order."""
        for part in range(self.parts):
            table = load(self.folder, part)
            yield from (take(table, row) for row in range(len(table)))

    def remove(self) -> None:
        storage.remove(self.folder)


def write(folder: str, tasks: Iterable[Task]) -> Listed:
    """Write tasks as they come to FOLDER/N.parquet, in place of what is there; their data must be plain JSON values."""
    storage.remove(folder)
    names: list[str] = []
    texts: list[str] = []
    parts = number = size = held = 0

    def flush() -> None:
        nonlocal parts, held
        storage.write_table(part_path(folder, parts), pa.table([names, texts], schema=SCHEMA))
        names.clear()
        texts.clear()
        parts, held = parts + 1, 0

    for task in tasks:
        names.append(task.name)
        texts.append(json.dumps(task.data))
        number += 1
        size += int(task.data.get("bytes", 0))
        held += len(texts[-1])
        if held >= PART_BYTES:
            flush()
    if names:
        flush()
    return Listed(folder, parts, number, size)


def load(folder: str, part: int) -> pa.Table:
    """One of the files."""
    return storage.read_table(part_path(folder, part))


def take(table: pa.Table, row: int) -> Task:
    """The task in a row of a file."""
    return Task(table["name"][row].as_py(), json.loads(table["data"][row].as_py()))


def part_path(folder: str, part: int) -> str:
    return storage.join(folder, f"{part:05d}.parquet")
