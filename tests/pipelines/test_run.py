"""The runner: the same bytes again, in any number of processes and after any kill; what it skips and refuses."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curate import draw
from pipelines.graph import STAGES
from pipelines.run import lock

DRIVER = Path(__file__).with_name("driver.py")
NAMES = [stage.name for stage in STAGES]


def digests(root: Path, *folders: str) -> dict[str, str]:
    """SHA-256 by name of each file in the folders of a run; by default of all that stages write but the manifest."""
    chosen = [root / folder for folder in folders] or [root]
    found = sorted(path for folder in chosen for path in folder.rglob("*") if path.is_file())
    names = {str(path.relative_to(root)): path for path in found}
    seen = {".lock", "manifest.json", "recipe.json", "report.html"}  # seconds; nothing; paths of inputs; seconds
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in names.items() if name not in seen}


def receipts(root: Path, *stages: str) -> dict[str, tuple[int, int]]:
    """(inode, time of writing) of each receipt: a task that is done again has another."""
    found = sorted((root / "receipts").glob("*/*/*.json"))
    return {
        str(path.relative_to(root / "receipts")): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in found
        if not stages or path.parts[-3] in stages
    }


def temporary(root: Path) -> list[str]:
    return [str(path) for path in root.rglob("*.tmp-*")]


def test_the_same_recipe_gives_the_same_bytes(finished: Any, curate: Any, tmp_path: Path) -> None:
    assert curate("run", finished.corpus.recipe, "--out", tmp_path / "run", "--quiet", "--json").code == 0
    one, other = digests(finished.root), digests(tmp_path / "run")
    assert one == other
    assert {name.split("/")[0] for name in one} >= {"corpus", "tokens", "documents", "dropped", "errors", "removals"}
    assert {"tokens/train/00000.bin", "tokens/held/00000.bin", "tokens/manifest.json"} <= set(one)
    assert not temporary(tmp_path)


def test_what_was_planted_is_found(finished: Any) -> None:
    """The corpus exercises every stage, so that what these tests compare is not empty."""
    stages = finished.manifest["stages"]
    assert list(stages) == NAMES
    assert not any("off" in entry for entry in stages.values())
    assert stages["ingest"]["failed"] == 2
    assert stages["karma"]["failed"] == 1
    assert stages["dedup"]["dropped"] == {"exact_duplicate": 3, "near_duplicate": 3}
    assert stages["decontaminate"]["extra"]["cut_documents"] == 2
    assert stages["score"]["dropped"].keys() == {"low_quality"}
    assert stages["mix"]["dropped"].keys() == {"not_needed"}
    book = pq.read_table(finished.root / "documents" / "books-00000-000.parquet")["text"][0].as_py()
    assert "Gutenberg" not in book


def test_a_second_run_skips_everything(copy: Path, corpus: Any, curate: Any) -> None:
    before = receipts(copy)
    manifest = (copy / "manifest.json").read_bytes()
    said = curate("run", corpus.recipe, "--out", copy, "--json")
    assert said.code == 0
    assert receipts(copy) == before
    assert (copy / "manifest.json").read_bytes() == manifest
    assert json.loads(said.out) == json.loads(manifest)
    assert [line.split()[:2] for line in said.err.splitlines()[: len(NAMES)]] == [["same", name] for name in NAMES]


@pytest.mark.parametrize(
    ("setting", "same"),
    [
        ("tokenize.shard_tokens=4000", NAMES[: NAMES.index("mix")]),
        ("dedup.min_similarity=0.9", ["karma", "ingest", "train", "score"]),
        ("decontaminate.rules.window_chars=100", NAMES[: NAMES.index("decontaminate")]),
        ("max_failed=0.9", NAMES),
    ],
)
def test_a_changed_key_makes_what_depends_on_it_anew(
    setting: str, same: list[str], copy: Path, corpus: Any, curate: Any
) -> None:
    before = receipts(copy)
    assert curate("run", corpus.recipe, "--set", setting, "--out", copy, "--quiet").code == 0
    after = receipts(copy)
    kept = {name.split("/")[0] for name, state in before.items() if after.get(name) == state}
    assert kept == set(same)
    anew = {name.split("/")[0] for name in after.keys() - before.keys()} | set(NAMES) - kept
    assert anew == set(NAMES) - set(same)


def test_partitions_change_files_and_not_results(copy: Path, corpus: Any, finished: Any, curate: Any) -> None:
    """Fewer partitions than before: no file of the old count may be left, or missed, by who reads them."""
    assert curate("run", corpus.recipe, "--set", "partitions=1", "--out", copy, "--quiet").code == 0
    assert sorted(path.name for path in (copy / "karma").glob("urls-*")) == ["urls-0000.parquet"]
    folders = ["documents", "removals", "dropped", "corpus", "tokens"]
    assert {name: sha for name, sha in digests(copy, *folders).items() if "/karma-" not in name} == {
        name: sha for name, sha in digests(finished.root, *folders).items() if "/karma-" not in name
    }


def test_changed_input_is_read_anew(copy: Path, corpus: Any, curate: Any, tmp_path: Path) -> None:
    """The inputs lie elsewhere and one of them has grown: what came of the old ones is no longer true."""
    inputs = Path(shutil.copytree(corpus.folder, tmp_path / "inputs"))
    with open(inputs / "crawl" / "b.warc.gz", "ab") as file:
        file.write((inputs / "crawl" / "a.warc.gz").read_bytes())
    recipe = inputs / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace(str(corpus.folder), str(inputs)))
    old = json.loads((copy / "manifest.json").read_text())["stages"]
    said = curate("ingest", recipe, "--out", copy, "--json", "--quiet")
    assert said.code == 0
    stages = json.loads(said.out)["stages"]
    assert list(stages) == ["karma", "ingest"]
    assert stages["ingest"]["read"] > 1.4 * old["ingest"]["read"]


def test_single_stages_are_the_run(finished: Any, curate: Any, tmp_path: Path) -> None:
    root = tmp_path / "run"
    said = curate("score", finished.corpus.recipe, "--out", root)
    assert (said.code, "stage score needs ingest, which has not run" in said.err) == (2, True)
    shutil.rmtree(root)
    assert curate("karma", finished.corpus.recipe, "--out", root, "--quiet").code == 0
    for name in NAMES[1:]:
        assert curate(name, "--out", root, "--quiet").code == 0
    assert digests(root) == digests(finished.root)
    # A stage made anew takes what was made of the old one off the manifest.
    assert curate("dedup", "--set", "dedup.min_similarity=0.99", "--out", root, "--quiet").code == 0
    assert list(json.loads((root / "manifest.json").read_text())["stages"]) == NAMES[: NAMES.index("dedup") + 1]


def test_deleted_output_is_made_again(copy: Path, finished: Any, curate: Any) -> None:
    gone = ["corpus", "tokens/train", "removals", "model", "errors"]
    for folder in gone:
        first = sorted(path for path in (copy / folder).iterdir() if path.is_file())[0]
        first.unlink()
    before = receipts(copy)
    assert curate("run", finished.corpus.recipe, "--out", copy, "--quiet").code == 0
    assert digests(copy) == digests(finished.root)
    again = {name for name, state in receipts(copy).items() if before[name] != state}
    assert len(again) <= len(gone) + 1  # an archive's errors may be those of the same task


def test_one_run_at_a_time(copy: Path, corpus: Any, curate: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    with open(copy / ".lock") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        said = curate("run", corpus.recipe, "--out", copy)
    assert (said.code, "another run is at work" in said.err) == (2, True)
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("*")}
    del before[copy / ".lock"], after[copy / ".lock"]
    assert after == before
    with lock(str(copy)):
        pass  # whoever held it is gone, and so is the lock


@pytest.mark.parametrize("name", ["notes.txt", "manifest.json", "corpus/a.parquet", "recipe.json"])
def test_a_foreign_folder_is_refused_untouched(name: str, corpus: Any, curate: Any, tmp_path: Path) -> None:
    file = tmp_path / "theirs" / name
    file.parent.mkdir(parents=True)
    file.write_text('{"version": 1}')
    said = curate("run", corpus.recipe, "--out", tmp_path / "theirs")
    assert (said.code, "holds files but no run of ours" in said.err) == (2, True)
    assert "Traceback" not in said.err
    assert [path for path in (tmp_path / "theirs").rglob("*") if path.is_file()] == [file]
    assert file.read_text() == '{"version": 1}'


@pytest.mark.parametrize("text", ['{"version": 0, "stages": {}}', "[]", '{"version": 1}'])
def test_a_manifest_of_another_version_is_refused(text: str, copy: Path, corpus: Any, curate: Any) -> None:
    (copy / "manifest.json").write_text(text)
    before = digests(copy)
    said = curate("run", corpus.recipe, "--out", copy)
    assert (said.code, "data version" in said.err) == (1, True)
    assert digests(copy) == before


def test_a_stage_begun_anew_and_stopped_is_not_taken_for_done(copy: Path, corpus: Any, curate: Any) -> None:
    """As after a kill in the midst of `mix` under another recipe."""
    mark = copy / "receipts" / "mix" / "fingerprint"
    mark.write_text('"another"\n')
    shutil.rmtree(copy / "receipts" / "mix" / "corpus")
    said = curate("tokenize", "--out", copy)
    assert (said.code, "stage tokenize needs mix, which has not run" in said.err) == (2, True)


# ---- what cannot be had


def test_the_crawl_alone(corpus: Any, curate: Any, tmp_path: Path) -> None:
    small = ["--set", "tokenize.vocab_size=400", "--set", "partitions=1"]
    said = curate(
        "run", "gpt3", "--set", f"sources.crawl.paths={corpus.folder}/crawl/*.warc.gz", *small,
        "--out", tmp_path / "run", "--json",
    )  # fmt: skip
    assert said.code == 0
    stages = json.loads(said.out)["stages"]
    off = {name: entry["off"] for name, entry in stages.items() if "off" in entry}
    assert off.keys() == {"karma", "train", "score", "decontaminate"}
    assert "sources.reddit.paths is empty" in off["karma"]
    assert "0 positives (webtext/wikipedia/books) where quality.min_examples asks for 100" in off["train"]
    assert "no quality model" in off["score"]
    assert "decontaminate.paths is empty" in off["decontaminate"]
    assert stages["score"]["kept"] == stages["score"]["read"] == stages["ingest"]["kept"] > 40
    assert stages["tokenize"]["kept"] > 30
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(f"off: {reason[:40]}" in page for reason in off.values())
    assert all(name in said.err for name in off)


@pytest.mark.parametrize("value", ["[]", "null"])
def test_nothing_to_read(value: str, curate: Any, tmp_path: Path) -> None:
    """No source at all: there is no text for a tokenizer, which is said and is no success."""
    said = curate("run", "gpt3", "--set", f"sources.crawl.paths={value}", "--out", tmp_path / "run")
    assert (said.code, "there is no text to train a tokenizer on" in said.err) == (1, True)
    assert "Traceback" not in said.err


def test_quality_switched_off_in_the_recipe(copy: Path, corpus: Any, curate: Any) -> None:
    said = curate("run", corpus.recipe, "--set", "quality=null", "--out", copy, "--json", "--quiet")
    stages = json.loads(said.out)["stages"]
    assert said.code == 0
    assert stages["train"]["off"] == "quality is null in the recipe"
    assert stages["score"]["kept"] == stages["ingest"]["kept"]
    assert not (copy / "model").exists()
    assert not (copy / "scores").exists()


# ---- processes and kills


def drive(corpus: Any, root: Path, workers: int, *stages: str) -> "subprocess.Popen[bytes]":
    words = [sys.executable, str(DRIVER), str(corpus.recipe), str(root), str(workers), *stages]
    return subprocess.Popen(words, start_new_session=True, stderr=subprocess.PIPE)


def children(pid: int) -> set[int]:
    """All living descendants of a process."""
    found: set[int] = set()
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            own = {int(child) for child in path.read_text().split()}
        except OSError:
            continue
        found |= own.union(*(children(child) for child in own))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def kill(process: "subprocess.Popen[bytes]", group: bool) -> None:
    """SIGKILL to the driver, or to it and all its workers; returns when none of them is left."""
    workers = children(process.pid)
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not any(map(is_alive, workers)), 30)


def until(root: Path, step: str, number: int, process: "subprocess.Popen[bytes]") -> None:
    """Until so many receipts of the step have landed."""
    folder = root / "receipts" / step
    wait_for(lambda: len(list(folder.glob("*.json"))) >= number or process.poll() is not None)
    assert process.poll() is None, "the run ended before it could be killed"


def finish(corpus: Any, root: Path, workers: int, *stages: str) -> None:
    process = drive(corpus, root, workers, *stages)
    _, err = process.communicate(timeout=280)
    assert process.returncode == 0, err.decode()


def check_resumed(root: Path, before: dict[str, tuple[int, int]], finished: Any) -> None:
    after = receipts(root)
    assert {name: after[name] for name in before} == before, "a finished task was done again"
    made, whole = digests(root), digests(finished.root)
    assert made == {name: whole[name] for name in made}
    assert not temporary(root)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_worker_processes_write_the_same(finished: Any, tmp_path: Path) -> None:
    """The stage with the most work in it; `test_full_runs_in_worker_processes` takes all."""
    process = drive(finished.corpus, tmp_path / "run", 2, "karma", "ingest")
    seen = 0
    while process.poll() is None:
        seen = max(seen, len(children(process.pid)))
        time.sleep(0.02)
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert seen >= 2
    made = digests(tmp_path / "run")
    whole = digests(finished.root)
    assert {"documents", "signatures", "samples", "errors"} <= {name.split("/")[0] for name in made}
    assert made == {name: whole[name] for name in made}


def test_killed_and_started_again(finished: Any, tmp_path: Path) -> None:
    """In the midst of `dedup`; `test_killed_at_every_step` takes the others."""
    root = tmp_path / "run"
    process = drive(finished.corpus, root, 1)
    until(root, "dedup/removals", 1, process)
    kill(process, group=True)
    before = receipts(root)
    assert 0 < len(before) < len(receipts(finished.root))
    finish(finished.corpus, root, 1)
    check_resumed(root, before, finished)
    assert digests(root) == digests(finished.root)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_driver_takes_its_workers_along(finished: Any, tmp_path: Path) -> None:
    root = tmp_path / "run"
    process = drive(finished.corpus, root, 2, "karma", "ingest")
    until(root, "ingest/splits", 2, process)
    assert len(children(process.pid)) >= 2
    kill(process, group=False)  # waits for them
    before = receipts(root)
    time.sleep(0.3)
    assert receipts(root) == before
    half = root / "documents" / "crawl-00000-000.parquet.tmp-1"
    half.parent.mkdir(exist_ok=True)
    half.write_bytes(b"half")
    finish(finished.corpus, root, 1, "karma", "ingest")
    check_resumed(root, before, finished)


def moments() -> Iterator[Any]:
    """A keyed number of receipts for each step that has several tasks, with and without worker processes."""
    for at, (step, most) in enumerate(
        [
            ("karma/urls", 2), ("ingest/splits", 8), ("train/model", 1), ("score/shards", 10), ("dedup/pairs", 10),
            ("dedup/components", 1), ("decontaminate/matches", 10), ("decontaminate/cuts", 10), ("mix/tokenizer", 1),
            ("mix/counts", 10), ("mix/plan", 1), ("mix/corpus", 10), ("tokenize/shards", 3),
        ]
    ):  # fmt: skip
        yield pytest.param(step, 1 + draw.key("test", "kill", step) % most, 1 + at % 2, at % 3 > 0, id=step)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "number", "workers", "group"), list(moments()))
def test_killed_at_every_step(step: str, number: int, workers: int, group: bool, finished: Any, tmp_path: Path) -> None:
    root = tmp_path / "run"
    process = drive(finished.corpus, root, workers)
    until(root, step, number, process)
    kill(process, group)
    before = receipts(root)
    finish(finished.corpus, root, 1)
    check_resumed(root, before, finished)
    assert digests(root) == digests(finished.root)


@pytest.mark.slow
def test_killed_again_and_again(finished: Any, tmp_path: Path) -> None:
    """At any moment: after a keyed part of the time that a run takes, until one of them comes to its end."""
    root, before = tmp_path / "run", dict[str, tuple[int, int]]()
    for attempt in range(12):
        process = drive(finished.corpus, root, 1)
        time.sleep(3 + draw.key("test", "moment", attempt) % 5000 / 1000)
        if process.poll() is not None:
            _, err = process.communicate()
            assert process.returncode == 0, err.decode()
            break
        kill(process, group=True)
        now = receipts(root)
        assert {name: now[name] for name in before} == before
        before = now
    finish(finished.corpus, root, 1)
    check_resumed(root, before, finished)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_full_runs_in_worker_processes(workers: int, finished: Any, tmp_path: Path) -> None:
    finish(finished.corpus, tmp_path / "run", workers)
    assert digests(tmp_path / "run") == digests(finished.root)
