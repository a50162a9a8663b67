"""What a worker holds at most while it reads archives of any size: measured in a process that works as one does."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

MOST = 10**9  # bytes resident
PAGE = b"<html><body>" + b"".join(
    b"<p>This is paragraph %d of the page, and it ends here.</p>\n" % n for n in range(99)
)
WORKER = """
import json, re, sys
from pathlib import Path
from pipelines import ingest, recipe
from pipelines.context import Context

path, root = sys.argv[1:]
context = Context(root, "ingest", recipe.Recipe(sources={"crawl": {"paths": [path]}}), frozenset({"karma"}))
for task in ingest.plan(context):
    ingest.ingest_split(context, task)
receipts = [json.loads(path.read_text()) for path in sorted(Path(root).rglob("splits/*.json"))]
peak = re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())  # ru_maxrss counts the parent's too
print(json.dumps([int(peak[1]) * 1024, receipts]))
"""


def head(kind: str, number: int, length: int) -> bytes:
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" if kind == "response" else b""
    lines = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://a.example/{number}\r\n"
    return lines.encode() + b"Content-Length: %d\r\n\r\n" % (length + len(answer)) + answer


def pages(file: IO[bytes], size: int, count: int, write: Callable[[bytes], bytes]) -> None:
    body = (PAGE * (size // len(PAGE) + 1))[:size]
    for number in range(count):
        file.write(write(head("response", number, size) + body + b"\r\n\r\n"))


def large_pages(file: IO[bytes]) -> int:
    """2 GB of pages of 50 MB, uncompressed."""
    pages(file, 50 << 20, 41, bytes)
    return 41


def middling_pages(file: IO[bytes]) -> int:
    """Pages just within the limits on size."""
    pages(file, 8 << 20, 24, partial(gzip.compress, compresslevel=1, mtime=0))
    return 24


def one_record(file: IO[bytes]) -> int:
    """A record of 2 GB, which no disk block holds, and a page after it."""
    file.write(head("resource", 0, 2 << 30))
    file.seek(2 << 30, 1)
    file.write(b"\r\n\r\n")
    pages(file, 5000, 1, bytes)
    return 2


def bomb(file: IO[bytes]) -> int:
    """A single member that is a header of 1 GB, then a record of 1 GB, then more records than a task may hold."""
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1, mtime=0) as out:
        out.write(b"WARC/1.0\r\nX: ")
        for _ in range(1 << 10):
            out.write(bytes(1 << 20))
        out.write(b"\r\n\r\n" + head("request", 1, 1 << 30))
        for _ in range(1 << 10):
            out.write(bytes(1 << 20))
        out.write(b"\r\n\r\n")
        for number in range(300_000):
            out.write(head("request", number, 0) + b"\r\n")
    return 300_002


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process alone is Linux's to tell")
@pytest.mark.parametrize("build", [large_pages, middling_pages, one_record, bomb])
def test_a_worker_holds_less_than_a_gigabyte(build: Callable[[IO[bytes]], int], tmp_path: Path) -> None:
    path = tmp_path / f"a.warc{'.gz' if build in (bomb, middling_pages) else ''}"
    try:
        with open(path, "wb") as file:
            number = build(file)
        command = [sys.executable, "-c", WORKER, str(path), str(tmp_path / "run")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=1100, check=False)
    finally:
        path.unlink()
    assert done.returncode == 0, done.stderr
    resident, receipts = json.loads(done.stdout)
    read: list[dict[str, Any]] = [receipt for receipt in receipts if receipt["read"]]
    assert sum(receipt["read"] for receipt in read) == number
    print(f"{build.__name__}: {resident / 1e6:.0f} MB resident, {number} records in {len(receipts)} tasks")
    assert resident < MOST
