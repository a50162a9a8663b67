"""One archive, many tasks: its ranges give what the whole gives, and a killed run goes on inside the file."""

import contextlib
import gzip
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest

DRIVER = Path(__file__).with_name("driver.py")
RECIPE = """
sources: {{crawl: {{paths: [{path}]}}}}
ingest: {{split_bytes: {split}, block_pages: 4, sample_rate: 1.0}}
"""


def rows(root: Path) -> dict[str, list[dict[str, Any]]]:
    """All that ingest wrote, whatever the files."""
    found = {}
    for kind in ("documents", "dropped", "errors", "samples"):
        table = ds.dataset(root / kind, format="parquet").to_table().to_pylist() if (root / kind).exists() else []
        found[kind] = sorted(table, key=lambda row: (row.get("offset", 0), row.get("id", "")))
    return found


def sound(data: bytes) -> Iterator[bytes]:
    """What the members hold that are not damaged."""
    magic = b"\x1f\x8b\x08\0"
    for part in data.split(magic)[1:]:
        with contextlib.suppress(OSError, EOFError, zlib.error):
            yield gzip.decompress(magic + part)


def command(recipe: Path, root: Path) -> list[str]:
    return [sys.executable, str(DRIVER), str(recipe), str(root), "1", "karma", "ingest"]


def times(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (root / "receipts/ingest/splits").glob("*.json")}


@pytest.mark.parametrize("form", [".warc.gz", ".warc", ".single.warc.gz"])
def test_a_killed_run_goes_on_inside_the_file(form: str, corpus: Any, tmp_path: Path) -> None:
    stored = b"".join(path.read_bytes() for path in sorted((corpus.folder / "crawl").iterdir()))
    if form != ".warc.gz":
        stored = b"".join(sound(stored))
    if form == ".single.warc.gz":
        stored = gzip.compress(stored, mtime=0)
    path = tmp_path / f"one{form}"
    path.write_bytes(stored)
    recipe, whole = tmp_path / "ranges.yaml", tmp_path / "whole.yaml"
    split = 3000 if form == ".single.warc.gz" else max(2000, len(stored) // 24)
    recipe.write_text(RECIPE.format(path=path, split=split))
    whole.write_text(RECIPE.format(path=path, split=1 << 30))
    subprocess.run(command(whole, tmp_path / "whole"), check=True, timeout=200)

    root = tmp_path / "run"
    process = subprocess.Popen(command(recipe, root), start_new_session=True)
    while len(times(root)) < 3 and process.poll() is None:
        time.sleep(0.002)
    ended = process.poll() is not None
    if not ended:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = times(root)
    if form == ".single.warc.gz":
        (receipt,) = (root / "receipts/ingest/splits").glob("*.json")  # one task
        assert json.loads(receipt.read_text())["extra"]["unsplit_archives"] == 1
    else:
        assert not ended, "the run ended before it could be killed"
        subprocess.run(command(recipe, root), check=True, timeout=200)
        assert len(times(root)) > max(10, len(before))
        assert {name: time for name, time in times(root).items() if name in before} == before
    found = rows(root)
    assert len(found["documents"]) > 10
    assert found == rows(tmp_path / "whole")
