"""corpus/ to tokens/: shards of about equal size, each mixed from several corpus shards and shuffled by keyed draw."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate import draw, shards, storage
from pipelines import io, shard
from pipelines.context import Context
from pipelines.mix import load_encoder

SPLITS = ("train", "held")
plan_manifest = shard.single("manifest")


def plan(context: Context) -> list[io.Task]:
    """A task for each token shard: the corpus shards that go into it, taken in the order of a keyed draw of their
    names, until it holds `shard_tokens`. So a shard mixes sources, and its content depends on no worker."""
    receipts = dict(io.read_receipts(io.receipts_folder(context.root, "mix", "corpus")))
    order = sorted(receipts, key=lambda name: draw.key(context.recipe.seed, "shard-order", name))
    tasks = []
    for split in SPLITS:
        group: list[str] = []
        tokens, number = 0, 0
        with_split = [name for name in order if split in receipts[name]["info"]["tokens"]]
        for name in with_split:
            group.append(name)
            tokens += receipts[name]["info"]["tokens"][split]
            if tokens >= context.recipe.tokenize.shard_tokens or name == with_split[-1]:
                data = {"split": split, "name": f"{number:05d}", "corpus": sorted(group), "bytes": 4 * tokens}
                tasks.append(io.Task(f"{split}-{number:05d}", data))
                group, tokens, number = [], 0, number + 1
    return tasks


def write_shard(context: Context, task: io.Task) -> None:
    """Corpus shards -> tokens/SPLIT/NAME.{bin,idx,parquet}."""
    tally = io.Tally()
    split, name = task.data["split"], task.data["name"]
    encoder = load_encoder(context)
    tables = [shard.sidecar(context, "corpus", each) for each in task.data["corpus"]]
    table = pa.concat_tables(tables).filter(pc.field("split") == split)
    for source in table["source"].to_pylist():
        tally.read[source] += 1
        tally.kept[source] += 1
    entry = shards.write_shard(
        context.path("tokens", split),
        name,
        documents(table, encoder, context.recipe.seed),
        encoder.end_of_text,
        shards.dtype_of(encoder.vocab_size),
    )
    tally.extra["tokens"] = entry["tokens"]
    paths = [context.path("tokens", split, f"{name}.{extension}") for extension in ("bin", "idx", "parquet")]
    context.finish("shards", task, tally, *paths, split=split, entry=entry)


def documents(table: pa.Table, encoder: Any, seed: int) -> Iterator[tuple[str, str, npt.NDArray[np.uint32], int]]:
    """(id, source, token ids, bytes) of every copy of every document, in the order of a keyed draw of (id, copy)."""
    texts = table["text"].combine_chunks()
    ids, lengths = encoder.encode(texts)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    names, sources = table["id"].to_pylist(), table["source"].to_pylist()
    nbytes = pc.binary_length(texts).to_pylist()
    copies = table["copies"].to_numpy()
    rows, keys = [], []
    for copy in range(int(copies.max(initial=0))):
        have = np.flatnonzero(copies > copy)
        rows.append(have)
        keys.append(draw.keys((names[row] for row in have), seed, f"document-order-{copy}"))
    row = np.concatenate(rows)
    for one in row[np.lexsort((row, np.concatenate(keys)))]:
        yield names[one], sources[one], ids[starts[one] : starts[one + 1]], nbytes[one]


def write_manifest(context: Context, task: io.Task) -> None:
    """The receipts of the shards -> tokens/manifest.json and tokens/tokenizer.json."""
    encoder = load_encoder(context)
    folder = context.path("tokens")
    encoder.save(storage.join(folder, shards.TOKENIZER))
    splits: dict[str, list[Any]] = {split: [] for split in SPLITS}
    for _, receipt in io.read_receipts(context.receipts("shards")):
        splits[receipt["info"]["split"]].append(receipt["info"]["entry"])
    shards.write_manifest(folder, splits, end_of_text=encoder.end_of_text, vocab_size=encoder.vocab_size)
    paths = [storage.join(folder, name) for name in (shards.TOKENIZER, shards.MANIFEST)]
    context.finish("manifest", task, io.Tally(), *paths)
