"""Documents to a quality model: positives by source, negatives from the sample of the unfiltered crawl."""

import heapq
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from classifiers import quality, train
from curate import draw, storage
from curate.document import SAMPLES
from curate.reasons import Reason
from pipelines import io, receipts, shard
from pipelines.context import Context

plan = shard.single("model")


def off(context: Context) -> str | None:
    """The stated rule: a model needs examples of both classes, as many as `quality.min_examples`."""
    settings = context.recipe.quality
    if settings is None:
        return "quality is null in the recipe"
    positives = negatives = 0
    for _, receipt in receipts.read(io.receipts_folder(context.root, "ingest", "splits")):
        positives += sum(receipt["sources"].get(source, {}).get("kept", 0) for source in settings.positives)
        negatives += receipt["info"]["samples"]
    for name, number, source in (
        ("positives", positives, "/".join(settings.positives)),
        ("negatives", negatives, "the sample of the crawl"),
    ):
        if number < settings.min_examples:
            return f"{number} {name} ({source}) where quality.min_examples asks for {settings.min_examples}: no model"
    return None


def train_model(context: Context, task: io.Task) -> None:
    """All positives and negatives, at most `max_examples` of each by keyed draw -> model/."""
    settings = context.recipe.quality
    assert settings is not None
    tally = io.Tally()
    positives = smallest(documents(context, tally, settings.positives), settings.max_examples, context.recipe.seed)
    negatives = smallest(samples(context, tally), settings.max_examples, context.recipe.seed)
    try:
        model, card = train.train(positives, negatives, settings, context.recipe.seed)
    except train.TooFewError as error:  # of distinct ones: `off` could only count
        context.finish("model", task, io.Tally(), off=f"{error}: no model")
        return
    quality.save(context.path("model"), model, card)
    for table in (positives, negatives):
        for source in table["source"].to_pylist():
            tally.kept[source] += 1
    for source, number in tally.read.items():
        tally.drop(source, Reason.not_drawn, number - tally.kept[source])
    context.finish("model", task, tally, *(context.path("model", name) for name in quality.FILES))


def documents(context: Context, tally: io.Tally, sources: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """The documents of the given sources, in the schema of samples."""
    wanted = pa.array(sources)
    for name in shard.names(context):
        table = shard.documents(context, name, SAMPLES.names)
        yield from _count(table.filter(pc.is_in(table["source"], wanted)), tally)


def samples(context: Context, tally: io.Tally) -> Iterator[pa.RecordBatch]:
    """The sample of the unfiltered crawl."""
    for path in storage.glob(context.path("samples", "*.parquet")):
        yield from _count(storage.read_table(path, SAMPLES.names), tally)


def _count(table: pa.Table, tally: io.Tally) -> Iterator[pa.RecordBatch]:
    for source in table["source"].to_pylist():
        tally.read[source] += 1
    yield from table.to_batches()


def smallest(batches: Iterable[pa.RecordBatch], number: int, seed: int) -> pa.Table:
    """The `number` rows with the smallest keyed draws, sorted by id: no more than they are in memory."""
    heap: list[tuple[int, str, dict[str, object]]] = []
    for batch in batches:
        keys = draw.keys(batch["id"].to_pylist(), seed, "examples")
        for row in np.argsort(keys)[:number]:
            item = (-int(keys[row]), batch["id"][row].as_py(), batch.slice(int(row), 1).to_pylist()[0])
            if len(heap) < number:
                heapq.heappush(heap, item)
            elif item > heap[0]:
                heapq.heapreplace(heap, item)
    rows = sorted((item[2] for item in heap), key=lambda row: str(row["id"]))
    return pa.Table.from_pylist(rows, schema=SAMPLES)
