"""A run shown to people on standard error: a live line in a terminal, plain lines elsewhere. It decides nothing."""

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pretrain.evaluate import Score
from pretrain.run import Step

# Between two lines of what is no terminal.
PLAIN_SECONDS = 15.0

# Told how much is done of how much.
Tick = Callable[[int, int], None]


@contextlib.contextmanager
def ticks(name: str, console: Console | None = None) -> Iterator[Tick]:
    """Work of equal pieces under a name: a bar that goes when it is done in a terminal, plain lines elsewhere."""
    console, shown = console or Console(stderr=True, highlight=False), time.monotonic()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)

        def tick(done: int, total: int) -> None:
            nonlocal shown
            bar.update(task, completed=done, total=total)
            if not console.is_terminal and time.monotonic() - shown >= PLAIN_SECONDS:
                shown = time.monotonic()
                console.print(f"{name}: {done:,} of {total:,}", soft_wrap=True, markup=False)

        yield tick


class Display:
    """Shows loss, tokens a second, the time left, and MFU: the share of the machine's peak that the model's own
    arithmetic takes (Chowdhery et al. 2022, appendix B). Where the peak is not known, as of CPUs, it is n/a.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._began, self._first, self._shown = 0.0, 0, 0.0
        self._load: float | None = None

    def note(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)

    def begin(self, tokens: int, total: int, load: float | None) -> None:
        self._load = load
        self._began, self._first, self._shown = time.monotonic(), tokens, 0.0
        if tokens:
            self.note(f"resuming after {tokens:,} of {total:,} tokens")
        if self._console.is_terminal and tokens < total:
            self._bar = Progress(
                TextColumn("train"),
                BarColumn(),
                TextColumn("{task.percentage:3.0f}%  loss {task.fields[loss]}"),
                TextColumn("{task.fields[speed]} tokens/s  MFU {task.fields[mfu]}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._bar.add_task("train", total=total, completed=tokens, loss="-", speed="-", mfu="-")
            self._bar.start()

    def step(self, step: Step) -> None:
        now = time.monotonic()
        speed = (step.tokens - self._first) / max(now - self._began, 1e-9)
        mfu = "n/a" if self._load is None else f"{speed * self._load:.1%}"
        if self._bar is not None:
            loss, rate = f"{step.loss:.3f}", f"{speed:,.0f}"
            self._bar.update(self._task, completed=step.tokens, loss=loss, speed=rate, mfu=mfu)
        elif now - self._shown >= PLAIN_SECONDS or step.tokens == step.total:
            self._shown = now
            left = (step.total - step.tokens) / speed
            self.note(
                f"step {step.step}: {step.tokens:,} of {step.total:,} tokens, loss {step.loss:.3f}, "
                f"{speed:,.0f} tokens/s, MFU {mfu}, {left:.0f} s left"
            )

    def held(self, tokens: int, scores: dict[str, Score]) -> None:
        parts = ", ".join(f"{name} {score.bits_per_byte:.3f}" for name, score in scores.items())
        self.note(f"held-out bits per byte after {tokens:,} tokens: {parts}")

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
