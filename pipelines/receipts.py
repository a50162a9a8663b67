"""All receipts of a step at once, be they a million: read in bulk, folded into tables, held against their files.

A task is done while its receipt's own file is there; that file is all that a worker writes. The tables beside them are
copies, made by the run alone, that save opening each file again.
"""

import json
import os
import posixpath
from collections.abc import Callable, Container, Iterator
from typing import Any

import pyarrow as pa

from curate import storage
from curate.errors import InputError
from pipelines import io

FOLDED = "folded"  # below the step's receipts
FEWEST = 1000  # receipts that are worth a table
MOST = 10_000  # in one table
AT_ONCE = 500  # files that are asked for at once
SCHEMA = pa.schema([pa.field("name", pa.string(), nullable=False), pa.field("receipt", pa.string(), nullable=False)])


def names(folder: str) -> set[str]:
    """The tasks that have a receipt now: workers write them behind the back of what a store remembers of a listing."""
    storage.store(folder)[0].invalidate_cache()
    return io.finished(folder)


def read(folder: str, without: Container[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """(task name, receipt), in no stated order.

    Raises:
        InputError: if one is damaged.
    """
    for name, text in _texts(folder, {name for name in names(folder) if name not in without}):
        try:
            yield name, json.loads(text)
        except ValueError as error:
            raise InputError(f"{storage.join(folder, name)}.json is not JSON: {error}: delete it") from error


def _texts(folder: str, left: set[str]) -> Iterator[tuple[str, str | bytes]]:
    """The receipts of the tasks as stored: from tables where they are folded."""
    for path in _tables(folder):
        table = storage.read_table(path)
        for name, text in zip(table["name"].to_pylist(), table["receipt"].to_pylist(), strict=True):
            if name in left:
                left.remove(name)
                yield name, text
    yield from _loose(folder, sorted(left))


def _loose(folder: str, found: list[str]) -> Iterator[tuple[str, bytes]]:
    fs, inner = storage.store(folder)
    for start in range(0, len(found), AT_ONCE):
        some = found[start : start + AT_ONCE]
        paths = [storage.join(inner, f"{name}.json") for name in some]
        texts = fs.cat(paths)  # stores that can, send them all together
        yield from ((name, texts[path]) for name, path in zip(some, paths, strict=True))


def _tables(folder: str) -> list[str]:
    return storage.glob(storage.join(folder, FOLDED, "*.parquet"))


def fold(folder: str) -> None:
    """Copy the receipts that stand in no table into further ones."""
    tables = _tables(folder)
    known = {name for path in tables for name in storage.read_table(path, ["name"])["name"].to_pylist()}
    left = sorted(names(folder) - known)
    if len(left) < FEWEST:
        return
    for number, start in enumerate(range(0, len(left), MOST), len(tables)):
        some = left[start : start + MOST]
        texts = [text.decode() for _, text in _loose(folder, some)]
        path = storage.join(folder, FOLDED, f"{number:05d}.parquet")
        storage.write_table(path, pa.table([some, texts], schema=SCHEMA))


def sound(root: str, folder: str) -> set[str]:
    """Names of tasks with a receipt whose files are all there; a receipt whose file is gone is withdrawn."""
    fold(folder)
    is_there = presence(root)
    kept, gone = set[str](), []
    for name, receipt in read(folder):
        if all(map(is_there, receipt["outputs"])):
            kept.add(name)
        else:
            gone.append(name)
    if gone:
        storage.remove(storage.join(folder, FOLDED))  # first: the task that is done again has another receipt
    for name in gone:
        storage.remove(storage.join(folder, f"{name}.json"))
    return kept


def presence(root: str) -> Callable[[str], bool]:
    """Whether a file of the run directory is there, by its path below it; a store's folders are listed once each."""
    if not storage.is_remote(root):
        return lambda output: os.path.exists(os.path.join(root, output))
    listed: dict[str, frozenset[str]] = {}

    def is_there(output: str) -> bool:
        folder, name = posixpath.split(output)
        if folder not in listed:
            paths = storage.glob(storage.join(root, folder, "*"))
            listed[folder] = frozenset(posixpath.basename(path) for path in paths)
        return name in listed[folder]

    return is_there
