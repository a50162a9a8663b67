"""Documents to scores: the quality model's probability for each, and GPT-3's keyed draw for the sources it filters."""

import numpy as np
import pyarrow as pa

from classifiers import quality
from curate import storage, words
from curate.document import SCORES
from curate.reasons import Reason
from pipelines import io, shard
from pipelines.context import Context

plan = shard.tasks


def off(context: Context) -> str | None:
    if "train" in context.off:
        return "there is no quality model (see train): every document is kept, unscored"
    return None


def score_shard(context: Context, task: io.Task) -> None:
    """A shard -> scores/SHARD.parquet: score and kept, row by row."""
    settings = context.recipe.quality
    assert settings is not None
    model = quality.load(context.path("model"))
    table = shard.documents(context, task.name)
    score = np.concatenate(
        [
            np.empty(0, np.float32),
            *(quality.score(words.table(batch["text"]), model) for batch in table.to_batches(max_chunksize=4096)),
        ]
    )
    ids, sources = table["id"].to_pylist(), table["source"].to_pylist()
    filtered = np.array([source in settings.sources for source in sources], bool)
    kept = ~filtered | quality.keep(score, ids, context.recipe.seed, model.alpha)
    ledger = shard.Ledger(context, task, table)
    for row in np.flatnonzero(~kept).tolist():
        ledger.drop(row, Reason.low_quality, f"score {score[row]:.4f}")
    path = context.path("scores", f"{task.name}.parquet")
    storage.write_table(path, pa.table([score, kept], schema=SCORES))
    context.finish("shards", task, ledger.tally, path, ledger.write())
