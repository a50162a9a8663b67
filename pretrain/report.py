"""The report of a training run, RUN/report.html: curves, mixture, samples over time. And the journal behind it.

metrics.jsonl and the newest checkpoint tell the most. What has a clock or needs the model while it grows, speed and
samples, lies in journal.jsonl, which only the report reads: losses and checkpoints do not depend on it.
"""

import itertools
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from torch.distributed.fsdp import FSDPModule

from curate import storage
from curate.errors import InputError
from curate.shards import open_tokens
from pretrain import checkpoint, machine, page
from pretrain.evaluate import Score
from pretrain.metrics import line_of, read_lines, read_metrics
from pretrain.page import Series
from pretrain.run import Step, Watcher
from pretrain.sample import SampleConfig, generate, load_tokenizer
from pretrain.train import Trainer

JOURNAL, REPORT = "journal.jsonl", "report.html"
# Points of a curve, and measurements of speed in a run.
_POINTS = 200
_SAMPLE = SampleConfig(tokens=80)


class Journal:
    """A watcher that passes on all it is told, and writes down what the corpus holds, speed, and at each validation a
    sample.
    """

    def __init__(self, inner: Watcher) -> None:
        self._inner = inner
        self._trainer: Trainer | None = None
        self._began, self._mark, self._every = 0.0, 0, 1

    def follow(self, trainer: Trainer) -> None:
        """The run that this watches; before its `run`."""
        self._trainer = trainer

    def note(self, text: str) -> None:
        self._inner.note(text)

    def begin(self, tokens: int, total: int, load: float | None) -> None:
        self._inner.begin(tokens, total, load)
        self._began, self._every = time.monotonic(), max(1, total // _POINTS)
        self._mark = tokens // self._every
        if self._trainer is not None and tokens < total:
            kept = [line for line in read_lines(self._trainer.out / JOURNAL) if line["tokens"] <= tokens]
            if not any("corpus" in line for line in kept):
                sources = open_tokens(self._trainer.config.data).manifest.splits["train"].sources
                kept.append({"tokens": tokens, "corpus": {name: each.tokens for name, each in sources.items()}})
            with storage.atomic(str(self._trainer.out / JOURNAL)) as file:
                file.write(b"".join(line_of(line) for line in [*kept, {"tokens": tokens, "seconds": 0.0}]))

    def step(self, step: Step) -> None:
        self._inner.step(step)
        if step.tokens // self._every != self._mark or step.tokens == step.total:
            self._mark = step.tokens // self._every
            self._write({"tokens": step.tokens, "seconds": time.monotonic() - self._began})

    def held(self, tokens: int, scores: dict[str, Score]) -> None:
        self._inner.held(tokens, scores)
        trainer = self._trainer
        if trainer is None or isinstance(trainer.model, FSDPModule):
            return  # the other processes, which hold the rest of the weights, do not sample
        with machine.mixed(trainer.device, trainer.config.precision):
            ids = list(generate(trainer.model, [trainer.state.end_of_text], trainer.state.end_of_text, _SAMPLE))
        tokenizer = load_tokenizer(trainer.tokenizer.parent)
        self._write({"tokens": tokens, "sample": tokenizer.decode(ids, skip_special_tokens=False)})
        # The next stretch is training alone again.
        self._write({"tokens": tokens, "seconds": time.monotonic() - self._began})

    def end(self) -> None:
        self._inner.end()

    def _write(self, line: dict[str, Any]) -> None:
        if self._trainer is not None:
            with open(self._trainer.out / JOURNAL, "ab") as file:
                file.write(line_of(line))


def write(out: Path) -> Path:
    """Build the report of a run, finished or not; its path.

    Raises:
        InputError: if the folder holds no run, or its metrics are damaged.
    """
    lines = read_metrics(out)
    steps = [line for line in lines if "loss" in line]
    if not steps or not checkpoint.find_all(out):
        raise InputError(f"{out} holds no run with a checkpoint; name the --out folder of `pretrain train`")
    state = checkpoint.read_state(checkpoint.resolve(out))
    held = [line for line in lines if "held" in line]
    journal = read_lines(out / JOURNAL)
    plan, last = state.plan, steps[-1]
    rest = "" if last["tokens"] >= last["total"] else f" of {last['total']:,}: not finished"
    best = f" Best held-out: {state.best.bits_per_byte:.4f} bits per byte." if state.best else ""
    sources = list(held[-1]["held"]) if held else []
    curves = [Series(name=name, points=_scores(held, name)) for name in sources]
    x = "tokens"
    charts = [
        page.chart("Training loss", [Series(name="loss", points=_thin(steps, "loss"))], x=x, y="nats a token"),
        page.chart("Held-out", curves, x=x, y="bits per byte"),
        page.chart("Learning rate", [Series(name="rate", points=_thin(steps, "rate"))], x=x, y=""),
        page.chart("Gradient norm", [Series(name="norm", points=_thin(steps, "norm"))], x=x, y="before clipping"),
        page.chart("Speed", [Series(name="speed", points=_speed(journal))], x=x, y="tokens a second"),
    ]
    parts = [
        f"<h1>{page.escape(state.preset.name)}</h1><p class=lead>{last['tokens']:,} tokens{rest}, "
        f"{last['samples'] / plan.windows:.2f} epochs, {last['step']:,} steps; training loss "
        f"{np.mean([line['loss'] for line in steps[-max(1, len(steps) // 10) :]]):.4f}.{best}</p>",
        f"<div class=charts>{''.join(charts)}</div>",
        _held(held),
        _mixture(state, last["samples"], journal),
        _skipped(steps, lines),
        _samples(journal),
        f"<h2>Settings</h2><details><summary>all</summary><pre>{page.escape(json.dumps(asdict(state), indent=1))}</pre>"
        "</details>",
    ]
    path = out / REPORT
    with storage.atomic(str(path)) as file:
        file.write(page.document(f"{state.preset.name}: training report", parts))
    return path


def _scores(held: list[dict[str, Any]], name: str) -> list[page.Point]:
    return [(line["tokens"], line["held"][name]["bits_per_byte"]) for line in held if name in line["held"]]


def _held(held: list[dict[str, Any]]) -> str:
    if not held:
        return ""
    rows = [
        (name, f"{score['documents']:,}", f"{score['bytes']:,}", f"{score['bits_per_byte']:.4f}")
        for name, score in held[-1]["held"].items()
    ]
    head = ("source", "documents", "bytes", "bits per byte")
    return f"<h2>Held-out documents, at the last validation</h2>{page.table(head, rows)}"


def _mixture(state: checkpoint.State, samples: int, journal: list[dict[str, Any]]) -> str:
    """Of a weighted run what each source gave; of another what the corpus holds, which is read as it lies."""
    plan = state.plan
    tokens: dict[str, int] = next((line["corpus"] for line in journal if "corpus" in line), {})
    if plan.sources:
        found = plan.realised(samples)
        note = "Read by weight, as the run went."
        shares = {name: each.share for name, each in found.items()}
        epochs = {name: each.epochs for name, each in found.items()}
        tokens = {source.name: source.tokens for source in plan.sources}
    else:
        note = "Read without weights: windows are drawn from all alike, so shares are the corpus's, up to chance."
        shares = {name: count / sum(tokens.values()) for name, count in tokens.items()}
        epochs = dict.fromkeys(tokens, samples / plan.windows)
    rows = [(name, f"{tokens[name]:,}", f"{share:.2%}", f"{epochs[name]:.2f}") for name, share in shares.items()]
    head = ("source", "tokens there are", "share of the run", "epochs")
    return f"<h2>Mixture as it was read</h2><p class=soft>{note}</p>{page.table(head, rows)}" if rows else ""


def _skipped(steps: list[dict[str, Any]], lines: list[dict[str, Any]]) -> str:
    found = [step for step in steps if step.get("skipped")]
    if not found:
        return ""
    documents = {line["tokens"]: line["spike"]["documents"] for line in lines if "spike" in line}
    rows = []
    for step in found:
        some = ", ".join(documents.get(step["tokens"], [])[:3])
        rows.append((step["step"], step["skipped"], some, f"{step['loss']:.4f}", f"{step['norm']:.3f}"))
    return f"<h2>Skipped updates</h2>{page.table(('step', 'why', 'documents', 'loss', 'norm'), rows, words=3)}"


def _samples(journal: list[dict[str, Any]]) -> str:
    found = [line for line in journal if "sample" in line]
    texts = "".join(
        f"<div class=soft>after {line['tokens']:,} tokens</div>"
        f"<div class=text>{page.escape(line['sample']) or '(empty)'}</div>"
        for line in found
    )
    return f"<h2>What it writes</h2><p class=soft>a new document each, from the same draws</p>{texts}" if found else ""


def _thin(steps: list[dict[str, Any]], name: str) -> list[page.Point]:
    """At most `_POINTS` points, each the mean of its steps, which gives loss a line and not a cloud."""
    parts = np.array_split(np.arange(len(steps)), min(_POINTS, len(steps)))
    return [(steps[part[-1]]["tokens"], float(np.mean([steps[i][name] for i in part]))) for part in parts]


def _speed(journal: list[dict[str, Any]]) -> list[page.Point]:
    """Tokens a second between neighbours; where the run was taken up again the clock begins anew."""
    marks = [line for line in journal if "seconds" in line]
    return [
        (now["tokens"], (now["tokens"] - before["tokens"]) / (now["seconds"] - before["seconds"]))
        for before, now in itertools.pairwise(marks)
        if now["tokens"] > before["tokens"] and now["seconds"] > before["seconds"]
    ]
