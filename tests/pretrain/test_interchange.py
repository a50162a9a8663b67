"""Both ways between our models and transformers': the same logits from the same weights, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from curate.errors import ModelError, UsageError
from pretrain import interchange
from pretrain.model import GPT
from pretrain.presets import PRESETS, Format, ModelConfig

DENSE = ModelConfig(layers=3, width=24, heads=4, context=20)
POST = replace(DENSE, norm="post", dropout=0.1)
BANDED = replace(DENSE, band=6)
VOCABULARY = 101
CASES: list[tuple[Format, ModelConfig]] = [
    ("gpt2", DENSE),
    ("gpt2", replace(DENSE, dropout=0.1)),
    ("openai-gpt", POST),
    ("gpt-neo", BANDED),
    ("gpt-neo", replace(BANDED, dense_first=False, band=1)),
    ("gpt-neo", DENSE),
]
Theirs = Callable[[dict[str, Any]], Any]


def randomised(config: ModelConfig) -> GPT:
    """Every tensor far from its start, biases and norms too."""
    model = GPT.create(config, VOCABULARY, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        model.wte.weight[VOCABULARY:] = 0
    return model


def theirs(settings: dict[str, Any]) -> Any:
    """transformers' own model for a config.json, randomised; on the CPU, in float32."""
    config = transformers.AutoConfig.for_model(**settings)
    assert config.to_dict().items() >= {k: v for k, v in settings.items() if k != "torch_dtype"}.items()
    model = getattr(transformers, settings["architectures"][0])(config).eval()
    generator = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def ours(tensors: dict[str, torch.Tensor], settings: dict[str, Any]) -> GPT:
    kind, config = interchange.from_settings(settings)
    with torch.device("meta"):
        model = GPT(config, VOCABULARY)
    model.load_state_dict(interchange.from_tensors(tensors, config, VOCABULARY, kind), assign=True)
    return model


def ids(columns: int = DENSE.context) -> torch.Tensor:
    return torch.randint(0, VOCABULARY, (3, columns), generator=torch.Generator().manual_seed(5))


def difference(one: Any, two: Any) -> float:
    with torch.no_grad():
        logits = [model(ids()) for model in (one, two)]
    first, second = (getattr(value, "logits", value) for value in logits)
    assert first.shape == (3, DENSE.context, VOCABULARY)
    assert first.std() > 0.5
    return float((first - second).abs().max())


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_exported_logits_are_equal(kind: Format, config: ModelConfig) -> None:
    model = randomised(config)
    other = theirs(interchange.to_settings(config, VOCABULARY, 0, kind))
    missing, unexpected = other.load_state_dict(interchange.to_tensors(model, kind), strict=False)
    assert (missing, unexpected) == (["lm_head.weight"], [])
    other.tie_weights()
    assert difference(model, other) < 1e-4


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_imported_logits_are_equal(kind: Format, config: ModelConfig) -> None:
    settings = interchange.to_settings(config, VOCABULARY, 0, kind)
    other = theirs(settings)
    model = ours(other.state_dict(), settings)
    assert model.config == config
    assert difference(model, other) < 1e-4


@pytest.mark.parametrize(("kind", "config"), CASES)
def test_there_and_back_is_the_same(kind: Format, config: ModelConfig) -> None:
    """To the last bit, but for the rounding of what GPT-Neo's layout moves or scales."""
    model = randomised(config)
    settings = interchange.to_settings(config, VOCABULARY, 0, kind)
    back = ours(interchange.to_tensors(model, kind), settings)
    if kind != "gpt-neo":
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, back.state_dict()[name]), name
    assert difference(model, back) < 1e-4
    again = interchange.to_tensors(back, kind)
    for name, tensor in interchange.to_tensors(model, kind).items():
        torch.testing.assert_close(tensor, again[name], atol=0, rtol=1e-6)


def test_a_wide_gpt_neo_of_fresh_weights_and_small_biases() -> None:
    """Query weights of a real width, as ill-conditioned as random ones are."""
    config = ModelConfig(layers=2, width=768, heads=12, context=DENSE.context, band=4)
    model = GPT.create(config, VOCABULARY, seed=1)
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.bias.normal_(0, 0.02, generator=torch.Generator().manual_seed(2))
        model.wte.weight.mul_(10)
    other = theirs(interchange.to_settings(config, VOCABULARY, 0, "gpt-neo"))
    other.load_state_dict(interchange.to_tensors(model, "gpt-neo"), strict=False)
    other.tie_weights()
    assert difference(model, other) < 1e-4


@pytest.mark.parametrize("rank", [0, 23])
def test_biases_that_no_gpt_neo_can_hold_are_refused(rank: int) -> None:
    model = randomised(BANDED)
    with torch.no_grad():
        model.blocks[1].attention.qkv.weight[rank:24] = 0
    with pytest.raises(ModelError, match=r"layer 1: .*nearly singular"):
        interchange.to_tensors(model, "gpt-neo")
    with torch.no_grad():
        model.blocks[1].attention.qkv.bias[:24] = 0
    interchange.to_tensors(model, "gpt-neo")


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt", "gpt-neo"])
def test_released_files_hold_more_or_less(kind: Format) -> None:
    """No prefix, old buffers, a tied head, a padded embedding, half precision: all the same model."""
    config = {"gpt2": DENSE, "openai-gpt": POST, "gpt-neo": BANDED}[kind]
    settings = interchange.to_settings(config, VOCABULARY, 0, kind)
    model = randomised(config)
    tensors = interchange.to_tensors(model, kind)
    plain = ours(tensors, settings)
    buffer = torch.ones(1, 1, 20, 20).tril()
    attention = "attn.attention" if kind == "gpt-neo" else "attn"
    embedding = "transformer.tokens_embed.weight" if kind == "openai-gpt" else "transformer.wte.weight"
    padded = torch.cat([tensors[embedding], torch.ones(27, 24)])
    variants = [
        {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()},
        tensors | {f"transformer.h.{n}.{attention}.bias": buffer for n in range(3)},
        tensors | {f"transformer.h.{n}.{attention}.masked_bias": torch.tensor(-1e4) for n in range(3)},
        {f"h.0.{attention}.bias": buffer}
        | {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()},
        tensors | {"transformer.position_ids": torch.arange(20)},
        tensors | {"lm_head.weight": tensors[embedding].clone()},
        tensors | {embedding: padded},
        tensors | {embedding: padded, "lm_head.weight": padded.clone()},
    ]
    for variant in variants:
        for name, tensor in ours(variant, settings | {"vocab_size": 128}).state_dict().items():
            assert torch.equal(tensor, plain.state_dict()[name]), name
    half = ours({name: tensor.half() for name, tensor in tensors.items()}, settings)
    assert half.wte.weight.dtype == torch.float32
    torch.testing.assert_close(half(ids()), plain(ids()), atol=0.2, rtol=0.1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transformer.h.1.attn.c_attn.weight": None}, r"h\.1\.attn\.c_attn\.weight is missing"),
        ({"transformer.wte.weight": None}, r"wte\.weight is missing"),
        ({"transformer.h.3.ln_1.bias": torch.zeros(24)}, r"h\.3\.ln_1\.bias is none of a gpt2 model"),
        ({"score.weight": torch.zeros(2, 24)}, r"score\.weight is none"),
        ({"transformer.wpe.weight": torch.zeros(10, 24)}, r"wpe\.weight has shape \(10, 24\)"),
        ({"transformer.wte.weight": torch.zeros(100, 24)}, r"wte\.weight has shape \(100, 24\)"),
        ({"lm_head.weight": torch.zeros(101, 24)}, "our head is tied"),
    ],
)
def test_files_of_other_networks_are_refused(changes: dict[str, torch.Tensor | None], words: str) -> None:
    tensors = interchange.to_tensors(randomised(DENSE), "gpt2") | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    with pytest.raises(ModelError, match=words):
        interchange.from_tensors(kept, DENSE, VOCABULARY, "gpt2")


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("gpt2", {"model_type": "llama"}, "model_type is 'llama'"),
        ("gpt2", {"activation_function": "relu"}, "activation_function is 'relu'"),
        ("gpt2", {"activation_function": "gelu"}, "activation_function is 'gelu'"),
        ("gpt2", {"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon"),
        ("gpt2", {"n_inner": 95}, "n_inner is 95"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights is False"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx is True"),
        ("gpt2", {"attn_pdrop": 0.5}, "has one rate"),
        ("gpt2", {"n_layer": None}, "n_layer is None"),
        ("gpt2", {"n_embd": None}, "n_embd is None"),
        ("gpt2", {"n_head": 5}, "does not divide"),
        ("openai-gpt", {"afn": "relu"}, "afn is 'relu'"),
        ("gpt-neo", {"attention_types": [[["global", "global", "local"], 1]]}, "all global, or that alternate"),
        ("gpt-neo", {"attention_types": 3}, "not iterable"),
        ("gpt-neo", {"intermediate_size": 3}, "intermediate_size is 3"),
    ],
)
def test_settings_that_ours_cannot_follow_are_refused(kind: Format, changes: dict[str, Any], words: str) -> None:
    config = {"gpt2": DENSE, "openai-gpt": POST, "gpt-neo": BANDED}[kind]
    with pytest.raises(ModelError, match=words):
        interchange.from_settings(interchange.to_settings(config, VOCABULARY, 0, kind) | changes)


def test_defaults_of_a_config_are_those_of_transformers() -> None:
    """A config.json may leave out what is as always."""
    for kind, config in CASES:
        settings = interchange.to_settings(config, VOCABULARY, 0, kind)
        for name in ("activation_function", "afn", "layer_norm_epsilon"):
            settings.pop(name, None)
        assert interchange.from_settings(settings) == (kind, config)
    neo = transformers.GPTNeoConfig(num_layers=24).to_dict()
    neo.pop("attention_types")
    assert interchange.from_settings(neo)[1].bands == (None, 256) * 12
    for made in (transformers.GPT2Config(), transformers.OpenAIGPTConfig()):
        config = interchange.from_settings(made.to_dict())[1]
        assert replace(config, dropout=0.0) == replace(PRESETS[f"gpt{2 - (config.norm == 'post')}"].model, dropout=0.0)


def test_the_format_is_the_first_that_can_hold_the_model() -> None:
    assert [interchange.choose(config, None) for config in (DENSE, POST, BANDED)] == ["gpt2", "openai-gpt", "gpt-neo"]
    assert interchange.choose(DENSE, "gpt-neo") == "gpt-neo"
    for config, kind, words in (
        (BANDED, "gpt2", "pre-norm and banded; take --format gpt-neo"),
        (DENSE, "openai-gpt", "take --format gpt2 or gpt-neo"),
        (POST, "gpt2", "post-norm and dense; take --format openai-gpt"),
        (replace(POST, band=3), None, "no format can hold"),
    ):
        with pytest.raises(UsageError, match=words):
            interchange.choose(config, kind)  # type: ignore[arg-type]
