"""Submissions to a table of karma by URL: read each file, send links by hash of their URL, sum them up."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import storage, url
from curate.document import Dropped, Failed, document_id
from curate.sources import reddit
from pipelines import inputs as files
from pipelines import io
from pipelines.context import Context

SOURCE = "reddit"
BLOCK = 1 << 16  # links in memory at a time


def submissions(context: Context) -> list[tuple[str, str]]:
    """(name, path) of each file of submissions."""
    key, paths = "sources.reddit", context.recipe.sources.reddit.paths
    return context.listings.once(key, lambda: files.expand(key, paths, reddit.is_table))


def inputs(context: Context) -> list[files.Identity]:
    return [(path, None) for _, path in submissions(context)]


def off(context: Context) -> str | None:
    if context.recipe.sources.reddit.paths:
        return None
    return "sources.reddit.paths is empty: no page is known to be liked, and there is no webtext source"


def plan_links(context: Context) -> list[io.Task]:
    return [
        io.Task(f"{number:05d}", {"name": name, "path": path, "bytes": storage.size(path)})
        for number, (name, path) in enumerate(submissions(context))
    ]


def read_links(context: Context, task: io.Task) -> None:
    """A file of submissions -> karma/links-N.parquet."""
    tally, dropped, errors = io.Tally(), io.dropped_rows(), io.error_rows()
    settings, name = context.recipe.sources.reddit, task.data["name"]
    links: list[dict[str, Any]] = []
    for record in reddit.read(task.data["path"], settings.karma):
        tally.read[SOURCE] += 1
        match record:
            case Failed(offset, error):
                tally.failed[SOURCE] += 1
                errors.add(file=name, offset=offset, error=error, stage="karma", source=SOURCE)
            case Dropped(offset, reason, url, detail):
                tally.drop(SOURCE, reason)
                io.add_dropped(dropped, SOURCE, "karma", name, offset, url, reason, detail)
            case link:
                tally.kept[SOURCE] += 1
                id_ = document_id(SOURCE, name, link.offset)
                links.append(
                    {
                        "url": link.url,
                        "key": link.key,
                        "score": link.score,
                        "id": id_,
                        "file": name,
                        "offset": link.offset,
                    }
                )
    path = context.path("karma", f"links-{task.name}.parquet")
    storage.write_table(path, pa.Table.from_pylist(links, schema=reddit.LINKS))
    context.finish(
        "links",
        task,
        tally,
        path,
        dropped.write(context.path("dropped", f"karma-links-{task.name}.parquet")),
        errors.write(context.path("errors", f"karma-{task.name}.parquet")),
    )


def plan_urls(context: Context) -> list[io.Task]:
    return [io.Task(f"{number:04d}", {"number": number}) for number in range(context.recipe.partitions)]


def send_links(context: Context, task: io.Task) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The links of a file, in a block for each partition."""
    table = storage.read_table(context.path("karma", f"links-{task.name}.parquet"))
    where = table["key"].to_numpy() % np.uint64(context.recipe.partitions)
    for number in np.unique(where):
        yield int(number), table.filter(pa.array(where == number)).combine_chunks().to_batches()[0]


def merge_links(context: Context, task: io.Task, blocks: list[pa.RecordBatch]) -> None:
    """All links of a partition -> karma/urls-N.parquet: the URLs with enough karma, sorted by key."""
    tally, dropped = io.Tally(), io.dropped_rows()
    links = pa.Table.from_batches(blocks, schema=reddit.LINKS)
    urls, fates = reddit.aggregate(links, context.recipe.sources.reddit.karma)
    tally.read[SOURCE] = len(links)
    tally.kept[SOURCE] = len(urls)
    for row, reason, detail in fates:
        tally.drop(SOURCE, reason)
        link = {name: links[name][row].as_py() for name in ("url", "file", "offset")}
        io.add_dropped(dropped, SOURCE, "karma", link["file"], link["offset"], link["url"], reason, detail)
    path = context.path("karma", f"urls-{task.name}.parquet")
    storage.write_table(path, urls)
    context.finish("urls", task, tally, path, dropped.write(context.path("dropped", f"karma-urls-{task.name}.parquet")))


class Liked:
    """The URLs, or hosts, with enough karma: sorted keys, 8 bytes each, in every ingesting worker."""

    def __init__(self, keys: npt.NDArray[np.uint64], match: str):
        self.keys = keys
        self.match = match

    @classmethod
    def load(cls, context: Context) -> "Liked | None":
        """None where the karma stage is off."""
        if "karma" in context.off:
            return None
        column = "host" if context.recipe.sources.reddit.match == "host" else "key"
        tables = [
            storage.read_table(context.path("karma", f"urls-{task.name}.parquet"), [column])
            for task in plan_urls(context)
        ]
        return cls(np.unique(pa.concat_tables(tables)[column].to_numpy()), context.recipe.sources.reddit.match)

    def has(self, address: str) -> bool:
        """Whether the page at this URL is liked."""
        key = np.uint64(url.key(f"http://{url.host(address)}/" if self.match == "host" else address))
        place = int(np.searchsorted(self.keys, key))
        return place < len(self.keys) and bool(self.keys[place] == key)
