"""Folders of transformers, written and read."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from curate.errors import InputError, ModelError, UsageError
from pretrain import checkpoint, export, importer
from pretrain.presets import Preset
from pretrain.run import TrainConfig
from pretrain.sample import SampleConfig, Sampler
from pretrain.train import Trainer


@pytest.fixture
def run(tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: Any) -> Path:
    out = tmp_path / "run"
    Trainer(TrainConfig(data=str(tokens_dir), out=str(out), preset=micro, tokens=512, device="cpu"), recorder()).run()
    return out


@pytest.fixture
def make_run(tokens_dir: Path, tmp_path: Path, micro: Preset, recorder: Any) -> Callable[..., Path]:
    """A trained run of the micro model, with changes."""

    def make(**changes: Any) -> Path:
        out = tmp_path / "changed"
        preset = replace(micro, model=replace(micro.model, **changes))
        config = TrainConfig(data=str(tokens_dir), out=str(out), preset=preset, tokens=512, device="cpu")
        Trainer(config, recorder()).run()
        return out

    return make


def test_weights_are_as_readable_as_what_lies_beside_them(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.export(run, tmp_path / "hf")
    importer.convert(tmp_path / "hf", tmp_path / "back")
    for folder in (checkpoint.resolve(run), tmp_path / "hf", tmp_path / "back"):
        assert len({path.stat().st_mode for path in folder.iterdir()}) == 1

    def full(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        export.export(run, tmp_path / "full")
    assert not any((tmp_path / "full").iterdir())


@pytest.mark.parametrize(
    ("changes", "kind", "architecture"),
    [
        ({}, "gpt2", "GPT2LMHeadModel"),
        ({"norm": "post", "dropout": 0.1}, "openai-gpt", "OpenAIGPTLMHeadModel"),
        ({"band": 5}, "gpt-neo", "GPTNeoForCausalLM"),
    ],
)
def test_transformers_load_the_folder_and_agree(
    make_run: Any, tmp_path: Path, changes: Any, kind: str, architecture: str
) -> None:
    """The trained model, its logits and its tokenizer; and back again."""
    taken, found = export.export(make_run(**changes), tmp_path / "hf")
    assert (taken.name, found) == ("000000000512", kind)
    state = checkpoint.read_state(taken)
    model = checkpoint.load_model(taken, state).requires_grad_(False)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    assert type(theirs).__name__ == architecture
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert (tokenizer.eos_token_id, len(tokenizer), tokenizer.model_max_length) == (0, 257, 16)
    ids = torch.tensor([tokenizer("the cat sat on").input_ids])
    torch.testing.assert_close(theirs.eval()(ids).logits, model(ids), atol=1e-4, rtol=0)

    theirs.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    back = importer.convert(tmp_path / "saved", tmp_path / "back")
    assert (back.vocabulary, back.end_of_text, back.preset.model) == (257, 0, state.preset.model)
    again = checkpoint.load_model(tmp_path / "back", checkpoint.read_state(tmp_path / "back"))
    torch.testing.assert_close(again(ids), model(ids), atol=1e-4, rtol=0)
    assert Sampler(tmp_path / "back", torch.device("cpu")).write("the", SampleConfig(tokens=5))
    with safe_open(tmp_path / "hf" / checkpoint.MODEL, "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_a_format_that_cannot_hold_the_model_leaves_nothing(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="take --format gpt2 or gpt-neo"):
        export.export(run, tmp_path / "hf", "openai-gpt")
    assert not (tmp_path / "hf").exists()
    assert export.export(run, tmp_path / "hf", "gpt-neo")[1] == "gpt-neo"


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


@pytest.fixture
def folder(run: Path, tmp_path: Path) -> Path:
    export.export(run, tmp_path / "hf")
    return tmp_path / "hf"


def test_weights_in_parts_are_read(folder: Path, tmp_path: Path) -> None:
    whole = importer.convert(folder, tmp_path / "whole")
    tensors = load_file(folder / checkpoint.MODEL)
    (folder / checkpoint.MODEL).unlink()
    parts = {name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(tensors)}
    for part in set(parts.values()):
        save_file({name: tensor for name, tensor in tensors.items() if parts[name] == part}, folder / part)
    (folder / importer.INDEX).write_text(json.dumps({"weight_map": parts}))
    assert importer.convert(folder, tmp_path / "parts") == whole
    assert (tmp_path / "parts" / checkpoint.MODEL).read_bytes() == (tmp_path / "whole" / checkpoint.MODEL).read_bytes()
    (folder / importer.INDEX).write_text("{}")
    with pytest.raises(ModelError, match="no weight_map"):
        importer.convert(folder, tmp_path / "new")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("damage", [None, b"{", b"[]"])
def test_folders_that_lack_a_file_are_refused(folder: Path, tmp_path: Path, name: str, damage: bytes | None) -> None:
    if damage is None:
        (folder / name).unlink()
        (folder / "pytorch_model.bin").write_bytes(b"")
    else:
        (folder / name).write_bytes(damage)
    with pytest.raises(InputError if damage is None else (InputError, ModelError), match=name):
        importer.convert(folder, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("eos", "token", "found"),
    [(0, None, 0), (3, None, 3), (None, "<|endoftext|>", 0), (5, "<|endoftext|>", 0)],
)
def test_the_end_of_text_is_the_files_or_the_users(
    folder: Path, tmp_path: Path, eos: int | None, token: str | None, found: int
) -> None:
    change(folder, eos_token_id=eos)
    assert importer.convert(folder, tmp_path / "new", end_of_text=token).end_of_text == found


@pytest.mark.parametrize(("eos", "token"), [(None, None), (257, None), (-1, None), ([0], None), (0, "<end>")])
def test_without_an_end_of_text_a_folder_is_refused(folder: Path, tmp_path: Path, eos: Any, token: str | None) -> None:
    change(folder, eos_token_id=eos)
    with pytest.raises(ModelError, match="--end-of-text"):
        importer.convert(folder, tmp_path / "new", end_of_text=token)


def test_mistakes_name_the_folder(folder: Path, tmp_path: Path) -> None:
    change(folder, n_layer=1)
    with pytest.raises(ModelError, match=r"hf: tensor h\.1\..* is none of a gpt2 model"):
        importer.convert(folder, tmp_path / "new")
    change(folder, model_type="bert")
    with pytest.raises(ModelError, match=r"hf/config\.json: model_type is 'bert'"):
        importer.convert(folder, tmp_path / "new")
    with pytest.raises(UsageError, match="is not empty"):
        importer.convert(folder, folder)


def change(folder: Path, **changes: Any) -> None:
    path = folder / export.CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
