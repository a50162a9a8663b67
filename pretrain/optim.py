"""AdamW as GPT-3 used it, and its learning rate as a function of tokens (Brown et al. 2020, appendix B)."""

import math

import torch
from torch import nn

from pretrain.presets import Recipe


def adamw(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """Fused AdamW; weight decay on matrices (embeddings too), none on biases and norms.

    The learning rate is set anew at every step: see `learning_rate`.
    """
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": recipe.decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    return torch.optim.AdamW(groups, lr=recipe.peak_rate, betas=betas, eps=recipe.epsilon, fused=True)


def warmup_tokens(recipe: Recipe, total: int) -> int:
    """Tokens of the warm-up of a run of `total` tokens: the recipe's, but at most a tenth of the run."""
    return min(recipe.warmup_tokens, total // 10)


def learning_rate(recipe: Recipe, tokens: int, total: int) -> float:
    """The rate of the step that ends after `tokens` of `total`: linear to the peak, then a cosine to its final share.

    The cosine ends with the run, as in GPT-2's reproductions; GPT-3 let it end at 260B of its 300B tokens.
    """
    warmup = warmup_tokens(recipe, total)
    if tokens < warmup:
        return recipe.peak_rate * tokens / warmup
    progress = min(1.0, (tokens - warmup) / max(1, total - warmup))
    final = recipe.peak_rate * recipe.final_share
    return final + (recipe.peak_rate - final) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
