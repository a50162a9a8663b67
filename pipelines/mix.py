"""What is left of all sources to corpus/: a tokenizer, token counts, the mixture's plan, and each document's copies."""

import functools
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter

from curate import draw, storage, tokens
from curate import mix as mixture
from curate.document import CORPUS
from curate.reasons import Reason
from pipelines import io, shard
from pipelines.context import Context
from pipelines.inputs import Identity

# Row-aligned with what `shard.final` gives.
COUNTS = pa.schema(
    [
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("held", pa.bool_(), nullable=False),
    ]
)
PLAN = "mix.json"
HELD = "held.json"
AVAILABLE = TypeAdapter(dict[str, mixture.Available])
PLANS = TypeAdapter(mixture.Plan)

plan_tokenizer = shard.single("tokenizer")
plan_held = shard.single("held")
plan_counts = shard.tasks
plan_plan = shard.single("plan")
plan_corpus = shard.tasks


def inputs(context: Context) -> list[Identity]:
    """The tokenizer's file, where the recipe names one."""
    name = context.recipe.tokenize.tokenizer
    return [(name, None)] if name != tokens.TRAIN and not name.startswith(tokens.TIKTOKEN) else []


def make_tokenizer(context: Context, task: io.Task) -> None:
    """tokenizer/tokenizer.json: trained on a keyed sample of what is left, or the one that the recipe names."""
    settings = context.recipe.tokenize
    if settings.tokenizer == tokens.TRAIN:
        serialised = tokens.train(sample(context), settings).to_str().encode()
        encoder = tokens.Encoder(serialised, settings.end_of_text)
    else:
        encoder = tokens.load(settings.tokenizer, settings.end_of_text)
    path = context.path("tokenizer", "tokenizer.json")
    encoder.save(path)
    info = {"vocabulary": encoder.vocab_size, "engine": encoder.engine, "engine_reason": encoder.engine_reason}
    context.finish("tokenizer", task, io.Tally(), path, **info)


def sample(context: Context) -> Iterator[str]:
    """Texts for the tokenizer: documents whose keyed draw lies under the share that makes `sample_bytes`."""
    shards = shard.tasks(context)
    share = context.recipe.tokenize.sample_bytes / max(1, sum(task.data["bytes"] for task in shards))
    for task in shards:
        table = shard.final(context, task.name)
        if len(table):
            chosen = draw.draws(table["id"].to_pylist(), context.recipe.seed, "tokenizer") < share
            yield from table["text"].filter(pa.array(chosen)).to_pylist()


def load_encoder(context: Context) -> tokens.Encoder:
    """The run's tokenizer, made ready once in each worker process."""
    path = context.path("tokenizer", "tokenizer.json")
    return _encoder(path, context.recipe.tokenize.end_of_text, storage.state(path))


@functools.lru_cache(maxsize=1)
def _encoder(path: str, end_of_text: str, state: str) -> tokens.Encoder:
    return tokens.load(path, end_of_text)


def hold_out(context: Context, task: io.Task) -> None:
    """Ids of what is left -> held.json: by source, the draw below which a document is held out of training."""
    found: dict[str, tuple[int, float]] = {}
    for name in shard.names(context):
        table = shard.documents(context, name, ["id", "source"])
        table = table.take(pa.array(np.flatnonzero(shard.alive(context, name, len(table), "mix"))))
        draws = mixture.split_draws(table["id"].to_pylist(), context.recipe.seed)
        least = table.append_column("draw", pa.array(draws)).group_by("source")
        for row in least.aggregate([("draw", "min"), ([], "count_all")]).to_pylist():
            documents, before = found.get(row["source"], (0, 1.0))
            found[row["source"]] = documents + row["count_all"], min(before, row["draw_min"])
    path = context.path(HELD)
    storage.write_json(path, mixture.thresholds(found, context.recipe.mix.held))
    context.finish("held", task, io.Tally(), path)


def count_shard(context: Context, task: io.Task) -> None:
    """A shard -> counts/SHARD.parquet: tokens and bytes of each document that is left, and its split."""
    table = shard.final(context, task.name)
    ids, texts = table["id"].to_pylist(), table["text"].combine_chunks()
    tokens_ = load_encoder(context).count_tokens(texts) + 1  # its end-of-text
    sizes = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    sources, below = table["source"].to_pylist(), storage.read_json(context.path(HELD))
    held = mixture.split_draws(ids, context.recipe.seed) < np.array([below[source] for source in sources], np.float64)
    path = context.path("counts", f"{task.name}.parquet")
    storage.write_table(path, pa.table([tokens_, sizes, held], schema=COUNTS))
    train = np.flatnonzero(~held)
    there = mixture.measure(
        [ids[i] for i in train], [sources[i] for i in train], tokens_[train], sizes[train], context.recipe.seed
    )
    context.finish("counts", task, io.Tally(), path, available=AVAILABLE.dump_python(there))


def plan_mixture(context: Context, task: io.Task) -> None:
    """All counts -> mix.json: for each source what there is, what is asked for, and how often it is read."""
    receipts = io.read_receipts(context.receipts("counts"))
    available = mixture.combine(AVAILABLE.validate_python(receipt["info"]["available"]) for _, receipt in receipts)
    path = context.path(PLAN)
    storage.write_json(path, PLANS.dump_python(mixture.plan(available, context.recipe.mix), mode="json"))
    context.finish("plan", task, io.Tally(), path)


def write_corpus(context: Context, task: io.Task) -> None:
    """A shard -> corpus/SHARD.parquet: its documents in their final text, with split and copies."""
    plan = PLANS.validate_python(storage.read_json(context.path(PLAN)))
    table = shard.final(context, task.name)
    counts = shard.sidecar(context, "counts", task.name)
    held = counts["held"].to_numpy(zero_copy_only=False)
    sources = table["source"].to_pylist()
    copies = np.ones(len(table), np.int32)
    for source in sorted(set(sources)):
        rows = np.flatnonzero((np.array(sources, object) == source) & ~held)
        if len(rows):
            ids = table["id"].take(pa.array(rows)).to_pylist()
            copies[rows] = mixture.copies(ids, source, plan, context.recipe.seed)
    ledger = shard.Ledger(context, task, table)
    for row in np.flatnonzero(copies == 0).tolist():
        ledger.drop(row, Reason.not_needed, f"epochs of its source: {plan.sources[sources[row]].epochs:.3f}")
    ledger.tally.extra["tokens"] = int((counts["tokens"].to_numpy() * copies).sum())
    columns = {
        **{name: table[name] for name in CORPUS.names if name in table.column_names},
        "tokens": counts["tokens"].cast(pa.int32()),
        "split": pa.array(np.where(held, "held", "train")),
        "copies": pa.array(copies),
    }
    corpus = pa.table([columns[name] for name in CORPUS.names], schema=CORPUS).filter(pa.array(copies > 0))
    path = context.path("corpus", f"{task.name}.parquet")
    storage.write_table(path, corpus)
    used = {
        split: int((part["tokens"].to_numpy().astype(np.int64) * part["copies"].to_numpy()).sum())
        for split in ("train", "held")
        if len(part := corpus.filter(pc.field("split") == split))
    }
    context.finish("corpus", task, ledger.tally, path, ledger.write(), tokens=used)
