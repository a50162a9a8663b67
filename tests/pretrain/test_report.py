"""The report of a run: what stands on the page, what the journal holds, that neither changes the training."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from curate.errors import InputError
from curate.shards import open_tokens
from pretrain import page, report
from pretrain.metrics import METRICS
from pretrain.page import Interval, Series
from pretrain.presets import Preset
from pretrain.report import Journal
from pretrain.run import TrainConfig
from pretrain.train import Trainer


class Checker(HTMLParser):
    """Collects tags, and what would fetch something."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.seen = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.seen += data


def train(tokens_dir: Path, out: Path, preset: Preset, recorder: Any, **changes: Any) -> Trainer:
    settings = {"tokens": 2048, "eval_tokens": 512, "threads": 1, "device": "cpu", **changes}
    journal = Journal(recorder)
    trainer = Trainer(TrainConfig(data=str(tokens_dir), out=str(out), preset=preset, **settings), journal)
    journal.follow(trainer)
    trainer.run()
    return trainer


def test_the_page(tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: type[Any]) -> None:
    trainer = train(tokens_dir, tmp_path / "run", micro, recorder(), weights={"books": 1.0, "crawl": 3.0})
    path = report.write(tmp_path / "run")
    checker = Checker()
    text = path.read_text("utf-8")
    checker.feed(text)
    assert not checker.fetched
    assert "script" not in checker.tags
    assert checker.tags.count("polyline") >= 5
    for words in ("Training loss", "Held-out", "Learning rate", "Gradient norm", "Speed", "books", "crawl", "all"):
        assert words in checker.seen
    mixture = trainer.state.plan.realised(trainer.state.samples)
    assert 0.7 < mixture["crawl"].share < 0.8
    assert f"{mixture['crawl'].share:.2%}" in checker.seen
    assert "after 512 tokens" in checker.seen
    assert text == report.write(tmp_path / "run").read_text("utf-8")


def test_a_run_without_weights_reads_the_corpus_as_it_lies(
    tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: type[Any]
) -> None:
    trainer = train(tokens_dir, tmp_path / "run", micro, recorder())
    text = report.write(tmp_path / "run").read_text("utf-8")
    sources = open_tokens(str(tokens_dir)).manifest.splits["train"].sources
    total, epochs = sum(each.tokens for each in sources.values()), 2048 / 16 / trainer.state.plan.windows
    for name, each in sources.items():
        row = (f"{each.tokens:,}", f"{each.tokens / total:.2%}", f"{epochs:.2f}")
        assert f"<td>{name}<td class=n>{'<td class=n>'.join(row)}" in text


def test_the_journal_changes_no_loss(tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: type[Any]) -> None:
    train(tokens_dir, tmp_path / "with", micro, recorder())
    Trainer(
        TrainConfig(
            data=str(tokens_dir), out=str(tmp_path / "without"), preset=micro, tokens=2048, eval_tokens=512, threads=1,
            device="cpu",
        ),
        recorder(),
    ).run()  # fmt: skip
    assert (tmp_path / "with" / METRICS).read_bytes() == (tmp_path / "without" / METRICS).read_bytes()


def test_a_resumed_run_has_each_sample_once(
    tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: type[Any]
) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(tokens_dir, run, micro, recorder(stop_after=11))
    train(tokens_dir, run, micro, recorder())
    train(tokens_dir, tmp_path / "whole", micro, recorder())

    def samples(out: Path) -> list[tuple[int, str]]:
        lines = [json.loads(line) for line in (out / report.JOURNAL).read_text("ascii").splitlines()]
        return [(line["tokens"], line["sample"]) for line in lines if "sample" in line]

    assert samples(run) == samples(tmp_path / "whole")
    assert [tokens for tokens, _ in samples(run)] == [512, 1024, 1536, 2048]
    assert "Speed" in report.write(run).read_text("utf-8")


def test_speed_is_of_neighbours_of_one_clock() -> None:
    marks = [(0, 0.0), (100, 2.0), (100, 9.0), (300, 10.0), (200, 0.0), (300, 5.0)]
    journal = [{"tokens": tokens, "seconds": seconds} for tokens, seconds in marks]
    assert report._speed(journal) == [(100, 50.0), (300, 200.0), (300, 20.0)]


def test_a_run_without_a_journal_has_a_report(
    tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: type[Any]
) -> None:
    train(tokens_dir, tmp_path / "run", micro, recorder())
    (tmp_path / "run" / report.JOURNAL).unlink()
    text = report.write(tmp_path / "run").read_text("utf-8")
    assert "Training loss" in text
    assert "Speed" not in text


def test_no_run_no_report(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run with a checkpoint"):
        report.write(tmp_path)


def test_a_damaged_journal_says_what_to_do(
    tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: type[Any]
) -> None:
    train(tokens_dir, tmp_path / "run", micro, recorder())
    (tmp_path / "run" / report.JOURNAL).write_text("{\n{}\n", "ascii")
    with pytest.raises(InputError, match=r"journal.jsonl is damaged: .*; remove it"):
        report.write(tmp_path / "run")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1500, "1.5k"), (2e6, "2M"), (4.76e11, "476B"), (1e16, "1e16"), (0.0005, "0.0005"), (-0.15, "-0.15")],
)
def test_numbers_of_axes(value: float, text: str) -> None:
    assert page.short(value) == text


@pytest.mark.parametrize("ends", [(0.0, 1.0), (3.02, 3.31), (-0.2, 0.1), (5.0, 5.0), (0.0, 1e9)])
def test_ticks_are_round_and_inside(ends: tuple[float, float]) -> None:
    axis = page._Axis(*ends, 0, 100, log=False, pad=0.06)
    ticks = axis.ticks(5)
    assert 2 <= len(ticks) <= 7
    assert all(-1e-6 <= axis.at(tick) <= 100 + 1e-6 for tick in ticks)


def test_log_axes() -> None:
    axis = page._Axis(1e9, 1e12, 0, 90, log=True)
    assert axis.ticks(5) == [1e9, 1e10, 1e11, 1e12]
    assert axis.at(1e10) == pytest.approx(30)


def test_names_are_escaped() -> None:
    assert "<b>" not in page.chart("<b>", [Series(name="<b>", points=[(0, 1), (1, 2)])] * 2, x="<b>", y="<b>")
    assert "<b>" not in page.forest([Interval(name="<b>", value=0, low=-1, high=1, kind="undecided")], unit="<b>")
    assert "<b>" not in page.table(["<b>"], [["<b>"]])
    assert page.chart("empty", [Series(name="x")], x="x", y="y") == ""
