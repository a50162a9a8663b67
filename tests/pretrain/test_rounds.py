"""What is seen of many runs in turn."""

import io

import pytest
from rich.console import Console

from pretrain.rounds import Rounds
from pretrain.run import Step


def show(monkeypatch: pytest.MonkeyPatch) -> str:
    """Two runs of equal work, a step each half a minute, by a clock of ours."""
    now = iter(range(0, 10_000, 30))
    monkeypatch.setattr("pretrain.rounds.time.monotonic", lambda: float(next(now)))
    file = io.StringIO()
    watcher = Rounds(4, 200.0, Console(file=file, force_terminal=False, width=160))
    for number in (3, 4):
        watcher.start(number, "arm, tiny", number, 100.0)
        watcher.begin(0, 20, None)
        for tokens in (10, 20):
            watcher.step(Step(tokens // 10, tokens, tokens, 20, 1.5, 0.1, 1.0))
        watcher.finish()
    watcher.close()
    return file.getvalue()


def test_plain_lines_tell_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = show(monkeypatch).splitlines()
    assert [line.split(":")[0] for line in lines] == ["run 3 of 4"] * 2 + ["run 4 of 4"] * 2
    assert "arm, tiny, seed 3: 10 of 20 tokens, loss 1.500  0 tokens/s" in lines[0]
    # A quarter of the work in 60 s leaves three times as long; at the end nothing is left.
    assert lines[0].endswith("3 min 00 s left")
    assert lines[-1].endswith(" 0 s left")


def test_a_terminal_has_one_bar() -> None:
    file = io.StringIO()
    watcher = Rounds(1, 100.0, Console(file=file, force_terminal=True, width=160))
    watcher.start(1, "arm, tiny", 0, 100.0)
    watcher.begin(0, 10, None)
    watcher.step(Step(1, 10, 10, 10, 1.5, 0.1, 1.0))
    watcher.finish()
    watcher.close()
    assert "run 1 of 1: arm, tiny, seed 0" in file.getvalue()
    assert "loss 1.500" in file.getvalue()


def test_what_a_run_says_is_told_once_for_all_its_seeds() -> None:
    file = io.StringIO()
    watcher = Rounds(3, 300.0, Console(file=file, force_terminal=False, width=160))
    for number, model in enumerate(("a, tiny", "a, tiny", "b, tiny"), 1):
        watcher.start(number, model, number, 100.0)
        watcher.note("books: 75%")
        watcher.note(f"only {number}")
        watcher.finish()
        watcher.note("noise")
    want = ["a, tiny: books: 75%", "a, tiny: only 1", "noise", "a, tiny: only 2", "noise", "b, tiny: books: 75%"]
    assert file.getvalue().splitlines() == [*want, "b, tiny: only 3", "noise"]
