"""A step's tasks, worked on until each has its receipt or no further try helps: nobody is there at night to start anew.

A task that raised is tried again while that gets anything done. Where a worker process died, which ends all beside it,
and the step knows how to set a task aside, those that were under way are tried one by one, and the one that kills its
worker then too is set aside. If none does, and it happens again, memory is too small for so many workers: half go on.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from rich.markup import escape

from curate import storage
from curate.errors import CurateError
from pipelines import guard, receipts, tasks
from pipelines.context import Context
from pipelines.engine import Engine, StoppedError
from pipelines.graph import Stage, Step
from pipelines.io import Task
from pipelines.progress import Progress

TRIES = 3  # of a step in which workers die
ALONE = 2  # tries of a task by itself before it is called the culprit


@dataclass(slots=True)
class Attempts:
    """The work on one step of one run."""

    stage: Stage
    step: Step
    context: Context
    engine: Engine
    progress: Progress
    rounds: int = 0
    stops: int = 0
    unexplained: int = 0  # stops for which no task could be blamed

    @property
    def folder(self) -> str:
        return self.context.receipts(self.step.name)

    def work(self, pending: tasks.Listed) -> list[str]:
        """Names of the tasks that could not be done.

        Raises:
            StoppedError: if the engine cannot go on.
            FullError: if there is no space left.
        """
        while True:
            stopped = self._run(pending)
            left = self._left(pending)
            if stopped is not None:
                self.stops += 1
                self._recover(stopped, left)
                left = self._left(left)
            is_stuck = left.number == pending.number
            if not left.number:
                return []
            if stopped is not None and self.stops >= TRIES and (is_stuck or self.step.set_aside is None):
                raise stopped
            if stopped is None and is_stuck:
                return [task.name for task in left.read()]
            self.progress.say(f"     {self.stage.name} {self.step.name}: {left.number} tasks are tried again")
            pending = left

    def list(self, found: Iterable[Task]) -> tasks.Listed:
        """Tasks in a folder of their own, beside those of earlier rounds."""
        self.rounds += 1
        return tasks.write(tasks.folder(self.folder, f"round-{self.rounds}"), found)

    def _left(self, pending: tasks.Listed) -> tasks.Listed:
        done = receipts.names(self.folder)
        left = self.list(task for task in pending.read() if task.name not in done)
        pending.remove()
        return left

    def _run(self, pending: tasks.Listed, apart: bool = False) -> StoppedError | None:
        try:
            self.engine.run(
                lambda pipeline: self.step.build(pipeline, self.context, pending),
                apart,
                name=f"{self.stage.name}-{self.step.name}",
                size=pending.size,
                tasks=pending.number,
                bytes_per_worker=self.step.bytes_per_worker,
            )
        except StoppedError as error:
            return error
        return None

    def _recover(self, stopped: StoppedError, left: tasks.Listed) -> None:
        """After the engine stopped in midst of work: find out what to leave out, or how to go on."""
        notes = guard.notes(self.folder)
        suspects = [task for task in left.read() if is_dead(notes.get(task.name))]
        if not (suspects or stopped.lost):
            raise stopped  # the engine itself cannot be had
        self.progress.say(f"     {self.stage.name} {self.step.name}: {escape(str(stopped))}")
        if self.step.set_aside is not None and sum(self._kills(task) for task in suspects):
            return
        self.unexplained += 1
        if self.unexplained > 1:  # one may be anybody's doing
            self.engine = replace(self.engine, workers=max(1, self.engine.workers // 2))

    def _kills(self, task: Task) -> bool:
        """Try a task alone; whether it killed its worker each time and has been set aside.

        Raises:
            StoppedError: if the engine stopped before it came to the task.
        """
        assert self.step.set_aside is not None
        reason = ""
        for _ in range(ALONE):
            storage.remove(guard.note_path(self.folder, task.name))
            alone = self.list([task])
            stopped = self._run(alone, apart=True)
            alone.remove()
            if stopped is None:
                return False
            if not is_dead(guard.notes(self.folder).get(task.name)):
                raise stopped
            reason = stopped.reason
        why = f"{ALONE + 1} workers died at it, {ALONE} of them with nothing else to do: {reason}"
        self.progress.say(f"     [red]{task.name} is set aside[/]: {escape(why)}")
        self.step.set_aside(self.context, task, why)
        return True


def is_dead(note: dict[str, Any] | None) -> bool:
    """Whether a task was begun and its worker never heard of again."""
    return note is not None and bool(note.get("died"))


def failure(stage: Stage, folder: str, missing: list[str], number: int) -> CurateError:
    """What went wrong, in a screen: the first errors, and where the rest lies."""
    lines = [f"stage {stage.name}: {len(missing)} of {number} tasks failed; the others are kept."]
    notes = guard.notes(folder)
    shown = [name for name in missing if name in notes][:3]
    for name in shown:
        lines.append(f"  {name}: {notes[name]['error']}")
        if not notes[name]["mendable"]:
            lines.append(f"    its traceback is in {guard.note_path(folder, name)}")
    if not shown:
        lines.append("  they left no note: the engine gave up")
    lines.append(
        "Mend the cause (a damaged file of the run: delete it) and run the same command again: it does what is missing."
    )
    return CurateError("\n".join(lines))
