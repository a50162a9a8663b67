"""One door to all formats of text: `guess_format`, `splits`, `open`. Each module beside this one reads one format.

Reddit submissions are links, not texts, and have their own door: `reddit.read`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from curate import storage, warc
from curate.document import Record
from curate.errors import InputError, UsageError
from curate.sources import books, files, lines, wikipedia
from curate.sources.books import Books
from curate.sources.files import Table
from curate.sources.wikipedia import Wikipedia
from curate.warc import Warc

FORMATS = ("warc", "wet", "wikipedia", "books", "parquet", "jsonl", "text")

# The end of a name, before any compression's; the first that fits.
_ENDINGS = {
    "warc": (".warc", ".warc.open"),
    "wet": (".wet",),
    "wikipedia": (".xml",),
    "parquet": (".parquet",),
    "jsonl": (".jsonl", ".ndjson"),
    "text": (".txt", ".text"),
}
_COMPRESSED = (".gz", ".zst", ".bz2", ".xz")


@dataclass(frozen=True, slots=True, kw_only=True)
class Formats:
    """The settings of all formats; each reader takes its own."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    warc: Warc = field(default_factory=Warc)
    wikipedia: Wikipedia = field(default_factory=Wikipedia)
    books: Books = field(default_factory=Books)
    table: Table = field(default_factory=Table)


DEFAULT = Formats()


def guess_format(path: str, given: str | None = None) -> str | None:
    """The format `given`, else the one that the file's name tells; None if it tells none.

    Books look like any text: they have to be named.

    Raises:
        UsageError: if the given format is not in `FORMATS`.
    """
    if given is not None:
        if given not in FORMATS:
            raise UsageError(f"format {given!r} is not known: give one of {', '.join(FORMATS)}")
        return given
    name = path.lower().rsplit("/", 1)[-1]
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    if ".warc.wet" in name or ("-articles" in name and ".xml" in name):  # ...-articles1.xml-p10p30302.bz2
        return "wet" if ".warc.wet" in name else "wikipedia"
    return next((format for format, endings in _ENDINGS.items() if name.endswith(endings)), None)


def splits(format: str, path: str, num_bytes: int) -> list[tuple[int, int | None]]:
    """Ranges [start, stop) for `open` of about `num_bytes` stored bytes each, which together cover the file once.

    One range where the file cannot be split: a single gzip member, compressed lines, Wikipedia, books, plain text.
    Reads the file's first record at most. Parquet ranges are rows, by the file's average row.
    """
    if format in ("warc", "wet"):
        length, step = storage.size(path), num_bytes
        divisible = length > step and warc.is_splittable(path)
    elif format == "jsonl":
        length, step = storage.size(path), num_bytes
        divisible = length > step and not lines.is_compressed(path)
    elif format == "parquet":
        length, size = files.count_rows(path), storage.size(path)
        step = max(1, num_bytes * length // max(1, size))
        divisible = length > step
    else:
        divisible = False
    if not divisible:
        return [(0, None)]
    starts = list(range(0, length, step))
    return list(zip(starts, [*starts[1:], None], strict=True))


def open(
    format: str, path: str, start: int = 0, stop: int | None = None, config: Formats = DEFAULT
) -> Iterator[Record]:
    """The file's records whose place lies in [start, stop): bytes, or rows of Parquet. See each reader.

    Raises:
        InputError: if the file is missing, unreadable or of another format, or a range of a file that does not split
            is asked for.
        UsageError: if the format is not known.
    """
    match guess_format(path, format):
        case "warc" | "wet":
            return warc.read(path, start, stop, config.warc)
        case "parquet":
            return files.read_parquet(path, start, stop, config.table)
        case "jsonl":
            return files.read_jsonl(path, start, stop, config.table)
    if start or stop is not None:
        raise InputError(f"{path}: a {format} file is read whole, not from {start} to {stop}")
    match format:
        case "wikipedia":
            return wikipedia.read(path, config.wikipedia)
        case "books":
            return books.read(path, config.books)
        case _:
            return files.read_text(path)
