"""The whole graph on one screen: the stages in order, their steps, and the shape of what flows.

    karma         submissions -> karma/            who links to a page, and how well that was liked
    ingest        archives    -> documents/ ...    text of each input split, and what dedup needs of it
    train         documents   -> model/            what a liked page looks like
    score         documents   -> scores/           P(liked), and the draw that decides
    dedup         signatures  -> pairs/ removals/  who is a copy of whom, verified
    decontaminate documents   -> matches/ cuts/    spans that stand in a benchmark
    mix           documents   -> corpus/           what is left, weighed by source
    tokenize      corpus      -> tokens/           shards for the trainer

Documents never shuffle: a task reads a shard and writes sidecars or its successor. Only hashes, pairs and links are
sent between workers, as blocks.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import apache_beam as beam

from pipelines import decontaminate, dedup, ingest, karma, mix, score, tasks, tokenize, train
from pipelines.context import Context
from pipelines.inputs import Identity
from pipelines.io import Task
from pipelines.recipe import Recipe
from pipelines.transforms import Join, MergeInto, ReadTasks, Receive, RunTasks, Send

Build = Callable[[beam.Pipeline, Context, tasks.Listed], Any]  # of the tasks that are still to do
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """Tasks that may run side by side; the next step starts when all have their receipts."""

    name: str
    plan: Callable[[Context], Iterable[Task]]
    build: Build
    counts: bool = True  # whether its receipts count the stage's records
    bytes_per_worker: int = 128 * MIB  # a further local process pays only above this much input
    set_aside: Callable[[Context, Task, str], None] | None = None  # books a task that kills its worker as failed


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the run: a command of its own, an entry in the manifest, a row in the report."""

    name: str
    says: str
    steps: tuple[Step, ...]
    settings: Callable[[Recipe], Any]  # the part of the recipe that its output depends on
    needs: tuple[str, ...] = ()
    follows: str | None = None  # the stage whose kept documents it reads
    owns: tuple[str, ...] = ()  # folders and files, removed when it is built anew
    inputs: Callable[[Context], list[Identity]] = lambda context: []
    off: Callable[[Context], str | None] = lambda context: None  # the rule that switches it off, as a sentence


def each(step: str, work: Callable[[Context, Task], None]) -> Build:
    """Tasks -> Work."""

    def build(pipeline: beam.Pipeline, context: Context, pending: tasks.Listed) -> Any:
        # Task
        return pipeline | "Tasks" >> ReadTasks(pending) | work_label(work) >> RunTasks(context, step, work)

    return build


def every(context: Context, step: str, name: str, found: Iterable[Task]) -> ReadTasks:
    """Tasks of another step, or all of this one, that send what its pending tasks work on."""
    return ReadTasks(tasks.write(tasks.folder(context.receipts(step), name), found))


def work_label(work: Callable[..., Any]) -> str:
    """extract_text -> ExtractText: a transform is named after the function that it calls."""
    return "".join(word.capitalize() for word in work.__name__.split("_"))


def merge_links(pipeline: beam.Pipeline, context: Context, pending: tasks.Listed) -> Any:
    """Links by hash of their URL, summed up for each URL."""
    return (
        pipeline
        | "LinkFiles" >> every(context, "urls", "files", karma.plan_links(context))  # Task
        | "SendLinks" >> Send(context, karma.send_links)  # (partition of URL, table of links)
        | "MergeLinks" >> Receive(context, "urls", pending, karma.merge_links)
    )


def find_pairs(pipeline: beam.Pipeline, context: Context, pending: tasks.Listed) -> Any:
    """Signatures -> bands -> candidates -> pairs whose shingles were compared."""
    return (
        pipeline
        | "SignatureShards" >> every(context, "pairs", "shards", dedup.plan_pairs(context))  # Task
        | "SendBands" >> Send(context, dedup.send_bands)  # (partition of band key, rows (key, address, rank))
        | "JoinBands" >> Join(context, dedup.join_bands)  # (shard of the first document, rows (a, b, rank a, rank b))
        | "VerifyPairs" >> Receive(context, "pairs", pending, dedup.verify_pairs)
    )


def find_components(pipeline: beam.Pipeline, context: Context, pending: tasks.Listed) -> Any:
    """Pairs -> spanning forests, merged in a tree -> who survives for whom."""
    [task] = pending.read()
    return (
        pipeline
        | "PairFiles" >> every(context, "components", "pairs", dedup.plan_pairs(context))  # Task
        | "MergeForests"
        >> MergeInto(context, "components", task, dedup.read_forest, dedup.merge_forests, dedup.name_survivors)
    )


STAGES: tuple[Stage, ...] = (
    Stage(
        name="karma",
        says="links of Reddit submissions and their karma",
        steps=(
            Step("links", karma.plan_links, each("links", karma.read_links)),
            Step("urls", karma.plan_urls, merge_links),
        ),
        settings=lambda recipe: [recipe.sources.reddit, recipe.partitions],
        owns=("karma", "dropped/karma-*", "errors/karma-*"),
        inputs=karma.inputs,
        off=karma.off,
    ),
    Stage(
        name="ingest",
        says="archives to text, filtered and signed",
        steps=(
            Step(
                "splits",
                ingest.plan,
                each("splits", ingest.ingest_split),
                bytes_per_worker=2 * MIB,
                set_aside=ingest.set_aside,
            ),
        ),
        settings=lambda recipe: [
            {name: value for name, value in recipe.sources if name != "reddit"},
            recipe.ingest,
            recipe.filters,
            recipe.dedup.minhash,
        ],
        needs=("karma",),
        owns=("documents", "signatures", "samples", "dropped/ingest-*", "errors/ingest-*"),
        inputs=ingest.inputs,
    ),
    Stage(
        name="train",
        says="the quality model, from liked pages and a sample of the crawl",
        steps=(Step("model", train.plan, each("model", train.train_model)),),
        settings=lambda recipe: [recipe.quality],
        needs=("ingest",),
        owns=("model", "dropped/train-*"),
        off=train.off,
    ),
    Stage(
        name="score",
        says="the model's score of each document, and the keyed draw",
        steps=(Step("shards", score.plan, each("shards", score.score_shard)),),
        settings=lambda recipe: [recipe.quality],
        needs=("ingest", "train"),
        follows="ingest",
        owns=("scores", "dropped/score-*"),
        off=score.off,
    ),
    Stage(
        name="dedup",
        says="exact and near copies, verified, one survivor each",
        steps=(
            Step("pairs", dedup.plan_pairs, find_pairs, counts=False),
            Step("components", dedup.plan_components, find_components, counts=False),
            Step("removals", dedup.plan_removals, each("removals", dedup.remove_duplicates)),
        ),
        settings=lambda recipe: [recipe.dedup],
        needs=("ingest", "score"),
        follows="score",
        owns=("pairs", "removals", "dropped/dedup-*"),
    ),
    Stage(
        name="decontaminate",
        says="spans of benchmarks, cut",
        steps=(
            Step("index", decontaminate.plan_index, each("index", decontaminate.index_benchmarks), counts=False),
            Step("matches", decontaminate.plan_matches, each("matches", decontaminate.match_shard), counts=False),
            Step("common", decontaminate.plan_common, each("common", decontaminate.list_common_grams), counts=False),
            Step("cuts", decontaminate.plan_cuts, each("cuts", decontaminate.cut_shard)),
        ),
        settings=lambda recipe: [recipe.decontaminate],
        needs=("ingest", "score", "dedup"),
        follows="dedup",
        owns=("benchmarks", "matches", "cuts", "dropped/decontaminate-*"),
        inputs=decontaminate.inputs,
        off=decontaminate.off,
    ),
    Stage(
        name="mix",
        says="what is left, weighed by source",
        steps=(
            Step("tokenizer", mix.plan_tokenizer, each("tokenizer", mix.make_tokenizer), counts=False),
            Step("held", mix.plan_held, each("held", mix.hold_out), counts=False),
            Step("counts", mix.plan_counts, each("counts", mix.count_shard), counts=False),
            Step("plan", mix.plan_plan, each("plan", mix.plan_mixture), counts=False),
            Step("corpus", mix.plan_corpus, each("corpus", mix.write_corpus)),
        ),
        settings=lambda recipe: [recipe.mix, recipe.tokenize],
        needs=("ingest", "score", "dedup", "decontaminate"),
        follows="decontaminate",
        owns=("tokenizer", "held.json", "counts", "mix.json", "corpus", "dropped/mix-*"),
        inputs=mix.inputs,
    ),
    Stage(
        name="tokenize",
        says="token shards for the trainer",
        steps=(
            Step("shards", tokenize.plan, each("shards", tokenize.write_shard)),
            Step("manifest", tokenize.plan_manifest, each("manifest", tokenize.write_manifest), counts=False),
        ),
        settings=lambda recipe: [recipe.tokenize],
        needs=("mix",),
        follows="mix",
        owns=("tokens",),
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES}
