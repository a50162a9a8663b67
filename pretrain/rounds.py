"""Many runs shown as one on standard error: which is under way, how fast, how long until all are done."""

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pretrain.evaluate import Score
from pretrain.progress import PLAIN_SECONDS
from pretrain.run import Step


class Rounds:
    """A watcher of runs in turn. Rate and time left count the work of this call: operations, since models differ."""

    def __init__(self, runs: int, work: float, console: Console | None = None) -> None:
        """
        Args:
            runs: of the whole comparison.
            work: operations of those that are still to be done.
        """
        self._console = console or Console(stderr=True, highlight=False)
        self._runs, self._left, self._done = runs, work, 0.0
        self._number, self._model, self._name, self._work = 0, "", "", 0.0
        self._told: set[tuple[str, str]] = set()
        self._began = self._shown = time.monotonic()
        self._first = 0
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def start(self, number: int, model: str, seed: int, work: float) -> None:
        """The run that comes now: its number from 1, its model, its seed, its operations."""
        self._number, self._model, self._name, self._work = number, model, f"{model}, seed {seed}", work
        if self._console.is_terminal and self._bar is None:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[now]}"), TimeElapsedColumn(),
                console=self._console,
            )  # fmt: skip
            self._task = self._bar.add_task("", total=self._left, now="")
            self._bar.start()

    def finish(self) -> None:
        """The run is done."""
        self._done += self._work
        self._model = ""

    def note(self, text: str) -> None:
        """Of a run, once for all its seeds."""
        if self._model and (self._model, text) in self._told:
            return
        self._told.add((self._model, text))
        self._console.print(f"{self._model}: {text}" if self._model else text, soft_wrap=True, markup=False)

    def begin(self, tokens: int, total: int, load: float | None) -> None:
        self._first, self._tick = tokens, time.monotonic()

    def step(self, step: Step) -> None:
        now = time.monotonic()
        done = self._done + self._work * step.tokens / step.total
        speed = (step.tokens - self._first) / max(now - self._tick, 1e-9)
        left = (now - self._began) * max(0.0, self._left / done - 1)
        text = f"loss {step.loss:.3f}  {speed:,.0f} tokens/s  {_clock(left)} left"
        name = f"run {self._number} of {self._runs}: {self._name}"
        if self._bar is not None:
            self._bar.update(self._task, completed=done, description=name, now=text)
        elif now - self._shown >= PLAIN_SECONDS:
            self._shown = now
            self._console.print(
                f"{name}: {step.tokens:,} of {step.total:,} tokens, {text}", soft_wrap=True, markup=False
            )

    def held(self, tokens: int, scores: dict[str, Score]) -> None: ...

    def end(self) -> None: ...

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
