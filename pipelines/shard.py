"""A shard of documents with the sidecars that later stages laid beside it: who is still in the run."""

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import decontaminate, storage
from curate.errors import StaleError
from curate.reasons import Reason
from pipelines import io, receipts
from pipelines.context import Context

# Stages after ingest that take documents out, in order.
ORDER = ("score", "dedup", "decontaminate", "mix")


def tasks(context: Context) -> list[io.Task]:
    """One task for each shard of documents, numbered in order of name: the number is the high half of an address."""
    return list(_tasks(context.root, str(storage.read_json(io.mark_path(context.root, "ingest")))))


@functools.lru_cache(maxsize=1)
def _tasks(root: str, fingerprint: str) -> tuple[io.Task, ...]:
    """The receipts of a finished ingest, read once in each process: its fingerprint stands for what it made."""
    found: dict[str, int] = {}
    for _, receipt in receipts.read(io.receipts_folder(root, "ingest", "splits")):
        found.update(receipt["info"]["shards"])
    return tuple(
        io.Task(name, {"number": number, "bytes": size}) for number, (name, size) in enumerate(sorted(found.items()))
    )


def names(context: Context) -> list[str]:
    """The shards of documents, sorted: the index of a name is the high half of its documents' addresses."""
    return [task.name for task in tasks(context)]


def documents(context: Context, name: str, columns: list[str] | None = None) -> pa.Table:
    """The shard's documents (schema DOCUMENTS)."""
    return storage.read_table(context.path("documents", f"{name}.parquet"), columns)


def sidecar(context: Context, kind: str, name: str, columns: list[str] | None = None) -> pa.Table:
    """A file beside the shard: signatures, scores, removals, matches, cuts or counts."""
    return storage.read_table(context.path(kind, f"{name}.parquet"), columns)


def scores(context: Context, name: str, num_rows: int) -> pa.Table:
    """Scores of the shard's rows; NaN and kept where the score stage is off.

    Raises:
        StaleError: if the sidecar does not fit the shard.
    """
    if "score" in context.off:
        nan = np.full(num_rows, np.nan, np.float32)
        return pa.table({"score": nan, "kept": np.ones(num_rows, bool)})
    table = sidecar(context, "scores", name)
    if len(table) != num_rows:
        raise StaleError(
            f"scores/{name}.parquet has {len(table)} rows, its documents {num_rows}: remove receipts/score"
        )
    return table


def alive(context: Context, name: str, num_rows: int, stage: str) -> npt.NDArray[np.bool_]:
    """bool[num_rows]: the documents that reach `stage`, that is, that no earlier stage has taken out."""
    before = [earlier for earlier in ORDER[: ORDER.index(stage)] if earlier not in context.off]
    mask = np.ones(num_rows, bool)
    if "score" in before:
        mask &= scores(context, name, num_rows)["kept"].to_numpy(zero_copy_only=False)
    if "dedup" in before:
        mask[sidecar(context, "removals", name, ["row"])["row"].to_numpy()] = False
    if "decontaminate" in before:
        cuts = sidecar(context, "cuts", name, ["row", "whole"])
        mask[cuts["row"].to_numpy()[cuts["whole"].to_numpy(zero_copy_only=False)]] = False
    return mask


def final(context: Context, name: str) -> pa.Table:
    """The shard's documents that reach the mixture, with their cuts applied, their score and their row in the shard."""
    table = documents(context, name)
    rows = np.flatnonzero(alive(context, name, len(table), "mix"))
    score = scores(context, name, len(table))["score"]
    if "decontaminate" not in context.off:
        texts = decontaminate.apply(table["text"].combine_chunks(), sidecar(context, "cuts", name))
        table = table.set_column(table.schema.get_field_index("text"), table.schema.field("text"), texts)
    return table.append_column("score", score).take(pa.array(rows))


class Ledger:
    """What becomes of a shard's documents in a stage: who goes and why, and with that the task's tally.

    `alive`, bool[rows], says who of the table reaches the stage; None: all do.
    """

    def __init__(self, context: Context, task: io.Task, table: pa.Table, alive: npt.NDArray[np.bool_] | None = None):
        self.tally = io.Tally()
        self._stage = context.stage
        self._path = context.path("dropped", f"{context.stage}-{task.name}.parquet")
        self._table = table
        self._sources = table["source"].to_pylist()
        self._rows = io.dropped_rows()
        for row in range(len(table)) if alive is None else np.flatnonzero(alive):
            self.tally.read[self._sources[row]] += 1
            self.tally.kept[self._sources[row]] += 1

    def drop(self, row: int, reason: Reason, detail: str) -> None:
        """The document at the row goes."""
        entry = {name: self._table[name][row].as_py() for name in ("id", "url", "source", "file", "offset")}
        self._rows.add(**entry, stage=self._stage, reason=str(reason), detail=detail)
        self.tally.kept[entry["source"]] -= 1
        self.tally.drop(entry["source"], reason)

    def write(self) -> str | None:
        """dropped/STAGE-SHARD.parquet, or None where nobody went."""
        return self._rows.write(self._path)


def single(name: str) -> Any:
    """The plan of a step that is one task."""

    def plan(context: Context) -> list[io.Task]:
        return [io.Task(name)]

    return plan
