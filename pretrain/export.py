"""A checkpoint as a folder that transformers loads: config.json, model.safetensors and the tokenizer."""

from pathlib import Path

from curate import storage
from curate.errors import UsageError
from curate.shards import TOKENIZER
from pretrain import checkpoint, interchange
from pretrain.presets import Format
from pretrain.sample import load_tokenizer

CONFIG = "config.json"
TOKENIZER_CONFIG = "tokenizer_config.json"


def export(source: Path, out: Path, kind: Format | None = None) -> tuple[Path, Format]:
    """Write the newest checkpoint of `source` into the new or empty folder `out`; config.json comes last.

    Args:
        kind: None: the first format that can hold the model.

    Returns:
        The checkpoint taken, and the format.

    Raises:
        UsageError: if `out` is not empty, or the format cannot hold the model.
        InputError, ModelError: if there is no checkpoint, or a damaged one.
    """
    need_empty(out)
    folder = checkpoint.resolve(source)
    state = checkpoint.read_state(folder)
    kind = interchange.choose(state.preset.model, kind)
    model = checkpoint.load_model(folder, state)
    tensors = interchange.to_tensors(model, kind)
    end_of_text = load_tokenizer(folder).id_to_token(state.end_of_text)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint.write_tensors(out / checkpoint.MODEL, tensors, {"format": "pt"})
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
    settings = interchange.to_settings(model.config, model.vocabulary, state.end_of_text, kind)
    storage.write_json(str(out / CONFIG), settings)
    return folder, kind


def need_empty(out: Path) -> None:
    """
    Raises:
        UsageError: if the folder holds something, or is a file.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is not empty; name a new folder")
