"""Models and recipes by name. No torch here: the command line can list presets without it.

The vocabulary is no part of a preset: it comes from the shard manifest.
"""

import difflib
from dataclasses import dataclass

from curate.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The shape of a GPT-2 (Radford et al. 2019, section 2.3); the feed-forward part is 4 x width."""

    __pydantic_config__ = {"extra": "forbid"}
    layers: int
    width: int
    heads: int
    context: int  # tokens

    def __post_init__(self) -> None:
        if min(self.layers, self.width, self.heads, self.context) < 1:
            raise ValueError(f"{self} has a size below 1")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by {self.heads} heads")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained. Defaults are GPT-3's (Brown et al. 2020, appendix B), since GPT-2's were never published.

    Attributes:
        batch_tokens: tokens of one optimizer step; a multiple of the model's context.
        micro_windows: windows of one forward pass; more need more memory and change nothing but rounding.
        peak_rate: learning rate at the end of the warm-up.
        final_share: share of the peak that the cosine ends at.
        warmup_tokens: tokens of the linear warm-up, at most a tenth of the run, so that short runs still learn.
        decay: decoupled weight decay, on matrices alone.
        beta1, beta2, epsilon: AdamW's.
        clip: largest global norm of the gradient.
        checkpoint_tokens: tokens between two checkpoints.
        held_tokens: most held-out tokens of a source that the validation during training reads.
    """

    __pydantic_config__ = {"extra": "forbid"}
    batch_tokens: int
    micro_windows: int
    peak_rate: float
    warmup_tokens: int
    checkpoint_tokens: int
    held_tokens: int
    final_share: float = 0.1
    decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    clip: float = 1.0

    def __post_init__(self) -> None:
        counts = (self.batch_tokens, self.micro_windows, self.checkpoint_tokens, self.held_tokens)
        if min(counts) < 1 or self.warmup_tokens < 0:
            raise ValueError(f"{self} has a count below 1")
        if not (self.peak_rate > 0 and 0 <= self.final_share <= 1 and self.clip > 0 and self.decay >= 0):
            raise ValueError(f"{self} has a rate, share, clip or decay outside its range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A model with its recipe."""

    __pydantic_config__ = {"extra": "forbid"}
    name: str
    model: ModelConfig
    recipe: Recipe

    def __post_init__(self) -> None:
        if self.recipe.batch_tokens % self.model.context:
            raise ValueError(
                f"preset {self.name}: batch_tokens {self.recipe.batch_tokens} is no multiple of the context, "
                f"{self.model.context}"
            )


# tiny: our own, for two CPU cores and some 100,000 to 1,000,000 tokens; about a million parameters. Its batch and rate
# were tried out on 200,000 tokens (docs/pretraining.md).
# gpt2: the smallest model of Radford et al. 2019 (124M with tied head; the paper's "117M"), batch of 512 windows. Its
# learning rate was never published: GPT-3 Small's (Brown et al. 2020, table 2.1) and GPT-3's warm-up.
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="tiny",
            model=ModelConfig(layers=4, width=128, heads=4, context=256),
            recipe=Recipe(
                batch_tokens=1024,
                micro_windows=8,
                peak_rate=2e-3,
                warmup_tokens=32_768,
                checkpoint_tokens=131_072,
                held_tokens=8_192,
            ),
        ),
        Preset(
            name="gpt2",
            model=ModelConfig(layers=12, width=768, heads=12, context=1024),
            recipe=Recipe(
                batch_tokens=524_288,
                micro_windows=16,
                peak_rate=6e-4,
                warmup_tokens=375_000_000,
                checkpoint_tokens=268_435_456,
                held_tokens=1_048_576,
            ),
        ),
    )
}


def find(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UsageError: if there is none; it names the nearest.
    """
    if name in PRESETS:
        return PRESETS[name]
    near = difflib.get_close_matches(name, PRESETS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PRESETS)}"
    raise UsageError(f"no preset {name!r}; {hint}")


def num_parameters(model: ModelConfig, vocabulary: int) -> int:
    """Parameters with the head tied to the embedding and without padding: 124,439,808 for gpt2 at 50,257."""
    width = model.width
    block = 12 * width * width + 13 * width  # qkv, out, up, down with biases; two norms
    return vocabulary * width + model.context * width + model.layers * block + 2 * width
