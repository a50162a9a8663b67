"""Where the files of a run lie, and how they are written: shards, sidecars and receipts.

A task's last act is its receipt: what it read, kept, dropped and could not read, and the files it wrote. A file that
no receipt names does not exist for the stages that follow; a file that one names must be there.
"""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curate import storage
from curate.document import DROPPED, ERRORS, document_id
from curate.errors import ConservationError
from curate.reasons import Reason


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of parallel work and of resume: `name` is unique within its step and names what it writes."""

    name: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """Counts of one task, by source; the only mutable thing that a task carries."""

    read: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)  # by (source, reason)
    failed: Counter[str] = field(default_factory=Counter)
    extra: Counter[str] = field(default_factory=Counter)  # bytes, words, tokens ...: not part of the conservation

    def drop(self, source: str, reason: Reason, number: int = 1) -> None:
        self.dropped[source, str(reason)] += number

    def add(self, receipt: dict[str, Any]) -> None:
        """Add a receipt's counts."""
        for source, counts in receipt["sources"].items():
            self.read[source] += counts["read"]
            self.kept[source] += counts["kept"]
            self.failed[source] += counts["failed"]
            for reason, number in counts["dropped"].items():
                self.dropped[source, reason] += number
        self.extra.update(receipt["extra"])

    def as_dict(self) -> dict[str, Any]:
        """Totals, and the same by source; zero counts are left out of the tables of reasons."""
        names = sorted({*self.read, *self.kept, *self.failed, *(source for source, _ in self.dropped)})
        reasons: Counter[str] = Counter()
        for (_, reason), number in self.dropped.items():
            reasons[reason] += number
        return {
            "read": self.read.total(),
            "kept": self.kept.total(),
            "dropped": {reason: number for reason, number in sorted(reasons.items()) if number},
            "failed": self.failed.total(),
            "extra": dict(sorted(self.extra.items())),
            "sources": {
                name: {
                    "read": self.read[name],
                    "kept": self.kept[name],
                    "dropped": {r: n for (s, r), n in sorted(self.dropped.items()) if s == name and n},
                    "failed": self.failed[name],
                }
                for name in names
            },
        }


def check(where: str, counts: dict[str, Any]) -> None:
    """Law 5: read = kept + dropped + failed, in total. Sources may hand records to each other (a crawl page at a karma
    link becomes webtext), so only the totals close.

    Raises:
        ConservationError: if they do not add up.
    """
    dropped = sum(counts["dropped"].values())
    if counts["read"] != counts["kept"] + dropped + counts["failed"]:
        raise ConservationError(
            f"{where} does not close: read {counts['read']}, but kept {counts['kept']} + dropped {dropped} + failed "
            f"{counts['failed']}. This is a bug of the program, not of the data; nothing that it wrote is used."
        )


@dataclass(slots=True)
class Rows:
    """Rows of a small table, gathered in Python and written once."""

    schema: pa.Schema
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, **values: Any) -> None:
        self.rows.append(values)

    def write(self, path: str) -> str | None:
        """The path, or None where there is no row and so no file."""
        if not self.rows:
            return None
        storage.write_table(path, pa.Table.from_pylist(self.rows, schema=self.schema))
        return path


def dropped_rows() -> Rows:
    return Rows(DROPPED)


def error_rows() -> Rows:
    return Rows(ERRORS)


def add_dropped(
    rows: Rows,
    source: str,
    stage: str,
    file: str,
    offset: int,
    url: str,
    reason: Reason,
    detail: str = "",
    id_: str = "",
) -> None:
    """A row of DROPPED; a record that never became a page gets the id that its page would have had."""
    rows.add(
        id=id_ or document_id(source, file, offset),
        url=url,
        source=source,
        stage=stage,
        reason=str(reason),
        detail=detail,
        file=file,
        offset=offset,
    )


# ---- receipts

RECEIPTS = "receipts"


def receipts_folder(root: str, stage: str, step: str) -> str:
    return storage.join(root, RECEIPTS, stage, step)


def mark_path(root: str, stage: str) -> str:
    """Where the fingerprint lies under which a stage's receipts were begun."""
    return storage.join(root, RECEIPTS, stage, "fingerprint")


def write_receipt(folder: str, task: Task, tally: Tally, outputs: Iterable[str | None], root: str, **info: Any) -> None:
    """Check the task's counts and write its receipt; `outputs` are paths under `root`, stored relative to it."""
    counts = tally.as_dict()
    check(f"task {task.name}", counts)
    names = [output.removeprefix(root).lstrip("/") for output in outputs if output]
    storage.write_json(storage.join(folder, f"{task.name}.json"), {**counts, "outputs": names, "info": info})


def finished(folder: str) -> set[str]:
    """Names of the tasks that have a receipt."""
    return {path.rsplit("/", 1)[-1].removesuffix(".json") for path in storage.glob(storage.join(folder, "*.json"))}


def read_receipts(folder: str, without: Container[str] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """(task name, receipt), sorted by name."""
    for name in sorted(finished(folder)):
        if name not in without:
            yield name, storage.read_json(storage.join(folder, f"{name}.json"))
