"""A folder of transformers, a released GPT-2 for example, as a checkpoint of ours: the reverse of `export`.

Weights are read from safetensors alone, whole or in parts: a pytorch_model.bin is a pickle, and could run code.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from curate import storage
from curate.errors import InputError, ModelError
from curate.shards import TOKENIZER
from pretrain import checkpoint, interchange
from pretrain.checkpoint import State
from pretrain.export import CONFIG, need_empty
from pretrain.plan import Plan
from pretrain.presets import PRESETS, Preset
from pretrain.sample import load_tokenizer

INDEX = "model.safetensors.index.json"
# Windows of a batch, as GPT-2's: for a recipe that has to stand in the state.
_WINDOWS = 512


def convert(source: Path, out: Path, *, end_of_text: str | None = None) -> State:
    """Write the model of a folder into the new or empty folder `out`, as a checkpoint; state.json comes last.

    The vocabulary is the tokenizer's: rows of the embedding beyond it are padding that no text can name.

    Args:
        end_of_text: the token that parts documents; None: the one that config.json names.

    Raises:
        UsageError: if `out` is not empty.
        InputError: if a file is missing.
        ModelError: if a file is damaged, or the model is none that ours can equal.
    """
    need_empty(out)
    settings = _read_json(source / CONFIG)
    tokenizer_file = source / TOKENIZER
    if not tokenizer_file.is_file():
        raise InputError(
            f"{source} holds no {TOKENIZER}; write it with transformers: tokenizer.save_pretrained(FOLDER)"
        )
    tokenizer = load_tokenizer(source)
    vocabulary = max(tokenizer.get_vocab().values(), default=-1) + 1
    try:
        kind, config = interchange.from_settings(settings)
    except ModelError as error:
        raise ModelError(f"{source / CONFIG}: {error}") from error
    try:
        tensors = interchange.from_tensors(_weights(source), config, vocabulary, kind)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    recipe = replace(PRESETS["gpt2"].recipe, batch_tokens=_WINDOWS * config.context)
    state = State(
        version=checkpoint.VERSION,
        preset=Preset(name="imported", model=config, recipe=recipe),
        plan=Plan(manifest="", seed=0, stream=0, context=config.context, batch=_WINDOWS, samples=0),
        samples=0,
        vocabulary=vocabulary,
        end_of_text=_end_of_text(source, settings, tokenizer, end_of_text),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.write_tensors(out / checkpoint.MODEL, tensors)
    with storage.atomic(str(out / TOKENIZER)) as file:
        file.write(tokenizer_file.read_bytes())
    storage.write_json(str(out / checkpoint.STATE), asdict(state))
    return state


def _weights(source: Path) -> dict[str, Tensor]:
    if (source / INDEX).is_file():
        parts = _read_json(source / INDEX).get("weight_map")
        if not isinstance(parts, dict):
            raise ModelError(f"{INDEX} has no weight_map")
        names = sorted(set(parts.values()))
    elif (source / checkpoint.MODEL).is_file():
        names = [checkpoint.MODEL]
    else:
        raise InputError(
            f"{source} holds no {checkpoint.MODEL}; a pytorch_model.bin could run code and is not read: "
            "write safetensors with transformers: model.save_pretrained(FOLDER)"
        )
    tensors: dict[str, Tensor] = {}
    for name in names:
        try:
            tensors |= load_file(source / name)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{name} is unreadable: {storage.reason(error)}; fetch it anew") from error
    return tensors


def _end_of_text(source: Path, settings: dict[str, Any], tokenizer: Tokenizer, token: str | None) -> int:
    found = settings.get("eos_token_id") if token is None else tokenizer.token_to_id(token)
    if not isinstance(found, int) or found < 0 or tokenizer.id_to_token(found) is None:
        what = f"{CONFIG} names no end-of-text (eos_token_id {found})" if token is None else f"{token!r} is no token"
        raise ModelError(f"{source}: {what}; name the token that parts documents by --end-of-text")
    return found


def _read_json(path: Path) -> dict[str, Any]:
    value = storage.read_json(str(path))
    if not isinstance(value, dict):
        raise ModelError(f"{path} is no JSON object")
    return value
