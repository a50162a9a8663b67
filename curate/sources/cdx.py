"""Indexes of a crawl: which file holds the capture of a page, and where. CDXJ lines, plain or compressed, and the
columnar index (Parquet with the columns of Common Crawl's cc-index table).

It reads index files from the first row to the last; it does not search the crawl's index servers.
"""

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import storage, url
from curate.document import Failed
from curate.errors import InputError, UsageError
from curate.sources import lines

Captures = dict[str, npt.NDArray[np.int64]]
"""Archive -> int64[n, 2]: offset and length of each capture's record, in bytes as stored, offsets rising."""

BATCH = 1 << 16  # rows in Python's hands at a time

# Columns of the cc-index table (commoncrawl/cc-index-table, schema of 2018 on), and the keys of a CDXJ line.
_COLUMNS = ("url", "warc_filename", "warc_record_offset", "warc_record_length")
_DOMAIN, _STATUS, _TYPE = "url_host_registered_domain", "fetch_status", "content_mime_detected"


@dataclass(frozen=True, slots=True)
class Pages:
    """Which pages are meant: those at a URL, however it is spelled (`url.normalise`), or at a domain or below it."""

    domains: frozenset[str]
    urls: frozenset[int]
    above: frozenset[str]  # each host that is asked for, or whose URL is, with all domains above it

    @classmethod
    def of(cls, entries: Iterable[str]) -> "Pages":
        """Of URLs (`https://example.com/page`) and domains (`example.com`).

        Raises:
            UsageError: for an entry that is neither.
        """
        domains: set[str] = set()
        urls: set[int] = set()
        above: set[str] = set()
        for entry in entries:
            name = url.host(entry if "://" in entry else f"http://{entry}/")
            if not name or ("://" not in entry and "/" in entry):
                raise UsageError(f"{entry!r} is no URL and no domain: give https://example.com/page or example.com")
            if "://" in entry:
                urls.add(url.key(entry))
            else:
                domains.add(name)
            above.update(_above(name))
        return cls(frozenset(domains), frozenset(urls), frozenset(above))

    def has(self, address: str) -> bool:
        return any(name in self.domains for name in _above(url.host(address))) or url.key(address) in self.urls

    def may_have(self, domain: str | None) -> bool:
        """False only if no page of a host with this registered domain is meant, whoever drew the line of suffixes."""
        return domain is None or domain in self.above or any(name in self.domains for name in _above(domain))


def read(paths: Iterable[str], pages: Pages | None, content_types: Iterable[str]) -> Captures:
    """The captures of `pages` (None: all) that answered 200 with one of the types, each once, from all index files.

    Status and type are asked only where the index has them: what it does not tell shows when the record is read.

    Raises:
        InputError: if a file is missing, damaged or no index; with the place in it.
    """
    found: dict[str, array[int]] = {}
    types = frozenset(content_types)
    for path in paths:
        for row in _parquet(path, pages) if path.lower().endswith(".parquet") else _cdxj(path):
            if (row[_STATUS] and str(row[_STATUS]) != "200") or (row[_TYPE] and row[_TYPE] not in types):
                continue
            if pages is None or pages.has(row["url"]):
                found.setdefault(row["warc_filename"], array("q")).extend((row[_COLUMNS[2]], row[_COLUMNS[3]]))
    return {name: _once(np.frombuffer(values, np.int64).reshape(-1, 2)) for name, values in sorted(found.items())}


def _once(captures: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Sorted by offset; of those that two indexes name, the longer."""
    captures = captures[np.lexsort((captures[:, 1], captures[:, 0]))]
    is_last = np.append(captures[1:, 0] != captures[:-1, 0], True)
    once: npt.NDArray[np.int64] = captures[is_last]
    return once


def _above(host: str) -> Iterator[str]:
    """The host and the domains above it: a.example.com, example.com, com."""
    while host:
        yield host
        host = host.partition(".")[2]


def _cdxj(path: str) -> Iterator[dict[str, Any]]:
    """The rows of `key timestamp {json}` lines, or of bare JSON objects, as the index server gives them."""
    for line in lines.read(path):
        if isinstance(line, Failed):
            raise InputError(f"{path}, byte {line.offset}: {line.error}")
        offset, text = line
        if text.startswith(b"!"):  # a header of pywb's
            continue
        try:
            value = json.loads(text[text.index(b"{") :])
            yield {
                "url": str(value["url"]),
                "warc_filename": _name(value["filename"]),
                "warc_record_offset": _number(value["offset"]),
                "warc_record_length": _number(value["length"]),
                _STATUS: value.get("status"),
                _TYPE: value.get("mime-detected"),
            }
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(
                f"{path}, byte {offset}: expected a CDXJ line with url, filename, offset and length, found "
                f"{text[:80]!r} ({storage.reason(error)})"
            ) from error


def _parquet(path: str, pages: Pages | None) -> Iterator[dict[str, Any]]:
    """The rows of row groups that hold a domain that is meant; of the others the column of domains is read alone."""
    with storage.open_input(path) as file:
        try:
            table = pq.ParquetFile(file)
            names = table.schema_arrow.names
            if missing := [name for name in _COLUMNS if name not in names]:
                raise InputError(f"{path} is no columnar index: it lacks {', '.join(missing)}")
            columns = [name for name in (*_COLUMNS, _STATUS, _TYPE) if name in names]
            for group in range(table.num_row_groups):
                mask = _candidates(table, group, pages) if pages is not None and _DOMAIN in names else None
                if mask is not None and not pc.any(mask).as_py():
                    continue
                rows = table.read_row_group(group, columns=columns)
                for batch in (rows if mask is None else rows.filter(mask)).to_batches(BATCH):
                    yield from map(_row, batch.to_pylist())
        except (pa.ArrowException, OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} is not a readable columnar index: {storage.reason(error)}") from error


def _candidates(table: pq.ParquetFile, group: int, pages: Pages) -> pa.ChunkedArray:
    """bool[rows]: whether the row's domain may hold a page that is meant; asked once for each different domain."""
    domains = table.read_row_group(group, columns=[_DOMAIN])[_DOMAIN].cast(pa.string())
    meant = [domain for domain in pc.unique(domains).to_pylist() if pages.may_have(domain)]
    return pc.is_in(domains, value_set=pa.array(meant, pa.string()))


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": str(row["url"]),
        "warc_filename": _name(row["warc_filename"]),
        "warc_record_offset": _number(row["warc_record_offset"]),
        "warc_record_length": _number(row["warc_record_length"]),
        _STATUS: row.get(_STATUS),
        _TYPE: row.get(_TYPE),
    }


def _name(value: Any) -> str:
    """A path below the crawl's, which leads nowhere else."""
    if not isinstance(value, str) or not value or value.startswith("/") or ".." in value.split("/") or "://" in value:
        raise ValueError(f"filename {value!r} is no path below the crawl's")
    return value


def _number(value: Any) -> int:
    number = int(value)
    if not 0 <= number < 1 << 62:
        raise ValueError(f"{value!r} is no offset or length")
    return number
