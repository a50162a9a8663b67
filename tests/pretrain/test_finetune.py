"""Fine-tuning: inputs as GPT-1 made them, losses by hand, rules that a tiny network must learn, exact resume."""

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn import metrics
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from curate.errors import InputError, ModelError, StaleError
from curate.shards import TOKENIZER
from pretrain import finetune, importer, labelled
from pretrain.classifier import Batch, Classifier, widen
from pretrain.finetune import FinetuneConfig, Finetuned
from pretrain.labelled import Encoder, Example, TaskName
from pretrain.metrics import METRICS
from pretrain.model import GPT
from pretrain.presets import ModelConfig

CPU = torch.device("cpu")
# Far above GPT-1's rate: a fresh tiny network has to learn in seconds what a pretrained one need not.
FAST = {"rate": 4e-3, "micro": 32, "warmup": 0.1, "save": 1000}


@pytest.fixture(scope="module")
def source(tokens_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with fresh weights, over bytes."""
    folder, out = tmp_path_factory.mktemp("hf"), tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(1)
    rates: dict[str, Any] = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    config = GPT2Config(vocab_size=257, n_positions=64, n_embd=32, n_layer=2, n_head=2, eos_token_id=0, **rates)
    GPT2LMHeadModel(config).save_pretrained(folder)
    (folder / TOKENIZER).write_bytes((tokens_dir / TOKENIZER).read_bytes())
    importer.convert(folder, out)
    return out


@pytest.fixture
def tokenizer(source: Path) -> Tokenizer:
    return Tokenizer.from_file(str(source / TOKENIZER))


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


# ---- inputs


@pytest.mark.parametrize(
    ("task", "row", "example"),
    [
        ("classification", {"text": "a", "label": "x"}, Example((("a",),), "x")),
        ("entailment", {"premise": "a", "hypothesis": "b", "label": 1}, Example((("a", "b"),), "1")),
        ("similarity", {"first": "a", "second": "b", "label": 0}, Example((("a", "b"), ("b", "a")), "0")),
        ("score", {"first": "a", "second": "b", "score": 2}, Example((("a", "b"), ("b", "a")), 2.0)),
        ("choice", {"context": "a", "choices": ["b", "c"], "gold": 1}, Example((("a", "b"), ("a", "c")), "1")),
        ("choice", {"query": "a", "choices": ["b", "c"], "gold": 0}, Example((("a", "b"), ("a", "c")), "0")),
    ],
)
def test_lines(tmp_path: Path, task: TaskName, row: dict[str, Any], example: Example) -> None:
    assert labelled.read(write(tmp_path / "a.jsonl", [row]), task) == [example]


@pytest.mark.parametrize(
    ("task", "row", "words"),
    [
        ("classification", {"text": "a"}, "a line of classification has text, label"),
        ("classification", {"text": "a", "label": 1.5}, "label a text or a whole number"),
        ("classification", {"text": 1, "label": "x"}, "must be texts"),
        ("entailment", {"text": "a", "label": "x"}, "a line of entailment has premise, hypothesis, label"),
        ("similarity", {"first": "a", "second": "b", "label": 0, "id": 1}, "keys first, second, label, id"),
        ("score", {"first": "a", "second": "b", "label": 0}, "a line of score has first, second, score"),
        ("score", {"first": "a", "second": "b", "score": "3"}, "score a number"),
        ("score", {"first": "a", "second": "b", "score": True}, "score a number"),
        ("choice", {"context": "a", "completion": "b"}, "question 1 is no choice"),
    ],
)
def test_refused_lines(tmp_path: Path, task: TaskName, row: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        labelled.read(write(tmp_path / "a.jsonl", [row]), task)


def test_sequences_as_in_figure_1(tokenizer: Tokenizer) -> None:
    encode = Encoder(tokenizer, 257, 64)
    a, b = tokenizer.encode("rain").ids, tokenizer.encode("wet").ids
    assert encode(("rain",)).tolist() == [257, *a, 259]
    assert encode(("rain", "wet")).tolist() == [257, *a, 258, *b, 259]


@pytest.mark.parametrize(
    ("lengths", "kept"), [((20,), (10,)), ((20, 3), (6, 3)), ((3, 20), (3, 6)), ((20, 20), (4, 5)), ((5, 4), (5, 4))]
)
def test_the_longest_lose_their_ends(tokenizer: Tokenizer, lengths: tuple[int, ...], kept: tuple[int, ...]) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    ids = Encoder(tokenizer, 257, 12)(tuple(letters[:n] for n in lengths)).tolist()
    want = [tokenizer.encode(letters[:n]).ids for n in kept]
    assert len(ids) <= 12
    assert ids == [257, *want[0], *(x for part in want[1:] for x in [258, *part]), 259]


# ---- the network


@pytest.fixture
def gpt() -> GPT:
    return GPT.create(ModelConfig(layers=2, width=16, heads=2, context=24), 30, seed=1)


def sequences(*lengths: int) -> list[Any]:
    draw = np.random.default_rng(sum(lengths))
    return [draw.integers(0, 33, n).astype(np.int32) for n in lengths]


def test_the_three_tokens_leave_the_others_alone(gpt: GPT) -> None:
    wide = widen(gpt, torch.Generator().manual_seed(0))
    ids = torch.arange(20)[None]
    assert wide.vocabulary == 33
    torch.testing.assert_close(wide(ids)[..., :30], gpt(ids))
    assert 0.005 < wide.wte.weight[30:33].std().item() < 0.04
    assert not wide.wte.weight[33:].any()


@torch.no_grad()
def test_logits_and_losses_by_hand(gpt: GPT) -> None:
    """Sequence by sequence, without padding."""
    examples = [[one] for one in sequences(5, 9)] + [sequences(7, 4)]
    labels, score = (Classifier.create(gpt, outputs, seed=4) for outputs in (3, 1))
    choice = Classifier.create(gpt, 1, seed=4, choice=True)
    batch = Batch.of(examples, CPU)
    for model in (labels, score, choice):
        states = [[model.gpt.hidden(torch.tensor(row[None]).long())[0] for row in example] for example in examples]
        logits, hidden = model(batch)
        if model is not choice:
            want = torch.stack([model.head(sum(state[-1] for state in example)) for example in states])
        else:
            want = torch.full((3, 2), -torch.inf)
            for i, example in enumerate(states):
                want[i, : len(example)] = torch.stack([model.head(state[-1])[0] for state in example])
        torch.testing.assert_close(logits, want)
        weight = model.gpt.wte.weight[:33]
        rows, finals = itertools.chain(*examples), itertools.chain(*states)
        for found, row, state in zip(model.language(batch, hidden), rows, finals, strict=True):
            nats = torch.nn.functional.cross_entropy(state[:-1] @ weight.T, torch.tensor(row[1:]).long())
            torch.testing.assert_close(found, nats)


def test_gradients_reach_everything(gpt: GPT) -> None:
    model = Classifier.create(gpt, 2, seed=0)
    batch = Batch.of([[one] for one in sequences(5, 24)], CPU)
    assert not torch.equal(model(batch)[0], model(batch, inner=0.5)[0])
    logits, hidden = model(batch)
    (logits.logsumexp(1).sum() + model.language(batch, hidden).sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
    assert not model.gpt.wte.weight.grad[33:].any()


@pytest.mark.parametrize(("step", "rate"), [(0, 0.5 / 20), (19, 19.5 / 20), (20, 0.9795 / 0.98), (999, 0.0005 / 0.98)])
def test_rate(step: int, rate: float) -> None:
    config = FinetuneConfig(task="choice", rate=1.0, warmup=0.02)
    assert config.rate_at(step, 1000) == pytest.approx(rate, rel=1e-9)


def test_defaults_are_the_papers() -> None:
    config = FinetuneConfig(task="choice")
    assert (config.rate, config.batch, config.epochs, config.warmup) == (6.25e-5, 32, 3, 0.002)
    assert (config.language, config.dropout) == (0.5, 0.1)


# ---- what can be learnt


def filler(draw: random.Random) -> str:
    return "".join(draw.choice("xyz ") for _ in range(draw.randint(0, 9)))


def make_rows(task: TaskName, count: int, seed: int, *, shuffled: bool = False) -> list[dict[str, Any]]:
    """A rule that needs all that the inputs hold, among letters without meaning: are both an a; which comes first."""
    draw = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for _ in range(count):
        a, b = draw.choice("ab"), draw.choice("ab")
        first, second = filler(draw) + a, filler(draw) + b
        if task == "classification":
            rows.append({"text": first + filler(draw), "label": {"a": "good", "b": "bad"}[a]})
        elif task == "entailment":
            rows.append({"premise": first, "hypothesis": second, "label": int(a == b == "a")})
        elif task == "similarity":
            rows.append({"first": first, "second": second, "label": "same" if a == b == "a" else "other"})
        elif task == "score":
            rows.append({"first": first, "second": second, "score": 100.0 + 10 * ((a == "a") + (b == "a"))})
        else:
            letters = draw.sample("abcd", draw.randint(2, 3))
            choices = [filler(draw) + letter for letter in letters]
            rows.append({"context": filler(draw), "choices": choices, "gold": letters.index(min(letters))})
    if shuffled and task == "choice":
        return [row | {"gold": draw.randrange(len(row["choices"]))} for row in rows]
    if shuffled:
        labels = draw.sample([row["label"] for row in rows], count)
        return [row | {"label": label} for row, label in zip(rows, labels, strict=True)]
    return rows


@pytest.fixture
def learn(source: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    def learn(task: TaskName, *, shuffled: bool = False, name: str = "out", count: int = 600, **settings: Any) -> Any:
        train = write(tmp_path / f"{name}.jsonl", make_rows(task, count, 1, shuffled=shuffled))
        held = write(tmp_path / f"{name}-held.jsonl", make_rows(task, 200, 2, shuffled=shuffled))
        config = FinetuneConfig(task=task, **(FAST | settings))
        return finetune.finetune(source, train, held, tmp_path / name, config, CPU)

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield learn
    torch.use_deterministic_algorithms(before)


@pytest.mark.parametrize(
    ("task", "epochs"), [("classification", 4), ("entailment", 6), ("similarity", 6), ("choice", 6)]
)
def test_a_rule_is_learnt(learn: Callable[..., Any], task: TaskName, epochs: int) -> None:
    found = learn(task, epochs=epochs)
    assert found.examples == 200
    assert found.accuracy > 0.95
    assert found.error == pytest.approx(math.sqrt(found.accuracy * (1 - found.accuracy) / 199))


def test_scores_are_learnt(learn: Callable[..., Any], tmp_path: Path) -> None:
    found = learn("score", epochs=6)
    assert found.pearson > 0.95
    assert found.spearman > 0.9
    assert found.error < 3
    model = Finetuned(tmp_path / "out", CPU)
    assert model.progress.scale == pytest.approx((110, math.sqrt(50)), rel=0.05)
    examples = labelled.read(str(tmp_path / "out-held.jsonl"), "score")
    scores = [row["score"] for row in model.predict(examples)]
    again = labelled.correlation(scores, [float(example.label or 0) for example in examples])
    assert again == found
    assert min(scores) == pytest.approx(100, abs=8)


@pytest.mark.parametrize("labels", [2, 3])
def test_accuracy_matthews_and_f1(labels: int) -> None:
    generator = np.random.default_rng(labels)
    gold = generator.integers(0, labels, 50).tolist()
    chances = generator.dirichlet(np.ones(labels), 50).tolist()
    said = [int(np.argmax(row)) for row in chances]
    found = labelled.accuracy(chances, gold, choice=False)
    assert found.accuracy == metrics.accuracy_score(gold, said)
    assert found.nats == pytest.approx(metrics.log_loss(gold, chances))
    assert found.matthews == pytest.approx(metrics.matthews_corrcoef(gold, said))
    assert found.f1 == (pytest.approx(metrics.f1_score(gold, said)) if labels == 2 else None)
    assert f"Matthews {found.matthews:.4f}" in str(found)
    assert ("F1" in str(found)) == (labels == 2)
    assert labelled.accuracy(chances, gold, choice=True) == replace(found, matthews=None, f1=None)
    assert labelled.accuracy([[1.0, 0.0]] * 2, [0, 0], choice=False).matthews is None


def test_correlations() -> None:
    """Spearman's are of ranks, equals sharing theirs; a side that does not vary has none."""
    found, gold = [1.0, 2.0, 2.0, 9.0], [0.0, 1.0, 3.0, 4.0]
    one = labelled.correlation(found, gold)
    assert one.pearson == pytest.approx(pearsonr(found, gold).statistic)
    assert one.spearman == pytest.approx(spearmanr(found, gold).statistic)
    assert one.error == pytest.approx(math.sqrt((1 + 1 + 1 + 25) / 4))
    assert labelled.correlation([1.0, 1.0], [0.0, 1.0]).pearson is None
    assert str(labelled.correlation([1.0, 1.0], [1.0, 2.0])).endswith("Pearson -, Spearman -, root mean square 0.7071")


@pytest.mark.parametrize(("task", "chance"), [("classification", 1 / 2), ("choice", 5 / 12)])
def test_shuffled_labels_teach_nothing(learn: Callable[..., Any], task: TaskName, chance: float) -> None:
    found = learn(task, epochs=4, shuffled=True)
    assert abs(found.accuracy - chance) < 3 * found.error


def test_similarity_does_not_know_an_order(learn: Callable[..., Any], tmp_path: Path) -> None:
    learn("similarity", epochs=1, count=64)
    model = Finetuned(tmp_path / "out", CPU)
    one, other = model.predict([Example((("ax", "b"), ("b", "ax")), None), Example((("b", "ax"), ("ax", "b")), None)])
    assert one == pytest.approx(other)
    assert set(one) == {"other", "same"}
    assert sum(one.values()) == pytest.approx(1)


def test_predictions_do_not_depend_on_the_company(learn: Callable[..., Any], tmp_path: Path) -> None:
    learn("choice", epochs=1, count=64)
    model = Finetuned(tmp_path / "out", CPU)
    examples = labelled.read(str(tmp_path / "out-held.jsonl"), "choice")
    together = model.predict(examples)
    for example, chances in zip(examples[:20], together, strict=False):
        assert model.predict([example])[0] == pytest.approx(chances, rel=1e-4)
        assert list(chances) == ["0", "1", "2"][: len(example.sequences)]


# ---- runs


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("kill", [1, 4, 7, 8])
def test_a_stopped_run_ends_in_the_same_bytes(
    learn: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kill: int
) -> None:
    settings: dict[str, Any] = {"epochs": 3, "count": 80, "save": 2, "micro": 8}
    whole = learn("classification", name="whole", **settings)
    step = finetune._Run._step

    def stop(self: Any, optimizer: Any, number: int) -> Any:
        if number == kill:
            raise KilledError
        return step(self, optimizer, number)

    monkeypatch.setattr(finetune._Run, "_step", stop)
    with pytest.raises(KilledError):
        learn("classification", **settings)
    monkeypatch.undo()
    assert learn("classification", **settings) == whole
    for name in (finetune.MODEL, METRICS, TOKENIZER):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert [line["step"] for line in lines(tmp_path / "out") if "loss" in line] == list(range(1, 10))
    assert [line["step"] for line in lines(tmp_path / "out") if "held" in line] == [3, 6, 9]
    # Done: nothing is trained, and the same is said.
    assert learn("classification", **settings) == whole


def test_small_batches_add_up(learn: Callable[..., Any], tmp_path: Path) -> None:
    """Without the dropout, whose draws are a forward pass's own."""
    for name, micro in (("one", 32), ("many", 5)):
        learn("choice", name=name, epochs=1, count=96, micro=micro, dropout=0.0, rate=1e-3)
    first, second = (lines(tmp_path / name) for name in ("one", "many"))
    for a, b in zip(first[:3], second[:3], strict=True):
        assert a == pytest.approx(b, rel=1e-3)


def test_another_run_is_refused(learn: Callable[..., Any], source: Path, tmp_path: Path) -> None:
    learn("classification", epochs=1, count=40)
    with pytest.raises(StaleError, match="holds a run with another config"):
        learn("classification", epochs=2, count=40)
    with pytest.raises(StaleError, match="another data"):
        learn("classification", epochs=1, count=41)


def test_labels_must_be_known(source: Path, tmp_path: Path) -> None:
    config = FinetuneConfig(task="classification", **(FAST | {"epochs": 1}))
    train = write(tmp_path / "train.jsonl", [{"text": "a", "label": label} for label in ("x", "y")])
    held = write(tmp_path / "held.jsonl", [{"text": "a", "label": "z"}])
    with pytest.raises(InputError, match="the label 'z', which the training set lacks"):
        finetune.finetune(source, train, held, tmp_path / "out", config, CPU)
    single = write(tmp_path / "single.jsonl", [{"text": "a", "label": "x"}])
    with pytest.raises(InputError, match="single label 'x'"):
        finetune.finetune(source, single, None, tmp_path / "other", config, CPU)
    assert finetune.finetune(source, train, None, tmp_path / "out", config, CPU) is None
    flat = write(tmp_path / "flat.jsonl", [{"first": "a", "second": "b", "score": 1.5}] * 3)
    with pytest.raises(InputError, match=r"single score 1\.5"):
        finetune.finetune(source, flat, None, tmp_path / "flat", replace(config, task="score"), CPU)


def test_damage_is_named(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no fine-tuned network"):
        Finetuned(tmp_path, CPU)
    (tmp_path / finetune.MODEL).write_bytes(b"x" * 100)
    with pytest.raises(ModelError, match="is unreadable"):
        Finetuned(tmp_path, CPU)
    with pytest.raises(ModelError, match="is no fine-tuned network"):
        Finetuned(source, CPU)


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"rate": 0.0}, {"warmup": 0.0}, {"dropout": 1.0}, {"clip": 0.0}])
def test_settings_out_of_range(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|range"):
        replace(FinetuneConfig(task="choice"), **settings)
