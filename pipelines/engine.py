"""Runs a pipeline: on this machine in as many processes as the work is worth, or wherever the Beam options say."""

import argparse
import difflib
import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from curate.errors import CurateError, UsageError
from pipelines import guard, workers

ALONE_BYTES = 256 << 20  # of input; above it even one worker is a process, so that its death is not the run's


class StoppedError(CurateError):
    """The engine gave up before all tasks were tried. What has receipts is kept. `lost`: a process of ours died."""

    def __init__(self, reason: str, lost: bool = False) -> None:
        super().__init__(f"the engine stopped: {reason}")
        self.reason, self.lost = reason, lost


@dataclass(frozen=True, slots=True)
class Engine:
    """`flags` are Beam's own options; without a runner among them the work stays on this machine."""

    flags: tuple[str, ...] = ()
    workers: int = os.cpu_count() or 1

    @property
    def is_local(self) -> bool:
        return not any(flag.split("=")[0] == "--runner" for flag in self.flags)

    def options(self, name: str, size: int, tasks: int, bytes_per_worker: int) -> PipelineOptions:
        """Beam's options; a further local process costs seconds to start, so each must have work worth it."""
        flags = list(self.flags)
        if self.is_local:
            flags += [f"--direct_num_workers={max(1, min(self.workers, tasks, -(-size // bytes_per_worker)))}"]
        elif not any(flag.split("=")[0] == "--job_name" for flag in flags):
            flags.append(f"--job_name={name}")
        return PipelineOptions(flags)

    def run(self, build: Callable[[beam.Pipeline], Any], apart: bool = False, **hints: Any) -> None:
        """Build the graph and run it to its end; `apart`: in no case within this process.

        Raises:
            FullError: if there is no space left.
            StoppedError: if the engine could not finish.
        """
        logging.getLogger("apache_beam").setLevel(logging.ERROR)
        options = self.options(**hints)
        apart |= hints["size"] > ALONE_BYTES or options.view_as(DirectOptions).direct_num_workers > 1
        with workers.Crew() as crew:
            runner = None if not self.is_local else FnApiRunner(crew.environment()) if apart else FnApiRunner()
            pipeline = beam.Pipeline(runner=runner, options=options)
            build(pipeline)
            try:
                pipeline.run().wait_until_finish()
            except Exception as error:
                words = last_words(error)
                if full := re.search(rf"{guard.FullError.__name__}: (.*?)( \[while running.*)?$", words):
                    raise guard.FullError(full[1]) from error
                raise StoppedError(crew.lost or words, bool(crew.lost)) from error


def last_words(error: BaseException) -> str:
    """The innermost error of a worker's traceback that reached us as text, else the error itself."""
    lines = [line.strip() for line in str(error).splitlines() if re.match(r"\s*[\w.]*(Error|Exception)\b.*:", line)]
    text = lines[-1] if lines else str(error).strip() or type(error).__name__
    return text if len(text) < 600 else text[:600] + " ..."


def check_flags(flags: Sequence[str]) -> tuple[str, ...]:
    """Beam merely logs an option that it does not know and goes on without it; we refuse it.

    Raises:
        UsageError: with the nearest known option.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    seen: set[type] = set()
    waiting = [PipelineOptions]
    while waiting:
        for cls in waiting.pop().__subclasses__():
            if cls in seen:
                continue
            seen.add(cls)
            waiting.append(cls)
            try:
                cls._add_argparse_args(parser)
            except argparse.ArgumentError:
                continue  # two of Beam's classes name the same option
    known = {option for action in parser._actions for option in action.option_strings}
    for flag in flags:
        name = flag.split("=", 1)[0]
        if name.startswith("--") and name not in known and name != "--prism_location":
            near = difflib.get_close_matches(name, known, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            raise UsageError(f"Beam has no option {name}{hint}")
    return tuple(flags)
