"""Our models as transformers' GPT2LMHeadModel, OpenAIGPTLMHeadModel and GPTNeoForCausalLM keep them, both ways.

Names, layouts and settings alone; files are `export`'s and `importer`'s. The head is tied and not stored; the
vocabulary's padding stays inside.

    gpt2         pre-norm, dense     matrices are Conv1D, [inputs, outputs], so ours are transposed
    openai-gpt   post-norm, dense    the same
    gpt-neo      pre-norm, banded    linear layers; queries are not scaled by 1 / sqrt(K), so that their weights are;
                                     queries, keys and values have no bias, so that ours are moved: see `_unbias`
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from curate.errors import ModelError, UsageError
from pretrain.model import GPT, NORM_EPSILON
from pretrain.presets import FORMATS, Format, ModelConfig

# Ours -> theirs, of both GPT; matrices are transposed.
_CONV = {
    "norm_1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "norm_2": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
# GPT-Neo's; queries, keys and values are apart.
_NEO = {**_CONV, "attention.out": "attn.attention.out_proj"}
_NEO_QKV = tuple(f"attn.attention.{name}_proj.weight" for name in "qkv")

# What old files hold beside weights: causal masks and position numbers.
_BUFFERS = re.compile(r"(?:.+\.)?(?:(?:attn|attention)\.(?:bias|masked_bias)|position_ids)")
_HEAD = "lm_head.weight"
_PREFIX = "transformer."

# Largest rounding of a query in float32 that moving its bias may cause.
_MOST_ROUNDING = 1e-5


def choose(config: ModelConfig, kind: Format | None) -> Format:
    """The format for a model of this shape: the one asked for, or the first that can hold it.

    Raises:
        UsageError: if none can, or not that one.
    """
    banded = any(config.bands)
    fits: tuple[Format, ...] = ("gpt-neo",) if banded else ("gpt2", "gpt-neo")
    if config.norm == "post":
        fits = () if banded else ("openai-gpt",)
    if fits and (kind is None or kind in fits):
        return kind or fits[0]
    network = f"a model that is {config.norm}-norm and {'banded' if banded else 'dense'}"
    if not fits:
        raise UsageError(f"no format can hold {network}; sample and evaluate with the checkpoint itself")
    raise UsageError(f"--format {kind} cannot hold {network}; take --format {' or '.join(fits)}")


def to_settings(config: ModelConfig, vocabulary: int, end_of_text: int, kind: Format) -> dict[str, Any]:
    """transformers' config.json."""
    ends: dict[str, Any] = {"bos_token_id": end_of_text, "eos_token_id": end_of_text, "tie_word_embeddings": True}
    ends |= {"vocab_size": vocabulary, "layer_norm_epsilon": NORM_EPSILON, "torch_dtype": "float32"}
    if kind == "gpt-neo":
        kinds = ["global" if band is None else "local" for band in config.bands]
        return ends | {
            "architectures": ["GPTNeoForCausalLM"],
            "model_type": "gpt_neo",
            "max_position_embeddings": config.context,
            "hidden_size": config.width,
            "num_layers": config.layers,
            "num_heads": config.heads,
            "attention_types": [[kinds, 1]],
            "attention_layers": kinds,
            "window_size": config.band or config.context,
            "activation_function": "gelu_new",
            "resid_dropout": config.dropout,
            "embed_dropout": config.dropout,
            "attention_dropout": config.dropout,
        }
    openai = kind == "openai-gpt"
    return ends | {
        "architectures": ["OpenAIGPTLMHeadModel" if openai else "GPT2LMHeadModel"],
        "model_type": kind,
        "n_positions": config.context,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        # The tanh approximation: GPT-1's "gelu" is transformers' gelu_new.
        **({"afn": "gelu"} if openai else {"activation_function": "gelu_new"}),
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
    }


def from_settings(settings: Mapping[str, Any]) -> tuple[Format, ModelConfig]:
    """The format and shape that a config.json tells of; what it leaves out has transformers' default.

    Raises:
        ModelError: if it is of another kind of model, or has a setting that ours cannot follow.
    """
    types = {kind.replace("gpt-neo", "gpt_neo"): kind for kind in FORMATS}
    if settings.get("model_type") not in types:
        raise ModelError(f"model_type is {settings.get('model_type')!r}; it must be one of {', '.join(types)}")
    kind = types[settings["model_type"]]
    if kind == "gpt-neo":
        shape = ("num_layers", "hidden_size", "num_heads", "max_position_embeddings")
        rates, wide = ("resid_dropout", "embed_dropout", "attention_dropout"), "intermediate_size"
    else:
        shape = ("n_layer", "n_embd", "n_head", "n_positions")
        rates, wide = ("resid_pdrop", "embd_pdrop", "attn_pdrop"), "n_inner"
    for name in shape:
        if not isinstance(settings.get(name), int):
            raise ModelError(f"{name} is {settings.get(name)!r}; it must be a whole number")
    layers, width, heads, context = (settings[name] for name in shape)
    # Name -> what it may be, the default first.
    fixed: dict[str, tuple[Any, ...]] = {
        "layer_norm_epsilon": (NORM_EPSILON,),
        "activation_function": ("gelu_new", "gelu_pytorch_tanh"),
        "afn": ("gelu", "gelu_new"),
        wide: (None, 4 * width),
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "add_cross_attention": (False,),
    }
    for name, values in fixed.items():
        if settings.get(name, values[0]) not in values:
            raise ModelError(f"{name} is {settings[name]!r}; ours can only follow {values[0]!r}")
    dropout = {settings.get(name, 0.0 if kind == "gpt-neo" else 0.1) for name in rates}
    if len(dropout) > 1:
        raise ModelError(f"{', '.join(rates)} are {sorted(dropout)}; ours has one rate: make them equal in config.json")
    try:
        config = ModelConfig(
            layers=layers,
            width=width,
            heads=heads,
            context=context,
            norm="post" if kind == "openai-gpt" else "pre",
            dropout=dropout.pop(),
        )
        return kind, _banded(config, settings) if kind == "gpt-neo" else config
    except (ValueError, TypeError) as error:
        raise ModelError(str(error)) from error


def _banded(config: ModelConfig, settings: Mapping[str, Any]) -> ModelConfig:
    types = settings.get("attention_types", [[["global", "local"], 12]])
    kinds = [one for pattern, times in types for _ in range(times) for one in pattern]
    for band in (None, settings.get("window_size", 256)):
        for dense_first in (True, False):
            found = replace(config, band=band, dense_first=dense_first)
            if kinds == ["local" if one else "global" for one in found.bands]:
                return found
    raise ModelError(f"attention_types is {types}; ours has layers that are all global, or that alternate")


def _names(config: ModelConfig, kind: Format) -> Iterator[tuple[str, str]]:
    """(ours, theirs) of each tensor that both have, but for the embedding of tokens."""
    yield "wpe.weight", "positions_embed.weight" if kind == "openai-gpt" else "wpe.weight"
    if config.norm == "pre":
        yield from ((f"norm.{part}", f"ln_f.{part}") for part in ("weight", "bias"))
    for layer in range(config.layers):
        for ours, theirs in (_NEO if kind == "gpt-neo" else _CONV).items():
            if kind != "gpt-neo" or ours != "attention.qkv":
                for part in ("weight", "bias"):
                    yield f"blocks.{layer}.{ours}.{part}", f"h.{layer}.{theirs}.{part}"


def _embedding(kind: Format) -> str:
    return "tokens_embed.weight" if kind == "openai-gpt" else "wte.weight"


def _transposed(name: str, tensor: Tensor, kind: Format) -> Tensor:
    return tensor.T.contiguous() if kind != "gpt-neo" and tensor.dim() == 2 and name.startswith("h.") else tensor


def to_tensors(model: GPT, kind: Format) -> dict[str, Tensor]:
    """The model's weights under transformers' names and in its layout, float32.

    Raises:
        ModelError: if a layer's bias cannot be moved: see `_unbias`.
    """
    tensors = model.state_dict()
    if kind == "gpt-neo":
        for layer in range(model.config.layers):
            tensors |= _unbias(tensors, layer, model.config.heads)
    out = {_embedding(kind): model.wte.weight.detach()[: model.vocabulary].contiguous()}
    for ours, theirs in _names(model.config, kind):
        out[theirs] = _transposed(theirs, tensors[ours], kind)
    if kind == "gpt-neo":
        for layer in range(model.config.layers):
            parts = tensors[f"blocks.{layer}.attention.qkv.weight"].chunk(3)
            out |= {f"h.{layer}.{name}": part.contiguous() for name, part in zip(_NEO_QKV, parts, strict=True)}
    return {_PREFIX + name: tensor for name, tensor in out.items()}


def from_tensors(found: Mapping[str, Tensor], config: ModelConfig, vocabulary: int, kind: Format) -> dict[str, Tensor]:
    """The state of our model, float32 and padded, out of the tensors of a file.

    Their names may lack the prefix `transformer.`; old buffers are passed over; rows of the embedding beyond the
    vocabulary are padding, and cut off.

    Raises:
        ModelError: if a tensor is missing, left over or of another shape, or the head is not tied.
    """
    head = found.get(_HEAD)
    tensors = {
        name.removeprefix(_PREFIX): tensor
        for name, tensor in found.items()
        if name != _HEAD and not _BUFFERS.fullmatch(name)
    }
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in GPT(config, vocabulary).state_dict().items()}

    def take(name: str, shape: tuple[int, ...]) -> Tensor:
        if name not in tensors:
            raise ModelError(f"tensor {name} is missing")
        tensor = tensors.pop(name)
        if tensor.shape != shape:
            raise ModelError(f"tensor {name} has shape {tuple(tensor.shape)}, config.json says {shape}")
        return tensor.float()

    name = _embedding(kind)
    rows = len(tensors[name]) if name in tensors else 0
    wte_VD = take(name, (max(rows, vocabulary), config.width))
    if head is not None and not torch.equal(head.float(), wte_VD):
        raise ModelError(f"{_HEAD} is not the embedding of tokens; our head is tied to it")
    out = {"wte.weight": wte_VD.new_zeros(shapes["wte.weight"])}
    out["wte.weight"][:vocabulary] = wte_VD[:vocabulary]
    for ours, theirs in _names(config, kind):
        transposed = _transposed(theirs, torch.empty(shapes[ours], device="meta"), kind).shape
        out[ours] = _transposed(theirs, take(theirs, transposed), kind)
    if kind == "gpt-neo":
        square = (config.width, config.width)
        for layer in range(config.layers):
            q, k, v = (take(f"h.{layer}.{name}", square) for name in _NEO_QKV)
            qkv = f"blocks.{layer}.attention.qkv"
            out[f"{qkv}.weight"] = torch.cat([q * (config.width // config.heads) ** 0.5, k, v])
            out[f"{qkv}.bias"] = q.new_zeros(3 * config.width)
    if tensors:
        raise ModelError(f"tensor {min(tensors)} is none of a {kind} model of this shape")
    return out


def _unbias(tensors: Mapping[str, Tensor], layer: int, heads: int) -> dict[str, Tensor]:
    """The tensors of a layer's attention with the same outputs, no bias on q, k and v, and queries scaled.

    With n the normed input, queries are W_q n + b_q. Where W_q d = b_q, adding d to the norm's bias gives them without
    a bias of their own. It adds W_k d - b_k to all keys, which shifts all scores of a query alike and so changes no
    softmax; and W_v d - b_v to all values, which passes through the softmax whole and is taken off the output's bias.

    Raises:
        ModelError: if W_q is so near to singular that float32 would not hold the sum.
    """
    block = f"blocks.{layer}"
    qkv, norm, out = f"{block}.attention.qkv", f"{block}.norm_1.bias", f"{block}.attention.out"
    w_q, w_k, w_v = tensors[f"{qkv}.weight"].double().chunk(3)
    b_q, _, b_v = tensors[f"{qkv}.bias"].double().chunk(3)
    before = tensors[norm].double()
    solved = torch.linalg.solve_ex(w_q, b_q) if b_q.any() else None
    after = (before if solved is None else before + solved.result).float()
    moved = after.double() - before
    # What is off in the queries: the bias itself as it was rounded, and float32's sums of large terms at run time.
    off = (w_q @ moved - b_q).abs() + torch.finfo(torch.float32).eps * (w_q.abs() @ moved.abs())
    if not (off.max() <= _MOST_ROUNDING):
        raise ModelError(
            f"layer {layer}: gpt-neo has no bias on queries, and ours cannot be moved into the norm within "
            f"{_MOST_ROUNDING:g} (off by {off.max():.1e}): the query weights are nearly singular; sample and evaluate "
            "with the checkpoint itself"
        )
    scale = (len(b_q) // heads) ** -0.5
    bias = tensors[f"{out}.bias"].double() + tensors[f"{out}.weight"].double() @ (b_v - w_v @ moved)
    return {
        norm: after,
        f"{qkv}.weight": torch.cat([w_q * scale, w_k, w_v]).float(),
        f"{out}.bias": bias.float(),
    }
