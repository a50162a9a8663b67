"""Models and recipes by name. No torch here: the command line can list presets without it.

The vocabulary is no part of a preset: it comes from the shard manifest.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from pydantic import TypeAdapter, ValidationError

from curate.errors import UsageError

# The networks of transformers that ours can be written as: see `interchange`.
Format = Literal["gpt2", "openai-gpt", "gpt-neo"]
FORMATS: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The shape of a GPT. The feed-forward part is 4 x width; a head is width / heads wide.

    Attributes:
        context: most tokens of a window.
        norm: where a block norms. pre: before attention and before the feed-forward part, and once more after the last
            block (Radford et al. 2019, section 2.3). post: after each is added, and nowhere else (GPT-1, Radford et al.
            2018, section 4.1).
        dropout: rate on the embeddings, the attention weights and each residual branch, in training alone.
        band: positions that a banded layer attends to, itself included; None: all layers are dense. GPT-3 alternates
            the two (Brown et al. 2020, section 2.1), but OpenAI never published the band, nor which come first.
        dense_first: the layers 0, 2, 4, ... are dense and the others banded; False: the reverse.
    """

    __pydantic_config__ = {"extra": "forbid"}
    layers: int
    width: int
    heads: int
    context: int
    norm: Literal["pre", "post"] = "pre"
    dropout: float = 0.0
    band: int | None = None
    dense_first: bool = True

    def __post_init__(self) -> None:
        if min(self.layers, self.width, self.heads, self.context) < 1:
            raise ValueError(f"{self} has a size below 1")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide by {self.heads} heads")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")
        if self.band is not None and self.band < 1:
            raise ValueError(f"band {self.band} is below 1; a position attends to itself at least")

    @property
    def bands(self) -> tuple[int | None, ...]:
        """The band of each layer; None: it is dense."""
        return tuple(None if (layer % 2 == 0) == self.dense_first else self.band for layer in range(self.layers))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a model is trained. Defaults are GPT-3's (Brown et al. 2020, appendix B), since GPT-2's were never published.

    Attributes:
        batch_tokens: tokens of one optimizer step; a multiple of the model's context.
        micro_windows: windows of one forward pass; more need more memory and change nothing but rounding and dropout.
        peak_rate: learning rate at the end of the warm-up.
        final_share: share of the peak that the cosine ends at.
        cosine_tokens: tokens after which it ends there, and the rate stays; None, or more than the run has: the run's.
        first_batch_tokens, ramp_tokens: the batch grows linearly from the first to `batch_tokens` over so many tokens,
            at most a tenth of the run; None: all have the full size.
        warmup_tokens: tokens of the linear warm-up, at most a tenth of the run, so that short runs still learn.
        decay: decoupled weight decay, on matrices alone.
        beta1, beta2, epsilon: AdamW's.
        clip: largest global norm of the gradient.
        optimizer: adamw; or muon (Jordan et al. 2024) for the matrices of the blocks, and AdamW for the rest.
        document_mask: no position attends to a document before its own. The papers' windows are not masked.
        spike_sigmas: an update is skipped if its loss or gradient norm is more than so many standard deviations above
            the mean of the last `spike_window` steps; None, as in the papers: none is.
        spike_window: steps; before there are as many, nothing is skipped.
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
    cosine_tokens: int | None = None
    first_batch_tokens: int | None = None
    ramp_tokens: int | None = None
    optimizer: Literal["adamw", "muon"] = "adamw"
    document_mask: bool = False
    spike_sigmas: float | None = None
    spike_window: int = 128

    def __post_init__(self) -> None:
        counts = (self.batch_tokens, self.micro_windows, self.checkpoint_tokens, self.held_tokens, self.spike_window)
        optional = (self.cosine_tokens, self.first_batch_tokens, self.ramp_tokens)
        if min(*counts, *(1 if each is None else each for each in optional)) < 1 or self.warmup_tokens < 0:
            raise ValueError(f"{self} has a count below 1")
        if (self.ramp_tokens is None) != (self.first_batch_tokens is None):
            raise ValueError(f"{self}: first_batch_tokens and ramp_tokens go together")
        if (self.first_batch_tokens or 1) > self.batch_tokens:
            raise ValueError(f"first_batch_tokens {self.first_batch_tokens} passes batch_tokens {self.batch_tokens}")
        if self.spike_sigmas is not None and not self.spike_sigmas > 0:
            raise ValueError(f"spike_sigmas {self.spike_sigmas} is not above 0")
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
        for key in ("batch_tokens", "first_batch_tokens"):
            tokens = getattr(self.recipe, key)
            if tokens is not None and tokens % self.model.context:
                raise ValueError(
                    f"preset {self.name}: {key} {tokens} is no multiple of the context, {self.model.context}"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """What the paper of a preset prints, right or wrong.

    Attributes:
        name: the paper's own.
        vocabulary: entries of its tokenizer.
        parameters: in millions, as precise as printed.
        heads, width, head_width: None: not printed.
        rate: None: never published.
        remark: where the paper contradicts itself or what was built, and what is built here.
    """

    name: str
    vocabulary: int
    parameters: int
    layers: int
    width: int
    heads: int | None = None
    head_width: int | None = None
    rate: float | None = None
    remark: str = ""


_GPT1_VOCABULARY = 40_478  # 40,000 merges, the symbols they begin with, and specials
_GPT2_VOCABULARY = 50_257  # 50,000 merges, 256 bytes, end-of-text

_COUNTS = "the paper's count, which OpenAI corrected later"
_HEADS = "24 heads of 128 are 3,072 wide; built with 16, which gives appendix D's 1,320M parameters"
_WIDTH = "40 heads of 128 are 5,120 wide, not 5,140; built 5,120, which gives appendix D's 12,850M parameters"

# GPT-1: section 4.1 prints no count, and GPT-2's table 2 calls its smallest model, 117M, "equivalent to the original".
# GPT-2: table 2; it prints no heads: the released models' are 64 wide.
# GPT-3: table 2.1, with the parameters of table D.1, which are those of table 2.1 to three or four digits.
PRINTED = {
    "gpt1": Printed(
        name="GPT",
        vocabulary=_GPT1_VOCABULARY,
        parameters=117,
        layers=12,
        width=768,
        heads=12,
        rate=2.5e-4,
        remark="the paper prints no count; 117M is from GPT-2's",
    ),
    "gpt2": Printed(
        name="117M", vocabulary=_GPT2_VOCABULARY, parameters=117, layers=12, width=768, remark=f"{_COUNTS}: 124M"
    ),
    "gpt2-medium": Printed(
        name="345M", vocabulary=_GPT2_VOCABULARY, parameters=345, layers=24, width=1024, remark=f"{_COUNTS}: 355M"
    ),
    "gpt2-large": Printed(
        name="762M", vocabulary=_GPT2_VOCABULARY, parameters=762, layers=36, width=1280, remark=f"{_COUNTS}: 774M"
    ),
    "gpt2-xl": Printed(
        name="1542M", vocabulary=_GPT2_VOCABULARY, parameters=1542, layers=48, width=1600, remark=f"{_COUNTS}: 1558M"
    ),
} | {
    name: Printed(
        name=title,
        vocabulary=_GPT2_VOCABULARY,
        parameters=parameters,
        layers=layers,
        width=width,
        heads=heads,
        head_width=head_width,
        rate=rate,
        remark=remark,
    )
    for name, title, parameters, layers, width, heads, head_width, rate, remark in (
        ("gpt3-125m", "GPT-3 Small", 125, 12, 768, 12, 64, 6.0e-4, ""),
        ("gpt3-350m", "GPT-3 Medium", 356, 24, 1024, 16, 64, 3.0e-4, ""),
        ("gpt3-760m", "GPT-3 Large", 760, 24, 1536, 16, 96, 2.5e-4, ""),
        ("gpt3-1.3b", "GPT-3 XL", 1_320, 24, 2048, 24, 128, 2.0e-4, _HEADS),
        ("gpt3-2.7b", "GPT-3 2.7B", 2_650, 32, 2560, 32, 80, 1.6e-4, ""),
        ("gpt3-6.7b", "GPT-3 6.7B", 6_660, 32, 4096, 32, 128, 1.2e-4, ""),
        ("gpt3-13b", "GPT-3 13B", 12_850, 40, 5140, 40, 128, 1.0e-4, _WIDTH),
        ("gpt3-175b", "GPT-3 175B", 174_600, 96, 12288, 96, 128, 0.6e-4, ""),
    )
}


def _recipe(batch_tokens: int, micro_windows: int, peak_rate: float) -> Recipe:
    """GPT-3's, of a model that is trained on billions of tokens."""
    return Recipe(
        batch_tokens=batch_tokens,
        micro_windows=micro_windows,
        peak_rate=peak_rate,
        warmup_tokens=375_000_000,
        checkpoint_tokens=268_435_456,
        held_tokens=1_048_576,
    )


def _gpt2(name: str, heads: int, micro_windows: int, peak_rate: float) -> Preset:
    """Batch of 512 windows. GPT-2's rates were never published: those of the GPT-3 nearest in size are taken."""
    printed = PRINTED[name]
    return Preset(
        name=name,
        model=ModelConfig(layers=printed.layers, width=printed.width, heads=heads, context=1024),
        recipe=_recipe(524_288, micro_windows, peak_rate),
    )


def _gpt3(name: str, windows: int, micro_windows: int, width: int | None = None, heads: int | None = None) -> Preset:
    """As printed, but for the width or heads given. The band is GPT-Neo's, an open replica: 256, even layers dense.

    Appendix B: the cosine ends after 260B tokens, and the batch grows from 32k tokens over the first 4 to 12 billion,
    "depending on the model size"; which size has which is not printed, and here follows the batch.
    """
    printed = PRINTED[name]
    assert printed.heads
    assert printed.rate
    model = ModelConfig(
        layers=printed.layers,
        width=width or printed.width,
        heads=heads or printed.heads,
        context=2048,
        band=256,
    )
    recipe = replace(
        _recipe(windows * model.context, micro_windows, printed.rate),
        cosine_tokens=260_000_000_000,
        first_batch_tokens=16 * model.context,
        ramp_tokens={256: 4, 512: 6, 1024: 8, 1568: 12}[windows] * 1_000_000_000,
    )
    return Preset(name=name, model=model, recipe=recipe)


def _tiny(name: str, model: ModelConfig) -> Preset:
    """For two CPU cores and some 100,000 to 1,000,000 tokens; batch and rate were tried out on 200,000 with `tiny`."""
    recipe = Recipe(
        batch_tokens=1024,
        micro_windows=8,
        peak_rate=2e-3,
        warmup_tokens=32_768,
        checkpoint_tokens=131_072,
        held_tokens=8_192,
    )
    return Preset(name=name, model=model, recipe=recipe)


# The tiny ones are ours, one for each paper's network; about a million parameters.
#
# gpt1: Radford et al. 2018, section 4.1: batch of 64 windows, warm-up of 2,000 updates, cosine to 0, decay .01. Adam's
# second beta and the clipping are the released fine-tuning code's; the paper names none for pretraining.
#
# gpt3: table 2.1 gives batches of .5M, 1M, 2M and 3.2M tokens: powers of two here, and 1,568 windows for the last, the
# multiple of 32 that comes nearest to 3.2M.
PRESETS = {
    preset.name: preset
    for preset in (
        _tiny("tiny", ModelConfig(layers=4, width=128, heads=4, context=256)),
        _tiny("gpt1-tiny", ModelConfig(layers=4, width=128, heads=4, context=256, norm="post", dropout=0.1)),
        _tiny("gpt3-tiny", ModelConfig(layers=4, width=128, heads=4, context=256, band=32)),
        Preset(
            name="gpt1",
            model=ModelConfig(layers=12, width=768, heads=12, context=512, norm="post", dropout=0.1),
            recipe=Recipe(
                batch_tokens=32_768,
                micro_windows=32,
                peak_rate=2.5e-4,
                warmup_tokens=2000 * 32_768,
                checkpoint_tokens=268_435_456,
                held_tokens=1_048_576,
                final_share=0.0,
                decay=0.01,
                beta2=0.999,
            ),
        ),
        _gpt2("gpt2", 12, 16, 6e-4),
        _gpt2("gpt2-medium", 16, 8, 3e-4),
        _gpt2("gpt2-large", 20, 4, 2.5e-4),
        _gpt2("gpt2-xl", 25, 2, 2e-4),
        _gpt3("gpt3-125m", 256, 8),
        _gpt3("gpt3-350m", 256, 4),
        _gpt3("gpt3-760m", 256, 2),
        _gpt3("gpt3-1.3b", 512, 1, heads=16),
        _gpt3("gpt3-2.7b", 512, 1),
        _gpt3("gpt3-6.7b", 1024, 1),
        _gpt3("gpt3-13b", 1024, 1, width=5120),
        _gpt3("gpt3-175b", 1568, 1),
    )
}


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint at what was meant: the nearest of the known names, or all of them."""
    names = list(known)
    near = difflib.get_close_matches(word, names, 1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"


def find(name: str) -> Preset:
    """The preset of that name.

    Raises:
        UsageError: if there is none; it names the nearest.
    """
    if name in PRESETS:
        return PRESETS[name]
    raise UsageError(f"no preset {name!r}; {nearest(name, PRESETS)}")


def amend(preset: Preset, settings: Sequence[str]) -> Preset:
    """The preset with other values for keys of its model or recipe, each given as `key=value`; `none` is None.

    Raises:
        UsageError: if a key is unknown, with the nearest known one, or a value is not of its key.
    """
    parts = {"model": asdict(preset.model), "recipe": asdict(preset.recipe)}
    for setting in settings:
        key, equals, text = setting.partition("=")
        owner = next((part for part in parts.values() if key in part), None)
        if owner is None or not equals:
            known = [*parts["model"], *parts["recipe"]]
            raise UsageError(f"--set {setting}: no key {key!r} with a value; {nearest(key, known)}")
        owner[key] = None if text == "none" else text
    try:
        return TypeAdapter(Preset).validate_python({"name": preset.name} | parts)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--set {first['loc'][-1] if first['loc'] else ''}: {first['msg']}") from error


def num_parameters(model: ModelConfig, vocabulary: int) -> int:
    """Parameters with the head tied to the embedding and without padding: 124,439,808 for gpt2 at 50,257."""
    width = model.width
    block = 12 * width * width + 13 * width  # qkv, out, up, down with biases; two norms
    last = 2 * width if model.norm == "pre" else 0
    return vocabulary * width + model.context * width + model.layers * block + last
