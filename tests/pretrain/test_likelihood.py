"""Likelihoods against transformers' own GPT-2 and against one id at a time; beam search against all continuations."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from pretrain import interchange, likelihood
from pretrain.likelihood import Ids, Request, likelihoods, search
from pretrain.model import GPT
from pretrain.presets import ModelConfig

VOCABULARY = 61


@pytest.fixture(scope="module")
def theirs() -> GPT2LMHeadModel:
    torch.manual_seed(5)
    config = GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=2, n_head=2, initializer_range=0.4)
    return GPT2LMHeadModel(config).eval()


@pytest.fixture(scope="module")
def model(theirs: GPT2LMHeadModel) -> GPT:
    kind, config = interchange.from_settings(theirs.config.to_dict())
    model = GPT(config, VOCABULARY)
    model.load_state_dict(interchange.from_tensors(theirs.state_dict(), config, VOCABULARY, kind))
    return model


def ids(*values: int) -> Ids:
    return np.array(values, np.int32)


def draw_questions(seed: int, count: int = 12) -> list[list[Request]]:
    """Questions of 1 to 4 options, some with one context for all and some with contexts of their own."""
    draw = np.random.default_rng(seed)

    def some(low: int, high: int) -> Ids:
        return draw.integers(0, VOCABULARY, draw.integers(low, high)).astype(np.int32)

    questions = []
    for _ in range(count):
        context = some(1, 40)
        own = draw.integers(2) == 1
        questions.append(
            [
                (np.concatenate([context, some(1, 5)]) if own else context, some(1, 9))
                for _ in range(draw.integers(1, 5))
            ]
        )
    return questions


@torch.no_grad()
def oracle(theirs: GPT2LMHeadModel, context: Ids, completion: Ids) -> tuple[float, bool]:
    """Nats, and whether greedy, by one forward pass of transformers' model over the last 33 ids."""
    row = np.concatenate([context, completion])[-33:].astype(np.int64)
    logits = theirs(torch.from_numpy(row[None, :-1])).logits[0, -len(completion) :]
    target = torch.from_numpy(row[-len(completion) :])
    nats = -logits.double().log_softmax(-1).gather(1, target[:, None]).sum()
    return float(nats), bool((logits.argmax(-1) == target).all())


@pytest.mark.parametrize("seed", range(4))
def test_equal_to_transformers(model: GPT, theirs: GPT2LMHeadModel, seed: int) -> None:
    questions = draw_questions(seed)
    found = likelihoods(model, questions)
    assert [len(group) for group in found] == [len(group) for group in questions]
    for request, one in zip(itertools.chain(*questions), itertools.chain(*found), strict=True):
        nats, greedy = oracle(theirs, *request)
        assert one.nats == pytest.approx(nats, rel=1e-4)
        assert (one.greedy, one.tokens) == (greedy, len(request[1]))


def test_greedy_completions_are_seen(model: GPT, theirs: GPT2LMHeadModel) -> None:
    context = ids(3, 1, 4, 1, 5)
    row = theirs.generate(torch.tensor([context.tolist()]), max_new_tokens=6, do_sample=False, pad_token_id=0)[0, 5:]
    good, bad = row.numpy().astype(np.int32), row.numpy().astype(np.int32)
    bad[-1] = (bad[-1] + 1) % VOCABULARY
    assert [one.greedy for one in likelihoods(model, [[(context, good), (context, bad)]])[0]] == [True, False]


def test_what_is_shared_is_read_once(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, ...]] = []
    hidden = GPT.hidden

    def spy(self: GPT, ids_BT: torch.Tensor, **named: object) -> torch.Tensor:
        read.append(tuple(ids_BT.shape))
        return hidden(self, ids_BT, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(GPT, "hidden", spy)
    context = np.arange(20, dtype=np.int32)
    likelihoods(model, [[(context, ids(1, 2)), (context, ids(3)), (context, ids(4, 5, 6))]] * 2)
    # 19 of the context's 20 ids could be shared, 16 are; 4 + 3 - 1 positions are left.
    assert read == [(2, 16), (6, 6)]


def test_the_company_does_not_matter(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = draw_questions(9)
    whole = likelihoods(model, questions)
    monkeypatch.setattr(likelihood, "_CPU_BATCH", 1)
    for group, alone in zip(whole, likelihoods(model, questions), strict=True):
        np.testing.assert_allclose([one.nats for one in group], [one.nats for one in alone], rtol=1e-5)
    for question, group in zip(questions, whole, strict=True):
        (alone,) = likelihoods(model, [question])
        np.testing.assert_allclose([one.nats for one in group], [one.nats for one in alone], rtol=1e-5)


def test_banded_layers_read_the_same_after_a_shared_part() -> None:
    banded = GPT.create(ModelConfig(layers=2, width=16, heads=2, context=32, band=5), VOCABULARY, seed=1)
    context = np.arange(18, dtype=np.int32)
    pair = [(context, ids(7, 8, 9, 1, 2, 3, 4)), (context, ids(9, 1))]
    together = [one.nats for one in likelihoods(banded, [pair])[0]]
    apart = [likelihoods(banded, [[request]])[0][0].nats for request in pair]
    assert together == pytest.approx(apart, rel=1e-5)


def test_a_completion_longer_than_the_window_is_read_in_windows(model: GPT, theirs: GPT2LMHeadModel) -> None:
    draw = np.random.default_rng(3)
    row = draw.integers(0, VOCABULARY, 71).astype(np.int32)
    ((found, short),) = likelihoods(model, [[(ids(4, *row[:1]), row[1:]), (ids(4), row[1:3])]])
    parts = [oracle(theirs, row[start : start + 1], row[start + 1 : start + 33]) for start in (0, 32, 64)]
    assert found.nats == pytest.approx(sum(nats for nats, _ in parts), rel=1e-4)
    assert (found.tokens, found.greedy) == (70, False)
    assert short.nats == pytest.approx(oracle(theirs, ids(4), row[1:3])[0], rel=1e-4)


def test_no_questions(model: GPT) -> None:
    assert likelihoods(model, []) == []


# ---- beam search


@pytest.fixture(scope="module")
def toy() -> GPT:
    model = GPT.create(ModelConfig(layers=1, width=8, heads=2, context=12), 5, seed=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() == 2:
                noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
                parameter += noise
    return model


@torch.no_grad()
def all_continuations(model: GPT, start: list[int], most: int) -> Iterator[tuple[list[int], float]]:
    """Every continuation that ends with 0, or has the most ids, and its log-probability."""
    for length in range(1, most + 1):
        for text in itertools.product(range(5), repeat=length):
            if 0 not in text[:-1] and (text[-1] == 0 or length == most):
                logits = model(torch.tensor([start + list(text)]))[0, len(start) - 1 : -1].double().log_softmax(-1)
                yield list(text), float(logits.gather(1, torch.tensor(text)[:, None]).sum())


@pytest.mark.parametrize("penalty", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("start", [[1], [0, 4, 2]])
def test_a_wide_beam_finds_the_best_of_all(toy: GPT, start: list[int], penalty: float) -> None:
    found = search(toy, start, lambda text: text[-1] == 0, tokens=4, width=5**4, penalty=penalty)
    best = max(all_continuations(toy, start, 4), key=lambda pair: pair[1] / ((5 + len(pair[0])) / 6) ** penalty)
    assert found == best[0]


def test_width_one_is_greedy(model: GPT, theirs: GPT2LMHeadModel) -> None:
    start = [7, 7, 9]
    want = theirs.generate(torch.tensor([start]), max_new_tokens=20, do_sample=False, pad_token_id=0)[0, 3:].tolist()
    assert search(model, start, lambda text: False, tokens=20, width=1, penalty=0.0) == want


def test_what_does_not_fit_is_refused(toy: GPT) -> None:
    with pytest.raises(ValueError, match="pass the window of 12"):
        search(toy, [1] * 10, lambda text: False, tokens=4)


def test_an_even_guess_costs_log2_of_the_vocabulary(toy: GPT) -> None:
    even = GPT.create(ModelConfig(layers=1, width=8, heads=2, context=12), 5, seed=3)
    with torch.no_grad():
        even.wte.weight.zero_()
    ((one,),) = likelihoods(even, [[(ids(1, 2), ids(3, 4, 0))]])
    assert one.nats == pytest.approx(3 * math.log(5), rel=1e-6)
