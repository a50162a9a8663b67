"""A run as it is ordered and as it is told of: settings, the stream and plan they make, steps, watchers, summary."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from curate.errors import UsageError
from curate.shards import Tokens
from pretrain import evaluate, machine
from pretrain.checkpoint import Best
from pretrain.data import Stream
from pretrain.plan import Plan, Source, num_windows, shares
from pretrain.presets import Preset, nearest
from pretrain.world import Sharding


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One run. Seed, tokens, preset and weights are its identity; the rest may differ when it is resumed.

    Attributes:
        data: the tokens/ folder.
        out: where checkpoints and metrics go; a run that lies there is resumed.
        tokens: ids to train on, rounded up to whole windows; None: as many windows as the corpus has, one epoch.
        weights: how often each source is read, in tokens, by its name; all must be named. None: all documents as they
            lie.
        init: a checkpoint, or a run, that a new run's weights are taken from; None: they are drawn.
        threads: CPU threads; None: the resumed run's, or torch's own choice.
        precision: of matrix products: see `machine.dtype_of`.
        recompute: keep only the blocks' inputs for the backward pass, and run each block again there.
        compile: compile the blocks.
        sharding: how a model lies in several processes.
        checkpoint_tokens: None: the recipe's.
        eval_tokens: ids between two validations; None: a fifth of the run.
        keep: newest checkpoints that stay, besides the best.
        tensorboard: write event files, too.
        wandb: the project of Weights & Biases to write to, too.
    """

    __pydantic_config__ = {"extra": "forbid"}
    data: str
    out: str
    preset: Preset
    tokens: int | None = None
    seed: int = 0
    weights: Mapping[str, float] | None = None
    init: str | None = None
    device: machine.DeviceName = "auto"
    threads: int | None = None
    precision: machine.Precision = "auto"
    recompute: bool = False
    compile: bool = False
    sharding: Sharding = "ddp"
    checkpoint_tokens: int | None = None
    eval_tokens: int | None = None
    keep: int = 2
    tensorboard: bool = False
    wandb: str | None = None

    def __post_init__(self) -> None:
        for name in ("tokens", "threads", "checkpoint_tokens", "eval_tokens", "keep"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")


def open_stream(tokens: Tokens, weights: Mapping[str, float] | None) -> tuple[Stream, tuple[Source, ...]]:
    """The training split as a run reads it, and with weights its sources.

    Raises:
        UsageError: if the weights name other sources than the split has, or are none.
        InputError, StaleError: if the split is missing or damaged.
    """
    split = tokens.split("train")
    if weights is None:
        return Stream(split), ()
    for name in weights:
        if name not in split.entry.sources:
            raise UsageError(f"{tokens.folder} has no source {name!r}; {nearest(name, split.entry.sources)}")
    missing = [name for name in split.entry.sources if name not in weights]
    if missing:
        raise UsageError(f"source {missing[0]!r} has no weight; give {missing[0]}=0 to leave it out")
    try:
        turns = shares(weights)
    except ValueError as error:
        raise UsageError(str(error)) from error
    stream = Stream(split, sorted(turns))
    return stream, tuple(Source(name=n, tokens=length, share=turns[n]) for n, length in stream.lengths.items())


def plan_of(config: TrainConfig, manifest: str, stream: int, sources: tuple[Source, ...]) -> Plan:
    """The run's plan over a stream of so many ids.

    Raises:
        InputError: if the stream, or a source's, does not fill a window.
    """
    context, recipe = config.preset.model.context, config.preset.recipe
    windows = sum(num_windows(length, context) for length in [source.tokens for source in sources] or [stream])
    samples = windows if config.tokens is None else -(-config.tokens // context)
    return Plan(
        manifest=manifest,
        seed=config.seed,
        stream=stream,
        context=context,
        batch=recipe.batch_tokens // context,
        samples=samples,
        first_batch=(recipe.first_batch_tokens or context) // context,
        ramp=min((recipe.ramp_tokens or 0) // context, samples // 10),
        sources=sources,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """What a step did: after it `tokens` of `total` are consumed. `loss`: nats a token; `norm`: before clipping;
    `skipped`: why the weights did not move.
    """

    step: int
    samples: int
    tokens: int
    total: int
    loss: float
    rate: float
    norm: float
    skipped: str | None = None


class Watcher(Protocol):
    """Whoever shows a run to people. `load`: the share of the machine's peak that a token a second takes, if known."""

    def note(self, text: str) -> None: ...
    def begin(self, tokens: int, total: int, load: float | None) -> None: ...
    def step(self, step: Step) -> None: ...
    def held(self, tokens: int, scores: dict[str, evaluate.Score]) -> None: ...
    def end(self) -> None: ...


class Silence:
    """A watcher that shows nothing: of the processes that do not lead."""

    def note(self, text: str) -> None: ...
    def begin(self, tokens: int, total: int, load: float | None) -> None: ...
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
    skipped: int
    loss: float  # mean over the last tenth of the steps, nats a token
    held: dict[str, dict[str, float]]
    best: Best | None
    mixture: dict[str, dict[str, float]]  # by source, if weighted: samples, share, epochs
    trained: int
    seconds: float
