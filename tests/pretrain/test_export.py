"""The Hugging Face layout against the model's own tensors."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from curate.errors import InputError, UsageError
from pretrain import checkpoint, export
from pretrain.presets import Preset
from pretrain.train import TrainConfig, Trainer


@pytest.fixture
def run(tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: Any) -> Path:
    out = tmp_path / "run"
    Trainer(TrainConfig(data=str(tokens_dir), out=str(out), preset=micro, tokens=512, device="cpu"), recorder()).run()
    return out


def test_tensors_are_transformers_names_and_layout(run: Path, tmp_path: Path) -> None:
    taken = export.export(run, tmp_path / "hf")
    assert taken.name == "000000000512"
    model = checkpoint.load_model(taken, checkpoint.read_state(taken))
    theirs = load_file(tmp_path / "hf" / checkpoint.MODEL)
    ours = model.state_dict()
    assert len(theirs) == len(ours)
    assert torch.equal(theirs["transformer.wte.weight"], ours["wte.weight"][:257])
    assert torch.equal(theirs["transformer.wpe.weight"], ours["wpe.weight"])
    assert torch.equal(theirs["transformer.ln_f.bias"], ours["norm.bias"])
    for number in range(2):
        block, layer = f"blocks.{number}", f"transformer.h.{number}"
        for mine, name in (
            ("attention.qkv", "attn.c_attn"),
            ("attention.out", "attn.c_proj"),
            ("mlp.up", "mlp.c_fc"),
            ("mlp.down", "mlp.c_proj"),
        ):
            assert torch.equal(theirs[f"{layer}.{name}.weight"], ours[f"{block}.{mine}.weight"].T)
            assert torch.equal(theirs[f"{layer}.{name}.bias"], ours[f"{block}.{mine}.bias"])
        for mine, name in (("norm_1", "ln_1"), ("norm_2", "ln_2")):
            assert torch.equal(theirs[f"{layer}.{name}.weight"], ours[f"{block}.{mine}.weight"])
    with safe_open(tmp_path / "hf" / checkpoint.MODEL, "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_config_and_tokenizer(run: Path, tmp_path: Path, tokens_dir: Path) -> None:
    export.export(run, tmp_path / "hf")
    config = json.loads((tmp_path / "hf" / export.CONFIG).read_text())
    sizes = {name: config[name] for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head")}
    assert sizes == {"vocab_size": 257, "n_positions": 16, "n_embd": 32, "n_layer": 2, "n_head": 2}
    assert (config["model_type"], config["activation_function"]) == ("gpt2", "gelu_new")
    assert (tmp_path / "hf" / "tokenizer.json").read_bytes() == (tokens_dir / "tokenizer.json").read_bytes()
    settings = json.loads((tmp_path / "hf" / export.TOKENIZER_CONFIG).read_text())
    assert settings["eos_token"] == "<|endoftext|>"


def test_two_exports_are_the_same_bytes(run: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        export.export(run, folder)
    one, two = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert one == two


def test_a_folder_in_use_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not empty"):
        export.export(run, run)
    with pytest.raises(InputError, match="holds no checkpoint"):
        export.export(tmp_path / "nowhere", tmp_path / "new")
    assert not (tmp_path / "new").exists()
