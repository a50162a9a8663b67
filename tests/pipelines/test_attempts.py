"""Nobody is there at night: workers that are killed for real, tasks that fail once, a disk that is full."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines import report

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
