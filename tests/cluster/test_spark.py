"""The test cluster, and the promise that it is there for: Spark writes the bytes that this machine writes."""

import hashlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).resolve().parent
CLUSTER = [sys.executable, str(HERE / "cluster.py")]
CURATE = [sys.executable, "-m", "pipelines.cli"]
BLOCKS = [sys.executable, "-c", "import blocks; blocks.main()"]


def environment(folder: Path) -> dict[str, str]:
    """Where the pipeline's module is found, and a temporary folder of the test's own."""
    return os.environ | {"PYTHONPATH": str(HERE), "TMPDIR": str(folder)}


def processes(folder: Path) -> list[str]:
    """Command lines that name the folder: every process of a cluster does, or has a parent that does."""
    listed = subprocess.run(["ps", "-Awwo", "args"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line for line in listed.splitlines() if str(folder) in line]


@pytest.fixture(scope="session")
def spark() -> None:
    """Skips where java or mvn is missing; fails where Maven cannot resolve the class path."""
    done = subprocess.run([*CLUSTER, "jars"], stderr=subprocess.PIPE, text=True)
    if done.returncode == 3:
        pytest.skip(done.stderr.strip())
    if done.returncode != 0:
        pytest.fail(done.stderr.strip(), pytrace=False)


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """`cluster.py run -- command`, to its end."""
    return subprocess.run(
        [*CLUSTER, "run", "--", *command], env=environment(folder), capture_output=True, text=True, timeout=900
    )


def tasks(done: subprocess.CompletedProcess[str]) -> list[int]:
    """Tasks finished by each worker, as the cluster told."""
    told = re.search(r"^cluster: tasks finished: worker 1 (\d+), worker 2 (\d+)$", done.stderr, re.MULTILINE)
    assert told is not None, done.stderr
    return [int(count) for count in told.groups()]


def digests(root: Path) -> dict[str, str]:
    """sha256 of each file of a run that a user trains on, by name."""
    files = [*root.glob("corpus/*.parquet"), *(path for path in root.glob("tokens/**/*") if path.is_file())]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_missing_java_is_said(tmp_path: Path) -> None:
    done = subprocess.run([*CLUSTER, "jars"], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "no Spark cluster: java and mvn not on PATH; install Java 17 and Maven\n"


def test_maven_failure_is_told_in_its_words(tmp_path: Path) -> None:
    room = tmp_path / "tests" / "cluster"
    room.mkdir(parents=True)
    for name in ("cluster.py", "pom.xml"):
        (room / name).write_bytes((HERE / name).read_bytes())
    for name in ("java", "mvn"):
        (tmp_path / name).write_text("#!/bin/sh\necho '[ERROR] no route to the repository'\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(room / "cluster.py"), "jars"],
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert f"Maven cannot resolve {room / 'pom.xml'} (exit code 1):\n[ERROR] no route to the repository" in done.stderr
    assert not list((tmp_path / ".cache" / "spark").iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "run takes -- COMMAND"),
        (["run", "--"], "run takes -- COMMAND"),
        (["jars", "--", "true"], "jars takes nothing"),
        (["run", "--", "no-such-program"], "no program 'no-such-program'"),
        (["walk"], "invalid choice"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    done = subprocess.run([*CLUSTER, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.cluster
@pytest.mark.usefixtures("spark")
def test_both_workers_work_and_nothing_stays(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = run(tmp_path, *BLOCKS, str(out), "{options}")
    assert done.returncode == 0, done.stderr
    assert min(tasks(done)) > 0
    assert len(list(out.glob("*.pid"))) >= 2, "each executor has a Python worker of its own"
    for key in range(6):
        numbers = range(key, 24, 6)
        np.testing.assert_array_equal(np.load(out / f"{key}.npy"), np.arange(50_000) * sum(numbers))
    assert not processes(tmp_path)
    assert not list(tmp_path.glob("curate-spark-*"))


@pytest.mark.cluster
@pytest.mark.usefixtures("spark")
def test_failure_on_a_worker_fails_the_command(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    done = run(tmp_path, *BLOCKS, str(out), "--bad", "5", "{options}")
    assert done.returncode == 1
    assert "ValueError: block 5 is bad [while running 'Blocks']" in done.stderr
    kept = re.search(r"^cluster: logs kept in (.+)$", done.stderr, re.MULTILINE)
    assert kept is not None
    assert "block 5 is bad" in Path(kept[1], "pool.log").read_text()
    assert not list(out.glob("*.npy"))
    assert not processes(tmp_path)


@pytest.mark.cluster
@pytest.mark.usefixtures("spark")
@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_everything(tmp_path: Path, sign: signal.Signals) -> None:
    wait = "import sys, time; print('here', flush=True); time.sleep(600)"
    command = [*CLUSTER, "run", "--", sys.executable, "-c", wait, str(tmp_path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(tmp_path), stdout=pipe, stderr=pipe, text=True) as cluster:
        assert cluster.stdout is not None
        assert cluster.stderr is not None
        try:
            began = cluster.stdout.readline()
            living = processes(tmp_path)
        finally:
            cluster.send_signal(sign)
        said = cluster.stderr.read()
    assert began == "here\n", said
    assert len(living) == 6  # ours, the command, the master, two workers, the job server
    assert cluster.returncode == 128 + sign
    assert "cluster: logs kept in" in said
    assert not processes(tmp_path)


@pytest.mark.cluster
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("spark")
def test_demo_writes_the_same_bytes_on_spark(tmp_path: Path) -> None:
    local, spark = tmp_path / "local", tmp_path / "spark"
    here = subprocess.run(
        [*CURATE, "demo", "--no-pretrain", "--quiet", "--out", str(local)], stderr=subprocess.PIPE, text=True
    )
    assert here.returncode == 0, here.stderr
    recipe = local / "recipe.json"  # with the paths of the inputs that the demo has built
    there = run(tmp_path, *CURATE, "run", str(recipe), "--quiet", "--out", str(spark), "--", "{options}")
    assert there.returncode == 0, there.stderr
    assert min(tasks(there)) > 0
    expected = digests(local)
    assert any(name.startswith("corpus/") for name in expected)
    assert {"tokens/manifest.json", "tokens/train/00000.bin", "tokens/held/00000.bin"} <= expected.keys()
    assert digests(spark) == expected
