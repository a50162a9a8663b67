"""The ablation of data: the same small model, the same tokens, the same seeds on each arm; bits per byte on held-out
passages outside all arms; and a verdict that knows its noise.

A pair of runs with a seed shares the first weights, the schedule, what dropout drops and the sample numbers; which text
a sample number means is each arm's own. In the --out folder:

    runs/ARM/SIZE-SEED/        a training run each, and scores.json once it is scored: such a run is skipped
    result.json                settings, losses, noise, differences, laws; no clock in it
    report.html                the same to look at

The first arm is the control. Its runs come first: how they spread from seed to seed is the noise floor.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curate import storage
from curate.errors import InputError, StaleError, UsageError
from curate.shards import Tokens
from pretrain import arms as arms_
from pretrain import checkpoint, evaluate, machine, paired, scaling
from pretrain.arms import Arm, Passages
from pretrain.metrics import read_metrics
from pretrain.paired import Difference, Floats, Noise
from pretrain.presets import Preset, num_parameters
from pretrain.rounds import Rounds
from pretrain.run import TrainConfig, open_stream, plan_of
from pretrain.scaling import Law, Rung
from pretrain.train import Trainer

VERSION = 1
RESULT, SCORES, RUNS = "result.json", "scores.json", "runs"
OVERALL = "all"
# Passages of each source that a run in training is validated on, for its curve.
_CURVE = 8
_POINTS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """A comparison.

    Attributes:
        arms: two or more; the first is the control.
        held: a tokens/ folder whose held-out split is read.
        out: the comparison's folder.
        preset: the model, and the recipe.
        tokens: of each run of the preset itself; None: one epoch of the smallest arm.
        seeds: runs of each arm and size, with the seeds 0, 1, ...
        sizes: models of the ladder, the preset the last; from three on a power law is fitted to each arm.
        passage_tokens: longer documents are judged by a passage of so many.
        first_seed: of the seeds.
    """

    __pydantic_config__ = {"extra": "forbid"}
    arms: tuple[Arm, ...]
    held: str
    out: str
    preset: Preset
    tokens: int | None = None
    seeds: int = 5
    sizes: int = 1
    passage_tokens: int = 1024
    first_seed: int = 0
    device: machine.DeviceName = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        names = [arm.name for arm in self.arms]
        if len(set(names)) != len(names) or len(names) < 2:
            raise ValueError(f"arms {', '.join(names)}: give two or more, each with a name of its own")
        if self.seeds < paired.LEAST_SEEDS:
            raise ValueError(f"seeds is {self.seeds}; intervals need {paired.LEAST_SEEDS} or more")
        if self.sizes != 1 and self.sizes < scaling.LEAST_SIZES:
            raise ValueError(f"sizes is {self.sizes}; give 1, or for a power law {scaling.LEAST_SIZES} or more")
        if self.passage_tokens < 1 or (self.tokens is not None and self.tokens < 1):
            raise ValueError("tokens and passage_tokens must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a comparison found; the tables by source have `OVERALL` too where there are several sources.

    Attributes:
        noise: the control's, by source.
        differences: by arm, the control left out, and source.
        laws: by arm; empty without a ladder.
        level: chance of error of each interval, so that all together have `paired.ERROR`.
    """

    noise: dict[str, Noise]
    differences: dict[str, dict[str, Difference]]
    laws: dict[str, Law]
    level: float


@dataclass(frozen=True, slots=True)
class _Run:
    arm: Arm
    rung: Rung
    seed: int


class Comparison:
    """A comparison, opened and checked. `run` carries it to its end, or goes on where it was stopped."""

    def __init__(self, config: CompareConfig) -> None:
        """
        Raises:
            InputError, StaleError, UsageError: if arms and held-out documents do not go together: see `arms`.
        """
        self.config = config
        self.out = checkpoint.local(config.out, "--out")
        self.device = machine.find_device(config.device)
        self.tokens: dict[str, Tokens] = arms_.check(config.arms, config.held)
        self.passages: Passages = arms_.passages(config.held, config.passage_tokens)
        budget = config.tokens or min(self._epoch(arm) for arm in config.arms)
        try:
            self.rungs = scaling.ladder(config.preset, budget, config.sizes)
        except ValueError as error:
            raise UsageError(str(error)) from error
        self.runs = list(self._order())
        self.nats: dict[tuple[str, str, int], Floats] = {}

    def _epoch(self, arm: Arm) -> int:
        stream, sources = open_stream(self.tokens[arm.name], arm.weights)
        config = TrainConfig(data=arm.data, out=self.config.out, preset=self.config.preset)
        plan = plan_of(config, "", len(stream), sources)
        return plan.tokens(plan.samples)

    def _order(self) -> Iterator[_Run]:
        """The control first, then the other arms seed by seed; the ladder's small sizes last."""
        for rung in reversed(self.rungs):
            control, *others = self.config.arms
            seeds = range(self.config.first_seed, self.config.first_seed + self.config.seeds)
            yield from (_Run(control, rung, seed) for seed in seeds)
            yield from (_Run(arm, rung, seed) for seed in seeds for arm in others)

    def run(self) -> Outcome:
        """Train and score what is not yet, judge, and write result.json.

        Raises:
            StaleError: if --out holds runs with other settings.
            CurateError: if a run fails.
        """
        for run in self.runs:
            self._read(run)
        left = [run for run in self.runs if _key(run) not in self.nats]
        rounds = Rounds(len(self.runs), sum(self._work(run) for run in left))
        if len(left) < len(self.runs):
            rounds.note(f"{len(self.runs) - len(left)} of {len(self.runs)} runs are done already")
        try:
            with machine.switches(self.device, self.config.threads):
                for number, run in enumerate(self.runs, 1):
                    if _key(run) not in self.nats:
                        model = f"{run.arm.name}, {run.rung.preset.name}"
                        rounds.start(number, model, run.seed, self._work(run))
                        self._train(run, rounds)
                        rounds.finish()
                    if number == self.config.seeds:
                        for line in self._describe(self._noise()):
                            rounds.note(line)
        finally:
            rounds.close()
        outcome = self._judge()
        storage.write_json(str(self.out / RESULT), self._result(outcome), sort_keys=False)
        return outcome

    def _work(self, run: _Run) -> float:
        vocabulary = self.tokens[run.arm.name].manifest.vocab_size
        return 6.0 * run.rung.tokens * num_parameters(run.rung.preset.model, vocabulary)

    def _folder(self, run: _Run) -> Path:
        return self.out / RUNS / run.arm.name / f"{run.rung.preset.name}-{run.seed}"

    def _settings(self, run: _Run) -> dict[str, Any]:
        """What a run's scores depend on."""
        return {
            "version": VERSION,
            "manifest": self.tokens[run.arm.name].digest,
            "weights": dict(run.arm.weights) if run.arm.weights else None,
            "preset": asdict(run.rung.preset),
            "tokens": run.rung.tokens,
            "seed": run.seed,
            "held": self.passages.digest,
        }

    def _read(self, run: _Run) -> None:
        path = self._folder(run) / SCORES
        if not path.exists():
            return
        stored, settings = storage.read_json(str(path)), self._settings(run)
        for name, value in settings.items():
            if not isinstance(stored, dict) or stored.get("settings", {}).get(name) != value:
                raise StaleError(f"{path} was made with another {name}; give the same, or another --out")
        self.nats[_key(run)] = np.array(stored["nats"], np.float64)

    def _train(self, run: _Run, rounds: Rounds) -> None:
        rung = run.rung
        config = TrainConfig(
            data=run.arm.data,
            out=str(self._folder(run)),
            preset=rung.preset,
            tokens=rung.tokens,
            seed=run.seed,
            weights=run.arm.weights,
            device=self.config.device,
            threads=self.config.threads,
            keep=1,
        )
        trainer = Trainer(config, rounds)
        # The arms' own held-out documents differ from arm to arm; curves are to be compared.
        trainer.held = self.passages.some(_CURVE)
        trainer.run()
        nats = evaluate.document_nats(trainer.model, self.passages.held)
        value = {"settings": self._settings(run), "nats": nats.tolist()}
        storage.write_json(str(self._folder(run) / SCORES), value)
        self.nats[_key(run)] = nats

    def _bits(self, arm: Arm, rung: Rung) -> dict[str, Floats]:
        """By source, float64[seeds, passages]."""
        runs = [self.nats[_key(run)] for run in self.runs if run.arm is arm and run.rung is rung]
        nats = np.stack(runs) / math.log(2)
        return {source: nats[:, places] for source, places in self.passages.members().items()}

    def _sizes(self) -> dict[str, npt.NDArray[np.int64]]:
        sizes = np.array(self.passages.held.bytes, np.int64)
        return {source: sizes[places] for source, places in self.passages.members().items()}

    def _groups(self) -> dict[str, list[str]]:
        """The sources of each line of the tables."""
        sources = list(self.passages.members())
        return {source: [source] for source in sources} | ({OVERALL: sources} if len(sources) > 1 else {})

    @property
    def level(self) -> float:
        return paired.level(len(self.config.arms) - 1, len(self.passages.members()))

    def _noise(self) -> dict[str, Noise]:
        bits, sizes = self._bits(self.config.arms[0], self.rungs[-1]), self._sizes()
        return {
            name: paired.noise([bits[source] for source in group], [sizes[source] for source in group], self.level)
            for name, group in self._groups().items()
        }

    def _describe(self, noise: dict[str, Noise]) -> list[str]:
        return [
            f"noise of {self.config.arms[0].name} on {name}: {each.loss:.4f} bits per byte, {each.deviation:.4f} from "
            f"seed to seed; {self.config.seeds} seeds can see {each.floor:.4f}"
            for name, each in noise.items()
        ]

    def _judge(self) -> Outcome:
        control, *others = self.config.arms
        sizes, top = self._sizes(), self.rungs[-1]
        base, differences = self._bits(control, top), dict[str, dict[str, Difference]]()
        for arm in others:
            mine = self._bits(arm, top)
            differences[arm.name] = {
                name: paired.compare(
                    [base[source] for source in group],
                    [mine[source] for source in group],
                    [sizes[source] for source in group],
                    error=self.level,
                    purpose=name,
                )
                for name, group in self._groups().items()
            }
        laws = {}
        if len(self.rungs) >= scaling.LEAST_SIZES:
            first, last = self.rungs[0].compute, self.rungs[-1].compute
            points = np.geomspace(first, last, 24).tolist()
            for arm in self.config.arms:
                bits = [list(self._bits(arm, rung).values()) for rung in self.rungs]
                laws[arm.name] = scaling.law(self.rungs, bits, list(sizes.values()), points)
        return Outcome(noise=self._noise(), differences=differences, laws=laws, level=self.level)

    def _losses(self, arm: Arm, rung: Rung) -> dict[str, list[float]]:
        bits, sizes = self._bits(arm, rung), self._sizes()
        return {
            name: paired.by_seed([bits[s] for s in group], [sizes[s] for s in group]).tolist()
            for name, group in self._groups().items()
        }

    def _curve(self, arm: Arm) -> dict[str, Any]:
        """Means over seeds of the full-size runs, by tokens: training loss in nats a token, thinned; held-out bits."""
        logs = [read_metrics(self._folder(run)) for run in self.runs if run.arm is arm and run.rung is self.rungs[-1]]
        steps = [[line for line in log if "loss" in line] for log in logs]
        held = [[line for line in log if "held" in line] for log in logs]
        losses = np.mean([[line["loss"] for line in log] for log in steps], axis=0)
        tokens = [line["tokens"] for line in steps[0]]
        cuts = [part for part in np.array_split(np.arange(len(tokens)), min(_POINTS, len(tokens))) if part.size]
        return {
            "train": [[tokens[part[-1]], float(losses[part].mean())] for part in cuts],
            "held": {
                source: [
                    [lines[0]["tokens"], float(np.mean([line["held"][source]["bits_per_byte"] for line in lines]))]
                    for lines in zip(*held, strict=True)
                ]
                for source in self.passages.members()
            },
        }

    def _result(self, outcome: Outcome) -> dict[str, Any]:
        config, members, sizes = self.config, self.passages.members(), self._sizes()
        arms = {}
        for arm in config.arms:
            entry = self.tokens[arm.name].manifest.splits["train"]
            arms[arm.name] = {
                "data": arm.data,
                "manifest": self.tokens[arm.name].digest,
                "weights": dict(arm.weights) if arm.weights else None,
                "documents": entry.documents,
                "tokens": entry.tokens,
                "epochs": self.rungs[-1].tokens / self._epoch(arm),
                "losses": {rung.preset.name: self._losses(arm, rung) for rung in self.rungs},
                "curve": self._curve(arm),
            }
        return {
            "version": VERSION,
            "preset": asdict(config.preset),
            "rungs": [
                {"name": r.preset.name, "parameters": r.parameters, "tokens": r.tokens, "compute": r.compute}
                for r in self.rungs
            ],
            "seeds": list(range(config.first_seed, config.first_seed + config.seeds)),
            "held": {
                "data": config.held,
                "digest": self.passages.digest,
                "passage_tokens": config.passage_tokens,
                "sources": {s: {"documents": len(p), "bytes": int(sizes[s].sum())} for s, p in members.items()},
            },
            "arms": arms,
            **asdict(outcome),
        }


def _key(run: _Run) -> tuple[str, str, int]:
    return run.arm.name, run.rung.preset.name, run.seed


def load(out: Path) -> dict[str, Any]:
    """The result of a finished comparison.

    Raises:
        InputError: if there is none.
    """
    path = out / RESULT
    if not path.exists():
        raise InputError(f"{out} holds no {RESULT}; finish it with `pretrain compare`")
    value: dict[str, Any] = storage.read_json(str(path))
    return value


def table(result: dict[str, Any]) -> Sequence[tuple[str, ...]]:
    """Rows for a terminal, the first the head."""
    rows: list[tuple[str, ...]] = [("arm", "held-out", "loss", "difference", "interval", "verdict", "seeds")]
    control = next(iter(result["arms"]))
    for name, noise in result["noise"].items():
        rows.append((control, name, f"{noise['loss']:.4f}", "control", f"floor {noise['floor']:.4f}", "", ""))
    for arm, sources in result["differences"].items():
        for name, each in sources.items():
            needed = each["seeds_to_decide"]
            interval = f"{each['low']:+.4f}, {each['high']:+.4f}"
            seeds = "never" if needed is None else f"{needed:,}"
            rows.append((arm, name, f"{each['loss']:.4f}", f"{each['value']:+.4f}", interval, each["verdict"], seeds))
    return rows
