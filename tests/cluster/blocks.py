"""A small pipeline whose elements are numpy blocks: does this cluster run Beam, on every worker, and fail when it must?

    python -c 'import blocks; blocks.main()' OUT [--bad N] BEAM OPTIONS

Writes OUT/KEY.npy, the sum of the blocks of each key, and OUT/PID.pid for each process that made blocks. Block N of
`--bad N` raises.
"""

import argparse
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions

BLOCKS = 24
KEYS = 6
VALUES = 50_000  # a block is 400 kB


def block(number: int, out: str, bad: int) -> tuple[int, np.ndarray]:
    """(key, int64[VALUES]) of a block."""
    if number == bad:
        raise ValueError(f"block {number} is bad")
    Path(out, f"{os.getpid()}.pid").touch()
    print("x" * 9999)  # over all blocks more than a pipe holds
    return number % KEYS, np.arange(VALUES, dtype=np.int64) * number


def write(group: tuple[int, Iterable[np.ndarray]], out: str) -> int:
    """Writes the sum of a key's blocks."""
    key, blocks = group
    np.save(Path(out, f"{key}.npy"), np.sum(list(blocks), axis=0))
    return key


def main() -> None:
    """Runs the pipeline to its end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--bad", type=int, default=-1)
    ours, beams = parser.parse_known_args()
    with beam.Pipeline(options=PipelineOptions(beams)) as pipeline:
        (
            pipeline
            | "Numbers" >> beam.Create(range(BLOCKS))
            | "Spread" >> beam.Reshuffle()
            | "Blocks" >> beam.Map(partial(block, out=ours.out, bad=ours.bad))
            | "ByKey" >> beam.GroupByKey()
            | "Write" >> beam.Map(partial(write, out=ours.out))
        )
