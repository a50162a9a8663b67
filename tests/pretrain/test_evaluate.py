"""Bits per byte against a slow oracle: one document, one window, one id at a time."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from curate import shards
from curate.shards import Split, open_tokens
from pretrain import evaluate
from pretrain.model import GPT
from pretrain.presets import ModelConfig


@pytest.fixture(scope="module")
def held(tokens_dir: Path) -> Split:
    return open_tokens(str(tokens_dir)).split("held")


@pytest.fixture(scope="module")
def model() -> GPT:
    model = GPT.create(ModelConfig(layers=2, width=16, heads=2, context=12), 257, seed=2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter[:257] += 0.2 * torch.randn(parameter[:257].shape, generator=torch.Generator().manual_seed(9))
    return model


def oracle(model: GPT, text: list[int]) -> float:
    """Nats of a document's text by the docstring's rule."""
    ids, context, nats = [0, *text], model.config.context, 0.0
    for position in range(1, len(ids)):
        start = (position - 1) // context * context
        logits = model(torch.tensor([ids[start:position]]))[0, -1].double()
        nats -= float(logits.log_softmax(-1)[ids[position]])
    return nats


def documents(split: Split) -> list[tuple[str, str, list[int], int]]:
    """(id, source, text ids, bytes): the file read by hand; every 0 ends a document."""
    out = []
    for shard in split.shards:
        texts = " ".join(map(str, shard.ids.tolist())).removeprefix("0 ").removesuffix(" 0").split(" 0 ")
        rows = shard.documents().to_pylist()
        out += [
            (r["id"], r["source"], [int(i) for i in t.split()], r["bytes"]) for r, t in zip(rows, texts, strict=True)
        ]
    return out


@torch.no_grad()
def test_scores_equal_a_slow_oracle(model: GPT, held: Split) -> None:
    scores = evaluate.scores(model, evaluate.choose(held, 0))
    rows = documents(held)
    assert any(len(text) > 3 * model.config.context for _, _, text, _ in rows)
    for name in ("books", "crawl", "all"):
        mine = [row for row in rows if name in (row[1], "all")]
        nbytes = sum(row[3] for row in mine)
        bits = sum(oracle(model, row[2]) for row in mine) / math.log(2) / nbytes
        assert scores[name].bits_per_byte == pytest.approx(bits, rel=1e-5)
        assert (scores[name].documents, scores[name].bytes) == (len(mine), nbytes)
        # One id a byte here, since the tokenizer knows bytes alone.
        assert scores[name].tokens == nbytes


def test_an_even_guess_costs_log2_of_the_vocabulary(held: Split) -> None:
    model = GPT.create(ModelConfig(layers=1, width=8, heads=1, context=16), 257, seed=0)
    with torch.no_grad():
        model.wte.weight.zero_()
    for score in evaluate.scores(model, evaluate.choose(held, 0)).values():
        assert score.bits_per_byte == pytest.approx(math.log2(257), rel=1e-6)


def test_document_nats_do_not_depend_on_the_company(model: GPT, held: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = evaluate.choose(held, 0)
    whole = evaluate.document_nats(model, chosen)
    monkeypatch.setattr(evaluate, "_CPU_BATCH", 1)
    np.testing.assert_allclose(evaluate.document_nats(model, chosen), whole, rtol=1e-5)


def test_a_limit_takes_whole_documents_of_each_source_in_keyed_order(held: Split) -> None:
    whole, some = evaluate.choose(held, 0), evaluate.choose(held, 0, limit=120)
    for source in ("books", "crawl"):
        every, taken = (
            [ids.tolist() for ids, name in zip(h.ids, h.sources, strict=True) if name == source] for h in (whole, some)
        )
        assert taken == every[: len(taken)]
        assert sum(map(len, taken[:-1])) < 120 <= sum(map(len, taken))
    assert len(some.ids) < len(whole.ids)


def test_documents_without_a_byte_are_left_out(tmp_path: Path, model: GPT) -> None:
    (tmp_path / shards.TOKENIZER).write_text("{}")
    rows = [("a" * 32, "x", np.array([], np.int64), 0), ("b" * 32, "x", np.array([5, 6]), 2)]
    entry = shards.write_shard(str(tmp_path / "held"), "00000", rows, 0, "uint16")
    shards.write_manifest(str(tmp_path), {"held": [entry]}, end_of_text=0, vocab_size=257)
    chosen = evaluate.choose(open_tokens(str(tmp_path)).split("held"), 0)
    assert [ids.tolist() for ids in chosen.ids] == [[5, 6]]
    # One source: no line for all of them.
    assert list(evaluate.scores(model, chosen)) == ["x"]


def test_no_documents_have_no_scores(model: GPT) -> None:
    assert evaluate.scores(model, evaluate.Held([], [], [], 0)) == {}
