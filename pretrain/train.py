"""The training run: a short loop over a plan, with validation and checkpoints; stopped anywhere, it goes on exactly.

In the --out folder: metrics.jsonl and checkpoints/. On the CPU, in float32 and with the same number of threads, a
resumed run equals an uninterrupted one to the last bit. On a GPU, in bfloat16, the batches are the same and the last
bits are not promised; nor are they with another number of processes.
"""

import contextlib
import hashlib
import math
import time
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from curate import draw
from curate.errors import CurateError, StaleError, UsageError
from curate.shards import TOKENIZER, open_tokens
from pretrain import checkpoint, evaluate, machine, optim, world
from pretrain.checkpoint import Best, Saver, State
from pretrain.data import Loader
from pretrain.metrics import Metrics, Sink, TensorBoard, WandB, read_metrics
from pretrain.model import GPT
from pretrain.optim import Recent, Scale
from pretrain.run import Silence, Step, Summary, TrainConfig, Watcher, open_stream, plan_of
from pretrain.world import Parallel, World

# Validations of a run whose user does not say how often.
_VALIDATIONS = 5


class Trainer:
    """A run in the middle of itself. `run` carries it to its end."""

    def __init__(self, config: TrainConfig, watcher: Watcher, place: World | None = None) -> None:
        """Opens the tokens and makes the model, or takes both up where the newest checkpoint left them.

        Args:
            place: this process among those of the run; None: it is alone.

        Raises:
            InputError, ModelError: if the tokens or a checkpoint are damaged.
            StaleError: if the folder holds another run, or this one on other tokens.
            UsageError: if the settings do not go with the tokens, the machine or each other.
        """
        self.config = config
        self.world = place or World(machine.find_device(config.device))
        self.watcher: Watcher = watcher if self.world.leads else Silence()
        self.device, self.recipe = self.world.device, config.preset.recipe
        self.out = checkpoint.local(config.out, "--out")
        tokens = open_tokens(config.data)
        self.tokenizer = Path(config.data.removeprefix("file://"), TOKENIZER)
        stream, sources = open_stream(tokens, config.weights)
        plan = plan_of(config, tokens.digest, len(stream), sources)
        self.state = State(
            version=checkpoint.VERSION,
            preset=config.preset,
            plan=plan,
            samples=0,
            vocabulary=tokens.manifest.vocab_size,
            end_of_text=tokens.manifest.end_of_text,
            threads=config.threads or torch.get_num_threads(),
            torch=torch.__version__,
            scale=Scale() if machine.dtype_of(self.device, config.precision) == torch.float16 else None,
        )
        found = checkpoint.find_all(self.out)
        if found:
            stored = checkpoint.read_state(found[-1])
            self._check_same(stored)
            self._take_up(stored)
        self.model = self._make_model(found[-1] if found else None)
        self.optimizers = optim.optimizers(self.model, self.recipe)
        if found:
            checkpoint.load_moments(found[-1], self.model, self.optimizers)
        self.parallel = Parallel(self.model, self.world)
        self.recent = Recent(self.recipe.spike_window, self.state.recent)
        self.loader = Loader(stream, plan, self.device)
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
        peak, number = machine.peak(self.device), plan.steps_before(first)
        with contextlib.ExitStack() as stack:
            metrics = None
            if self.world.leads:
                stack.enter_context(checkpoint.lock(self.out))
                metrics = stack.enter_context(Metrics(self.out, first, self._sinks()))
            saver = stack.enter_context(Saver(self.out, self.tokenizer, self.world, keep=self.config.keep))
            stack.enter_context(machine.switches(self.device, self.state.threads))
            stack.enter_context(world.compiled(self.config.compile, use=False))
            self._note_mixture()
            load = self.model.flops() / peak / self.world.size if peak else None
            self.watcher.begin(plan.tokens(first), plan.tokens(plan.samples), load)
            while self.state.samples < plan.samples:
                before, number = self.state.samples, number + 1
                self._step(number, metrics)
                best = self._due(eval_tokens, before) and self._validate(metrics)
                if best or self._due(checkpoint_tokens, before):
                    if metrics is not None:
                        metrics.sync()
                    saver.save(self.state, self.model, self.optimizers)
        self.watcher.end()
        return self._summary(plan.tokens(plan.samples - first), time.monotonic() - began)

    def _make_model(self, found: Path | None) -> GPT:
        config, sharded = self.config, self.world.size > 1 and self.config.sharding == "fsdp"
        if sharded and self.recipe.optimizer == "muon":
            raise UsageError("muon works on whole matrices; take --sharding ddp, or optimizer=adamw")
        if found:
            with torch.device("meta"):
                model = GPT(config.preset.model, self.state.vocabulary)
        elif config.init is not None:
            model = self._initial(checkpoint.resolve(checkpoint.local(config.init, "--init")))
        else:
            # torch's generators take seeds below 2^63.
            seed = draw.key("pretrain.init", config.seed) >> 1
            model = GPT.create(config.preset.model, self.state.vocabulary, seed=seed)
        if config.compile:
            world.compile_blocks(model)
        if not found:
            model = model.to(self.device)
        if sharded:
            world.shard(model, self.world)
        if found:
            model.to_empty(device=self.device)
            checkpoint.load_weights(found, model)
        return model

    def _initial(self, folder: Path) -> GPT:
        """The weights of another run, or of an import."""
        other = checkpoint.read_state(folder)
        have, want = asdict(other.preset.model), asdict(self.config.preset.model)
        for key in have.keys() - {"dropout"}:
            if have[key] != want[key]:
                raise UsageError(
                    f"--init {folder} has {key} {have[key]}, and {self.config.preset.name} has {want[key]}; "
                    f"give --set {key}={have[key]}"
                )
        if (
            hashlib.sha256((folder / TOKENIZER).read_bytes()).digest()
            != hashlib.sha256(self.tokenizer.read_bytes()).digest()
        ):
            raise StaleError(f"--init {folder} has another tokenizer than {self.config.data}: ids mean other words")
        return checkpoint.load_model(folder, other)

    def _step(self, number: int, metrics: Metrics | None) -> None:
        """One update, or none where it is skipped."""
        plan, first, scale = self.state.plan, self.state.samples, self.state.scale
        count = plan.count(first)
        with world.compiled(self.config.compile, use=True):
            loss = self._gradients(first, count)
        norm = world.whole(nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip))
        tokens, total = plan.tokens(first + count), plan.tokens(plan.samples)
        value, size = float(loss), float(norm)
        # Checked before the weights move: the newest checkpoint is always a healthy one.
        overflow = scale is not None and scale.factor > 1 and math.isfinite(value) and not math.isfinite(size)
        if not overflow and not (math.isfinite(value) and math.isfinite(size)):
            raise CurateError(
                f"step {number} (samples {first} to {first + count}): loss {value}, gradient norm {size}; "
                "lower the learning rate, or look at these samples"
            )
        rate = optim.learning_rate(self.recipe, tokens, total)
        skipped = "overflow" if overflow else None
        if self.recipe.spike_sigmas is not None and not overflow:
            limits = self.recent.limits(self.recipe.spike_sigmas)
            self.recent.add(value, size)
            if value > limits[0] or size > limits[1]:
                skipped = "spike"
        if skipped is None:
            for optimizer in self.optimizers:
                optim.set_rate(optimizer, rate)
                optimizer.step()
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.state = replace(
            self.state,
            samples=first + count,
            recent=self.recent.steps,
            scale=scale.after(overflow=overflow) if scale else None,
        )
        step = Step(number, first + count, tokens, total, value, rate, size if not overflow else 0.0, skipped)
        if metrics is not None:
            metrics.add(asdict(step))
            if skipped == "spike":
                self._log_spike(metrics, step, first, limits)
        self.watcher.step(step)

    def _gradients(self, first: int, count: int) -> Tensor:
        """Add up the gradients of a step's mean loss; returns it."""
        plan, loss = self.state.plan, torch.zeros((), device=self.device)
        factor = self.state.scale.factor if self.state.scale else 1.0
        mask = self.state.end_of_text if self.recipe.document_mask else None
        pieces = list(plan.pieces(first, self.recipe.micro_windows, self.world.rank, self.world.size))
        for index, (start, samples) in enumerate(pieces):
            # Without samples of its own a process takes part with some that weigh nothing.
            windows = self.loader.windows(start, max(1, samples))
            seed = draw.key("pretrain.dropout", plan.seed, start) >> 1
            with self.parallel.last(index == len(pieces) - 1):
                with machine.mixed(self.device, self.config.precision):
                    nats = self.parallel.loss(windows, seed=seed, end_of_text=mask, recompute=self.config.recompute)
                part = nats * (samples / count)
                # The mean over processes is made of gradients that should be summed.
                (part * (factor * self.world.size)).backward()  # type: ignore[no-untyped-call]
            loss += part.detach()
        if factor != 1.0:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.mul_(1 / factor)
        return self.world.total(loss)

    def _log_spike(self, metrics: Metrics, step: Step, first: int, limits: tuple[float, float]) -> None:
        documents = self.loader.documents(first, step.samples - first)
        spike = {
            "number": step.step,
            "first_sample": first,
            "loss_limit": limits[0],
            "norm_limit": limits[1],
            "documents": documents,
        }
        metrics.add({"samples": step.samples, "tokens": step.tokens, "spike": spike})
        some = ", ".join(documents[:3]) + (", ..." if len(documents) > 3 else "")
        self.watcher.note(
            f"step {step.step} is skipped: loss {step.loss:.4f} (limit {limits[0]:.4f}), gradient norm {step.norm:.3f} "
            f"(limit {limits[1]:.3f}); samples {first} to {step.samples}, {len(documents)} documents: {some}"
        )

    def _validate(self, metrics: Metrics | None) -> bool:
        """Score the held-out documents; whether it is the best so far."""
        if self.held is None or not self.held.ids:
            return False
        tokens = self.state.plan.tokens(self.state.samples)
        scores = evaluate.scores(self.model, self.held)
        if metrics is not None:
            metrics.add({"samples": self.state.samples, "tokens": tokens, "held": score_table(scores)})
        self.watcher.held(tokens, scores)
        now = (scores["all"] if "all" in scores else next(iter(scores.values()))).bits_per_byte
        if self.state.best is not None and now >= self.state.best.bits_per_byte:
            return False
        self.state = replace(self.state, best=Best(tokens=tokens, bits_per_byte=now))
        return True

    def _due(self, every: int, before: int) -> bool:
        plan, now = self.state.plan, self.state.samples
        return now == plan.samples or plan.tokens(before) // every != plan.tokens(now) // every

    def _sinks(self) -> list[Sink]:
        out: list[Sink] = []
        if self.config.tensorboard:
            out.append(TensorBoard(self.out))
        if self.config.wandb is not None:
            out.append(WandB(self.config.wandb, self.out, asdict(self.config)))
        return out

    def _note_mixture(self) -> None:
        for name, each in self.state.plan.realised(self.state.plan.samples).items():
            self.watcher.note(f"{name}: {each.share:.2%} of the run, {each.epochs:.2f} epochs")

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
            ("weights", stored.plan.weights, self.state.plan.weights),
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
            skipped=sum(line.get("skipped") is not None for line in lines),
            loss=math.fsum(last) / len(last) if last else math.nan,
            held=held[-1] if held else {},
            best=self.state.best,
            mixture={name: asdict(each) for name, each in plan.realised(plan.samples).items()},
            trained=trained,
            seconds=seconds,
        )


def score_table(scores: dict[str, evaluate.Score]) -> dict[str, dict[str, float]]:
    """Scores as they go into metrics.jsonl and --json."""
    return {name: asdict(score) | {"bits_per_byte": score.bits_per_byte} for name, score in scores.items()}
