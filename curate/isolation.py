"""Foreign parsers in a child process, so that a page which hangs, swells or crashes them costs that page alone.

Each process has one child (`curate.parser`), started for its first page and kept. Only the page in work is lost with
it, and the next one starts another.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import BinaryIO, cast

from curate.errors import CurateError
from curate.parser import ANSWER, OUT_OF_MEMORY, QUESTION, receive, send

PROGRAM = Path(__file__).with_name("parser.py")
LOOK_MS = 20  # between two looks at the child's memory: time to fill some 100 MB


class PageError(Exception):
    """Why the parser has no text for this page."""


class _EndedError(Exception):
    """The child is gone; its exit code, negative for a signal."""

    def __init__(self, code: int):
        self.code = code


class Parser:
    """The child of this process, a program of its own whatever threads and locks there are here.

    Threads wait for each other. A fork of this process leaves the child to its parent, and starts one of its own.

    Args:
        program: what the child runs.
    """

    def __init__(self, program: Path = PROGRAM):
        self.program = program
        self.child: _Child | None = None
        self.lock = threading.Lock()

    def parse(
        self,
        page: bytes | memoryview,
        extractor: str,
        favour: str = "balanced",
        markdown: bool = False,
        *,
        seconds: float | None = None,
        memory: int | None = None,
    ) -> str:
        """The page's main text as the extractor gives it.

        A crash, or memory run out, counts only if it comes again in a child that has met no page before: what earlier
        pages left behind is no fault of this one.

        Args:
            page: UTF-8.
            extractor, favour, markdown: as in `extract.Extraction`.
            seconds: of the clock on the wall; None: no limit.
            memory: bytes that the child may hold beside what it held at its start; None: no limit.

        Raises:
            PageError: if the parser raised, took too long, needed too much or crashed.
            CurateError: if no child can be started.
        """
        how = {"extractor": extractor, "favour": favour, "markdown": markdown, "seconds": seconds, "memory": memory}
        with self.lock:
            while True:
                child = self._started()
                try:
                    failed, text = child.ask(json.dumps(how).encode(), page, memory)
                except _EndedError as ended:
                    if child.used and ended.code != -signal.SIGALRM:
                        continue
                    raise PageError(_why(ended.code, extractor, seconds, memory)) from None
                if failed:
                    raise PageError(text)
                return text

    def stop(self) -> None:
        """End the child; a further page would start another."""
        with self.lock:
            if self.child is not None:
                self.child.stop()

    def _started(self) -> "_Child":
        if self.child is None:
            os.register_at_fork(after_in_child=self._forked)
        if self.child is None or self.child.code is not None:
            self.child = _Child(self.program)
        return self.child

    def _forked(self) -> None:
        """In a fork, where the thread that held the lock is no more."""
        self.lock = threading.Lock()
        if self.child is not None:
            self.child.leave()


class _Child:
    """One child process, until it ends."""

    def __init__(self, program: Path):
        self.used = False
        self.code: int | None = None
        # -P: beside the program lie an html.py and an http.py that are none of the standard library.
        command = [sys.executable, "-P", str(program)]
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        except OSError as error:
            raise CurateError(f"cannot start the parsers' process, {' '.join(command)}: {error}") from error
        self.pipes = cast(BinaryIO, self.process.stdin), cast(BinaryIO, self.process.stdout)
        self.questions, self.answers = (pipe.fileno() for pipe in self.pipes)
        self.poll = select.poll()
        self.poll.register(self.answers, select.POLLIN)
        atexit.register(self.stop)
        try:
            receive(self.answers, ANSWER.size)
        except EOFError:
            raise CurateError(
                f"the parsers' process, {' '.join(command)}, ended at its start with exit code {self.stop()}: what it "
                "said stands on standard error; are trafilatura and resiliparse installed beside it?"
            ) from None
        self.own = _resident(self.process.pid)

    def ask(self, how: bytes, page: bytes | memoryview, memory: int | None) -> tuple[bool, str]:
        """(whether the parser raised, text or error). Whatever is raised here ends the child."""
        try:
            send(self.questions, QUESTION.pack(len(how), len(page)), how, page)
            while not self.poll.poll(LOOK_MS):
                if memory is not None and _resident(self.process.pid) > self.own + memory:
                    self.stop()
                    raise _EndedError(OUT_OF_MEMORY)
            failed, size = ANSWER.unpack(receive(self.answers, ANSWER.size))
            text = receive(self.answers, size).decode("utf-8", "surrogatepass")
        except (EOFError, BrokenPipeError):
            raise _EndedError(self.stop()) from None
        except BaseException:
            self.stop()
            raise
        self.used = True
        return failed, text

    def stop(self) -> int:
        """End it, whatever it does; its exit code, its own if it had ended before."""
        if self.code is None:
            atexit.unregister(self.stop)
            self.process.kill()
            self.code = self.process.wait()
            for pipe in self.pipes:
                pipe.close()
        return self.code

    def leave(self) -> None:
        """In a fork: it is the parent's. Were its pipes open here too, it would not see its parent go."""
        if self.code is None:
            self.code = self.process.returncode = 0
            for pipe in self.pipes:
                pipe.close()


def _resident(pid: int) -> int:
    """Bytes of memory that the process holds; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def _why(code: int, extractor: str, seconds: float | None, memory: int | None) -> str:
    """What a page's error says of a child that ended."""
    if code == -signal.SIGALRM:
        return f"{extractor} took longer than {seconds:g} s (max_page_seconds)"
    if code == OUT_OF_MEMORY:
        limit = "there is" if memory is None else f"{memory >> 20} MiB (max_page_memory)"
        return f"{extractor} needed more memory than {limit}"
    return f"{extractor} crashed ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


PARSER = Parser()
