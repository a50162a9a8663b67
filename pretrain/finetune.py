"""A pretrained network trained on a labelled set as GPT-1 was (Radford et al. 2018, sections 3.2, 3.3 and 4.1).

The loss is that of the labels plus lambda times that of the language model on the same inputs. The paper is silent on
the loss of scores (STS-B); here it is the squared error in standard deviations of the training set's. A run's folder:

    model.safetensors     weights; until the run is done also Adam's moments; settings and progress in its header
    tokenizer.json
    metrics.jsonl         a line a step, a line a validation

model.safetensors is replaced whole, so a stopped run goes on from it and ends, on the CPU, in the same bytes.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from curate import draw, storage
from curate.errors import InputError, ModelError, StaleError
from curate.shards import TOKENIZER
from pretrain import checkpoint, labelled, machine
from pretrain.classifier import Batch, Classifier
from pretrain.labelled import SPECIALS, Accuracy, Correlation, Encoder, Example, Ids, TaskName
from pretrain.metrics import METRICS, line_of, read_metrics
from pretrain.model import GPT
from pretrain.presets import ModelConfig
from pretrain.progress import Tick
from pretrain.sample import load_tokenizer

VERSION = 1
MODEL = "model.safetensors"
_HEADER = "progress"
_MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneConfig:
    """How a network is fine-tuned. Defaults are GPT-1's (section 4.1); where the paper names none, its released code's.

    Attributes:
        task: which inputs are made: see `labelled`.
        rate: peak learning rate; it rises linearly over `warmup` of the steps and falls linearly to 0.
        language: lambda, the weight of the language model's loss.
        dropout: on what the head reads; within the network it is the pretrained one's.
        decay: decoupled weight decay, on matrices alone. beta1, beta2, epsilon, clip, decay: of the released code.
        micro: examples of one forward pass; more need more memory and change nothing but rounding and dropout.
        save: steps between two saves; each epoch ends with one, too.
    """

    __pydantic_config__ = {"extra": "forbid"}
    task: TaskName
    epochs: int = 3
    batch: int = 32
    rate: float = 6.25e-5
    warmup: float = 0.002
    language: float = 0.5
    dropout: float = 0.1
    decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    clip: float = 1.0
    micro: int = 8
    save: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.micro, self.save) < 1:
            raise ValueError(f"{self}: epochs, batch, micro and save must be 1 or more")
        if not (self.rate > 0 and 0 < self.warmup < 1 and self.language >= 0 and 0 <= self.dropout < 1):
            raise ValueError(f"{self}: rate, warmup, language or dropout is outside its range")
        if not (self.decay >= 0 and 0 <= self.beta1 < 1 and 0 <= self.beta2 < 1 and self.epsilon > 0 and self.clip > 0):
            raise ValueError(f"{self}: decay, beta1, beta2, epsilon or clip is outside its range")

    def rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step, 0 being the first."""
        share = (step + 0.5) / steps
        return self.rate * min(share / self.warmup, (1 - share) / (1 - self.warmup))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """All of a run that is not a tensor.

    Attributes:
        vocabulary: the tokenizer's, without the three tokens.
        labels: in the order of the head's outputs; empty: a choice, or scores.
        scale: mean and standard deviation of the training set's scores; None: another task.
        data: sha256 of the training file; source: of the weights that the run began with.
        done: steps taken, of `steps`.
    """

    __pydantic_config__ = {"extra": "forbid"}
    version: int
    model: ModelConfig
    vocabulary: int
    config: FinetuneConfig
    labels: tuple[str, ...]
    scale: tuple[float, float] | None = None
    data: str
    source: str
    done: int
    steps: int

    @property
    def epoch(self) -> int:
        """Steps of an epoch."""
        return self.steps // self.config.epochs


class Finetuned:
    """A fine-tuned network with its tokenizer, ready to label."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """
        Raises:
            InputError, ModelError: if the folder holds no fine-tuned network, or a damaged one.
        """
        self.progress, tensors = _read(folder / MODEL, moments=False)
        with torch.device("meta"):
            gpt = GPT(self.progress.model, self.progress.vocabulary + SPECIALS)
            labels, choice = self.progress.labels, self.progress.config.task == "choice"
            self.model = Classifier(gpt, max(1, len(labels)), choice=choice)
        try:
            self.model.load_state_dict(tensors, assign=True)
        except RuntimeError as error:
            raise ModelError(f"{folder / MODEL} holds other tensors than its header says: {error}") from error
        self.model.to(device)
        self.encode = Encoder(load_tokenizer(folder), self.progress.vocabulary, self.progress.model.context)

    def predict(self, examples: Sequence[Example]) -> list[dict[str, float]]:
        """Of each example the chance of each label, or of each choice by its index; or its `score`."""
        names = self.progress.labels
        rows = [[self.encode(texts) for texts in example.sequences] for example in examples]
        answers = answers_of(self.model, rows, self.progress.config.micro)
        if self.progress.scale is not None:
            return [{"score": one} for one in labelled.scores([one for (one,) in answers], self.progress.scale)]
        return [{names[i] if names else str(i): chance for i, chance in enumerate(row)} for row in answers]


def answers_of(model: Classifier, examples: Sequence[Sequence[Ids]], micro: int) -> list[list[float]]:
    """The chances of an example's labels or choices, or its score; examples of like length are read together."""
    device = model.gpt.wte.weight.device
    order = sorted(range(len(examples)), key=lambda i: (-max(map(len, examples[i])), i))
    out: list[list[float]] = [[] for _ in examples]
    for first in range(0, len(order), micro):
        part = order[first : first + micro]
        with torch.inference_mode(), machine.mixed(device):
            logits_EL, _ = model(Batch.of([examples[i] for i in part], device))
        scored = model.head.out_features == 1 and not model.choice
        values_EL = logits_EL.double() if scored else logits_EL.double().softmax(-1)
        for i, row in zip(part, values_EL.tolist(), strict=True):
            out[i] = row[: len(examples[i])] if model.choice else row
    return out


def finetune(
    source: Path,
    train: str,
    held: str | None,
    out: Path,
    config: FinetuneConfig,
    device: torch.device,
    note: Callable[[str], None] = lambda text: None,
    tick: Tick = lambda done, total: None,
) -> Accuracy | Correlation | None:
    """Train the newest checkpoint of `source` on a labelled set, or go on where a run in `out` stopped.

    Returns:
        How well the held-out set is answered; None without one.

    Raises:
        InputError, ModelError: if a file is missing, damaged, or not of the task's form.
        StaleError: if `out` holds a run of another checkpoint, set or setting.
    """
    with checkpoint.lock(out):
        run = _Run(source, train, held, out, config, device)
        return run.train(note, tick)


class _Run:
    def __init__(
        self, source: Path, train: str, held: str | None, out: Path, config: FinetuneConfig, device: torch.device
    ) -> None:
        examples = labelled.read(train, config.task)
        folder = checkpoint.resolve(source)
        state = checkpoint.read_state(folder)
        labels, scale = labelled.outputs(train, examples, config.task)
        with storage.open_input(train) as file:
            data = hashlib.sha256(file.read()).hexdigest()
        gpt = checkpoint.load_model(folder, state)
        self.out, self.config, self.device = out, config, device
        self.progress = Progress(
            version=VERSION,
            model=state.preset.model,
            vocabulary=state.vocabulary,
            config=config,
            labels=labels,
            scale=scale,
            data=data,
            source=_digest(gpt),
            done=0,
            steps=config.epochs * math.ceil(len(examples) / config.batch),
        )
        if (out / MODEL).is_file():
            before = Finetuned(out, torch.device("cpu"))
            self._check(before.progress)
            self.progress, self.model = before.progress, before.model
        else:
            seed = draw.key("pretrain.finetune", config.seed) >> 1
            self.model = Classifier.create(gpt, max(1, len(labels)), seed=seed, choice=config.task == "choice")
            with storage.atomic(str(out / TOKENIZER)) as copy:
                copy.write((folder / TOKENIZER).read_bytes())
        self.model.to(device)
        self.encode = Encoder(load_tokenizer(out), state.vocabulary, state.preset.model.context)
        self.train_rows, self.train_gold = self._encoded(train, examples)
        self.held = None if held is None else self._encoded(held, labelled.read(held, config.task))

    def _check(self, before: Progress) -> None:
        for name in ("config", "data", "source", "steps", "model"):
            if getattr(before, name) != getattr(self.progress, name):
                raise StaleError(
                    f"{self.out} holds a run with another {name}: {getattr(before, name)}; give the same command as "
                    "then to go on, or a new --out"
                )

    def _encoded(self, path: str, examples: Sequence[Example]) -> tuple[list[list[Ids]], list[float]]:
        rows = [[self.encode(texts) for texts in example.sequences] for example in examples]
        return rows, labelled.targets(path, examples, self.progress.labels, self.progress.scale)

    def train(self, note: Callable[[str], None], tick: Tick) -> Accuracy | Correlation | None:
        config, steps, epoch = self.config, self.progress.steps, self.progress.epoch
        optimizer, path = self._optimizer(), self.out / METRICS
        # A killed run may have written lines of steps that it had not saved.
        kept = [line for line in read_metrics(self.out) if line["step"] <= self.progress.done]
        with storage.atomic(str(path)) as file:
            file.writelines(map(line_of, kept))
        result = None
        with open(path, "ab", buffering=0) as metrics:
            for step in range(self.progress.done, steps):
                line = self._step(optimizer, step)
                tick(step + 1, steps)
                metrics.write(line_of({"step": step + 1} | line))
                ends = (step + 1) % epoch == 0
                if ends and self.held is not None:
                    result = self._held()
                    metrics.write(line_of({"step": step + 1, "held": asdict(result)}))
                if ends or (step + 1) % config.save == 0:
                    self._save(optimizer, step + 1)
                    note(f"step {step + 1} of {steps}: loss {line['loss']:.4f}, language {line['language']:.4f}")
        return self._held() if self.held is not None and result is None else result

    def _held(self) -> Accuracy | Correlation:
        assert self.held is not None
        rows, gold = self.held
        answers, scale = answers_of(self.model, rows, self.config.micro), self.progress.scale
        if scale is None:
            return labelled.accuracy(answers, gold, choice=self.model.choice)
        return labelled.correlation(*(labelled.scores(each, scale) for each in ([one for (one,) in answers], gold)))

    def _step(self, optimizer: torch.optim.AdamW, step: int) -> dict[str, float]:
        """One update; returns what the metrics say of it."""
        config, count = self.config, len(self.train_rows)
        salt = np.uint64(draw.key("pretrain.finetune.order", config.seed, step // self.progress.epoch))
        order = np.argsort(draw.mix(draw.mix(np.arange(count, dtype=np.uint64)) ^ salt), kind="stable")
        first = step % self.progress.epoch * config.batch
        indices = order[first : first + config.batch].tolist()
        sequences = sum(len(self.train_rows[i]) for i in indices)
        rate = config.rate_at(step, self.progress.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        losses = [0.0, 0.0]
        for start in range(0, len(indices), config.micro):
            part = indices[start : start + config.micro]
            with _seeded(self.device, draw.key("pretrain.finetune.dropout", config.seed, step, start) >> 1):
                labels, language = self._losses(part)
            labels, language = labels / len(indices), language / sequences
            (labels + config.language * language).backward()  # type: ignore[no-untyped-call]
            losses = [losses[0] + labels.item(), losses[1] + language.item()]
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip))
        if not math.isfinite(norm):
            raise ModelError(f"the gradient of step {step + 1} is not finite; lower the learning rate")
        optimizer.step()
        return {"loss": losses[0], "language": losses[1], "rate": rate, "norm": norm}

    def _losses(self, part: list[int]) -> tuple[Tensor, Tensor]:
        """Sums over examples of the labels' nats or the scores' squared errors, and over sequences of the language
        model's mean nats.
        """
        batch = Batch.of([self.train_rows[i] for i in part], self.device)
        gold = [self.train_gold[i] for i in part]
        with machine.mixed(self.device):
            logits_EL, hidden_STD = self.model(batch, dropout=self.config.dropout, inner=self.progress.model.dropout)
            language_S = self.model.language(batch, hidden_STD)
        if self.progress.scale is not None:
            scores_E = torch.tensor(gold, device=self.device)
            return F.mse_loss(logits_EL[:, 0], scores_E, reduction="sum"), language_S.sum()
        places_E = torch.tensor(gold, dtype=torch.int64, device=self.device)
        return F.cross_entropy(logits_EL, places_E, reduction="sum"), language_S.sum()

    def _optimizer(self) -> torch.optim.AdamW:
        """With the moments of the run's last save, if there is one."""
        config, named = self.config, dict(self.model.named_parameters())
        groups = [
            {"params": [p for p in named.values() if p.dim() > 1], "weight_decay": config.decay},
            {"params": [p for p in named.values() if p.dim() < 2], "weight_decay": 0.0},
        ]
        betas = (config.beta1, config.beta2)
        optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=betas, eps=config.epsilon, fused=True)
        if 0 < self.progress.done < self.progress.steps:
            _, moments = _read(self.out / MODEL, moments=True)
            for name, parameter in named.items():
                state = {kind: moments[f"{kind}.{name}"].to(self.device) for kind in _MOMENTS}
                step = torch.tensor(float(self.progress.done), device=self.device)
                optimizer.state[parameter] = state | {"step": step}
        return optimizer

    def _save(self, optimizer: torch.optim.AdamW, done: int) -> None:
        """Weights and progress, and moments while there is more to do."""
        progress = replace(self.progress, done=done)
        tensors = {name: value.detach().cpu() for name, value in self.model.state_dict().items()}
        if done < progress.steps:
            for name, parameter in self.model.named_parameters():
                tensors |= {f"{kind}.{name}": optimizer.state[parameter][kind].cpu() for kind in _MOMENTS}
        header = {_HEADER: json.dumps(asdict(progress), sort_keys=True)}
        checkpoint.write_tensors(self.out / MODEL, tensors, header)


def _read(path: Path, *, moments: bool) -> tuple[Progress, dict[str, Tensor]]:
    """A saved run's progress, and either its moments or its weights.

    Raises:
        InputError: if there is none.
        ModelError: if it is damaged or of another version.
    """
    if not path.is_file():
        raise InputError(f"{path.parent} holds no fine-tuned network; name the --out folder of `pretrain finetune`")
    try:
        with safe_open(path, "pt") as file:
            progress = TypeAdapter(Progress).validate_json((file.metadata() or {}).get(_HEADER, ""))
            names = [name for name in file.keys() if name.startswith(_MOMENTS) == moments]  # noqa: SIM118
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is unreadable: {storage.reason(error)}; remove it to train anew") from error
    except ValidationError as error:
        raise ModelError(f"{path} is no fine-tuned network; name the --out folder of `pretrain finetune`") from error
    if progress.version != VERSION:
        raise ModelError(f"{path} has version {progress.version}, this code reads {VERSION}; train anew")
    return progress, tensors


def _digest(gpt: GPT) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(gpt.state_dict().items()):
        digest.update(name.encode() + tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


@contextlib.contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's generators begin at the seed, and afterwards stand where they stood."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
