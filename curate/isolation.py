"""Foreign parsers in a child process, so that a page which hangs, swells or crashes them costs that page alone.

Each process has one child (`curate.parser`), started for its first page and kept. Only the page in work is lost with
it, and the next one starts another. Pages are handed over many at a time, which costs a fifth of what one by one does.
"""

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from curate.errors import CurateError
from curate.parser import ANSWER, OUT_OF_MEMORY, PIPE, QUESTION, send

PROGRAM = Path(__file__).with_name("parser.py")
LOOK_MS = 20  # between two looks at the child's memory: time to fill some 100 MB
SHARED = 8 << 20  # bytes: what the file of pages may keep of memory from one call to the next


class PageError(Exception):
    """Why the parser has no text for a page: it raised, took too long, needed too much or crashed."""


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
        pages: Sequence[bytes | memoryview],
        extractor: str,
        favour: str = "balanced",
        markdown: bool = False,
        *,
        seconds: float | None = None,
        memory: int | None = None,
    ) -> list[str | PageError]:
        """Each page's main text as the extractor gives it, or why there is none.

        A crash, or memory run out, counts only if it comes again in a child that has met no page before: what earlier
        pages left behind is no fault of this one. No page is asked again that had its answer.

        Args:
            pages: UTF-8; all of them are held in memory once more.
            extractor, favour, markdown: as in `extract.Extraction`.
            seconds: for a page, of the clock on the wall; None: no limit.
            memory: bytes that the child may hold beside what it held at its start; None: no limit.

        Raises:
            CurateError: if no child can be started.
        """
        how = {"extractor": extractor, "favour": favour, "markdown": markdown, "seconds": seconds}
        found: list[str | PageError] = []
        with self.lock:
            while len(found) < len(pages):
                child = self._started()
                old = child.used
                answers = child.ask(pages[len(found) :], how, memory)
                found += [PageError(text) if failed else text for failed, text in answers]
                code = child.code
                blamed = code == -signal.SIGALRM or not (old or answers)
                if code is not None and blamed and len(found) < len(pages):
                    found.append(PageError(_why(code, extractor, seconds, memory)))
        return found

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
        self.shared = _nameless()
        done, told = os.pipe()
        self.done = os.fdopen(done, "rb", 0)
        # -P: beside the program lie an html.py and an http.py that are none of the standard library.
        command = [sys.executable, "-P", str(program), str(self.shared.fileno()), str(told)]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=(self.shared.fileno(), told),
            )
        except OSError as error:
            self.done.close()
            self.shared.close()
            raise CurateError(f"cannot start the parsers' process, {' '.join(command)}: {error}") from error
        finally:
            os.close(told)
        self.questions, self.answers = cast(BinaryIO, self.process.stdin), cast(BinaryIO, self.process.stdout)
        os.set_blocking(self.answers.fileno(), False)
        self.poll = select.poll()
        self.poll.register(done, select.POLLIN)
        atexit.register(self.stop)
        if not self.done.read(1):
            raise CurateError(
                f"the parsers' process, {' '.join(command)}, ended at its start with exit code {self.stop()}: what it "
                "said stands on standard error; are trafilatura and resiliparse installed beside it?"
            )
        self.own = _resident(self.process.pid)

    def ask(
        self, pages: Sequence[bytes | memoryview], how: dict[str, Any], memory: int | None
    ) -> list[tuple[bool, str]]:
        """(whether the parser raised, text or error) of each page, or of those before the one at which the child ended.

        Whatever is raised here ends it too.
        """
        said = bytearray()
        swollen = False
        try:
            self._share(pages)
            question = json.dumps({**how, "memory": memory, "sizes": [len(page) for page in pages]}).encode()
            send(self.questions.fileno(), QUESTION.pack(len(question)) + question)
            while not self.poll.poll(LOOK_MS):
                self._hear(said)
                if memory is not None and _resident(self.process.pid) > self.own + memory:
                    swollen = True
                    self.process.kill()
            ended = not self.done.read(1)
            self._hear(said)
        except BrokenPipeError:
            ended = True
        except BaseException:
            self.stop()
            raise
        if ended:
            self.stop()
            self.code = OUT_OF_MEMORY if swollen else self.code
        answers = _answers(said)
        self.used |= bool(answers)
        return answers

    def _share(self, pages: Sequence[bytes | memoryview]) -> None:
        """Write the pages to the file that both have open, one behind the other."""
        file, end = self.shared.fileno(), 0
        os.ftruncate(file, min(os.fstat(file).st_size, max(SHARED, sum(map(len, pages)))))
        for page in pages:
            rest = memoryview(page)
            while rest:
                size = os.pwrite(file, rest, end)
                rest, end = rest[size:], end + size

    def _hear(self, said: bytearray) -> None:
        """Take what is answered by now: the child must not wait because the pipe is full."""
        while part := self.answers.read(PIPE):
            said += part

    def stop(self) -> int:
        """End it, whatever it does; its exit code, its own if it had ended before."""
        if self.code is None:
            atexit.unregister(self.stop)
            self.process.kill()
            self.code = self.process.wait()
            self._close()
        return self.code

    def leave(self) -> None:
        """In a fork: it is the parent's. Were its pipes open here too, it would not see its parent go."""
        if self.code is None:
            self.code = self.process.returncode = 0
            self._close()

    def _close(self) -> None:
        for file in (self.questions, self.answers, self.done, self.shared):
            file.close()


def _nameless() -> BinaryIO:
    """A file that is gone with those who have it open; in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("pages"), "r+b", 0)
    return tempfile.TemporaryFile(buffering=0)


def _answers(said: bytes | bytearray) -> list[tuple[bool, str]]:
    """The whole answers in what a child has said; it may have ended inside another."""
    found: list[tuple[bool, str]] = []
    start = ANSWER.size
    while start <= len(said):
        failed, size = ANSWER.unpack_from(said, start - ANSWER.size)
        if start + size > len(said):
            break
        found.append((failed, said[start : start + size].decode("utf-8", "surrogatepass")))
        start += size + ANSWER.size
    return found


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
