"""Benchmarks to cuts: an index of grams, the places where documents share them, grams too common, the cuts."""

import functools

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate import decontaminate, storage, words
from curate.document import CUTS
from curate.reasons import Reason
from pipelines import inputs as files
from pipelines import io, shard
from pipelines.context import Context

TABLE = pa.schema(
    [
        pa.field("benchmark", pa.string(), nullable=False),
        pa.field("texts", pa.int64(), nullable=False),  # of enough words for a gram
        pa.field("contaminated", pa.int64(), nullable=False),  # of these, that share one with the documents
    ]
)

plan_index = shard.single("index")
plan_matches = shard.tasks
plan_common = shard.single("common")
plan_cuts = shard.tasks


def benchmarks(context: Context) -> list[tuple[str, str]]:
    """(name, path) of each benchmark file."""
    key, paths = "decontaminate", context.recipe.decontaminate.paths
    return context.listings.once(key, lambda: files.expand(key, paths, decontaminate.is_benchmark))


def inputs(context: Context) -> list[files.Identity]:
    return [(path, None) for _, path in benchmarks(context)]


def off(context: Context) -> str | None:
    if context.recipe.decontaminate.paths:
        return None
    return "decontaminate.paths is empty: no benchmark to look for"


def index_benchmarks(context: Context, task: io.Task) -> None:
    """The benchmark files -> benchmarks/index.parquet."""
    texts = {name: decontaminate.read_benchmark(path) for name, path in benchmarks(context)}
    table = decontaminate.index(texts, context.recipe.decontaminate.rules).table
    path = context.path("benchmarks", "index.parquet")
    storage.write_table(path, table)
    context.finish("index", task, io.Tally(), path, benchmarks=len(texts), grams=len(table))


@functools.lru_cache(maxsize=1)
def load_index(path: str, state: str) -> decontaminate.Index:
    """The index, read once by each worker process; `state` tells a file made anew from the one that is known."""
    return decontaminate.Index(storage.read_table(path))


def match_shard(context: Context, task: io.Task) -> None:
    """A shard -> matches/SHARD.parquet: where its documents share a gram with a benchmark, by row of the shard."""
    table = shard.documents(context, task.name, ["text"])
    alive = np.flatnonzero(shard.alive(context, task.name, len(table), "decontaminate"))
    path = context.path("benchmarks", "index.parquet")
    texts = table["text"].take(pa.array(alive)).combine_chunks()
    found = decontaminate.matches(words.table(texts), load_index(path, storage.state(path)))
    rows = pa.array(alive.astype(np.int32)).take(found["row"].combine_chunks())
    path = context.path("matches", f"{task.name}.parquet")
    storage.write_table(path, found.set_column(0, decontaminate.MATCHES.field("row"), rows))
    context.finish("matches", task, io.Tally(), path, matches=len(found))


def list_common_grams(context: Context, task: io.Task) -> None:
    """All matches -> benchmarks/common.parquet, the grams that so many documents share that they prove nothing, and
    benchmarks/table.parquet, how much of each benchmark the documents hold."""
    counts = decontaminate.merge_counts(
        decontaminate.document_counts(shard.sidecar(context, "matches", name)) for name in shard.names(context)
    )
    common = decontaminate.common_grams(counts, context.recipe.decontaminate.rules)
    path = context.path("benchmarks", "common.parquet")
    storage.write_table(path, pa.table({"gram": common}))
    table = context.path("benchmarks", "table.parquet")
    found = np.setdiff1d(counts["gram"].to_numpy(), common)
    rows = [{"benchmark": name, **overlap(context, file, found)} for name, file in benchmarks(context)]
    storage.write_table(table, pa.Table.from_pylist(rows, schema=TABLE))
    context.finish("common", task, io.Tally(), path, table, grams=len(counts), ignored=len(common))


def overlap(context: Context, path: str, found: npt.NDArray[np.uint64]) -> dict[str, int]:
    """Of a benchmark's texts that have a gram, how many share one with the documents; GPT-3's table C.1 gives the rest
    as clean."""
    texts, rules = decontaminate.read_benchmark(path), context.recipe.decontaminate.rules
    have = np.diff(words.table(pa.array(texts, pa.large_string())).doc_words) >= rules.min_words
    dirty = decontaminate.contaminated(texts, found, rules)
    return {"texts": int(have.sum()), "contaminated": int(dirty.sum())}


def cut_shard(context: Context, task: io.Task) -> None:
    """A shard -> cuts/SHARD.parquet: the spans to cut, and the documents that go whole."""
    rules = context.recipe.decontaminate.rules
    table = shard.documents(context, task.name)
    ledger = shard.Ledger(context, task, table, shard.alive(context, task.name, len(table), "decontaminate"))
    common = storage.read_table(context.path("benchmarks", "common.parquet"))["gram"].to_numpy()
    matches = shard.sidecar(context, "matches", task.name)
    # Only documents with a match are read again.
    hit = np.unique(matches["row"].to_numpy())
    texts = table["text"].take(pa.array(hit)).combine_chunks()
    places = pa.array(np.searchsorted(hit, matches["row"].to_numpy()).astype(np.int32))
    matches = matches.set_column(0, decontaminate.MATCHES.field("row"), places)
    spans = decontaminate.cuts(words.table(texts), matches, common, rules)
    rows = hit[spans["row"].to_numpy()].astype(np.int32)
    columns = {"row": pa.array(rows), "id": table["id"].take(pa.array(rows)).combine_chunks()}
    cuts = pa.table(
        [columns.get(name, spans[name] if name in spans.column_names else None) for name in CUTS.names], schema=CUTS
    )
    for span in cuts.filter(pc.field("whole")).to_pylist():  # the only span of its document
        ledger.drop(span["row"], Reason.contaminated, span["benchmark"])
    ledger.tally.extra["cut_documents"] = len(np.unique(rows))
    ledger.tally.extra["cut_bytes"] = pc.sum(pc.subtract(cuts["stop"], cuts["start"])).as_py() or 0
    path = context.path("cuts", f"{task.name}.parquet")
    storage.write_table(path, cuts)
    context.finish("cuts", task, ledger.tally, path, ledger.write())
