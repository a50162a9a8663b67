"""Texts that are already text: Parquet tables, JSON lines and plain text files, each row or file a page.

Bodies are UTF-8 and pass the extractor untouched. No schema is guessed: the columns are named in `Table`.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from curate import charset, compression, storage
from curate.compression import DamagedError
from curate.document import Dropped, Failed, Page, Record
from curate.errors import InputError
from curate.reasons import Reason
from curate.sources import lines

MAX_TEXT = 64 << 20  # bytes of a plain text file
BATCH = 1024  # rows of a Parquet file in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Names of columns (Parquet) or keys (JSON lines).

    A Parquet file must have every column named here. In JSON lines `text` must be there in each line and the others
    may be missing. None: the source has no such column.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    text: str = "text"
    url: str | None = "url"
    title: str | None = None
    date: str | None = None

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("text names no column: give the column that holds the text")

    def columns(self) -> dict[str, str]:
        """Field of a Page -> column."""
        named = {"url": self.url, "title": self.title, "date": self.date}
        return {"text": self.text, **{field: name for field, name in named.items() if name is not None}}


DEFAULT = Table()


def read_parquet(path: str, start: int = 0, stop: int | None = None, config: Table = DEFAULT) -> Iterator[Record]:
    """The rows of the row groups that begin in rows [start, stop). `offset` is the row.

    A row group that does not decode is one `Failed` at its first row.

    Raises:
        InputError: if it is no Parquet file, or lacks a column or has it in another type.
    """
    columns = config.columns()
    with _open_parquet(path) as table:
        _check(path, table.schema_arrow, columns)
        row = 0
        for group in range(table.num_row_groups):
            first, row = row, row + table.metadata.row_group(group).num_rows
            if first < start or (stop is not None and first >= stop):
                continue
            offset = first
            try:
                for batch in table.iter_batches(BATCH, row_groups=[group], columns=[*columns.values()]):
                    for values in zip(*(batch[name].to_pylist() for name in columns.values()), strict=True):
                        yield _page(offset, dict(zip(columns, values, strict=True)))
                        offset += 1
            except (pa.ArrowException, OSError) as error:
                yield Failed(offset, f"rows {offset} to {row - 1} of row group {group} do not decode: {error}")


def count_rows(path: str) -> int:
    """The rows of a Parquet file, from its footer."""
    with _open_parquet(path) as table:
        return int(table.metadata.num_rows)


@contextlib.contextmanager
def _open_parquet(path: str) -> Iterator[pq.ParquetFile]:
    with storage.open_input(path) as file:
        try:
            table = pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} is not a readable Parquet file: {error}") from error
        yield table


def _check(path: str, schema: pa.Schema, columns: dict[str, str]) -> None:
    for field, name in columns.items():
        if name not in schema.names:
            found = ", ".join(schema.names)
            remedy = f"name the column of the {field}" + ("" if field == "text" else ", or null for none")
            raise InputError(f"{path} has no column {name!r} ({field}); its columns are {found}: {remedy}")
        kind = schema.field(name).type
        if field != "date" and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise InputError(f"{path}: column {name!r} ({field}) holds {kind}, not strings: name another column")


def read_jsonl(path: str, start: int = 0, stop: int | None = None, config: Table = DEFAULT) -> Iterator[Record]:
    """The objects on the lines that begin in bytes [start, stop) of the decompressed file. `offset` is that byte."""
    columns = config.columns()
    for found in lines.objects(path, start, stop):
        if isinstance(found, Failed):
            yield found
            continue
        offset, row = found
        if config.text in row:
            yield _page(offset, {field: row.get(name) for field, name in columns.items()})
        else:
            yield Failed(offset, f"no key {config.text!r} (text); its keys are {', '.join(row)}")


def read_text(path: str) -> Iterator[Record]:
    """The whole file, plain or compressed, as one page, in UTF-8 or whatever else it proves to be."""
    data = load(path)
    yield _page(0, {"text": charset.decode(data, markup=False).text}) if isinstance(data, bytes) else data


def load(path: str, limit: int = MAX_TEXT) -> bytes | Dropped | Failed:
    """The file's decompressed bytes, if there are at most `limit`, and all of them are sound."""
    data = bytearray()
    try:
        for piece in compression.read(path):
            data += piece
            if len(data) > limit:
                return Dropped(0, Reason.too_large, detail=f"over {limit} bytes")
    except DamagedError as error:
        return Failed(0, str(error))
    return bytes(data)


def _page(offset: int, values: dict[str, object]) -> Record:
    text = values["text"]
    if not isinstance(text, str):
        return Failed(offset, f"expected a string as text, found {'null' if text is None else type(text).__name__}")
    url, title, date = ("" if (v := values.get(f)) is None else str(v) for f in ("url", "title", "date"))
    if not text.strip():
        return Dropped(offset, Reason.empty_page, url)
    try:
        return Page(offset, text.encode(), url, date, "text/plain", title)
    except UnicodeEncodeError as error:
        return Failed(offset, f"the text holds a lone surrogate at character {error.start}")
