"""The crawl by name, or by an index of its pages: which files, which ranges of them, and how those are read.

A crawl's name and the list of its files are its identity: Common Crawl never changes what it has published. So no file
is asked for its size or date before it is read; ranges are cut by the size that such files have.
"""

import dataclasses
import hashlib
import heapq
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import IO, Any, cast

from curate import draw, members, storage, warc
from curate.document import Failed, Record
from curate.errors import InputError
from curate.sources import cdx, lines
from curate.stream import Blocks, stored
from curate.warc import Warc
from pipelines import web
from pipelines.recipe import Crawl, Recipe

# Bytes of a file as Common Crawl writes them: 90,000 archives make some 80 TB, their extracts 8 TB (CC-MAIN-2024-22).
# Where a file is longer, its last range is; where it is shorter, ranges beyond its end are empty.
USUAL = {"warc": 1 << 30, "wet": 128 << 20}
ENDINGS = {"warc": ".warc.gz", "wet": ".warc.wet.gz"}

GAP = 1 << 18  # bytes between two captures that are fetched rather than paid for with a request
MOST = 1 << 24  # bytes of captures fetched at once; a longer record is streamed


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a crawl by the paths that Common Crawl lists; of each its captures, or all that it holds."""

    kind: str
    files: Sequence[str]
    captures: cdx.Captures | None
    identity: str  # SHA-256 of all of it; with the names, what a fingerprint needs to know


def is_named(crawl: Crawl) -> bool:
    """Whether the recipe gives the crawl by name or by index, and not by paths."""
    return crawl.name is not None or bool(crawl.index)


def find(recipe: Recipe) -> Listing:
    """The recipe's crawl: its list of files read and drawn from, or its index searched.

    Raises:
        InputError: if a list or an index is missing or damaged, or no file is left; of a local mirror, if it lacks one.
    """
    crawl, base = recipe.sources.crawl, recipe.fetch.crawls
    captures = None
    if crawl.index:
        captures = _captures(crawl)
        files: Sequence[str] = list(captures)
        kind = "warc"
    else:
        files, kind = _files(crawl, base, recipe.seed), crawl.kind
    if not storage.is_remote(base):
        fs, folder = storage.store(base)
        lacking = [name for name in files if not fs.exists(storage.join(folder, name))]
        if lacking:
            raise InputError(
                f"fetch.crawls: {base} lacks {len(lacking)} of {len(files)} files, {lacking[0]} the first: complete "
                "the mirror, or name fewer by sources.crawl.files"
            )
    digest = hashlib.sha256(json.dumps([kind, *files]).encode())
    for places in (captures or {}).values():
        digest.update(places.astype("<i8").tobytes())
    return Listing(kind, files, captures, digest.hexdigest())


def _files(crawl: Crawl, base: str, seed: int) -> list[str]:
    """The paths of the crawl's list that `files` and `sample` leave, in the list's order."""
    path = storage.join(base, "crawl-data", str(crawl.name), f"{crawl.kind}.paths.gz")
    every = list(_listed(path, crawl))
    if crawl.files is None:
        chosen = every
    else:
        numbers = sorted({number for first, last in crawl.ranges() for number in range(first, last + 1)})
        if numbers[-1] >= len(every):
            raise InputError(f"sources.crawl.files: {crawl.files!r} goes beyond the {len(every)} files of {path}")
        chosen = [every[number] for number in numbers]
    if crawl.sample is None:
        return chosen
    if crawl.sample > len(chosen):
        raise InputError(f"sources.crawl.sample is {crawl.sample}, of {len(chosen)} files: draw fewer")
    drawn = heapq.nsmallest(crawl.sample, chosen, key=lambda name: (draw.key(seed, "crawl file", name), name))
    return sorted(drawn, key={name: place for place, name in enumerate(chosen)}.__getitem__)


def _listed(path: str, crawl: Crawl) -> Iterator[str]:
    """The lines of a list of files, each a path below the crawl's folder."""
    above = f"crawl-data/{crawl.name}/"
    for line in lines.read(path, max_line=4096):
        text = line.error if isinstance(line, Failed) else line[1].decode("latin-1")
        if (
            isinstance(line, Failed)
            or not (text.startswith(above) and text.endswith(ENDINGS[crawl.kind]) and text.isascii())
            or ".." in text.split("/")
        ):
            offset = line.offset if isinstance(line, Failed) else line[0]
            raise InputError(
                f"{path}, byte {offset}: expected {above}...{ENDINGS[crawl.kind]}, found {text[:200]!r}: fetch the "
                "list anew, or correct fetch.crawls"
            )
        yield text


def _captures(crawl: Crawl) -> cdx.Captures:
    """What the index knows of the pages that are meant."""
    entries = list(crawl.pages)
    for path in crawl.page_lists:
        for line in lines.read(path):
            if isinstance(line, Failed):
                raise InputError(f"{path}, byte {line.offset}: {line.error}")
            text = line[1].decode("utf-8", "replace")
            if not text.startswith("#"):
                entries.append(text)
    pages = cdx.Pages.of(entries) if crawl.pages or crawl.page_lists else None
    if pages is not None and not entries:
        raise InputError(f"sources.crawl.page_lists: {', '.join(crawl.page_lists)} hold no entry")
    found = cdx.read(crawl.index, pages, crawl.reader.warc.content_types)
    if not found:
        raise InputError(
            f"sources.crawl.index: {', '.join(crawl.index)} know no page of {len(entries)} entries that answered 200 "
            "with text: name other index files, or correct sources.crawl.pages"
        )
    return found


def parts(listing: Listing, base: str, split_bytes: int) -> Iterator[dict[str, Any]]:
    """The ranges, or the captures, of each file: about `split_bytes` at a time."""
    for name in listing.files:
        part = {"name": name, "path": storage.join(base, name), "format": listing.kind}
        if listing.captures is None:
            number = max(1, round(USUAL[listing.kind] / split_bytes))
            for start in range(number):
                stop = None if start == number - 1 else (start + 1) * split_bytes
                yield part | {"start": start * split_bytes, "stop": stop, "bytes": USUAL[listing.kind] // number}
            continue
        for run in _cut(listing.captures[name].tolist(), split_bytes):
            yield part | {"start": run[0][0], "stop": None, "captures": run, "bytes": sum(size for _, size in run)}


def _cut(captures: list[list[int]], most: int) -> Iterator[list[list[int]]]:
    """Captures in their order, as many together as have at most `most` bytes."""
    run: list[list[int]] = []
    size = 0
    for one in captures:
        if run and size + one[1] > most:
            yield run
            run, size = [], 0
        run.append(one)
        size += one[1]
    if run:
        yield run


def read(path: str, captures: Sequence[Sequence[int]], config: Warc) -> Iterator[Record]:
    """The record at each capture, by as few requests as `GAP` and `MOST` allow; offsets are those of the file.

    A capture that holds no sound record is a `Failed`.

    Raises:
        InputError: if the file is missing or cannot be read.
    """
    for run in _neighbours(captures):
        base, end = run[0][0], max(start + length for start, length in run)
        data = stored(path, base, end) if end - base <= MOST else b""
        for start, length in run:
            piece = data[start - base : start - base + length]
            if len(piece) < length <= MOST:
                yield Failed(start, f"the index gives it {length} bytes; the file ends at {base + len(data)}")
                continue
            file = io.BytesIO(piece) if length <= MOST else _streamed(path, start, length)
            try:
                record = next(warc.read_part(file, path, config, partial(_dictionary, path)), None)
            except InputError as error:
                if web.failed(path, error):
                    raise
                record = Failed(start, str(error))
            found = record or Failed(start, "no record begins where the index says")
            yield dataclasses.replace(found, offset=start)


def _streamed(path: str, start: int, length: int) -> IO[bytes]:
    """The bytes of a capture that is too long to be held."""

    def between(first: int, last: int) -> bytes:
        return stored(path, start + first, start + min(last, length)) if first < length else b""

    return cast(IO[bytes], Blocks(between, lambda: length))


@lru_cache(maxsize=1)
def _dictionary(path: str) -> members.Dictionary | None:
    """What the frames of the .warc.zst are decompressed with: read once, though its captures are many."""
    return members.dictionary(path, partial(stored, path))[0]


def _neighbours(captures: Sequence[Sequence[int]]) -> Iterator[list[tuple[int, int]]]:
    """Captures in their order, in groups that are fetched together; one that is longer than `MOST` is alone."""
    run: list[tuple[int, int]] = []
    end = 0
    for start, length in captures:
        if run and (start - end > GAP or max(end, start + length) - run[0][0] > MOST):
            yield run
            run, end = [], 0
        run.append((start, length))
        end = max(end, start + length)
    if run:
        yield run
