"""The child process of foreign parsers: pages that hang, swell or crash it, and what becomes of their neighbours."""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from curate import extract, isolation
from curate.errors import CurateError
from curate.extract import Extraction
from curate.isolation import PageError, Parser

# A parser that does as the page says; what stands behind the word is the text.
STAND_IN = f"""
import ctypes, os, re, sys, time
sys.path.append({str(Path(isolation.__file__).parents[1])!r})
from curate import parser

seen, kept = [], []

def obey(page, favour, markdown):
    seen.append(page)
    word, _, rest = page.partition(" ")
    if word == "hang":
        while True:
            pass
    if word == "hang-in-c":
        re.match(r"(a+)+$", "a" * 60 + "b")
    if word == "swell":
        while True:
            kept.append(bytearray(b"x") * (8 << 20))
    if word == "keep":
        kept.append(bytearray(b"x") * (100 << 20))
        time.sleep(0.3)
    if word == "ask-too-much":
        bytearray(1 << 60)
    if word == "abort":
        os.abort()
    if word == "segfault":
        ctypes.string_at(0)
    if word == "exit":
        os._exit(0)
    if word == "raise":
        raise RecursionError("too deep")
    if word == "print":
        print("not an answer", file=sys.__stdout__, flush=True)
    if word == "crash-unless-first" and len(seen) > 1:
        os.abort()
    return f"{{rest}}, {{len(seen)}} seen"

parser.PARSERS["resiliparse"] = obey
parser.main()
"""
MEMORY = 256 << 20
SENTENCE = "This is a sentence of the story, and it is long enough. "


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "stand_in.py"
    path.write_text(STAND_IN, "utf-8")
    return path


@pytest.fixture
def parser(program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parser]:
    """The stand-in, in place of the real one too."""
    made = Parser(program)
    monkeypatch.setattr(isolation, "PARSER", made)
    yield made
    made.stop()


def parse(parser: Parser, page: str, seconds: float | None = 0.5, memory: int | None = MEMORY) -> str:
    """The answer to one page; its error is raised."""
    (answer,) = parser.parse([page.encode()], "resiliparse", seconds=seconds, memory=memory)
    if isinstance(answer, PageError):
        raise answer
    return answer


def pid(parser: Parser) -> int:
    assert parser.child is not None
    return parser.child.process.pid


BAD = {
    "hang": "resiliparse took longer than 0.5 s (max_page_seconds)",
    "hang-in-c": "resiliparse took longer than 0.5 s (max_page_seconds)",
    "swell": "resiliparse needed more memory than 256 MiB (max_page_memory)",
    "ask-too-much": "resiliparse needed more memory than 256 MiB (max_page_memory)",
    "abort": "resiliparse crashed (SIGABRT)",
    "segfault": "resiliparse crashed (SIGSEGV)",
    "exit": "resiliparse crashed (exit code 0)",
    "raise": "RecursionError: too deep",
}


@pytest.mark.parametrize("word", BAD)
def test_a_bad_page_is_lost_alone(word: str, parser: Parser) -> None:
    assert parse(parser, "say one") == "one, 1 seen"
    with pytest.raises(PageError, match=f"^{re.escape(BAD[word])}$"):
        parse(parser, word, 0.5 if word.startswith("hang") else 60)
    assert parse(parser, "say two") == f"two, {3 if word == 'raise' else 1} seen"


def test_one_child_for_all_pages_and_nothing_is_asked_twice(parser: Parser) -> None:
    assert [parse(parser, f"say {n}") for n in range(9)] == [f"{n}, {n + 1} seen" for n in range(9)]
    assert parse(parser, f"say {'x' * (3 << 20)}") == f"{'x' * (3 << 20)}, 10 seen"  # more than pipes hold
    assert parse(parser, "say \u00e9\U0001f600") == "\u00e9\U0001f600, 11 seen"
    assert parse(parser, "") == ", 12 seen"
    assert parse(parser, "print this") == "this, 13 seen"


def test_many_pages_at_a_time(parser: Parser) -> None:
    """More of them, and of their texts, than files and pipes hold; each bad one costs itself alone."""
    words = ["say a", "abort", f"say {'x' * (3 << 20)}", "hang", "say b", "raise", "exit", "swell", "say c"]
    found = parser.parse([word.encode() for word in words], "resiliparse", seconds=0.5, memory=64 << 20)
    why = [f"resiliparse {what}" for what in ("crashed (SIGABRT)", "took longer", "crashed (exit", "needed more")]
    expected = ["a, 1 seen", why[0], f"{'x' * (3 << 20)}, 1 seen", why[1], "b, 1 seen", "RecursionError", *why[2:], "c"]
    assert [str(one)[: len(start)] for one, start in zip(found, expected, strict=True)] == expected
    assert [isinstance(one, PageError) for one in found] == [not word.startswith("say") for word in words]
    many = parser.parse([b"say " + b"y" * 70_000] * 150, "resiliparse")
    assert [str(one)[70_000:] for one in many] == [f", {n + 2} seen" for n in range(150)]
    assert parser.parse([], "resiliparse") == []


def test_no_page_is_asked_again_that_had_its_answer(parser: Parser) -> None:
    found = parser.parse([b"say a", b"say b", b"crash-unless-first c", b"say d"], "resiliparse")
    assert found == ["a, 1 seen", "b, 2 seen", "c, 1 seen", "d, 2 seen"]


def test_what_earlier_pages_left_behind_is_no_fault_of_a_page(parser: Parser) -> None:
    """A page that fails in a child with a past is seen once more, by one without."""
    assert parse(parser, "say one") == "one, 1 seen"
    assert parse(parser, "crash-unless-first it") == "it, 1 seen"
    said = [parse(parser, "keep 100", 60) for _ in range(5)]  # three of them are more than the limit
    assert said == [f"100, {n} seen" for n in (2, 3, 1, 2, 1)]


def test_a_child_that_was_killed_is_replaced(parser: Parser) -> None:
    parse(parser, "say one")
    os.kill(pid(parser), signal.SIGKILL)
    assert parse(parser, "say two") == "two, 1 seen"


def test_signals_held_back_in_the_parent_end_the_child_all_the_same(parser: Parser) -> None:
    ignored = signal.signal(signal.SIGALRM, signal.SIG_IGN)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        with pytest.raises(PageError, match="took longer than"):
            parse(parser, "hang")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        signal.signal(signal.SIGALRM, ignored)


def test_limits_may_be_off(parser: Parser) -> None:
    assert parse(parser, "keep all", None, None) == "all, 1 seen"
    with pytest.raises(PageError, match="needed more memory than there is"):
        parse(parser, "ask-too-much", None, None)


def test_threads_share_it(parser: Parser) -> None:
    found: list[str] = []
    threads = [threading.Thread(target=lambda n=n: found.append(parse(parser, f"say {n}"))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {text.split(",")[0] for text in found} == set("01234567")
    assert {text.split(", ")[1] for text in found} == {f"{n} seen" for n in range(1, 9)}


def test_a_fork_starts_its_own(parser: Parser) -> None:
    parse(parser, "say one")
    before = pid(parser)
    forked = os.fork()
    if not forked:
        right = parse(parser, "say two") == "two, 1 seen" and pid(parser) != before
        parser.stop()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
    assert parse(parser, "say three") == "three, 2 seen"


BUSY = """
import os, sys, threading, time
sys.path.append({root!r})
from pathlib import Path
from curate.isolation import Parser
parser = Parser(Path({program!r}))
print(parser.parse([b"say one"], "resiliparse")[0], parser.child.process.pid, flush=True)
threading.Thread(target=parser.parse, args=([b"hang"], "resiliparse"), daemon=True).start()
time.sleep(0.3)
if not os.fork():
    print(parser.parse([b"say two"], "resiliparse")[0], parser.child.process.pid, os.getpid(), flush=True)
time.sleep(99)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_fork_while_a_thread_is_at_a_page(program: Path) -> None:
    """It waits for no lock of a thread that it has not, and holds no pipe that would keep its parent's child alive."""
    code = BUSY.format(root=str(Path(isolation.__file__).parents[1]), program=str(program))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        one, first = parent.stdout.readline().rsplit(" ", 1)
        two, second, forked = parent.stdout.readline().rsplit(" ", 2)
        assert (one, two) == ("one, 1 seen", "two, 1 seen")
        assert alive(int(first))
        parent.kill()
        assert ends(int(first))
        assert alive(int(second))
        os.kill(int(forked), signal.SIGKILL)
    assert ends(int(second))


def test_it_starts_in_a_process_of_busy_threads(program: Path) -> None:
    """They hold locks of the interpreter and of libraries at any moment: the child is another program, no fork."""
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            logging.getLogger(__name__).debug("%s", [bytes(n) for n in range(0, 100_000, 997)])

    churning = [threading.Thread(target=churn) for _ in range(3)]
    parsers = [Parser(program) for _ in range(4)]
    said: list[str] = []
    starting = [threading.Thread(target=lambda one=one: said.append(parse(one, "say it", 60))) for one in parsers]
    for thread in (*churning, *starting):
        thread.start()
    for thread in starting:
        thread.join()
    over.set()
    for thread in churning:
        thread.join()
    for one in parsers:
        one.stop()
    assert said == ["it, 1 seen"] * 4


def test_what_cannot_start_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import no_such_module")
    with pytest.raises(CurateError, match=r"ended at its start with exit code 1"):
        Parser(tmp_path / "broken.py").parse([b""], "resiliparse")


def test_no_interpreter_stops_the_run(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(program.parent / "no-python"))
    with pytest.raises(CurateError, match="cannot start the parsers' process"):
        Parser(program).parse([b""], "resiliparse")


def test_an_interrupt_leaves_no_answer_for_the_next_page(parser: Parser) -> None:
    parse(parser, "say one")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        with pytest.raises(KeyboardInterrupt):
            parse(parser, "hang", 60)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert parse(parser, "say two") == "two, 1 seen"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("page", ["say one", "hang", "hang-in-c"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_leaves_nobody_behind(page: str, how: int, program: Path) -> None:
    """Idle or at work, with no limit on time; and though a thread, long gone, has started the child."""
    code = f"""
import sys, threading, time
sys.path.append({str(Path(isolation.__file__).parents[1])!r})
from pathlib import Path
from curate.isolation import Parser
parser = Parser(Path({str(program)!r}))
thread = threading.Thread(target=parser.parse, args=([b"say one"], "resiliparse"))
thread.start()
thread.join()
assert parser.child.code is None
print(parser.child.process.pid, flush=True)
parser.parse([{page.encode()!r}], "resiliparse")
time.sleep(99)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        assert alive(child)
        parent.send_signal(how)
        parent.wait()
    assert ends(child)


def ends(process: int) -> bool:
    """Whether it does by itself; else it is ended here."""
    for _ in range(200):
        if not alive(process):
            return True
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    return False


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_process_that_ends_stops_its_child(program: Path) -> None:
    code = f"""
import sys
sys.path.append({str(Path(isolation.__file__).parents[1])!r})
from curate import isolation
said = isolation.PARSER.parse([b"<p>" + b"Some words of prose. " * 40], "resiliparse")[0]
print(said[:4], isolation.PARSER.child.process.pid)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    said, child = done.stdout.split()
    assert (said, done.stderr) == ("Some", "")
    assert not alive(int(child))


def test_errors_of_pages_in_a_batch(parser: Parser) -> None:
    bad = {word: error.replace("0.5", "3") for word, error in BAD.items() if word != "hang-in-c"}
    words = ["say", *bad, "say"]
    how = Extraction(extractor="resiliparse", max_page_seconds=3, max_page_memory=MEMORY)
    rows = extract.extract(pa.array([f"{word} it".encode() for word in words], pa.binary()), None, how).to_pylist()
    assert [row["error"] for row in rows] == [None, *bad.values(), None]
    assert [row["text"] for row in (rows[0], rows[-1])] == ["it, 1 seen", "it, 2 seen"]
    assert {row["reason"] for row in rows} == {0}


def test_a_real_page_that_trafilatura_is_slow_on() -> None:
    slow, fine = b"<p>x" * 200_000, f"<html><body><article><p>{SENTENCE * 9}</p></article></body></html>".encode()
    how = Extraction(extractor="trafilatura", max_page_seconds=1.5)
    rows = extract.extract(pa.array([fine, slow, fine], pa.binary()), None, how).to_pylist()
    assert [row["error"] for row in rows] == [None, "trafilatura took longer than 1.5 s (max_page_seconds)", None]
    assert rows[0]["text"] == rows[2]["text"] == (SENTENCE * 9).strip()
