"""The command line: what it takes, what it refuses and how, and what it prints."""

import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pretrain import cli, presets
from pretrain.presets import Preset


@pytest.fixture(autouse=True)
def _micro_preset(monkeypatch: pytest.MonkeyPatch, micro: Preset) -> None:
    monkeypatch.setitem(presets.PRESETS, "micro", micro)


@pytest.fixture
def train(tokens_dir: Path, tmp_path: Path) -> list[str]:
    line = f"train --data {tokens_dir} --preset micro --out {tmp_path / 'run'} --tokens 1000 --device cpu --threads 1"
    return line.split()


def test_train_then_evaluate_sample_export(
    train: list[str], tokens_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert cli.main(train) == 0
    shown = capsys.readouterr()
    assert "1,008 tokens" in shown.out
    assert "a second" in shown.out
    assert "step 8: 1,008 of 1,008 tokens" in shown.err
    assert "held-out bits per byte after 1,008 tokens: books" in shown.err

    assert cli.main(["evaluate", "--model", run, "--data", str(tokens_dir), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["held"]
    assert scores["all"]["documents"] == 10
    assert 0 < scores["all"]["bits_per_byte"] < 8.1
    assert cli.main(["evaluate", "--model", run, "--data", str(tokens_dir)]) == 0
    assert f"{scores['all']['bits_per_byte']:.4f}" in capsys.readouterr().out

    sample = ["sample", "--model", run, "--prompt", "the cat", "--tokens", "20", "--seed", "3"]
    assert cli.main(sample) == 0
    text = capsys.readouterr().out
    assert text.startswith("the cat")
    assert cli.main(sample) == 0
    assert capsys.readouterr().out == text

    capsys.readouterr()
    assert cli.main(["export", run, str(tmp_path / "hf")]) == 0
    assert capsys.readouterr().out.endswith("hf as gpt2\n")
    assert cli.main(["import", str(tmp_path / "hf"), str(tmp_path / "back")]) == 0
    assert "parameters, vocabulary 257" in capsys.readouterr().out
    sample[2] = str(tmp_path / "back")
    assert cli.main(sample) == 0
    assert capsys.readouterr().out == text


def test_a_reader_may_have_enough(train: list[str]) -> None:
    assert cli.main(train) == 0
    command = [sys.executable, "-m", "pretrain.cli", "sample", "--model", train[6], "--tokens", "100000"]
    command += ["--temperature", "0"]  # the likeliest, which ends no text
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as sample:
        assert sample.stdout
        assert sample.stderr
        sample.stdout.read(1)
        sample.stdout.close()
        assert sample.stderr.read() == b""
    assert sample.returncode == 1


def test_a_finished_run_is_said_to_be_done(train: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(train) == 0
    capsys.readouterr()
    assert cli.main(train) == 0
    assert "is done: nothing left to train" in capsys.readouterr().out


def test_json_is_all_there_is_on_standard_output(train: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*train, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["preset"], summary["tokens"], summary["steps"]) == ("micro", 1008, 8)
    assert summary["held"]["all"]["bits_per_byte"] > 0


def test_presets_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["presets"]) == 0
    out = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in reversed(out.splitlines()) if line}
    assert rows["gpt2"][:8] == ["12", "768", "12", "64", "1024", "50,257", "524,288", "6.0e-04"]
    assert rows["gpt2"][8:] == ["117M", "124,439,808"]
    assert rows["gpt3-tiny"][-2:] == ["-", "826,112"]
    assert "gpt3-13b    GPT-3 13B: 40 heads of 128 are 5,120 wide" in out
    assert set(presets.PRESETS) <= set(rows)


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("", 2, "COMMAND"),
        ("trian", 2, "no command 'trian'; did you mean train?"),
        ("train --data x --out y", 2, "--preset"),
        ("train --data x --out y --preset tiny --sed 1", 2, "unknown argument '--sed'"),
        ("train --data x --out y --preset tiny --sed 1", 2, "did you mean --seed?"),
        ("train --data x --out y --preset tiny --token=5", 2, "did you mean --tokens?"),
        ("train --data x --out y --preset tniy", 2, "no preset 'tniy'; did you mean tiny?"),
        (
            "train --data x --out y --preset tiny --set peek_rate=1",
            2,
            "no key 'peek_rate' with a value; did you mean pea",
        ),
        ("train --data x --out y --preset tiny --set peak_rate", 2, "no key 'peak_rate' with a value"),
        (
            "train --data x --out y --preset tiny --set peak_rate=high",
            2,
            "--set peak_rate: Input should be a valid num",
        ),
        ("train --data x --out y --preset tiny --set clip=0", 2, "outside its range"),
        ("train --data x --out y --preset tiny --set context=250", 2, "is no multiple of the context"),
        ("train --data x --out y --preset tiny --set optimizer=sgd", 2, "'adamw' or 'muon'"),
        ("train --data x --out y --preset tiny --weight books", 2, "'books' is not SOURCE=NUMBER"),
        ("train --data x --out y --preset xxl", 2, "there are tiny, gpt1-tiny"),
        ("train --data x --out y --preset tiny --tokens 0", 2, "0 is below 1"),
        ("train --data x --out y --preset tiny --tokens many", 2, "'many' is no whole number"),
        ("train --data x --out y --preset tiny --device tpu", 2, "tpu"),
        ("train --data /nowhere --out y --preset tiny", 1, "/nowhere"),
        ("train --data s3://b/t --out y --preset tiny", 1, "is remote"),
        ("train --data x --out s3://b/t --preset tiny", 2, "is remote"),
        ("sample --model /nowhere", 1, "holds no checkpoint"),
        ("sample --model /nowhere --temperature -1", 2, "not between 0 and infinity"),
        ("sample --model /nowhere --temperature warm", 2, "'warm' is no number"),
        ("evaluate --model /nowhere --data x", 1, "holds no checkpoint"),
        ("export /nowhere y", 1, "holds no checkpoint"),
        ("export /nowhere y --format llama", 2, "invalid choice: 'llama'"),
        ("import /nowhere y", 1, "/nowhere/config.json"),
        ("import https://a/b y", 2, "FOLDER https://a/b is remote"),
    ],
)
def test_mistakes(line: str, code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("pretrain: ")
    assert words in shown.err
    assert shown.err.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_an_error_in_a_line(
    train: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").write_text("a file")
    assert cli.main(train) == 1
    assert str(tmp_path / "run") in capsys.readouterr().err


def test_tokens_of_another_tokenizer_are_refused(
    train: list[str], tmp_path: Path, make_tokens: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(train) == 0
    other = make_tokens(tmp_path / "other")
    tokenizer = other / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    manifest = other / "manifest.json"
    value = json.loads(manifest.read_text())
    value["tokenizer"] = hashlib.sha256(tokenizer.read_bytes()).hexdigest()
    manifest.write_text(json.dumps(value))
    assert cli.main(["evaluate", "--model", str(tmp_path / "run"), "--data", str(other)]) == 1
    assert "ids mean other words" in capsys.readouterr().err


def test_without_torch_it_names_the_extra(
    train: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "torch" else find(name))
    assert cli.main(train) == 1
    assert "pip install 'curate-pretrain[train]'" in capsys.readouterr().err


def test_presets_need_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; from pretrain import cli; sys.exit(cli.main(['presets']))"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_an_interrupt_says_how_to_go_on(
    train: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pretrain.progress import Display

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Display, "step", stop)
    assert cli.main(train) == 130
    assert "go on from the newest checkpoint" in capsys.readouterr().err


def test_flags_are_pinned() -> None:
    _, commands = cli._parser()
    flags = {
        name: sorted(flag for action in command._actions for flag in action.option_strings if flag.startswith("--"))
        for name, command in commands.items()
    }
    assert flags == {
        "compare": [
            "--arm",
            "--device",
            "--held",
            "--help",
            "--json",
            "--out",
            "--passage-tokens",
            "--preset",
            "--seeds",
            "--sizes",
            "--threads",
            "--tokens",
        ],
        "report": ["--help"],
        "train": [
            "--checkpoint-tokens",
            "--compile",
            "--data",
            "--device",
            "--document-mask",
            "--eval-tokens",
            "--help",
            "--init",
            "--json",
            "--keep",
            "--out",
            "--precision",
            "--preset",
            "--recompute",
            "--seed",
            "--set",
            "--sharding",
            "--tensorboard",
            "--threads",
            "--tokens",
            "--wandb",
            "--weight",
        ],
        "sample": [
            "--device",
            "--help",
            "--model",
            "--prompt",
            "--seed",
            "--temperature",
            "--threads",
            "--tokens",
            "--top-k",
        ],
        "evaluate": [
            "--data",
            "--device",
            "--help",
            "--json",
            "--model",
            "--questions",
            "--seed",
            "--shots",
            "--tasks",
            "--threads",
        ],
        "finetune": [
            "--batch",
            "--device",
            "--epochs",
            "--held",
            "--help",
            "--json",
            "--micro",
            "--out",
            "--rate",
            "--seed",
            "--task",
            "--threads",
            "--train",
        ],
        "predict": ["--device", "--help", "--threads"],
        "export": ["--format", "--help"],
        "import": ["--end-of-text", "--help"],
        "presets": ["--help"],
    }
