"""Archives to shards: a split of an input file becomes documents, signatures, a sample, drops and errors."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from curate import ingest, sources, storage
from curate.document import DOCUMENTS, SAMPLES, SIGNATURES, Dropped, Failed, Page, Record, document_id
from curate.errors import InputError
from pipelines import crawl, fetch, guard, io, karma, web
from pipelines import inputs as files
from pipelines.context import Context
from pipelines.recipe import Crawl, Source

STAGE = "ingest"
STEP = "splits"
MOST_FILES = 1000  # in one task
# What a task holds at most, whatever its files are like.
BLOCK_BYTES = 16 << 20  # of pages that are worked on at a time, beside `block_pages`, or one page
SAMPLE_BYTES = 64 << 20  # of the sample's text
MOST_ROWS = 50_000  # of drops and of errors


def inputs(context: Context) -> list[files.Identity]:
    """The files of all sources of text; a crawl that is given by name is one.

    Raises:
        InputError: if one is missing, or of a format that cannot be told.
    """
    found: list[files.Identity] = []
    for key, source in context.recipe.sources.texts().items():
        if listing := named(context, source):
            found.append((f"{len(listing.files)} files of a crawl", listing.identity))
            continue
        for _, path in listed(context, key, source):
            files.format_of(path, source)
            found.append((path, None))
    return found


def listed(context: Context, key: str, source: Source) -> list[tuple[str, str]]:
    """(name, path) of each file of a source that is given by paths."""
    return context.listings.once(key, lambda: files.of_source(key, source))


def named(context: Context, source: Source) -> crawl.Listing | None:
    """The files of a crawl that is given by name or index; None for any other source."""
    if isinstance(source, Crawl) and crawl.is_named(source):
        return context.listings.once("named crawl", lambda: crawl.find(context.recipe))
    return None


def plan(context: Context) -> Iterator[io.Task]:
    """Tasks of at most `split_bytes` stored bytes of one source: ranges of large archives, small files together."""
    for key, source in context.recipe.sources.texts().items():
        for number, group in enumerate(groups(parts(context, key, source), context.recipe.ingest.split_bytes)):
            data = {"source": key, "parts": group, "bytes": sum(part["bytes"] for part in group)}
            yield io.Task(f"{key}-{number:05d}", data)


def parts(context: Context, key: str, source: Source) -> Iterator[dict[str, Any]]:
    """The source's files, or ranges of those that can be cut."""
    if listing := named(context, source):
        yield from crawl.parts(listing, context.recipe.fetch.crawls, context.recipe.ingest.split_bytes)
        return
    found, most = listed(context, key, source), context.recipe.ingest.split_bytes

    def cut(path: str) -> tuple[int, list[tuple[int, int | None]]]:
        size = storage.size(path)
        return size, sources.splits(files.format_of(path, source), path, most) if size > most else [(0, None)]

    cuts = files.ask(cut, [path for _, path in found])
    for (name, path), (size, splits) in zip(found, cuts, strict=True):
        form = files.format_of(path, source)
        part = {"name": name, "path": path, "format": form, "bytes": size // len(splits)}
        if len(splits) == 1 and size > most and form in ("warc", "wet"):
            part["unsplit"] = True  # a single gzip member: the manifest says how many there were
        for start, stop in splits:
            yield part | {"start": start, "stop": stop}


def groups(found: Iterable[dict[str, Any]], num_bytes: int) -> Iterator[list[dict[str, Any]]]:
    """Parts in their order, as many together as make at most `num_bytes`."""
    group: list[dict[str, Any]] = []
    size = 0
    for part in found:
        if group and (size + part["bytes"] > num_bytes or len(group) == MOST_FILES):
            yield group
            group, size = [], 0
        group.append(part)
        size += part["bytes"]
    if group:
        yield group


def ingest_split(context: Context, task: io.Task) -> None:
    """A split -> its files in documents/, signatures/, samples/, dropped/ and errors/."""
    Split(context, task).run()


def set_aside(context: Context, task: io.Task, why: str) -> None:
    """Book a split at which workers die: each of its parts is one dead letter, since nobody knows its records."""
    source, tally, errors = task.data["source"], io.Tally(), io.error_rows()
    for part in task.data["parts"]:
        end = "the end" if part["stop"] is None else f"byte {part['stop']}"
        error = f"set aside from here to {end}: {why}"
        tally.read[source] += 1
        tally.failed[source] += 1
        errors.add(file=part["name"], offset=part["start"], error=error, stage=STAGE, source=source)
    tally.extra.update(set_aside_splits=1, set_aside_bytes=task.data["bytes"])
    for kind, prefix in (("documents", ""), ("signatures", ""), ("samples", ""), ("dropped", f"{STAGE}-")):
        for ending in ("", "-*"):
            storage.remove(context.path(kind, f"{prefix}{task.name}{ending}.parquet"))
    path = errors.write(context.path("errors", f"{STAGE}-{task.name}.parquet"))
    context.finish(STEP, task, tally, path, shards={}, samples=0)


class Split:
    """One split at work: gathers blocks of pages, hands them to `ingest.ingest_block`, and writes what comes back."""

    def __init__(self, context: Context, task: io.Task):
        self.context, self.task = context, task
        self.source = task.data["source"]
        self.rules = ingest.Rules.load(
            context.recipe.ingest,
            context.recipe.filters if context.recipe.sources.texts()[self.source].filter else None,
            context.recipe.dedup.minhash,
            context.recipe.seed,
        )
        self.liked = karma.Liked.load(context) if self.source == "crawl" else None
        self.tally, self.dropped, self.errors = io.Tally(), io.dropped_rows(), io.error_rows()
        self.documents: list[pa.RecordBatch] = []
        self.signatures: list[pa.RecordBatch] = []
        self.samples: list[pa.RecordBatch] = []
        self.shards: dict[str, int] = {}
        self.outputs: list[str] = []
        self.spills: Counter[str] = Counter()
        self.sampled = self.sample_bytes = 0

    def run(self) -> None:
        settings = self.context.recipe.ingest
        before = fetch.counts()
        block: list[ingest.Entry] = []
        size = 0
        for entry in self.entries():
            if size + len(entry.page.body) > BLOCK_BYTES:
                self.work(block)
                block, size = [], 0
            block.append(entry)
            size += len(entry.page.body)
            if len(block) == settings.block_pages:
                self.work(block)
                block, size = [], 0
        self.work(block)
        self.write_shard()
        self.spill()
        self.tally.extra.update(fetch.counts() - before)
        self.context.finish(STEP, self.task, self.tally, *self.outputs, shards=self.shards, samples=self.sampled)

    def spill(self, most_rows: int = 0, most_bytes: int = 0) -> None:
        """Write drops, errors and the sample, where there are more than so many."""
        for kind, rows in (("dropped", self.dropped), ("errors", self.errors)):
            if len(rows.rows) > most_rows and (written := rows.write(self.spilled(kind, f"{STAGE}-"))):
                self.outputs.append(written)
                rows.rows.clear()
        if self.sample_bytes > most_bytes:
            sample = pa.Table.from_batches(self.samples, schema=SAMPLES)
            self.outputs.append(self.spilled("samples"))
            storage.write_table(self.outputs[-1], sample)
            self.sampled += len(sample)
            self.samples, self.sample_bytes = [], 0

    def spilled(self, kind: str, prefix: str = "") -> str:
        """The path of the task's next file of the kind: the first has the task's name, the others a number too."""
        number = self.spills[kind]
        self.spills[kind] += 1
        return self.context.path(kind, f"{prefix}{self.task.name}{f'-{number:03d}' if number else ''}.parquet")

    def entries(self) -> Iterator[ingest.Entry]:
        """The pages of all parts; what the reader drops or cannot read is booked on the way."""
        for part in self.task.data["parts"]:
            name = part["name"]
            if part.get("unsplit"):
                self.tally.extra["unsplit_archives"] += 1
            for record in self.records(part):
                self.spill(MOST_ROWS, SAMPLE_BYTES)
                match record:
                    case Page(offset):
                        id_ = document_id(self.source, name, offset)
                        yield ingest.Entry(id_, self.source_of(record.url), name, record)
                    case Dropped(offset, reason, url, detail):
                        self.tally.read[self.source] += 1
                        self.tally.drop(self.source, reason)
                        io.add_dropped(self.dropped, self.source, STAGE, name, offset, url, reason, detail)
                    case Failed(offset, error):
                        self.tally.read[self.source] += 1
                        self.fail(self.source, name, offset, error)

    def records(self, part: dict[str, Any]) -> Iterator[Record]:
        """The part's records. A file that is none of its format is one dead letter; one that is gone, or cannot be
        fetched, stops the task."""
        reader = self.context.recipe.sources.texts()[self.source].reader
        try:
            if "captures" in part:
                yield from crawl.read(part["path"], part["captures"], reader.warc)
            else:
                yield from sources.open(part["format"], part["path"], part["start"], part["stop"], reader)
        except InputError as error:
            if web.failed(part["path"], error) or not storage.exists(part["path"]):
                raise
            yield Failed(part["start"], str(error))

    def source_of(self, url: str) -> str:
        """`webtext` for a crawl page that Reddit's users liked (GPT-2, section 2.1), else the split's own source."""
        return "webtext" if self.liked is not None and self.liked.has(url) else self.source

    def fail(self, source: str, file: str, offset: int, error: str) -> None:
        self.tally.failed[source] += 1
        self.errors.add(file=file, offset=offset, error=error, stage=STAGE, source=source)

    def work(self, block: list[ingest.Entry]) -> None:
        """A block of pages through all steps; a page that breaks them is found and becomes a dead letter."""
        if not block:
            return
        for entry in block:
            self.tally.read[entry.source] += 1
        for done in guard.isolate(self.rules.ingest_block, block):
            if isinstance(done, tuple):
                entry, error = done
                self.fail(entry.source, entry.file, entry.page.offset, storage.reason(error))
            else:
                self.book(done)

    def book(self, outcome: ingest.Outcome) -> None:
        for fate in outcome.fates:
            entry = fate.entry
            if fate.reason is None:
                self.fail(entry.source, entry.file, entry.page.offset, fate.detail)
                continue
            self.tally.drop(entry.source, fate.reason)
            io.add_dropped(
                self.dropped,
                entry.source,
                STAGE,
                entry.file,
                entry.page.offset,
                entry.page.url,
                fate.reason,
                fate.detail,
                entry.id,
            )
        for source in outcome.documents["source"].to_pylist():
            self.tally.kept[source] += 1
        self.tally.extra.update(outcome.counts)
        self.documents.append(outcome.documents)
        self.signatures.append(outcome.signatures)
        if len(outcome.sample):
            self.samples.append(outcome.sample)
            self.sample_bytes += outcome.sample.nbytes
        if sum(batch["text"].nbytes for batch in self.documents) >= self.context.recipe.ingest.shard_bytes:
            self.write_shard()

    def write_shard(self) -> None:
        """What has been gathered -> one shard of documents and its signatures."""
        documents = pa.Table.from_batches(self.documents, schema=DOCUMENTS)
        if len(documents):
            name = f"{self.task.name}-{len(self.shards):03d}"
            for kind, table in (
                ("documents", documents),
                ("signatures", pa.Table.from_batches(self.signatures, schema=SIGNATURES)),
            ):
                self.outputs.append(self.context.path(kind, f"{name}.parquet"))
                storage.write_table(self.outputs[-1], table)
            self.shards[name] = documents["text"].nbytes
        self.documents, self.signatures = [], []
