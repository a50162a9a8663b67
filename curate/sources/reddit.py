"""Reddit submissions to links with karma: Pushshift dumps (JSON lines, plain or compressed) and CSV tables.

GPT-2 (section 2.1) took "all outbound links from Reddit ... which received at least 3 karma" and removed Wikipedia.
It fetches no page; the pages behind the links are looked for in the crawl.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa

from curate import url as urls
from curate.document import Dropped, Failed
from curate.errors import InputError
from curate.reasons import Reason
from curate.sources import lines

# Reddit's own hosts: a link there leads to no outside page.
OWN = ("reddit.com", "redd.it", "redditmedia.com", "redditstatic.com", "reddituploads.com")

LINKS = pa.schema(
    [
        pa.field("url", pa.string(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),  # url.key
        pa.field("score", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("file", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),
    ]
)

URLS = pa.schema(
    [
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("host", pa.uint64(), nullable=False),  # url.key of its host
        pa.field("url", pa.string(), nullable=False),
        pa.field("score", pa.int64(), nullable=False),
        pa.field("submissions", pa.int64(), nullable=False),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Karma:
    """Which links count as liked.

    Args:
        min_karma: GPT-2 and GPT-3 took 3; None keeps every link.
        aggregate: how the scores of a URL's submissions become its karma. Papers do not say. "max", one submission of
            at least `min_karma`, is what OpenWebText's first copy did; OpenWebText2 summed. Every submission starts
            at 1, its author's own vote, so under "sum" whoever posts a link three times has liked it enough.
        over_18: whether submissions marked so stay.
        excluded_domains: links there, or to a subdomain, are left out: Wikipedia is a source of its own.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    min_karma: int | None = 3
    aggregate: Literal["max", "sum"] = "max"
    over_18: bool = False
    excluded_domains: tuple[str, ...] = ("wikipedia.org",)

    def __post_init__(self) -> None:
        if self.aggregate not in ("max", "sum"):
            raise ValueError(f"aggregate is {self.aggregate!r}: give max or sum")


DEFAULT = Karma()


@dataclass(frozen=True, slots=True)
class Link:
    """A submission that links out. `url` is normalised; `key` is its 64-bit hash, by which the crawl is searched."""

    offset: int
    url: str
    key: int
    score: int


def is_table(path: str) -> bool:
    """Whether the name is that of submissions: RS_..., JSON lines or CSV, compressed or not."""
    name = path.lower().rsplit("/", 1)[-1]
    return name.startswith("rs_") or any(ending in name for ending in (".csv", ".ndjson", ".jsonl"))


def read(path: str, config: Karma = DEFAULT) -> Iterator[Link | Dropped | Failed]:
    """Each submission of the file. Format by name: `.csv`, perhaps compressed, is a table with a header row.

    `offset` is a byte of the decompressed file (JSON lines) or the row, counted from 0 after the header (CSV).

    Raises:
        InputError: if the file is missing or unreadable.
    """
    name = path.lower().rstrip("/").rsplit("/", 1)[-1]
    rows = _csv_rows(path) if ".csv" in name else lines.objects(path)
    for row in rows:
        yield row if isinstance(row, Failed) else _link(*row, config)


def _csv_rows(path: str) -> Iterator[tuple[int, dict[str, Any]] | Failed]:
    damage: list[Failed] = []

    def texts() -> Iterator[str]:
        for line in lines.read(path):
            if isinstance(line, Failed):
                damage.append(line)
            else:
                yield line[1].decode("utf-8", "replace") + "\n"

    table = csv.DictReader(texts(), strict=True)
    if absent := {"url", "score"} - set(table.fieldnames or ()):
        if damage:
            yield Failed(0, damage[0].error)
            return
        found = ", ".join(table.fieldnames or ()) or "none"
        raise InputError(f"{path} has no column {sorted(absent)[0]!r}; its columns are {found}: give submissions")
    row = 0
    while True:
        try:
            values = next(table)
        except StopIteration:
            break
        except csv.Error as error:
            yield Failed(row, f"expected a row of the table: {error}")
        else:
            if damage:
                break  # a row that was cut
            yield row, values
        row += 1
    yield from (Failed(row, failed.error) for failed in damage)


def _link(offset: int, row: dict[str, Any], config: Karma) -> Link | Dropped | Failed:
    url, score = row.get("url"), row.get("score")
    if not isinstance(url, str):
        names = ", ".join(map(str, row))
        return Failed(offset, f"expected a url, found {url!r:.80}; the submission's fields are {names:.200}")
    try:
        karma = int(score)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return Failed(offset, f"expected a whole number as score, found {score!r:.80}")
    if _is_true(row.get("is_self")) or str(row.get("domain") or "").startswith("self."):
        return Dropped(offset, Reason.self_post, url)
    url = url.strip()
    host = urls.host(url) if url[:8].lower().startswith(("http://", "https://")) else ""
    if not host or "\ufffd" in url:
        return Dropped(offset, Reason.unusable_url, url)
    if _is_under(host, OWN):
        return Dropped(offset, Reason.self_post, url, host)
    if _is_under(host, config.excluded_domains):
        return Dropped(offset, Reason.excluded_domain, url, host)
    if _is_true(row.get("over_18")) and not config.over_18:
        return Dropped(offset, Reason.over_18, url)
    return Link(offset, urls.normalise(url), urls.key(url), karma)


def _is_true(value: object) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _is_under(host: str, domains: Iterable[str]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def aggregate(links: pa.Table, config: Karma = DEFAULT) -> tuple[pa.Table, list[tuple[int, Reason, str]]]:
    """The URLs with enough karma, and what became of the rows that do not stand for one.

    All submissions of a URL must be in the table; their order does not matter. The row that stands for a URL is the
    one with the highest score, then the least id; the URL's others are repeated_link, or all low_karma.

    Args:
        links: a table of `LINKS`.

    Returns:
        A table of `URLS` sorted by key, and (row, reason, detail) sorted by row.
    """
    keys = links["key"].to_numpy()
    scores = links["score"].to_numpy()
    order = np.lexsort((np.array(links["id"].to_pylist(), np.str_), -scores, keys))
    starts = np.flatnonzero(np.r_[True, keys[order][1:] != keys[order][:-1]]) if len(order) else order
    combine = np.maximum if config.aggregate == "max" else np.add
    karma = combine.reduceat(scores[order], starts) if len(order) else scores
    counts = np.diff(np.r_[starts, len(order)])
    liked = np.ones(len(karma), bool) if config.min_karma is None else karma >= config.min_karma
    fates: list[tuple[int, Reason, str]] = []
    for start, count, value, kept in zip(starts, counts, karma, liked, strict=True):
        rows = order[start : start + count]
        if kept:
            fates += [(int(row), Reason.repeated_link, "") for row in rows[1:]]
        else:
            fates += [(int(row), Reason.low_karma, f"{config.aggregate} {value}") for row in rows]
    first = order[starts[liked]]
    found = links["url"].take(pa.array(first)).to_pylist()
    columns = {
        "key": keys[first],
        "host": np.array([urls.key(f"http://{urls.host(url)}/") for url in found], np.uint64),
        "url": found,
        "score": karma[liked],
        "submissions": counts[liked],
    }
    return pa.table(columns, schema=URLS), sorted(fates)
