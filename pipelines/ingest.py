"""Archives to shards: a split of an input file becomes documents, signatures, a sample, drops and errors."""

from collections.abc import Iterator

import pyarrow as pa

from curate import ingest, sources, storage
from curate.document import DOCUMENTS, SAMPLES, SIGNATURES, Dropped, Failed, Page, document_id
from pipelines import guard, io, karma
from pipelines import inputs as files
from pipelines.context import Context

STAGE = "ingest"
STEP = "splits"


def inputs(context: Context) -> list[str]:
    return [path for key, source in context.recipe.sources.texts().items() for _, path in files.of_source(key, source)]


def plan(context: Context) -> list[io.Task]:
    """A task for each split of each input: byte ranges of archives that can be cut, else whole files."""
    tasks = []
    for key, source in context.recipe.sources.texts().items():
        number = 0
        for name, path in files.of_source(key, source):
            form = files.format_of(path, source)
            splits = sources.splits(form, path, context.recipe.ingest.split_bytes)
            for start, stop in splits:
                data = {"source": key, "name": name, "path": path, "format": form, "start": start, "stop": stop}
                data["bytes"] = storage.size(path) // len(splits)
                tasks.append(io.Task(f"{key}-{number:05d}", data))
                number += 1
    return tasks


def ingest_split(context: Context, task: io.Task) -> None:
    """A split -> its files in documents/, signatures/, samples/, dropped/ and errors/."""
    Split(context, task).run()


class Split:
    """One split at work: gathers blocks of pages, hands them to `ingest.ingest_block`, and writes what comes back."""

    def __init__(self, context: Context, task: io.Task):
        self.context, self.task = context, task
        self.source, self.name = task.data["source"], task.data["name"]
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

    def run(self) -> None:
        settings = self.context.recipe.ingest
        block: list[ingest.Entry] = []
        for entry in self.entries():
            block.append(entry)
            if len(block) == settings.block_pages:
                self.work(block)
                block = []
        self.work(block)
        self.write_shard()
        path = self.context.path
        for kind, rows in (("dropped", self.dropped), ("errors", self.errors)):
            if written := rows.write(path(kind, f"{STAGE}-{self.task.name}.parquet")):
                self.outputs.append(written)
        sample = pa.Table.from_batches(self.samples, schema=SAMPLES)
        if len(sample):
            self.outputs.append(path("samples", f"{self.task.name}.parquet"))
            storage.write_table(self.outputs[-1], sample)
        self.context.finish(STEP, self.task, self.tally, *self.outputs, shards=self.shards, samples=len(sample))

    def entries(self) -> Iterator[ingest.Entry]:
        """The split's pages; what the reader drops or cannot read is booked on the way."""
        data = self.task.data
        settings = self.context.recipe.sources.texts()[self.source]
        for record in sources.open(data["format"], data["path"], data["start"], data["stop"], settings.reader):
            id_ = document_id(self.source, self.name, record.offset)
            match record:
                case Page():
                    yield ingest.Entry(id_, self.source_of(record.url), self.name, record)
                case Dropped(offset, reason, url, detail):
                    self.tally.read[self.source] += 1
                    self.tally.drop(self.source, reason)
                    io.add_dropped(self.dropped, self.source, STAGE, self.name, offset, url, reason, detail)
                case Failed(offset, error):
                    self.tally.read[self.source] += 1
                    self.fail(self.source, offset, error)

    def source_of(self, url: str) -> str:
        """`webtext` for a crawl page that Reddit's users liked (GPT-2, section 2.1), else the split's own source."""
        return "webtext" if self.liked is not None and self.liked.has(url) else self.source

    def fail(self, source: str, offset: int, error: str) -> None:
        self.tally.failed[source] += 1
        self.errors.add(file=self.name, offset=offset, error=error, stage=STAGE, source=source)

    def work(self, block: list[ingest.Entry]) -> None:
        """A block of pages through all steps; a page that breaks them is found and becomes a dead letter."""
        if not block:
            return
        for entry in block:
            self.tally.read[entry.source] += 1
        for done in guard.isolate(self.rules.ingest_block, block):
            if isinstance(done, tuple):
                entry, error = done
                self.fail(entry.source, entry.page.offset, storage.reason(error))
            else:
                self.book(done)

    def book(self, outcome: ingest.Outcome) -> None:
        for fate in outcome.fates:
            entry = fate.entry
            if fate.reason is None:
                self.fail(entry.source, entry.page.offset, fate.detail)
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
        self.samples.append(outcome.sample)
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
