"""A real Spark cluster on 127.0.0.1 for the tests: a master, two workers, Beam's job server and the Python worker pool.

    python tests/cluster/cluster.py jars                  resolve the class path of pom.xml with Maven
    python tests/cluster/cluster.py run -- COMMAND...     start the cluster, run COMMAND, stop the cluster

In COMMAND the argument `{options}` becomes the Beam options of this cluster. The exit code is COMMAND's own; 1 where
the cluster cannot be built or started, 2 for wrong usage, 3 where java or mvn is missing. At the end a line on standard
error says how many tasks each worker finished. Ports are free ones picked at start. Every file lies in one temporary
folder, which goes at the end; it stays, and the ends of its logs are shown, when anything fails.

It is a test bench: no authentication, small heaps, and a SIGKILL of this program leaves its processes behind.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit
from urllib.request import urlopen

POM = Path(__file__).resolve().with_name("pom.xml")
CACHE = POM.parents[2] / ".cache" / "spark"
HOST = "127.0.0.1"

WORKERS = 2
CORES = 2  # of each worker: two tasks at a time
DAEMON_HEAP = "256m"  # of the master and of each worker's daemon
DRIVER_HEAP = "768m"  # of the job server, which is every job's Spark driver
EXECUTOR_HEAP = "1g"
START_SECONDS = 90.0
STOP_SECONDS = 10.0

# Packages of java.base that the serialisers of Beam and Spark reach into and that Java 17 closes by default.
OPENED = (
    *("java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.util"),
    *("java.util.concurrent", "java.util.concurrent.atomic"),
    *("sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"),
)
# A small heap on shared cores wants the serial collector; jobs of seconds do not repay the second compiler.
JVM = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    *(f"--add-opens=java.base/{package}=ALL-UNNAMED" for package in OPENED),
)


class MissingError(Exception):
    """A program that the cluster cannot do without is not installed: a reason to skip."""


class ClusterError(Exception):
    """The cluster cannot be built or started: a failure."""


def jars() -> list[Path]:
    """The class path of pom.xml; the answer is kept in .cache/spark until the pom changes or a jar goes.

    Raises MissingError without java or mvn, ClusterError with Maven's words where it cannot resolve.
    """
    missing = [program for program in ("java", "mvn") if shutil.which(program) is None]
    if missing:
        raise MissingError(f"no Spark cluster: {' and '.join(missing)} not on PATH; install Java 17 and Maven")
    cached = CACHE / f"classpath-{hashlib.sha256(POM.read_bytes()).hexdigest()[:16]}.txt"
    if cached.exists():
        paths = [Path(word) for word in cached.read_text().strip().split(os.pathsep)]
        if all(path.exists() for path in paths):
            return paths
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        answer = Path(folder) / "classpath.txt"
        command = ["mvn", "-B", "-q", "-f", str(POM), "dependency:build-classpath", f"-Dmdep.outputFile={answer}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise ClusterError(f"Maven cannot resolve {POM} (exit code {done.returncode}):\n{done.stdout.strip()}")
        answer.replace(cached)
    return [Path(word) for word in cached.read_text().strip().split(os.pathsep)]


class Cluster:
    """Master, workers, job server and worker pool as child processes, each the leader of its own process group."""

    def __init__(self, folder: Path, classpath: Sequence[Path]) -> None:
        self.folder = folder
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.master, self.master_web, self.job, self.artifact, self.pool, *rest = free_ports(5 + 2 * WORKERS)
        self.workers = list(zip(rest[::2], rest[1::2], strict=True))  # (port, web port) of each
        for name in ("logs", "events", "local", "spark/jars", "bin"):
            (folder / name).mkdir(parents=True)
        # Executors take their class path from SPARK_HOME/jars; two jars may bear the same name.
        for number, jar in enumerate(classpath):
            (folder / "spark" / "jars" / f"{number:03d}-{jar.name}").symlink_to(jar)
        (folder / "nothing").touch()
        # The pool starts each worker as plain `python`, with a pipe that nobody reads as its standard output. Behind
        # this door stands our python, and it may print more than a pipe holds.
        python = folder / "bin" / "python"
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@" >&2\n')
        python.chmod(0o755)
        self.env = os.environ | {
            "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}",
            "SPARK_HOME": str(folder / "spark"),
            "SPARK_LOCAL_IP": HOST,
            "SPARK_LOCAL_DIRS": str(folder / "local"),
            "SPARK_SCALA_VERSION": "2.12",
            "TMPDIR": str(folder / "local"),
        }

    @property
    def options(self) -> list[str]:
        """Beam options that send a pipeline to this cluster."""
        return [
            "--runner=PortableRunner",
            f"--job_endpoint={HOST}:{self.job}",
            "--environment_type=EXTERNAL",
            f"--environment_config={HOST}:{self.pool}",
            # How long a Python worker waits for the job's next stage; by default each stage starts its own.
            "--environment_cache_millis=10000",
            # Without it each executor copies the job server's whole class path, 313 MB that it has: 9 s a job.
            f"--files_to_stage={self.folder / 'nothing'}",
        ]

    def start(self) -> None:
        """Starts everything and waits until it answers; raises ClusterError where a process ends or time runs out."""
        url = f"spark://{HOST}:{self.master}"
        self._spawn("pool", [sys.executable, str(POM.with_name("pool.py")), str(self.pool)])
        self._java(
            "master",
            DAEMON_HEAP,
            "org.apache.spark.deploy.master.Master",
            *("--host", HOST, "--port", str(self.master), "--webui-port", str(self.master_web)),
        )
        self._wait("the master", lambda: self._registered() is not None)
        for number, (port, web) in enumerate(self.workers, 1):
            self._java(
                f"worker-{number}",
                DAEMON_HEAP,
                "org.apache.spark.deploy.worker.Worker",
                *("--host", HOST, "--port", str(port), "--webui-port", str(web)),
                *("--cores", str(CORES), "--memory", EXECUTOR_HEAP),
                *("--work-dir", str(self.folder / "logs" / f"worker-{number}"), url),
            )
        driver = {
            "spark.driver.host": HOST,
            # One Spark application for all jobs: a job costs 7 s instead of 20, most of it the executors' start.
            "beam.spark.test.reuseSparkContext": "true",
            "spark.default.parallelism": str(WORKERS * CORES),  # else a first job counts the executors that are up
            "spark.executor.memory": EXECUTOR_HEAP,
            "spark.executor.extraJavaOptions": " ".join(JVM),
            "spark.ui.enabled": "false",
            "spark.eventLog.enabled": "true",
            "spark.eventLog.dir": (self.folder / "events").as_uri(),
        }
        self._java(
            "job-server",
            DRIVER_HEAP,
            "org.apache.beam.runners.spark.SparkJobServerDriver",
            *(f"--spark-master-url={url}", f"--job-host={HOST}", f"--job-port={self.job}"),
            *(f"--artifact-port={self.artifact}", "--expansion-port=-1"),
            f"--artifacts-dir={self.folder / 'local' / 'artifacts'}",
            properties=driver,
        )
        self._wait("the workers", lambda: self._registered() == WORKERS)
        self._wait("the job server", lambda: answers(self.job))
        self._wait("the worker pool", lambda: answers(self.pool))

    def stop(self) -> None:
        """Ends every process of every group; returns when none is left."""
        for process in self.processes.values():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            end(process)

    def tasks(self) -> list[int]:
        """Tasks that succeeded on each worker, over all jobs, from Spark's event logs; whole only after `stop`."""
        counts = [0] * WORKERS
        webs = [web for _, web in self.workers]
        for log in (self.folder / "events").iterdir():
            homes: dict[str, int] = {}
            for line in log.read_text().split("\n")[:-1]:  # what follows the last line end is no whole event
                event = json.loads(line)
                if event["Event"] == "SparkListenerExecutorAdded":
                    page = urlsplit(event["Executor Info"]["Log Urls"]["stderr"])
                    homes[event["Executor ID"]] = webs.index(page.port)
                elif event["Event"] == "SparkListenerTaskEnd" and event["Task End Reason"]["Reason"] == "Success":
                    counts[homes[event["Task Info"]["Executor ID"]]] += 1
        return counts

    def tails(self, lines: int = 10) -> Iterator[str]:
        """The last lines of each log, the executors' among them, lines cut to a screen's width."""
        logs = self.folder / "logs"
        for log in [*sorted(logs.glob("*.log")), *sorted(logs.glob("*/*/*/stderr"))]:
            last = log.read_text(errors="replace").splitlines()[-lines:]
            yield "\n".join([f"--- {log.relative_to(logs)}", *(line[:200] for line in last)])

    def _java(self, name: str, heap: str, main: str, *arguments: str, properties: dict[str, str] | None = None) -> None:
        # spark.port.maxRetries: a port taken meanwhile shall be an error, not a server where nobody looks for it.
        given = {"spark.port.maxRetries": "0", "java.io.tmpdir": str(self.folder / "local"), **(properties or {})}
        flags = [*JVM, f"-Xmx{heap}", *(f"-D{key}={value}" for key, value in given.items())]
        self._spawn(name, ["java", *flags, "-cp", str(self.folder / "spark" / "jars" / "*"), main, *arguments])

    def _spawn(self, name: str, command: Sequence[str]) -> None:
        with open(self.folder / "logs" / f"{name}.log", "wb") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=self.folder,  # so that a relative path that reaches a worker fails, as on any cluster
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise ClusterError(f"{name} ended with exit code {process.returncode} while the cluster started")
            if time.monotonic() > deadline:
                raise ClusterError(f"no answer from {what} within {START_SECONDS:.0f} s")
            time.sleep(0.1)

    def _registered(self) -> int | None:
        """How many workers the master knows; None while it does not answer."""
        try:
            with urlopen(f"http://{HOST}:{self.master_web}/json/", timeout=5) as answer:
                return int(json.load(answer)["aliveworkers"])
        except OSError:
            return None


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nobody listens now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]


def answers(port: int) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that leads a group, and the whole group: by SIGTERM, then by SIGKILL."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
            while time.monotonic() < deadline:
                process.poll()  # a dead leader that is not reaped keeps its group alive
                os.killpg(process.pid, 0)
                time.sleep(0.05)


def run(command: Sequence[str]) -> int:
    """Runs the command beside a fresh cluster; returns its exit code, 128 + N where signal N ended it."""
    classpath = jars()
    folder = Path(tempfile.mkdtemp(prefix="curate-spark-"))
    cluster = Cluster(folder, classpath)
    child: subprocess.Popen[bytes] | None = None
    code = 1
    try:
        began = time.monotonic()
        cluster.start()
        say(f"cluster: {WORKERS} workers up in {time.monotonic() - began:.0f} s: {' '.join(cluster.options)}")
        words = [each for word in command for each in (cluster.options if word == "{options}" else [word])]
        child = subprocess.Popen(words, start_new_session=True)
        code = child.wait()
    finally:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # nothing may cut the clearing up short
        tails = list(cluster.tails()) if code else []  # before the stop, which adds its own noise to the logs
        if child is not None:
            end(child)
        cluster.stop()
        if child is not None:
            counts = (f"worker {number} {count}" for number, count in enumerate(cluster.tasks(), 1))
            say(f"cluster: tasks finished: {', '.join(counts)}")
        if code:
            say("\n".join([*tails, f"cluster: logs kept in {folder / 'logs'}"]))
        else:
            shutil.rmtree(folder)
    return code if code >= 0 else 128 - code


def say(text: str) -> None:
    """Our own lines go to standard error: standard output is the command's."""
    print(text, file=sys.stderr, flush=True)


def leave(sign: int, _frame: FrameType | None) -> NoReturn:
    """Unwinds the stack as Ctrl-C does, so that everything is stopped."""
    raise SystemExit(128 + sign)


def main(argv: list[str]) -> int:
    """The two verbs; see the head of this file."""
    cut = argv.index("--") if "--" in argv else len(argv)  # COMMAND may have a -- of its own
    command = argv[cut + 1 :]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("jars", "run"))
    verb = parser.parse_args(argv[:cut]).verb
    if (verb == "run") != bool(command):
        parser.error("run takes -- COMMAND..., jars takes nothing")
    if command and shutil.which(command[0]) is None:
        parser.error(f"no program {command[0]!r}")
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job has the first ignored
        signal.signal(each, leave)
    try:
        if verb == "run":
            return run(command)
        print(f"{len(jars())} jars")
        return 0
    except MissingError as error:
        say(str(error))
        return 3
    except ClusterError as error:
        say(str(error))
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
