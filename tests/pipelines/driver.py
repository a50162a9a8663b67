"""A run in a process of its own, made to be killed: where a step has two tasks, they go to worker processes.

python driver.py RECIPE OUT WORKERS [STAGE ...]
"""

import sys

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines import recipe
from pipelines.engine import Engine
from pipelines.graph import BY_NAME, STAGES
from pipelines.progress import Progress
from pipelines.run import Run


class Eager(Engine):
    """To which every byte is worth a process."""

    def options(self, name: str, size: int, tasks: int, bytes_per_worker: int) -> PipelineOptions:
        return super().options(name, size, tasks, bytes_per_worker=1)


def main(name: str, root: str, workers: str, *stages: str) -> None:
    run = Run(root, recipe.load(name), Eager((), int(workers)), Progress(quiet=True))
    run.run([BY_NAME[stage] for stage in stages] or STAGES)


if __name__ == "__main__":
    main(*sys.argv[1:])
