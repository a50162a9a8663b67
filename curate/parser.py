"""A child process that hands pages to Trafilatura or Resiliparse, one after the other, until its parent is gone.

`curate.isolation` starts this file by its path. Pages come in a file without a name that both have open, so many at a
time as standard input says; each page's answer goes to standard output, and a byte to a third pipe when all are given:
the two wait for each other once for many pages. It knows no other module of ours: a child that has crashed is replaced
in the time that the parsers take to import.
"""

import contextlib
import fcntl
import functools
import json
import logging
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Iterator

import trafilatura
from lxml import etree
from lxml.html import HtmlElement
from resiliparse.extract.html2text import extract_plain_text
from trafilatura.settings import Extractor
from trafilatura.utils import HTML_PARSER

QUESTION = struct.Struct("<I")  # bytes of what follows, JSON: how to parse, and the pages' sizes in the file, UTF-8
ANSWER = struct.Struct("<?I")  # whether the parser raised; bytes of the text, or of the error, that follows
OUT_OF_MEMORY = 3  # the exit code
OWN = 64 << 20  # bytes: more than the interpreter and the parsers hold before the first page
PIPE = 1 << 20  # bytes: as much as Linux grants; the answers then wait there until all are given

# (page, favour, markdown) -> text
Parser = Callable[[str, str, bool], str]


def main() -> None:
    """Answer until the parent hangs up. A first byte on the third pipe says that all is imported.

    The arguments are the file descriptors of the pages and of the third pipe.
    """
    pages, done = map(int, sys.argv[1:])
    answers = os.dup(1)
    os.dup2(2, 1)  # what a parser prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: it is for the parent to end
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # whoever has started it may hold back what is to end it
    for fatal in (signal.SIGALRM, signal.SIGIO):
        signal.signal(fatal, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with contextlib.suppress(PermissionError):  # of large pipes a user has only so many
            fcntl.fcntl(answers, fcntl.F_SETPIPE_SZ, PIPE)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            os.write(done, b"\0")
            how = json.loads(receive(0, *QUESTION.unpack(receive(0, QUESTION.size))))
            with watched(how.pop("memory")):
                start = 0
                for size in how.pop("sizes"):
                    failed, text = answer(os.pread(pages, size, start).decode(), **how)
                    start += size
                    encoded = text.encode("utf-8", "surrogatepass")  # a character reference may name half of a pair
                    send(answers, ANSWER.pack(failed, len(encoded)) + encoded)


@contextlib.contextmanager
def watched(memory: int | None) -> Iterator[None]:
    """The kernel ends this process by SIGIO, whatever a parser is at, when the parent, which is silent now, hangs up.

    It gives no signal for memory: the parent looks at that now and then, and twice as much is refused, for one who
    takes it faster than that.
    """
    most = resource.RLIM_INFINITY if memory is None else OWN + 2 * memory
    resource.setrlimit(resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY))
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC)
    try:
        yield
    finally:
        fcntl.fcntl(0, fcntl.F_SETFL, flags)


def answer(page: str, extractor: str, favour: str, markdown: bool, seconds: float | None) -> tuple[bool, str]:
    """(whether the parser raised, text or error). The kernel ends this process by SIGALRM when the time is over."""
    signal.setitimer(signal.ITIMER_REAL, seconds or 0)
    try:
        return False, PARSERS[extractor](page, favour, markdown)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except Exception as error:  # whatever a parser of hostile input may raise
        return True, f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def by_trafilatura(page: str, favour: str, markdown: bool) -> str:
    """Trafilatura's main extractor alone: on full-text gold better than with its fallbacks, and a fifth faster."""
    return trafilatura.extract(page, options=_options(favour, markdown)) or ""


@functools.cache
def _options(favour: str, markdown: bool) -> Extractor:
    """Trafilatura's options, which it would else read again from its settings for every page: about .35 of 8.7 ms.

    Parsing is .7 ms; most of the rest is XPath over its tree. What it will throw away cannot go before that: without
    scripts, styles, footers and the like it takes 9% less, but other elements are then empty or heavy enough for its
    rules, and 4 of 13,080 real pages come out otherwise. It logs a warning for every page without text; here that is
    `Reason.no_text`. Its parser asks Python for the class of each element, of which it needs one: a tenth of the time.
    """
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    HTML_PARSER.set_element_class_lookup(etree.ElementDefaultClassLookup(element=HtmlElement))
    return Extractor(
        output_format="markdown" if markdown else "txt",
        fast=True,
        comments=False,
        precision=favour == "precision",
        recall=favour == "recall",
    )


def by_resiliparse(page: str, favour: str, markdown: bool) -> str:
    """Resiliparse's main content; it has neither favour nor Markdown."""
    return str(extract_plain_text(page, main_content=True, alt_texts=False, comments=False))


PARSERS: dict[str, Parser] = {"trafilatura": by_trafilatura, "resiliparse": by_resiliparse}


def send(pipe: int, data: bytes) -> None:
    """Write all of it to the file descriptor. BrokenPipeError if nobody reads."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def receive(pipe: int, size: int) -> bytes:
    """So many bytes of the file descriptor; EOFError if it ends before."""
    data = bytearray()
    while len(data) < size:
        part = os.read(pipe, min(size - len(data), PIPE))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


if __name__ == "__main__":
    main()
    sys.exit()
