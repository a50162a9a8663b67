"""The graph's shape: the label of every transform of every step, held against a golden list. Nothing runs.

After an intended change: `make golden`, which sets CURATE_GOLDEN=write for this test.
"""

import os
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.pipeline import AppliedPTransform, PipelineVisitor

from curate import storage
from pipelines import graph, recipe, tasks
from pipelines.context import Context
from pipelines.io import Task, mark_path

GOLDEN = Path(__file__).parents[1] / "golden" / "graph.txt"


class Labels(PipelineVisitor):
    """Collects the full label of each transform that somebody of ours has named."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def enter_composite_transform(self, node: AppliedPTransform) -> None:
        self._add(node)

    def visit_transform(self, node: AppliedPTransform) -> None:
        self._add(node)

    def _add(self, node: AppliedPTransform) -> None:
        if node.full_label and "(" not in node.full_label and not is_inner(node):
            self.found.append(node.full_label)


def is_inner(node: AppliedPTransform) -> bool:
    """Whether it is the inside of one of Beam's own transforms, which its versions may change."""
    above = node.parent
    while above is not None and above.transform is not None:
        if type(above.transform).__module__.startswith("apache_beam"):
            return True
        above = above.parent
    return False


def labels(tmp_path: Path) -> str:
    lines = []
    storage.write_json(mark_path(str(tmp_path), "ingest"), "an ingest that made no shard")
    for stage in graph.STAGES:
        for step in stage.steps:
            pipeline = beam.Pipeline(runner="DirectRunner")
            context = Context(str(tmp_path), stage.name, recipe.Recipe())
            step.build(pipeline, context, tasks.write(str(tmp_path / "pending"), [Task("one", {"number": 0})]))
            visitor = Labels()
            pipeline.visit(visitor)
            lines += [f"{stage.name} {step.name}", *(f"    {label}" for label in visitor.found)]
    return "\n".join(lines) + "\n"


def test_labels_are_as_agreed(tmp_path: Path) -> None:
    found = labels(tmp_path)
    if os.environ.get("CURATE_GOLDEN") == "write":
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(found)
    assert found == GOLDEN.read_text(), "the graph has changed; if that is meant, run make golden"


def test_stages_fit_together() -> None:
    """Each stage needs only earlier ones, follows one that it needs, and owns files of nobody else."""
    seen: list[str] = []
    owned: dict[str, str] = {}
    for stage in graph.STAGES:
        assert set(stage.needs) <= set(seen), stage.name
        assert stage.follows is None or stage.follows in stage.needs, stage.name
        assert len({step.name for step in stage.steps}) == len(stage.steps)
        assert any(step.counts for step in stage.steps), stage.name
        for name in stage.owns:
            assert owned.setdefault(name, stage.name) == stage.name
        seen.append(stage.name)
    assert len(set(seen)) == len(seen)


def test_settings_cover_the_recipe() -> None:
    """Each key of the recipe that changes an output changes the settings of some stage, and so its fingerprint."""
    base = recipe.Recipe()
    changes: dict[str, Any] = {
        "partitions": 3,
        "sources.crawl.filter": False,
        "sources.crawl.paths": ["x"],
        "sources.crawl.name": "CC-MAIN-2024-22",
        "sources.reddit.match": "host",
        "sources.others": {"mine": {"paths": []}},
        "ingest.sample_rate": 0.5,
        "filters.c4": None,
        "quality.alpha": 2.0,
        "dedup.min_similarity": 0.5,
        "dedup.minhash.bands": 3,
        "decontaminate.rules.ngram": 8,
        "mix.held": 0.2,
        "tokenize.vocab_size": 300,
    }
    for key, value in changes.items():
        changed = recipe.load("gpt3", [f"{key}={value if value is not None else 'null'}"])
        same = recipe.load("gpt3")
        differ = [stage.name for stage in graph.STAGES if stage.settings(changed) != stage.settings(same)]
        assert differ, key
    left = set(recipe.dump(base)) - {key.split(".")[0] for key in changes}
    assert left == {"seed", "max_failed", "fetch"}  # in every fingerprint; in none, since they change no file
