"""The training run: a short loop over a plan, with validation and checkpoints; stopped anywhere, it goes on exactly.

In the --out folder: metrics.jsonl (a line a step, a line a validation; no clock in it, so that an interrupted run and
an uninterrupted one leave the same bytes) and checkpoints/. On the CPU, in float32 and with the same number of threads,
a resumed run equals an uninterrupted one to the last bit. On a GPU, in bfloat16, the batches are the same and the
last bits are not promised.
"""

import contextlib
import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from torch import nn

from curate import draw, storage
from curate.errors import CurateError, InputError, StaleError
from curate.shards import TOKENIZER, Tokens, open_tokens
from pretrain import checkpoint, evaluate, machine, optim
from pretrain.checkpoint import State
from pretrain.data import Loader, Stream
from pretrain.model import GPT
from pretrain.plan import Plan, num_windows
from pretrain.presets import Preset

METRICS = "metrics.jsonl"
# Validations of a run whose user does not say how often.
_VALIDATIONS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One run. Seed, tokens and preset are its identity; the rest may differ when it is resumed.

    Attributes:
        data: the tokens/ folder.
        out: where checkpoints and metrics go; a run that lies there is resumed.
        tokens: ids to train on, rounded up to whole windows; None: one epoch.
        threads: CPU threads; None: the resumed run's, or torch's own choice.
        checkpoint_tokens: None: the recipe's.
        eval_tokens: ids between two validations; None: a fifth of the run.
        keep: newest checkpoints that stay.
    """

    __pydantic_config__ = {"extra": "forbid"}
    data: str
    out: str
    preset: Preset
    tokens: int | None = None
    seed: int = 0
    device: machine.DeviceName = "auto"
    threads: int | None = None
    checkpoint_tokens: int | None = None
    eval_tokens: int | None = None
    keep: int = 2

    def __post_init__(self) -> None:
        for name in ("tokens", "threads", "checkpoint_tokens", "eval_tokens", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: after it `tokens` of `total` are consumed. `loss`: nats a token; `norm`: before clipping."""

    step: int
    samples: int
    tokens: int
    total: int
    loss: float
    rate: float
    norm: float


class Watcher(Protocol):
    """Whoever shows a run to people."""

    def note(self, text: str) -> None: ...
    def begin(self, tokens: int, total: int) -> None: ...
    def step(self, step: Step) -> None: ...
    def held(self, tokens: int, scores: dict[str, evaluate.Score]) -> None: ...
    def end(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A finished run. `trained` counts the tokens of this call, none if the run was done before; seconds likewise."""

    out: str
    preset: str
    parameters: int
    vocabulary: int
    tokens: int
    epochs: float
    steps: int
    loss: float  # mean over the last tenth of the steps, nats a token
    held: dict[str, dict[str, float]]
    trained: int
    seconds: float


def plan_of(tokens: Tokens, config: TrainConfig) -> Plan:
    """The run's plan over the training split.

    Raises:
        InputError: if the split does not fill a window.
    """
    context = config.preset.model.context
    stream = tokens.manifest.splits["train"].tokens if "train" in tokens.manifest.splits else 0
    windows = num_windows(stream, context)
    return Plan(
        manifest=tokens.digest,
        seed=config.seed,
        stream=stream,
        context=context,
        batch=config.preset.recipe.batch_tokens // context,
        samples=windows if config.tokens is None else -(-config.tokens // context),
    )


class Trainer:
    """A run in the middle of itself. `run` carries it to its end."""

    def __init__(self, config: TrainConfig, watcher: Watcher) -> None:
        """Opens the tokens and makes the model, or takes both up where the newest checkpoint left them.

        Raises:
            InputError, ModelError: if the tokens or the checkpoint are damaged.
            StaleError: if the folder holds another run, or this one on other tokens.
        """
        self.config, self.watcher = config, watcher
        self.recipe = config.preset.recipe
        self.out = checkpoint.local(config.out, "--out")
        self.device = machine.find_device(config.device)
        tokens = open_tokens(config.data)
        self.tokenizer = Path(config.data.removeprefix("file://"), TOKENIZER)
        plan = plan_of(tokens, config)
        found = checkpoint.find_all(self.out)
        self.state = State(
            version=checkpoint.VERSION,
            preset=config.preset,
            plan=plan,
            samples=0,
            vocabulary=tokens.manifest.vocab_size,
            end_of_text=tokens.manifest.end_of_text,
            threads=config.threads or torch.get_num_threads(),
            torch=torch.__version__,
        )
        if found:
            stored = checkpoint.read_state(found[-1])
            self._check_same(stored)
            self._take_up(stored)
            model = checkpoint.load_model(found[-1], stored)
        else:
            # torch's generators take seeds below 2^63.
            seed = draw.key("pretrain.init", config.seed) >> 1
            model = GPT.create(config.preset.model, self.state.vocabulary, seed=seed)
        self.model = model.to(self.device)
        self.optimizer = optim.adamw(self.model, self.recipe)
        if found:
            checkpoint.load_optimizer(found[-1], self.model, self.optimizer)
        self.loader = Loader(Stream(tokens.split("train")), plan, self.device)
        split = tokens.split("held") if "held" in tokens.manifest.splits else None
        limit = self.recipe.held_tokens
        self.held = evaluate.choose(split, self.state.end_of_text, limit=limit) if split else None

    def run(self) -> Summary:
        """Train to the end of the plan.

        Raises:
            CurateError: if the loss is no longer finite.
        """
        plan, began, first = self.state.plan, time.monotonic(), self.state.samples
        checkpoint_tokens = self.config.checkpoint_tokens or self.recipe.checkpoint_tokens
        eval_tokens = self.config.eval_tokens or max(1, plan.tokens(plan.samples) // _VALIDATIONS)
        with contextlib.ExitStack() as stack:
            stack.enter_context(checkpoint.lock(self.out))
            self._rewind_metrics()
            metrics = stack.enter_context(open(self.out / METRICS, "ab"))
            stack.enter_context(machine.switches(self.device, self.state.threads))
            self.watcher.begin(plan.tokens(first), plan.tokens(plan.samples))
            while self.state.samples < plan.samples:
                before = self.state.samples
                step = self._step()
                self._log(metrics, asdict(step))
                self.watcher.step(step)
                if self._due(eval_tokens, before) and self.held and self.held.ids:
                    self._validate(metrics)
                if self._due(checkpoint_tokens, before):
                    os.fsync(metrics.fileno())
                    checkpoint.save(
                        self.out, self.state, self.model, self.optimizer, self.tokenizer, keep=self.config.keep
                    )
        self.watcher.end()
        return self._summary(plan.tokens(plan.samples - first), time.monotonic() - began)

    def _step(self) -> Step:
        plan, first = self.state.plan, self.state.samples
        count = min(plan.batch, plan.samples - first)
        total, loss = plan.tokens(plan.samples), torch.zeros((), device=self.device)
        for index, windows in enumerate(self.loader.batch(first, count, self.recipe.micro_windows)):
            seed = draw.key("pretrain.dropout", plan.seed, first, index) >> 1
            with machine.mixed(self.device):
                part = self.model.loss(windows, seed=seed) * (len(windows) / count)
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        number, tokens = first // plan.batch + 1, plan.tokens(first + count)
        value, size = float(loss), float(norm)
        # Checked before the weights move: the newest checkpoint is always a healthy one.
        if not (math.isfinite(value) and math.isfinite(size)):
            raise CurateError(
                f"step {number} (samples {first} to {first + count}): loss {value}, gradient norm {size}; "
                "lower the learning rate, or look at these samples"
            )
        rate = optim.learning_rate(self.recipe, tokens, total)
        optim.set_rate(self.optimizer, rate)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self._advance(first + count)
        return Step(number, first + count, tokens, total, value, rate, size)

    def _validate(self, metrics: IO[bytes]) -> None:
        assert self.held is not None
        tokens = self.state.plan.tokens(self.state.samples)
        scores = evaluate.scores(self.model, self.held)
        self._log(metrics, {"samples": self.state.samples, "tokens": tokens, "held": score_table(scores)})
        self.watcher.held(tokens, scores)

    def _due(self, every: int, before: int) -> bool:
        plan, now = self.state.plan, self.state.samples
        return now == plan.samples or plan.tokens(before) // every != plan.tokens(now) // every

    def _check_same(self, stored: State) -> None:
        if stored.plan.manifest != self.state.plan.manifest:
            raise StaleError(
                f"{self.out} was trained on tokens with manifest {stored.plan.manifest[:12]}, and {self.config.data} "
                f"has {self.state.plan.manifest[:12]}; give the tokens it was trained on, or another --out"
            )
        pairs = (
            ("preset", stored.preset, self.state.preset),
            ("seed", stored.plan.seed, self.state.plan.seed),
            ("tokens", stored.plan.tokens(stored.plan.samples), self.state.plan.tokens(self.state.plan.samples)),
            ("plan", stored.plan, self.state.plan),
            ("vocabulary", stored.vocabulary, self.state.vocabulary),
        )
        for name, have, want in pairs:
            if have != want:
                raise StaleError(
                    f"{self.out} holds a run whose {name} is {have}, and this one's is {want}; "
                    "give the same, or another --out"
                )

    def _take_up(self, stored: State) -> None:
        threads = self.config.threads or stored.threads
        if self.device.type == "cpu" and (threads != stored.threads or stored.torch != torch.__version__):
            self.watcher.note(
                f"the run was begun with {stored.threads} threads and torch {stored.torch}, and goes on with "
                f"{threads} and {torch.__version__}: the last bits of its losses may differ"
            )
        self.state = replace(stored, threads=threads, torch=torch.__version__)

    def _advance(self, samples: int) -> None:
        self.state = replace(self.state, samples=samples)

    def _rewind_metrics(self) -> None:
        """Leave the lines up to the checkpoint: those after it are about to be made again."""
        kept = [line for line in read_metrics(self.out) if line["samples"] <= self.state.samples]
        with storage.atomic(str(self.out / METRICS)) as file:
            file.write(b"".join(_line(line) for line in kept))

    def _log(self, metrics: IO[bytes], line: dict[str, Any]) -> None:
        metrics.write(_line(line))
        metrics.flush()

    def _summary(self, trained: int, seconds: float) -> Summary:
        lines = read_metrics(self.out)
        losses = [line["loss"] for line in lines if "loss" in line]
        held = [line["held"] for line in lines if "held" in line]
        last = losses[-max(1, len(losses) // 10) :]
        plan = self.state.plan
        return Summary(
            out=str(self.out),
            preset=self.config.preset.name,
            parameters=self.model.num_parameters(),
            vocabulary=self.state.vocabulary,
            tokens=plan.tokens(plan.samples),
            epochs=plan.samples / plan.windows,
            steps=plan.steps,
            loss=math.fsum(last) / len(last) if last else math.nan,
            held=held[-1] if held else {},
            trained=trained,
            seconds=seconds,
        )


def score_table(scores: dict[str, evaluate.Score]) -> dict[str, dict[str, float]]:
    """Scores as they go into metrics.jsonl and --json."""
    return {name: asdict(score) | {"bits_per_byte": score.bits_per_byte} for name, score in scores.items()}


def read_metrics(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; none if it has not begun. A last line cut short by a kill is left out.

    Raises:
        InputError: if another line is damaged.
    """
    path = out / METRICS
    if not path.exists():
        return []
    *lines, _ = path.read_text(encoding="ascii", errors="replace").split("\n")
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}; remove it, the run does not need it") from error


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii") + b"\n"
