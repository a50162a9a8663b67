"""What people see, in a terminal and in a file."""

import io

import pytest
import torch
from rich.console import Console

from pretrain import machine
from pretrain.evaluate import Score
from pretrain.model import GPT
from pretrain.presets import PRESETS
from pretrain.progress import Display, ticks
from pretrain.run import Step


def show(*, terminal: bool) -> str:
    out = io.StringIO()
    display = Display(Console(file=out, force_terminal=terminal, width=100, highlight=False))
    display.note("[books]: 75%")
    display.begin(100, 400, None)
    display.step(Step(2, 20, 200, 400, 3.25, 1e-3, 0.5))
    display.held(200, {"books": Score(documents=1, tokens=10, bytes=10, nats=13.8629436)})
    display.step(Step(4, 40, 400, 400, 2.5, 1e-3, 0.5))
    display.end()
    return out.getvalue()


def test_plain_lines_without_a_terminal() -> None:
    out = show(terminal=False)
    assert "[books]: 75%\nresuming after 100 of 400 tokens\n" in out
    assert "step 2: 200 of 400 tokens, loss 3.250, " in out
    assert "held-out bits per byte after 200 tokens: books 2.000\n" in out
    assert "step 4: 400 of 400 tokens, loss 2.500, " in out
    assert "\x1b" not in out


def test_a_bar_in_a_terminal() -> None:
    out = show(terminal=True)
    assert "loss 2.500" in out
    assert "100%" in out
    assert "tokens/s" in out


def test_mfu_is_the_share_of_the_peak_where_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0])
    monkeypatch.setattr("pretrain.progress.time.monotonic", lambda: next(clock))
    out = io.StringIO()
    display = Display(Console(file=out, width=200, highlight=False))
    display.begin(0, 200, 0.004)
    display.step(Step(1, 20, 200, 200, 3.25, 1e-3, 0.5))
    assert "100 tokens/s, MFU 40.0%, 0 s left" in out.getvalue()


def test_flops_of_gpt2_are_palms_count() -> None:
    with torch.device("meta"):
        model = GPT(PRESETS["gpt2"].model, 50_257)
    padded = 124_439_808 + (50_304 - 50_257) * 768
    assert model.flops() == 6 * (padded - 1024 * 768) + 12 * 12 * 768 * 1024


def test_the_peak_of_a_cpu_is_not_known() -> None:
    assert machine.peak(torch.device("cpu")) is None


def test_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(0, 1000, 5))
    monkeypatch.setattr("pretrain.progress.time.monotonic", lambda: float(next(now)))
    shown = {}
    for terminal in (False, True):
        file = io.StringIO()
        with ticks("[arc] {x}", Console(file=file, force_terminal=terminal, width=120)) as tick:
            for done in range(1, 6):
                tick(done, 1000)
        shown[terminal] = file.getvalue()
    assert shown[False].splitlines()[0] == "[arc] {x}: 3 of 1,000"
    assert "[arc] {x}" in shown[True]
    assert "5/1000" in shown[True]
    assert "of 1,000" not in shown[True]
