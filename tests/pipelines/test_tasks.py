"""Tasks through tables: all of them, in order, in files of bounded size; the graph does not grow with them."""

from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from pipelines import graph, io, recipe, tasks
from pipelines.context import Context

DATA = {"source": "crawl", "parts": [{"name": "ä/b.warc.gz", "start": 0, "stop": None}], "bytes": 7}


@pytest.mark.parametrize("number", [0, 1, 5, 400])
def test_all_come_back_in_order(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PART_BYTES", 1000)
    made = [io.Task(f"t-{at}", DATA | {"bytes": at}) for at in range(number)]
    listed = tasks.write(str(tmp_path / "list"), iter(made))
    assert list(listed.read()) == made
    assert (listed.number, listed.size) == (number, sum(range(number)))
    sizes = [path.stat().st_size for path in tmp_path.glob("list/*")]
    assert len(sizes) == listed.parts >= number // 12  # of 93 bytes and more each
    few = tasks.write(str(tmp_path / "list"), made[:1])
    assert list(few.read()) == made[:1]
    assert len(list(tmp_path.glob("list/*"))) == few.parts == min(1, number)
    few.remove()
    assert not (tmp_path / "list").exists()


def test_the_graph_is_small_whatever_the_tasks(tmp_path: Path) -> None:
    """Dataflow takes 10 MB."""
    step = graph.BY_NAME["ingest"].steps[0]
    sizes = []
    for number in (1, 50_000):
        listed = tasks.write(str(tmp_path / str(number)), (io.Task(f"crawl-{at}", DATA) for at in range(number)))
        pipeline = beam.Pipeline(runner="DirectRunner")
        step.build(pipeline, Context(str(tmp_path), "ingest", recipe.Recipe()), listed)
        proto: Any = pipeline.to_runner_api()
        sizes.append(proto.ByteSize())
    assert max(sizes) < 50_000
