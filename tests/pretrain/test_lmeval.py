"""The adapter by the words of lm_eval's interface and, where lm_eval is installed, against its own `hf` model."""

import importlib
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from curate.errors import CurateError, UsageError
from curate.shards import TOKENIZER
from pretrain import export, importer, lmeval
from pretrain.lmeval import Answers
from pretrain.sample import Sampler

WINDOW = 24


@pytest.fixture(scope="module")
def checkpoint(tokens_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, out = tmp_path_factory.mktemp("hf"), tmp_path_factory.mktemp("checkpoint")
    torch.manual_seed(8)
    config = GPT2Config(
        vocab_size=257, n_positions=WINDOW, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    (folder / TOKENIZER).write_bytes((tokens_dir / TOKENIZER).read_bytes())
    importer.convert(folder, out)
    return out


@pytest.fixture(scope="module")
def sampler(checkpoint: Path) -> Sampler:
    return Sampler(checkpoint, torch.device("cpu"))


@pytest.fixture(scope="module")
def answers(sampler: Sampler) -> Answers:
    return Answers(sampler)


def request(*args: Any) -> Any:
    return SimpleNamespace(args=args)


PAIRS = [
    ("the owl", " flies"),
    ("the owl", " digs"),
    ("the owl ", "flies"),
    ("", "an owl"),
    ("the owl", " flies at night, silently"[:WINDOW]),
    ("a context that is much longer than the window of the model ", "owl"),
    ("weiß", "nichts"),
]


@torch.no_grad()
def nats(sampler: Sampler, context: list[int], completion: list[int]) -> float:
    row = torch.tensor([(context + completion)[-WINDOW - 1 :]])
    log_p = sampler.model(row[:, :-1])[0, -len(completion) :].double().log_softmax(-1)
    return -float(log_p.gather(1, torch.tensor(completion)[:, None]).sum())


def test_loglikelihood(answers: Answers, sampler: Sampler) -> None:
    found = answers.loglikelihood([request(*pair) for pair in PAIRS])
    for (context, completion), (value, greedy) in zip(PAIRS, found, strict=True):
        spaces = len(context) - len(context.rstrip())
        before = sampler.tokenizer.encode(context.rstrip()).ids if context else [0]
        after = sampler.tokenizer.encode(" " * spaces + completion).ids
        assert value == pytest.approx(-nats(sampler, before, after), rel=1e-4)
        assert greedy is False
    assert found[0] == pytest.approx(found[2])


def test_greedy_is_seen(answers: Answers) -> None:
    """Of what the model writes after some words, all that is text, and not half of a letter."""
    contexts = ["owl", "the", "flies", "Q:", "A:", "one", "two", "1 2 3", "night", "day", "nichts", "und"]
    texts = answers.generate_until([request(context, {"max_gen_toks": 2}) for context in contexts])
    written = [(c, t) for c, t in zip(contexts, texts, strict=True) if t.isascii() and len(t) == 2]
    assert written
    assert all(greedy for _, greedy in answers.loglikelihood([request(*pair) for pair in written]))


@pytest.mark.parametrize("length", [1, WINDOW, WINDOW + 1, 3 * WINDOW - 5])
def test_rolling(answers: Answers, sampler: Sampler, length: int) -> None:
    """An id at a time: the window of each begins where lm_eval's documentation puts it."""
    text = "".join(itertools.islice(itertools.cycle("the owl flies at night, "), length))
    ids = [0, *sampler.tokenizer.encode(text).ids]
    want = 0.0
    for position in range(1, len(ids)):
        block = (position - 1) // WINDOW * WINDOW
        start = min(block, max(0, len(ids) - 1 - WINDOW))
        want -= nats(sampler, ids[start:position], ids[position : position + 1])
    assert answers.loglikelihood_rolling([request(text), request("")]) == pytest.approx([want, 0.0], rel=1e-4)


def test_generation_ends_where_it_is_told(answers: Answers) -> None:
    settings = {"until": [], "max_gen_toks": 12, "do_sample": False}
    (text,) = answers.generate_until([request("the owl", settings)])
    assert text
    stop = text[2]
    assert answers.generate_until([request("the owl", settings | {"until": [stop]})]) == [text[: text.index(stop)]]
    assert answers.generate_until([request("the owl", settings | {"until": stop})]) == [text[: text.index(stop)]]
    # What does not fit loses its beginning.
    long = answers.generate_until([request("x" * 100 + "the owl sits", settings)])
    assert long == answers.generate_until([request("the owl sits", settings)])
    with pytest.raises(UsageError, match="asks for sampling"):
        answers.generate_until([request("a", {"do_sample": True})])
    answers.generate_until([request("a", {"do_sample": True, "temperature": 0.0, "max_gen_toks": 1})])


def test_without_lm_eval_it_names_the_extra(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(CurateError, match="pip install 'curate-pretrain\\[lm-eval\\]'"):
        lmeval.load(str(checkpoint), "cpu")


# ---- with lm_eval itself


@pytest.mark.filterwarnings("ignore")
def test_equal_to_its_own_model(checkpoint: Path, tmp_path: Path) -> None:
    huggingface = pytest.importorskip("lm_eval.models.huggingface")
    export.export(checkpoint, tmp_path / "hf")
    theirs = huggingface.HFLM(pretrained=str(tmp_path / "hf"), device="cpu", batch_size=4, dtype="float32")
    ours = lmeval.load(str(checkpoint), "cpu")
    instance = importlib.import_module("lm_eval.api.instance").Instance

    def ask(kind: str, *args: tuple[Any, ...]) -> tuple[Any, Any]:
        requests = [instance(kind, {}, each, number) for number, each in enumerate(args)]
        return getattr(ours, kind)(requests), getattr(theirs, kind)(requests)

    mine, other = ask("loglikelihood", *PAIRS)
    for (value, greedy), (want, same) in zip(mine, other, strict=True):
        assert value == pytest.approx(want, rel=1e-4)
        assert greedy == same
    mine, other = ask("loglikelihood_rolling", ("the owl flies at night, " * 4,), ("an owl",))
    assert mine == pytest.approx(other, rel=1e-4)
    settings = {"until": ["e"], "max_gen_toks": 8, "do_sample": False}
    mine, other = ask("generate_until", ("the owl", settings), ("a" * 60, settings))
    assert mine == other


@pytest.mark.filterwarnings("ignore")
def test_a_task_of_its_own_runs(checkpoint: Path, tmp_path: Path) -> None:
    lm_eval = pytest.importorskip("lm_eval")
    rows = [{"q": f"the {bird}", "a": ["flies", "digs"], "gold": 0} for bird in ("owl", "wren", "gull")]
    (tmp_path / "birds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": "birds",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "birds.jsonl")}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "{{a}}",
        "doc_to_target": "gold",
        "metric_list": [{"metric": "acc"}],
    }
    found = lm_eval.simple_evaluate(model=lmeval.load(str(checkpoint), "cpu"), tasks=[task], bootstrap_iters=0)
    pairs = [(row["q"], f" {one}") for row in rows for one in ("flies", "digs")]
    values = [
        v for v, _ in Answers(Sampler(checkpoint, torch.device("cpu"))).loglikelihood([request(*p) for p in pairs])
    ]
    share = sum(values[i] > values[i + 1] for i in range(0, 6, 2)) / 3
    assert found["results"]["birds"]["acc,none"] == pytest.approx(share)
