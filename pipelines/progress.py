"""What a person sees while a run works: a bar per step with rate and time left, a line per finished stage.

Progress is read from the receipts as they land in the run directory, which works on every engine and from anywhere.
On a terminal the bar moves; elsewhere a line is printed now and then. Nothing here goes to standard output.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from pipelines import receipts
from pipelines.graph import Stage, Step

LOOK_SECONDS = 0.5
LOOK_SHARE = 0.05  # of the time at most is spent on looking, however many receipts there are
LINE_SECONDS = 30.0
LOG_WIDTH = 120


def make_console() -> Console:
    """Standard error, as wide as the terminal; a log is wide enough for a table."""
    console = Console(stderr=True, highlight=False)
    return console if console.is_terminal else Console(stderr=True, highlight=False, width=LOG_WIDTH)


@dataclass(slots=True)
class Progress:
    """`quiet` prints errors only."""

    console: Console = field(default_factory=make_console)
    quiet: bool = False

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text)

    def stage_done(self, stage: Stage, entry: dict, skipped: bool) -> None:  # type: ignore[type-arg]
        """One line: what the stage read, kept, dropped and failed."""
        if entry.get("off"):
            self.say(f"[yellow]off[/]  {stage.name:<14} {entry['off']}")
            return
        dropped = sum(entry["dropped"].values())
        rest = f", [red]{entry['failed']:,} failed[/]" if entry["failed"] else ""
        if lost := entry["extra"].get("set_aside_splits"):
            rest += f", [red]{lost:,} split{'s' if lost > 1 else ''} set aside[/]"
        mark = "[dim]same[/]" if skipped else "[green]done[/]"
        spent = "" if skipped else f" [dim]{clock(entry['seconds'])}[/]"
        counts = f"read {entry['read']:>9,}  kept {entry['kept']:>9,}  dropped {dropped:>9,}"
        self.say(f"{mark} {stage.name:<14} {counts}{rest}{spent}")

    @contextlib.contextmanager
    def step(self, stage: Stage, step: Step, tasks: int, folder: str) -> Iterator[None]:
        """Watch the step's receipts until the block ends."""
        if self.quiet:
            yield
            return
        stop = threading.Event()
        watch = self._bar if self.console.is_terminal else self._lines
        thread = threading.Thread(target=watch, args=(f"{stage.name} {step.name}", tasks, folder, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _bar(self, title: str, tasks: int, folder: str, stop: threading.Event) -> None:
        columns = (
            TextColumn("     {task.description:<24}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=self.console, transient=True) as bars:
            bar = bars.add_task(title, total=tasks, rate="")
            for done, rate in watch(folder, stop, LOOK_SECONDS):
                bars.update(bar, completed=done, rate=rate)

    def _lines(self, title: str, tasks: int, folder: str, stop: threading.Event) -> None:
        began, first = time.monotonic(), len(receipts.names(folder))
        for done, rate in watch(folder, stop, LINE_SECONDS):
            spent = time.monotonic() - began
            left = clock(spent / (done - first) * (tasks - done)) if done > first else "unknown"
            if done < tasks:
                self.say(
                    f"     {title}: {done} of {tasks} tasks, {rate or 'no rate yet'}, {clock(spent)} spent, {left} left"
                )


def watch(folder: str, stop: threading.Event, seconds: float) -> Iterator[tuple[int, str]]:
    """(receipts there, records read per second since the start), every so many seconds until told to stop."""
    counted = receipts.names(folder)  # receipts of an earlier run are no work of this one
    began, read, wait = time.monotonic(), 0, seconds
    while not stop.wait(wait):
        looked = time.monotonic()
        for name, receipt in receipts.read(folder, without=counted):
            counted.add(name)
            read += int(receipt["read"])
            if stop.is_set():
                return
        now = time.monotonic()
        wait = max(seconds, (now - looked) / LOOK_SHARE)
        yield len(counted), f"{read / (now - began):,.0f} records/s" if read else ""


def clock(seconds: float) -> str:
    """Seconds as a person says them: 41 s, 3 min 05 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(number: float) -> str:
    """Bytes as a person says them."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:,.0f} {unit}" if unit == "B" else f"{number:,.1f} {unit}"
        number /= 1000
    return f"{number:,.1f} TB"
