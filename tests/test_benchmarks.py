"""Every benchmark runs alone, on a tiny input, and ends as `make bench` promises. Times are no test's affair."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from classifiers.gold import Gold

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if not path.name.startswith("_"))
PEERS = {
    "heuristics": ("datatrove", "spacy"),
    "ingest_vs_datatrove": ("datatrove", "spacy", "warcio"),
    "minhash": ("datasketch",),
}
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


@pytest.mark.slow
def test_pages_to_look_at(tmp_path: Path) -> None:
    out = tmp_path / "look.html"
    command = [sys.executable, str(ROOT / "benchmarks" / "extraction.py"), "--quick", "--look", "4", "--out", str(out)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert out.read_text("utf-8").count("<section ") == 4


def test_every_script_says_how_it_is_run() -> None:
    assert SCRIPTS
    for script in SCRIPTS:
        assert f"\n    python benchmarks/{script.name}" in script.read_text("utf-8")


def test_a_page_to_look_at_is_escaped_and_colours_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    look = importlib.import_module("_look")
    evil = "</pre><script>alert('\"&')</script>"
    page = Gold(kind="full", set=f"a{evil}", file=evil, host=evil, url=f"http://{evil}", text=evil)
    blocks = [look.Block(evil, evil, 0.5, kept, wanted) for kept in (True, False) for wanted in (True, False, None)]
    assert [block.state for block in blocks] == ["kept", "wrong", "kept", "missed", "dropped", "dropped"]
    snippets = Gold(kind="snippets", set="b", with_=(evil,), without=(evil,))
    drawn = look.render(evil, [look.Shown(page, evil, evil, blocks), look.Shown(snippets, "", "", [])])
    assert "alert(" in drawn
    assert "<script>alert" not in drawn
    assert drawn.count("<script>") == 1
    assert drawn.count('class="block missed"') == 1
