"""The commands evaluate, finetune and predict, as a user calls them."""

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from curate.shards import TOKENIZER
from pretrain import cli, importer


@pytest.fixture(scope="module")
def checkpoint(tokens_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder, out = tmp_path_factory.mktemp("hf"), tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(1)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=257, n_positions=64, n_embd=16, n_layer=1, n_head=2, eos_token_id=0)
    ).save_pretrained(folder)
    (folder / TOKENIZER).write_bytes((tokens_dir / TOKENIZER).read_bytes())
    importer.convert(folder, out)
    return str(out)


def write(path: Path, *rows: dict[str, object]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_evaluate_tasks(checkpoint: str, tokens_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    birds = write(tmp_path / "birds.jsonl", *({"context": f"{n}", "choices": ["a", "b"], "gold": 0} for n in range(9)))
    words = write(tmp_path / "words.jsonl", {"text": "one two"}, {"text": "three " * 40 + "four"})
    (tmp_path / "asked.yaml").write_text("items: words.jsonl\nkind: free\ntokens: 3\n")
    tasks = ["--tasks", birds, words, str(tmp_path / "asked.yaml")]
    line = ["evaluate", "--model", checkpoint, "--data", str(tokens_dir), *tasks, "--shots", "2", "--questions", "5"]
    assert cli.main(line) == 0
    shown = capsys.readouterr().out
    assert cli.main([*line, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"held", "tasks"}
    assert (found["tasks"]["birds"]["questions"], found["tasks"]["birds"]["mean_shots"]) == (5, 2.0)
    assert found["tasks"]["words"]["cut"] == 1
    assert set(found["tasks"]["asked"]["metrics"]) == {"exact_match", "f1"}
    assert f"{found['held']['all']['bits_per_byte']:.4f}" in shown
    assert f" {found['tasks']['words']['metrics']['perplexity']['value']:.4g} " in shown
    assert "lost their beginnings: 1" in shown
    rows = [row.split() for row in shown.splitlines()]
    value = found["tasks"]["birds"]["metrics"]["accuracy"]
    assert ["birds", "choice", "5", "2.0", "accuracy", f"{value['value']:.4f}", f"{value['error']:.4f}"] in rows


def test_mistakes(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    birds = write(tmp_path / "birds.jsonl", {"text": "a b"})
    for words, message in {
        (): "nothing to evaluate on: give --data, --tasks or both",
        ("--tasks", birds, birds): "two have the name 'birds'",
        ("--tasks", birds, "--shots", "-1"): "--shots -1 is below 0",
    }.items():
        assert cli.main(["evaluate", "--model", checkpoint, *words]) == 2
        assert message in capsys.readouterr().err
    finetune = ["finetune", checkpoint, "--task", "choice", "--train", birds, "--out", str(tmp_path / "out")]
    assert cli.main([*finetune, "--rate", "0"]) == 2
    assert "rate" in capsys.readouterr().err
    assert cli.main(finetune) == 1
    assert "is no choice" in capsys.readouterr().err


def test_finetune_then_predict(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": "aaaa" if number % 2 else "bbbb", "label": number % 2} for number in range(40)]
    train, out = write(tmp_path / "train.jsonl", *rows), str(tmp_path / "out")
    line = ["finetune", checkpoint, "--task", "classification", "--train", train, "--out", out, "--rate", "0.01"]
    line += ["--epochs", "4", "--batch", "8", "--micro", "8", "--seed", "3"]
    assert cli.main(line) == 0
    assert f"pretrain predict {out} FILE" in capsys.readouterr().out
    assert cli.main([*line, "--held", train]) == 0
    assert (
        "held-out: 40 examples, accuracy 1.0000 (standard error 0.0000), Matthews 1.0000, F1 1.0000"
        in capsys.readouterr().out
    )
    assert cli.main([*line, "--held", train, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 1
    assert cli.main(["predict", out, train]) == 0
    shown = capsys.readouterr()
    found = [json.loads(row) for row in shown.out.splitlines()]
    assert [row["label"] for row in found] == [str(row["label"]) for row in rows]
    assert found[0]["chances"]["0"] > 0.5
    assert "40 examples, accuracy 1.0000" in shown.err
    assert cli.main(["predict", out, write(tmp_path / "texts.jsonl", {"text": "aaaa"})]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["label"] == "1"
    assert shown.err == ""


def test_scores_on_the_command_line(checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"first": "ab"[n % 2] * 4, "second": "b" * 3, "score": 1.5 + 3 * (n % 2)} for n in range(40)]
    train, out = write(tmp_path / "train.jsonl", *rows), str(tmp_path / "out")
    line = ["finetune", checkpoint, "--task", "score", "--train", train, "--held", train, "--out", out]
    assert cli.main([*line, "--rate", "0.01", "--epochs", "4", "--batch", "8"]) == 0
    assert "held-out: 40 examples, Pearson 1.0" in capsys.readouterr().out
    assert cli.main(["predict", out, train]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out.splitlines()[1])["score"] == pytest.approx(4.5, abs=1)
    assert "40 examples, Pearson 1.0" in shown.err
    texts = write(tmp_path / "texts.jsonl", {"first": "aaaa", "second": "bbb"})
    assert cli.main(["predict", out, texts]) == 0
    shown = capsys.readouterr()
    assert set(json.loads(shown.out)) == {"score"}
    assert shown.err == ""
