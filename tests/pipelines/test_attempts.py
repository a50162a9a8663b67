"""Nobody is there at night: workers that are killed for real, tasks that fail once, a disk that is full."""

import dataclasses
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate import storage
from pipelines import guard, io, receipts, recipe, report, tasks
from pipelines.attempts import Attempts
from pipelines.context import Context
from pipelines.engine import Engine, StoppedError
from pipelines.graph import BY_NAME
from pipelines.progress import Progress

DEADLY = Path(__file__).with_name("deadly.py")
SPLIT = "crawl-00002"
FOLDERS = ("documents", "signatures", "samples", "dropped", "errors")


def drive(corpus: Any, root: Path, how: str, workers: int = 2) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, str(DEADLY), str(corpus.recipe), str(root), str(workers), SPLIT, how]
    return subprocess.run(words, capture_output=True, text=True, timeout=280)


def files(root: Path) -> dict[str, bytes]:
    """What karma and ingest write."""
    found = [path for folder in FOLDERS for path in sorted((root / folder).glob("*.parquet"))]
    early = [path for path in found if not path.name.startswith(("score", "train", "dedup", "decontaminate", "mix"))]
    return {str(path.relative_to(root)): path.read_bytes() for path in early}


def left(root: Path) -> list[Path]:
    """What only a step at work has."""
    return [path for name in ("failed", "tasks", "*.tmp-*") for path in root.rglob(name)]


@pytest.mark.parametrize(("how", "workers"), [("once", 1), ("once", 3), ("raise", 2)])
def test_what_passes_is_tried_again(how: str, workers: int, finished: Any, tmp_path: Path) -> None:
    """A worker that was killed for reasons of its own, and an error that does not come again, cost nothing."""
    done = drive(finished.corpus, tmp_path / "run", how, workers)
    assert done.returncode == 0, done.stderr
    assert files(tmp_path / "run") == files(finished.root)
    assert not left(tmp_path / "run")
    assert "Traceback" not in done.stderr
    assert "tried again" in done.stderr
    assert ("a worker process died, killed by SIGKILL" in done.stderr) == (how == "once")


def test_a_split_that_kills_its_workers_is_set_aside(finished: Any, tmp_path: Path) -> None:
    root = tmp_path / "run"
    done = drive(finished.corpus, root, "always")
    assert done.returncode == 0, done.stderr
    assert f"{SPLIT} is set aside: 3 workers died at it" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    entry = json.loads((root / "manifest.json").read_text())["stages"]["ingest"]
    assert entry["extra"]["set_aside_splits"] == 1
    [row] = pq.read_table(root / "errors" / f"ingest-{SPLIT}.parquet").to_pylist()
    assert row["error"].startswith("set aside from here to ")
    made, whole = files(root), files(finished.root)
    assert {name for name in whole if SPLIT not in name} == {name for name in made if SPLIT not in name}
    assert all(made[name] == whole[name] for name in made if SPLIT not in name)
    assert not left(root)
    assert "1 split is set aside" in Path(report.write(str(root))).read_text()


def test_a_full_disk_stops_the_run(finished: Any, tmp_path: Path) -> None:
    root = tmp_path / "run"
    done = drive(finished.corpus, root, "full")
    assert done.returncode != 0
    assert "FullError: cannot write below" in done.stderr
    assert "No space left on device. Make room and run the same command again" in done.stderr
    assert "tried again" not in done.stderr
    done = drive(finished.corpus, root, "full")
    assert done.returncode == 0, done.stderr
    assert files(root) == files(finished.root)


# ---- the rules, with an engine that does as told

TASKS = [io.Task(f"t-{number}", {"source": "crawl", "parts": [], "bytes": 1}) for number in range(8)]


@dataclasses.dataclass(frozen=True)
class Told(Engine):
    """An engine that calls `do` with the number of workers and the tasks that it would run."""

    do: Callable[[int, list[io.Task]], None] = lambda workers, found: None

    def run(self, build: Callable[..., Any], apart: bool = False, **hints: Any) -> None:
        built: list[tasks.Listed] = []
        build(built)
        self.do(1 if apart else self.workers, list(built[0].read()))


def attempts(root: Path, do: Callable[[int, list[io.Task]], None]) -> tuple[Attempts, tasks.Listed, list[str]]:
    """A step of TASKS, and the tasks that are set aside in it."""
    aside: list[str] = []

    def set_aside(context: Context, task: io.Task, why: str) -> None:
        aside.append(task.name)
        context.finish("splits", task, io.Tally())

    def build(pipeline: Any, context: Context, pending: tasks.Listed) -> None:
        pipeline.append(pending)

    stage = BY_NAME["ingest"]
    step = dataclasses.replace(stage.steps[0], build=build, set_aside=set_aside)
    context = Context(str(root), "ingest", recipe.Recipe())
    made = Attempts(stage, step, context, Told((), 4, do), Progress(quiet=True))
    return made, made.list(TASKS), aside


def folder(root: Path) -> str:
    return io.receipts_folder(str(root), "ingest", "splits")


def finish(root: Path, *found: io.Task) -> None:
    for task in found:
        write = functools.partial(io.write_receipt, folder(root), task, io.Tally(), [], "")
        guard.attempt(folder(root), task.name, write)


def begin(root: Path, *found: io.Task) -> None:
    """As a worker leaves a task at which it dies."""
    for task in found:
        storage.write_json(guard.note_path(folder(root), task.name), {"error": "", "mendable": True, "died": True})


def test_too_little_memory_for_so_many_workers(tmp_path: Path) -> None:
    """No task is to blame: each is tried alone once, then fewer go on side by side."""
    seen = []

    def do(workers: int, found: list[io.Task]) -> None:
        seen.append((workers, len(found)))
        if workers > 2:
            begin(tmp_path, *found[:2])
            raise StoppedError("memory", lost=True)
        finish(tmp_path, *found)

    work, pending, aside = attempts(tmp_path, do)
    assert work.work(pending) == []
    assert seen == [(4, 8), (1, 1), (1, 1), (4, 6), (1, 1), (1, 1), (2, 4)]
    assert aside == []


def test_an_engine_that_cannot_be_reached_blames_nobody(tmp_path: Path) -> None:
    calls = []

    def do(workers: int, found: list[io.Task]) -> None:
        calls.append(len(found))
        if len(calls) == 1:
            begin(tmp_path, found[0])
        raise StoppedError("connection refused")

    work, pending, aside = attempts(tmp_path, do)
    with pytest.raises(StoppedError, match="connection refused"):
        work.work(pending)
    assert (calls, aside) == ([8, 1], [])
    calls.append(0)
    with pytest.raises(StoppedError, match="connection refused"):
        attempts(tmp_path / "anew", do)[0].work(work.list(TASKS))


def test_workers_that_die_at_once_end_the_run(tmp_path: Path) -> None:
    calls = []

    def do(workers: int, found: list[io.Task]) -> None:
        calls.append(workers)
        raise StoppedError("no such module", lost=True)

    work, pending, _ = attempts(tmp_path, do)
    with pytest.raises(StoppedError, match="no such module"):
        work.work(pending)
    assert calls == [4, 4, 2]


def test_what_fails_is_tried_again_while_that_helps(tmp_path: Path) -> None:
    calls = []

    def do(workers: int, found: list[io.Task]) -> None:
        calls.append(len(found))
        finish(tmp_path, *found[: len(found) // 2])

    work, pending, _ = attempts(tmp_path, do)
    assert work.work(pending) == ["t-7"]
    assert calls == [8, 4, 2, 1]


def test_two_culprits_among_many(tmp_path: Path) -> None:
    bad = {"t-2", "t-5"}

    def do(workers: int, found: list[io.Task]) -> None:
        for task in found:
            if task.name in bad:
                begin(tmp_path, task)
                raise StoppedError("killed", lost=True)
            finish(tmp_path, task)

    work, pending, aside = attempts(tmp_path, do)
    assert work.work(pending) == []
    assert aside == sorted(bad)
    assert receipts.names(folder(tmp_path)) == {task.name for task in TASKS}
    assert work.engine.workers == 4
