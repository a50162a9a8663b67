"""Archives to records, beside warcio and FastWARC on the same files in one run, one core.

    python benchmarks/archives.py [PATH ...]

PATH is a WARC file; by default one that is made here, of a page's size and kind as Common Crawl has them. All sides
read every record, parse the HTTP header of responses and decode their bodies, and go on to the end. Archives at whose
damage a peer stops are left out. The last line's ratio is against warcio; FastWARC's stands beside it.
"""

import gzip
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

from _clock import arguments, least, one_core, report
from fastwarc.warc import ArchiveIterator as FastIterator
from fastwarc.warc import WarcRecordType
from isal import isal_zlib
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from curate import warc

PAGES, QUICK = 6000, 60
LINE = "<p class='p{}'>In the year {} the keeper of the {} lighthouse wrote {} letters, of which {} are known.</p>\n"


def build(path: Path, pages: int) -> None:
    """Requests and responses, a gzip member each; bodies of 4 to 60 KB."""
    with path.open("wb") as file:
        for number in range(pages):
            seed = number * 2654435761 % 1000003
            text = "".join(
                LINE.format((seed + n) % 13, seed + n * 7, seed * n % 977, n * n % 89, n % 11)
                for n in range(30 + seed % 400)
            )
            body = f"<html><head><title>{seed}</title></head><body>{text}</body></html>".encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nServer: made\r\n\r\n" + body
            for kind, block in (("request", b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), ("response", answer)):
                head = (
                    f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://a.example/{number}\r\n"
                    f"WARC-Date: 2024-05-18T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
                    f"Content-Type: application/http; msgtype={kind}\r\nContent-Length: {len(block)}\r\n\r\n"
                )
                file.write(gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0))


def by_us(paths: list[Path]) -> int:
    return sum(1 for path in paths for _ in warc.read(str(path)))


def by_warcio(paths: list[Path]) -> int:
    number = 0
    for path in paths:
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type == "response":
                    record.content_stream().read()
                number += 1
    return number


def by_fastwarc(paths: list[Path]) -> int:
    number = 0
    for path in paths:
        with path.open("rb") as file:
            for record in FastIterator(file, parse_http=True, auto_decode="all"):
                if record.record_type == WarcRecordType.response:
                    record.reader.read()
                number += 1
    return number


def inflate(library: ModuleType, paths: list[Path]) -> int:
    """What a library takes for the bytes alone: no reader on top of it can be faster."""
    number = 0
    for path in paths:
        data, at = memoryview(path.read_bytes()), 0
        while path.suffix == ".gz" and at < len(data):
            member = library.decompressobj(31)
            while not member.eof and at < len(data):
                member.decompress(data[at : at + (1 << 15)])
                at += 1 << 15
            at = min(at, len(data)) - len(member.unused_data)
            number += 1
    return number


def is_readable(path: Path) -> bool:
    """Whether both peers come through to the end."""
    try:
        return by_warcio([path]) == by_fastwarc([path]) == by_us([path])
    except (ArchiveLoadFailed, OSError, EOFError, ValueError, AttributeError, RuntimeError, zlib.error):
        return False


def compare(paths: list[Path]) -> None:
    core = one_core()
    good = [path for path in paths if is_readable(path)]
    if not good:
        raise SystemExit("no archive that all readers come through")
    size, number = sum(path.stat().st_size for path in good) / 1e6, by_us(good)
    print(f"{len(good)} archives, {size:.1f} MB, {number} records, {len(paths) - len(good)} left out; {core}")
    sides: dict[str, Callable[[list[Path]], int]] = {
        "curate": by_us,
        "warcio": by_warcio,
        "FastWARC": by_fastwarc,
        "igzip alone": partial(inflate, isal_zlib),
        "zlib alone": partial(inflate, zlib),
    }
    spent = {name: least(lambda side=side: side(good), rounds=3) for name, side in sides.items()}  # type: ignore[misc]
    for name, took in spent.items():  # of each: how many times what we take
        print(f"{name}: {number / took:,.0f} records/s, {size / took:.1f} MB/s, ratio {took / spent['curate']:.2f}")
    report("archives", spent["warcio"] / spent["curate"])


def main() -> None:
    args = arguments(__doc__, "WARC files")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(path) for path in args.paths]
        if not paths:
            paths = [Path(folder, "made.warc.gz")]
            build(paths[0], QUICK if args.quick else PAGES)
        compare(paths)


if __name__ == "__main__":
    main()
