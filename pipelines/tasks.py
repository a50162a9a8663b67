"""Tasks on their way to the workers: tables in the run directory, since the graph of a job may hold but few.

A crawl makes a million tasks. Dataflow refuses a graph above 10 MB, and every runner sends all of it to every worker;
what the graph holds here is a folder and the number of files in it.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from curate import storage
from pipelines.io import Task

PART_BYTES = 4 << 20  # of tasks as JSON in one file: what a worker holds of them
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
            yield from read_part(self.folder, part)

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


def read_part(folder: str, part: int) -> Iterator[Task]:
    """The tasks of one file."""
    table = storage.read_table(part_path(folder, part))
    for name, text in zip(table["name"].to_pylist(), table["data"].to_pylist(), strict=True):
        yield Task(name, json.loads(text))


def part_path(folder: str, part: int) -> str:
    return storage.join(folder, f"{part:05d}.parquet")
