"""How weights move: AdamW as GPT-3 used it (Brown et al. 2020, appendix B) or Muon, the learning rate as a function of
tokens, the scale of float16's loss, and which updates are skipped.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from pretrain.presets import Recipe

# float16: see torch.amp.GradScaler, whose numbers these are.
FIRST_SCALE = 65_536.0
_GROWTH_STEPS = 2000


def optimizers(model: nn.Module, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """The recipe's; together they hold every parameter once.

    Weight decay acts on matrices (embeddings too), and not on biases and norms. Muon takes the matrices of the blocks,
    with its update scaled to AdamW's (Liu et al. 2025, section 2.2), so that both have the same learning rate.

    The learning rate is set anew at every step: see `learning_rate`.
    """
    named = list(model.named_parameters())
    muon = [p for name, p in named if recipe.optimizer == "muon" and p.dim() == 2 and name.startswith("blocks.")]
    rest = [p for _, p in named if not any(p is other for other in muon)]
    groups = [
        {"params": [p for p in rest if p.dim() >= 2], "weight_decay": recipe.decay},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    out: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=betas, eps=recipe.epsilon, fused=True)
    ]
    if muon:
        out.append(
            torch.optim.Muon(muon, lr=recipe.peak_rate, weight_decay=recipe.decay, adjust_lr_fn="match_rms_adamw")
        )
    return out


def moments(optimizer: torch.optim.Optimizer, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the optimizer keeps of a parameter; zeros before its first step."""
    if not optimizer.state[parameter]:
        kinds = ("exp_avg", "exp_avg_sq") if isinstance(optimizer, torch.optim.AdamW) else ("momentum_buffer",)
        optimizer.state[parameter] = {kind: torch.zeros_like(parameter, requires_grad=False) for kind in kinds}
        if isinstance(optimizer, torch.optim.AdamW):
            optimizer.state[parameter]["step"] = torch.zeros((), device=parameter.device)
    found: dict[str, torch.Tensor] = optimizer.state[parameter]
    return found


def warmup_tokens(recipe: Recipe, total: int) -> int:
    """Tokens of the warm-up of a run of `total` tokens: the recipe's, but at most a tenth of the run."""
    return min(recipe.warmup_tokens, total // 10)


def learning_rate(recipe: Recipe, tokens: int, total: int) -> float:
    """The rate of the step that ends after `tokens` of `total`: linear to the peak, a cosine to its final share, and
    that to the end. The cosine ends after the recipe's `cosine_tokens`, or with a run that is shorter.
    """
    warmup, end = warmup_tokens(recipe, total), min(recipe.cosine_tokens or total, total)
    if tokens < warmup:
        return recipe.peak_rate * tokens / warmup
    progress = min(1.0, (tokens - warmup) / max(1, end - warmup))
    final = recipe.peak_rate * recipe.final_share
    return final + (recipe.peak_rate - final) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The factor of a float16 run's loss, which keeps its gradients above what float16 rounds to 0.

    An update whose gradients overflow is skipped and the factor halved; after 2,000 in a row that do not, it doubles.
    """

    __pydantic_config__ = {"extra": "forbid"}
    factor: float = FIRST_SCALE
    good: int = 0

    def after(self, *, overflow: bool) -> "Scale":
        """The scale of the next step."""
        if overflow:
            return Scale(factor=self.factor / 2)
        if self.good + 1 == _GROWTH_STEPS:
            return Scale(factor=self.factor * 2)
        return Scale(factor=self.factor, good=self.good + 1)


class Recent:
    """Loss and gradient norm of the last steps, skipped ones too, and whether another step stands out of them.

    OLMo-core's rule (its SkipStepOptimizer), with llm.c's window of 128: a loss or a norm more than so many standard
    deviations above the mean. Skipped steps count, so a run that has come to a new level is not skipped for ever.
    """

    def __init__(self, window: int, steps: Sequence[tuple[float, float]] = ()) -> None:
        self._steps = deque(steps, maxlen=window)

    @property
    def steps(self) -> tuple[tuple[float, float], ...]:
        return tuple(self._steps)

    def limits(self, sigmas: float) -> tuple[float, float]:
        """What loss and norm must not pass; infinite until the window is full."""
        if len(self._steps) < (self._steps.maxlen or 0):
            return math.inf, math.inf
        loss, norm = (_limit(values, sigmas) for values in zip(*self._steps, strict=True))
        return loss, norm

    def add(self, loss: float, norm: float) -> None:
        """Take up a step."""
        self._steps.append((loss, norm))


def _limit(values: Sequence[float], sigmas: float) -> float:
    mean = math.fsum(values) / len(values)
    return mean + sigmas * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
