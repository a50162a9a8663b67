"""karma and ingest in worker processes, of which some meet a split that kills them; as a process of its own.

python deadly.py RECIPE OUT WORKERS SPLIT HOW
HOW: always, or once: the second worker to meet it lives. raise: an error of ours instead. full: no space left.
"""

import dataclasses
import errno
import os
import signal
import sys
from pathlib import Path

from driver import Eager

from pipelines import engine, ingest, recipe
from pipelines.context import Context
from pipelines.graph import BY_NAME, each
from pipelines.io import Task
from pipelines.progress import Progress
from pipelines.run import Run


def main(name: str, root: str, workers: str, split: str, how: str) -> None:
    met = Path(f"{root}.met")

    def ingest_split(context: Context, task: Task) -> None:
        if task.name == split and (how == "always" or not met.exists()):
            met.touch()
            if how == "raise":
                raise RuntimeError("not today")
            if how == "full":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.kill(os.getpid(), signal.SIGKILL)
        ingest.ingest_split(context, task)

    stage = BY_NAME["ingest"]
    engine.ALONE_BYTES = 0  # even a single worker is a process
    step = dataclasses.replace(stage.steps[0], build=each("splits", ingest_split))
    stages = [BY_NAME["karma"], dataclasses.replace(stage, steps=(step,))]
    Run(root, recipe.load(name), Eager((), int(workers)), Progress()).run(stages)


if __name__ == "__main__":
    main(*sys.argv[1:])
