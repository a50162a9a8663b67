"""Tasks: prompts against prompts written by hand, scores against transformers' model, and what is refused."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from curate.errors import InputError
from curate.shards import TOKENIZER
from pretrain import benchmark, importer, tasks
from pretrain.benchmark import Bench
from pretrain.sample import Sampler
from pretrain.tasks import Task

WINDOW = 96
BIRDS = ["wren", "owl", "gull", "crow", "kite", "swan"]


@pytest.fixture(scope="module")
def folder(tokens_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of transformers over bytes, with transformers' own random weights."""
    folder = tmp_path_factory.mktemp("hf")
    torch.manual_seed(6)
    config = GPT2Config(
        vocab_size=257, n_positions=WINDOW, n_embd=16, n_layer=2, n_head=2, initializer_range=0.3, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    (folder / TOKENIZER).write_bytes((tokens_dir / TOKENIZER).read_bytes())
    return folder


@pytest.fixture(scope="module")
def sampler(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    out = tmp_path_factory.mktemp("imported")
    importer.convert(folder, out)
    return Sampler(out, torch.device("cpu"))


@pytest.fixture(scope="module")
def theirs(folder: Path) -> GPT2LMHeadModel:
    return GPT2LMHeadModel.from_pretrained(folder).eval()


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Task]:
    """A task of rows and settings, by way of its files."""

    def make(rows: list[Any], examples: list[Any] | None = None, **settings: Any) -> Task:
        (tmp_path / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        settings = {"items": "items.jsonl", "name": "birds"} | settings
        if examples is not None:
            (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in examples))
            settings["examples"] = "train.jsonl"
        (tmp_path / "task.yaml").write_text(json.dumps(settings))  # JSON is YAML
        return tasks.load(str(tmp_path / "task.yaml"))

    return make


def text_of(sampler: Sampler, ids: Any) -> str:
    text: str = sampler.tokenizer.decode(ids.tolist(), skip_special_tokens=False)
    return text


def question(bird: str, gold: int = 0) -> dict[str, Any]:
    return {"context": f"The {bird}", "choices": ["flies", "digs a hole"], "gold": gold}


# ---- prompts


def test_a_prompt_as_written_by_hand(make: Callable[..., Task], sampler: Sampler) -> None:
    task = make(
        [question("wren")],
        [question("owl", 1), question("gull")],
        instruction="Birds.\n",
        before="Q: ",
        after="?\nA: ",
        separator="\n\n",
        shots=2,
    )
    prompt = Bench(sampler).prompt(task, 0, seed=0)
    texts = {text_of(sampler, ids) for ids in prompt.contexts}
    shown = ["Q: The owl?\nA: digs a hole\n\n", "Q: The gull?\nA: flies\n\n"]
    assert len(texts) == 1
    assert texts <= {f"<|endoftext|>Birds.\n{''.join(each)}Q: The wren?\nA:" for each in (shown, shown[::-1])}
    assert [text_of(sampler, ids) for ids in prompt.completions] == [" flies", " digs a hole"]
    assert (prompt.shots, prompt.cut) == (2, False)


def test_lambada_as_cloze(make: Callable[..., Task], sampler: Sampler) -> None:
    """The fill-in-the-blank form of Brown et al. 2020, section 3.1.1."""
    rows = [{"text": "Alice was friends with Bob"}, {"text": "George bought some equipment"}]
    task = make(rows, after=" ____. ->", separator="\n", shots=1)
    prompt = Bench(sampler).prompt(task, 0, seed=0)
    want = "<|endoftext|>George bought some ____. -> equipment\nAlice was friends with ____. ->"
    assert text_of(sampler, prompt.contexts[0]) == want
    assert text_of(sampler, prompt.completions[0]) == " Bob"


def test_as_many_examples_as_fit(make: Callable[..., Task], sampler: Sampler) -> None:
    """An example takes 19 to 20 bytes, of the window's 97 ids 20 are the question's."""
    task = make([question("wren")], [question(bird) for bird in BIRDS[1:]], shots=5)
    bench = Bench(sampler)
    prompt = bench.prompt(task, 0, seed=0)
    order = task.order(0, 0)
    lengths = [len(task.prompt("The wren", order[:k])) + 1 + len(" digs a hole") for k in range(6)]
    assert prompt.shots == max(k for k in range(6) if lengths[k] <= WINDOW + 1)
    assert 0 < prompt.shots < 5
    assert text_of(sampler, prompt.contexts[0]).count("flies") == prompt.shots
    assert bench.run(task).mean_shots == prompt.shots


def test_examples_are_drawn_for_each_question_and_seed(make: Callable[..., Task]) -> None:
    task = make([question(bird) for bird in BIRDS], shots=3)
    orders = {(index, seed): task.order(index, seed) for index in range(6) for seed in range(3)}
    for (index, _), order in orders.items():
        assert len(order) == 3
        assert task.questions[index] not in order
    assert len({tuple(order) for order in orders.values()}) > 10
    everything = make([question(bird) for bird in BIRDS], shots=99)
    assert len(everything.order(2, 0)) == 5


def test_a_prompt_that_does_not_fit_loses_its_beginning(make: Callable[..., Task], sampler: Sampler) -> None:
    task = make([{"context": "x" * 200 + "end", "completion": "bird"}])
    prompt = Bench(sampler).prompt(task, 0, 0)
    assert text_of(sampler, prompt.contexts[0]) == "x" * 89 + "end"
    assert prompt.cut
    assert Bench(sampler).run(task).cut == 1
    assert Bench(sampler).run(make([{"context": "x", "completion": "y" * 200}])).cut == 1
    with pytest.raises(InputError, match="`tokens` is 97, the model's window 96"):
        Bench(sampler).run(make([{"context": "x", "answers": ["y"]}], tokens=97))


# ---- scores


@torch.no_grad()
def nats(theirs: GPT2LMHeadModel, context: str, completion: str) -> float:
    """By one forward pass of transformers' model; bytes are ids of the tokenizer in its own order."""
    alphabet = {byte: index for index, byte in enumerate(_byte_order(), 1)}
    row = torch.tensor([[0, *(alphabet[byte] for byte in (context + completion).encode())]])
    log_p = theirs(row).logits[0, :-1].double().log_softmax(-1)
    every = -log_p.gather(1, row[0, 1:, None])[:, 0]
    return float(every[len(context.encode()) :].sum())


def _byte_order() -> list[int]:
    """Bytes in the order of their stand-ins, as GPT-2 chose them: printable ones are themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    stands = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    return sorted(range(256), key=stands.__getitem__)


def test_choices_by_every_norm(make: Callable[..., Task], sampler: Sampler, theirs: GPT2LMHeadModel) -> None:
    rows = [
        {"context": f"Das {bird}", "choices": ["fließt", "gräbt ein Loch", "fliegt"], "gold": number % 3}
        for number, bird in enumerate(BIRDS)
    ]
    want = dict.fromkeys(tasks.NORMS, 0)
    for row in rows:
        choices, own = row["choices"], [nats(theirs, row["context"], f" {one}") for one in row["choices"]]
        free = [nats(theirs, "Answer:", f" {one}") for one in choices]
        ranks = {
            "token": [n / (len(c.encode()) + 1) for n, c in zip(own, choices, strict=True)],
            "byte": [n / len(c.encode()) for n, c in zip(own, choices, strict=True)],
            "character": [n / len(c) for n, c in zip(own, choices, strict=True)],
            "none": own,
            "answer": list(np.subtract(own, free)),
        }
        for name, values in ranks.items():
            want[name] += values.index(min(values)) == row["gold"]
    result = Bench(sampler).run(make(rows, normalize="byte", answer_context="Answer:"))
    found = {name: result.metrics[f"accuracy_{name}"].value * 6 for name in tasks.NORMS}
    assert found == pytest.approx(want)
    assert result.metrics["accuracy"] == result.metrics["accuracy_byte"]
    share = want["byte"] / 6
    assert result.metrics["accuracy"].error == pytest.approx(math.sqrt(share * (1 - share) / 5))
    assert (result.questions, result.kind, result.headline) == (6, "choice", "accuracy")


def test_completions(make: Callable[..., Task], sampler: Sampler, theirs: GPT2LMHeadModel) -> None:
    rows = [{"text": f"the {bird} can {verb}"} for bird in BIRDS for verb in ("fly", "swim")]
    result = Bench(sampler).run(make(rows))
    every = np.array([nats(theirs, row["text"].rpartition(" ")[0], " " + row["text"].split()[-1]) for row in rows])
    assert result.metrics["perplexity"].value == pytest.approx(math.exp(every.mean()), rel=1e-4)
    spread = every.std(ddof=1) / math.sqrt(len(every)) * math.exp(every.mean())
    assert result.metrics["perplexity"].error == pytest.approx(spread, rel=1e-3)
    assert result.metrics["accuracy"].value == 0


def test_a_completion_that_the_model_would_write(make: Callable[..., Task], sampler: Sampler) -> None:
    start = sampler.tokenizer.encode("the owl").ids
    written = benchmark.search(sampler.model, [0, *start], lambda ids: False, tokens=3, width=1, penalty=0.0)
    text = sampler.tokenizer.decode(written)
    assert text.strip()
    assert len(sampler.tokenizer.encode(text).ids) == 3
    result = Bench(sampler).run(make([{"context": "the owl", "completion": text}], delimiter=""))
    assert (result.metrics["accuracy"].value, result.metrics["accuracy"].error) == (1.0, None)


def test_free_form(make: Callable[..., Task], sampler: Sampler, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def search(model: Any, ids: list[int], ends: Callable[[list[int]], bool], **named: Any) -> list[int]:
        asked.append((text_of(sampler, np.array(ids)), named))
        written: list[int] = sampler.tokenizer.encode(" The Barn-owl!\nQ: more").ids
        for length in range(1, len(written)):
            if ends(written[:length]):
                return written[:length]
        raise AssertionError("it must end at the line break")

    monkeypatch.setattr(benchmark, "search", search)
    rows = [{"context": "Q: who?\nA:", "answers": answers} for answers in (["wren", "a barnowl"], ["owl barnowl x"])]
    result = Bench(sampler).run(make(rows, tokens=8))
    assert {name: one.value for name, one in result.metrics.items()} == {"exact_match": 0.5, "f1": pytest.approx(0.75)}
    assert asked[0] == ("<|endoftext|>Q: who?\nA:", {"tokens": 8, "width": 4, "penalty": 0.6})
    # Completions can be asked for in free form, too.
    result = Bench(sampler).run(make([{"context": "Q: who?\nA:", "completion": " Barnowl"}], kind="free", tokens=8))
    assert result.metrics["exact_match"].value == 1


def test_a_limit_is_a_keyed_draw(make: Callable[..., Task], sampler: Sampler) -> None:
    task = make([question(bird) for bird in BIRDS])
    bench = Bench(sampler)
    assert bench.run(task, limit=3).questions == 3
    assert bench.run(task, limit=3) == bench.run(task, limit=3)
    assert bench.run(task, limit=99) == bench.run(task)


def test_blocks_make_no_difference(
    make: Callable[..., Task], sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make([question(bird, number % 2) for number, bird in enumerate(BIRDS)], shots=2, answer_context="A:")
    whole = Bench(sampler).run(task)
    monkeypatch.setattr(benchmark, "_BLOCK", 2)
    ticks: list[tuple[int, int]] = []
    assert Bench(sampler).run(task, tick=lambda done, total: ticks.append((done, total))) == whole
    assert [done for done, _ in ticks] == sorted({done for done, _ in ticks})
    assert ticks[-1] == (len(BIRDS), len(BIRDS))


# ---- settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"norm": "token"}, r"task\.yaml: no key 'norm'; did you mean normalize\?"),
        ({"normalize": "tokens"}, "normalize: Input should be"),
        ({"shots": -1}, "shots and length_penalty must be 0 or more"),
        ({"normalize": "answer"}, "give answer_context"),
        ({"answer_context": " "}, "answer_context is empty"),
        ({"kind": "free"}, r"kind is free, and there is a question with 2 option\(s\)"),
    ],
)
def test_refused_settings(make: Callable[..., Task], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make([question("owl")], **settings)


def test_a_bare_file_is_a_task(tmp_path: Path) -> None:
    (tmp_path / "birds.jsonl").write_text(json.dumps(question("owl")))
    task = tasks.load(str(tmp_path / "birds.jsonl"), shots=4)
    assert (task.name, task.kind, task.config.shots) == ("birds", "choice", 4)
    (tmp_path / "bad.yaml").write_text("items: [")
    with pytest.raises(InputError, match="is no YAML"):
        tasks.load(str(tmp_path / "bad.yaml"))


def test_most_examples_where_tokens_reach_across_their_ends(
    make: Callable[..., Task], sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lengths of examples by themselves may be off by some tokens in either direction; what is taken is the most."""
    task = make([question("wren")], [question(bird) for bird in BIRDS[1:]], shots=5)
    want = Bench(sampler).prompt(task, 0, seed=0).shots
    for off in (-9, -3, 3, 9):
        monkeypatch.setattr(Bench, "_length", lambda self, text, off=off: len(text) + off)
        assert Bench(sampler).prompt(task, 0, seed=0).shots == want
