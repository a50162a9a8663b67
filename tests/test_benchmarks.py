"""Every benchmark runs alone, on a tiny input, and ends as `make bench` promises. Times are no test's affair."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if not path.name.startswith("_"))
PEERS = {"heuristics": ("datatrove", "spacy"), "ingest": ("datatrove", "spacy", "warcio"), "minhash": ("datasketch",)}
PEERS["dedup"] = PEERS["minhash"]


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path, tmp_path: Path) -> None:
    for peer in PEERS.get(script.stem, ()):
        pytest.importorskip(peer, reason=f"{peer} is of the extra `bench`")
    command = [sys.executable, str(script), "--quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    *said, last = done.stdout.splitlines()
    assert said, "it must say what it compares"
    assert re.fullmatch(rf"{script.stem} ratio \d+\.\d", last)
    assert not list(tmp_path.iterdir()), "it leaves nothing behind"


def test_every_script_says_how_it_is_run() -> None:
    assert SCRIPTS
    for script in SCRIPTS:
        assert f"\n    python benchmarks/{script.name}" in script.read_text("utf-8")
