"""A checkpoint as a Hugging Face GPT-2 folder: config.json, model.safetensors and the tokenizer.

Transformers keeps the matrices of GPT-2 as Conv1D, [inputs, outputs], so ours are transposed; the padding of the
vocabulary is cut off; the head is tied and not stored.
"""

from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from curate import storage
from curate.errors import UsageError
from curate.shards import TOKENIZER
from pretrain import checkpoint
from pretrain.model import GPT, NORM_EPSILON
from pretrain.sample import load_tokenizer

CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
_LAYERS = {
    "norm_1": "ln_1",
    "attention.qkv": "attn.c_attn",
    "attention.out": "attn.c_proj",
    "norm_2": "ln_2",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}


def export(source: Path, out: Path) -> Path:
    """Write the newest checkpoint of `source` into the new or empty folder `out`; returns the checkpoint taken.

    Raises:
        UsageError: if `out` is not empty.
        InputError, ModelError: if there is no checkpoint, or a damaged one.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} is not empty; name a new folder")
    folder = checkpoint.resolve(source)
    state = checkpoint.read_state(folder)
    model = checkpoint.load_model(folder, state)
    out.mkdir(parents=True, exist_ok=True)
    with storage.atomic(str(out / checkpoint.MODEL)) as file:
        file.write(save(tensors(model), metadata={"format": "pt"}))
    end_of_text = load_tokenizer(folder).id_to_token(state.end_of_text)
    with storage.atomic(str(out / TOKENIZER)) as file:
        file.write((folder / TOKENIZER).read_bytes())
    storage.write_json(
        str(out / TOKENIZER_CONFIG),
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": model.config.context,
            "bos_token": end_of_text,
            "eos_token": end_of_text,
        },
    )
    storage.write_json(str(out / CONFIG), config(model, state.end_of_text))
    return folder


def config(model: GPT, end_of_text: int) -> dict[str, object]:
    """transformers' GPT2Config of this model."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": model.vocabulary,
        "n_positions": model.config.context,
        "n_embd": model.config.width,
        "n_layer": model.config.layers,
        "n_head": model.config.heads,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": NORM_EPSILON,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "tie_word_embeddings": True,
        "bos_token_id": end_of_text,
        "eos_token_id": end_of_text,
        "torch_dtype": "float32",
    }


def tensors(model: GPT) -> dict[str, Tensor]:
    """The model's weights under transformers' names and in its layout."""
    out = {"transformer.wte.weight": model.wte.weight.detach()[: model.vocabulary].contiguous()}
    for name, tensor in model.state_dict().items():
        if name == "wpe.weight":
            out["transformer.wpe.weight"] = tensor
        elif name.startswith("norm."):
            out[f"transformer.ln_f.{name.removeprefix('norm.')}"] = tensor
        elif name.startswith("blocks."):
            _, number, rest = name.split(".", 2)
            layer, kind = rest.rsplit(".", 1)
            matrix = tensor.dim() == 2
            out[f"transformer.h.{number}.{_LAYERS[layer]}.{kind}"] = tensor.T.contiguous() if matrix else tensor
    return out
