import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import draw, mix
from curate.document import document_id
from curate.errors import InputError

SEED = 7
IDS = [document_id("crawl", "file", i) for i in range(4000)]


def have(tokens: int, documents: int = 10, smallest: float = 0.0) -> mix.Available:
    return mix.Available(documents=documents, tokens=tokens, bytes=4 * tokens, smallest=smallest)


def epochs(plan: mix.Plan) -> dict[str, float]:
    return {source: share.epochs for source, share in plan.sources.items()}


TABLE_2_2 = {"crawl": have(410), "webtext": have(19), "books": have(67), "wikipedia": have(3)}


@pytest.mark.parametrize(
    ("available", "config", "expected"),
    [
        # Table 2.2 in billions, under its budget of 300: the weights are honoured, not the printed epochs.
        (
            TABLE_2_2,
            mix.Mixture(tokens=300),
            {s: w / 1.01 * 300 / TABLE_2_2[s].tokens for s, w in mix.gpt3_weights().items()},
        ),
        # The epochs as printed.
        (
            TABLE_2_2,
            mix.Mixture(weights=None, epochs={"crawl": 0.44, "webtext": 2.9, "books": 0.69, "wikipedia": 3.4}),
            {"crawl": 0.44, "webtext": 2.9, "books": 0.69, "wikipedia": 3.4},
        ),
        # No budget: crawl is largest for its weight and is seen once; webtext and wikipedia stop at the cap.
        (TABLE_2_2, mix.Mixture(), {"crawl": 1, "webtext": 4, "books": 0.16 * 410 / 0.6 / 67, "wikipedia": 4}),
        ({"crawl": have(50)}, mix.Mixture(), {"crawl": 1}),
        ({"a": have(30), "b": have(10)}, mix.Mixture(weights=None), {"a": 1, "b": 1}),
        ({"a": have(30), "b": have(10)}, mix.Mixture(weights=None, tokens=20), {"a": 0.5, "b": 0.5}),
        ({"a": have(30), "b": have(10)}, mix.Mixture(weights={"a": 1, "b": 0}), {"a": 1, "b": 0}),
        ({"a": have(30), "b": have(10)}, mix.Mixture(weights={"a": 1, "b": 0}, tokens=15), {"a": 0.5, "b": 0}),
        # What b cannot fill, a does.
        ({"a": have(100), "b": have(10)}, mix.Mixture(weights={"a": 1, "b": 1}, tokens=140), {"a": 1, "b": 4}),
        ({"a": have(9), "b": have(9)}, mix.Mixture(weights={"a": 9, "b": 1}, tokens=72), {"a": 4, "b": 4}),
        (
            {"a": have(100), "b": have(10)},
            mix.Mixture(weights={"a": 1, "b": 1}, tokens=200, max_epochs=None),
            {"a": 1, "b": 10},
        ),
    ],
)
def test_plan(available, config, expected):
    assert epochs(mix.plan(available, config)) == pytest.approx(expected, abs=1e-8)


def test_plan_says_what_it_honours_and_where_it_departs():
    plan = mix.plan({"crawl": have(600), "wikipedia": have(1)}, mix.Mixture())
    assert plan.honours == "weights"
    assert plan.notes == (
        "books has weights 0.16 and no document",
        "webtext has weights 0.22 and no document",
        "the weights of the sources present sum to 0.63; each was divided by that",
        "wikipedia would be seen more than 4 times and is capped there",
    )
    assert {s: (share.tokens, share.capped) for s, share in plan.sources.items()} == {
        "crawl": (600, False),
        "wikipedia": (4, True),
    }
    assert plan.tokens == 604
    assert mix.plan({"a": have(1)}, mix.Mixture(weights={"a": 1.0})).notes == ()
    assert mix.plan({"a": have(1)}, mix.Mixture(weights=None)).honours == "size"


@pytest.mark.parametrize(
    ("available", "config", "message"),
    [
        ({}, mix.Mixture(), "no source has a document left"),
        ({"crawl": have(0, documents=0)}, mix.Mixture(), "no source has a document left"),
        ({"crawl": have(5), "mine": have(5)}, mix.Mixture(), "weights do not name mine; give each a number"),
        ({"a": have(5), "b": have(5)}, mix.Mixture(weights=None, epochs={"a": 1}), "epochs do not name b"),
        ({"b": have(5)}, mix.Mixture(weights={"a": 1, "b": 0}), "weights are 0 for every source that has documents: b"),
        ({"a": have(5)}, mix.Mixture(weights={"a": 1}, tokens=21), "tokens is 21, but 4 epochs give 20"),
        ({"a": have(5), "b": have(9)}, mix.Mixture(weights={"a": 1, "b": 0}, tokens=21), "4 epochs give 20"),
    ],
)
def test_plan_refuses(available, config, message):
    with pytest.raises(InputError, match=message):
        mix.plan(available, config)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"weights": {"a": -1}}, "finite, 0 or more"),
        ({"weights": {"a": math.nan}}, "finite, 0 or more"),
        ({"weights": {"a": 0}}, "not all 0"),
        ({"weights": {}}, "not all 0"),
        ({"epochs": {"a": 1}}, "set the other to null"),
        ({"weights": None, "epochs": {"a": 1}, "tokens": 5}, "set tokens to null"),
        ({"weights": None, "epochs": {"a": 4.5}}, "pass max_epochs"),
        ({"tokens": 0}, "tokens is 0"),
        ({"max_epochs": 0.5}, "max_epochs is 0.5"),
        ({"held": 1}, "held is 1"),
    ],
)
def test_config_refuses(settings_, message):
    with pytest.raises(ValueError, match=message):
        mix.Mixture(**settings_)


@settings(max_examples=200, deadline=None)
@given(
    tokens=st.lists(st.integers(1, 10**9), min_size=1, max_size=6),
    weights=st.lists(st.floats(0.001, 1), min_size=6, max_size=6),
    fill=st.floats(0.001, 1) | st.none(),
    cap=st.floats(1, 8),
)
def test_plan_fills_the_budget_and_keeps_the_cap(tokens, weights, fill, cap):
    available = {str(i): have(n) for i, n in enumerate(tokens)}
    table = {str(i): weights[i] for i in range(len(tokens))}
    budget = None if fill is None else max(1, int(fill * cap * sum(tokens)))
    plan = mix.plan(available, mix.Mixture(weights=table, tokens=budget, max_epochs=cap))
    assert all(0 < share.epochs <= cap for share in plan.sources.values())
    if budget is None:
        assert min(epochs(plan).values()) == 1
    else:
        assert sum(s.epochs * s.available.tokens for s in plan.sources.values()) == pytest.approx(
            budget, rel=1e-6, abs=3
        )
    free = {s: share.tokens / share.weight for s, share in plan.sources.items() if not share.capped and share.weight}
    if free and min(share.tokens for share in plan.sources.values()) > 1000:
        assert max(free.values()) == pytest.approx(min(free.values()), rel=1e-2)


@pytest.mark.parametrize("wanted", [0.0, 0.25, 1.0, 2.6, 3.0])
def test_copies_per_document(wanted):
    found = mix.measure(IDS, ["a"] * len(IDS), np.full(len(IDS), 3), np.full(len(IDS), 9), SEED)
    config = mix.Mixture(weights=None, epochs={"a": wanted, "b": 1})
    copies = mix.copies(IDS, "a", mix.plan(found | {"b": have(1)}, config), SEED)
    assert copies.dtype == np.int32
    assert set(copies.tolist()) <= {math.floor(wanted), math.ceil(wanted)}
    spread = math.sqrt(len(IDS) * (wanted % 1) * (1 - wanted % 1))
    assert abs(copies.sum() - wanted * len(IDS)) <= 4 * spread + (wanted > 0)


def test_copies_do_not_depend_on_the_batch_and_grow_with_epochs():
    found = mix.measure(IDS, ["a"] * len(IDS), np.full(len(IDS), 3), np.full(len(IDS), 9), SEED)
    few = mix.plan(found, mix.Mixture(weights=None, epochs={"a": 0.3}))
    more = mix.plan(found, mix.Mixture(weights=None, epochs={"a": 0.5}))
    whole = mix.copies(IDS, "a", few, SEED)
    assert mix.copies(IDS[::-1], "a", few, SEED).tolist() == whole[::-1].tolist()
    assert [int(mix.copies([i], "a", few, SEED)[0]) for i in IDS[:50]] == whole[:50].tolist()
    assert (mix.copies(IDS, "a", more, SEED) >= whole).all()
    assert (mix.copies(IDS, "a", few, SEED + 1) != whole).any()


@settings(max_examples=100, deadline=None)
@given(number=st.integers(1, 30), wanted=st.floats(1e-9, 0.02), seed=st.integers(0, 5), cut=st.integers(0, 30))
def test_small_source_never_vanishes(number, wanted, seed, cut):
    ids = IDS[:number]
    parts = [ids[:cut], ids[cut:]]
    ones = [np.ones(len(part), np.int64) for part in parts]
    found = mix.combine(
        mix.measure(part, ["a"] * len(part), one, one, seed) for part, one in zip(parts, ones, strict=True)
    )
    assert found["a"].documents == number
    assert found["a"].smallest == draw.draws(ids, seed, "mix.copies").min()
    plan = mix.plan(found, mix.Mixture(weights=None, epochs={"a": wanted}))
    assert sum(int(mix.copies(part, "a", plan, seed).sum()) for part in parts) >= 1


def test_measure_by_source():
    found = mix.measure(IDS[:3], ["b", "a", "b"], np.array([1, 2, 4]), np.array([10, 20, 40]), SEED)
    assert {s: (f.documents, f.tokens, f.bytes) for s, f in found.items()} == {"a": (1, 2, 20), "b": (2, 5, 50)}
    assert mix.combine([found, found])["b"] == mix.Available(
        documents=4, tokens=10, bytes=100, smallest=found["b"].smallest
    )


def test_split_is_keyed_and_close_to_its_share():
    draws = mix.split_draws(IDS, SEED)
    assert 300 < (draws < 0.1).sum() < 500
    assert mix.split_draws(IDS[::-1], SEED).tolist() == draws[::-1].tolist()
    assert not (draws < 0.0).any()


@given(st.integers(1, 60), st.integers(0, 99), st.sampled_from([0.0, 0.005, 0.3]))
def test_a_source_of_some_size_has_a_held_out_document(documents, seed, share):
    draws = mix.split_draws(IDS[:documents], seed)
    below = mix.thresholds({"a": (documents, float(draws.min()))}, share)["a"]
    held = int((draws < below).sum())
    assert held == max(int((draws < share).sum()), int(share > 0 and documents >= mix.LEAST_HELD))


def test_achieved_beside_planned():
    plan = mix.plan({"a": have(100), "b": have(50)}, mix.Mixture(weights={"a": 1, "b": 1}))
    table = mix.compare(plan, {"a": (9, 90), "b": (21, 110)})
    assert list(table) == ["a", "b"]
    assert table["b"] == {
        "available_documents": 10,
        "available_tokens": 50,
        "asked_weight": 0.5,
        "planned_weight": 0.5,
        "achieved_weight": 0.55,
        "planned_epochs": 2.0,
        "achieved_epochs": 2.2,
        "planned_tokens": 100,
        "achieved_tokens": 110,
        "achieved_documents": 21,
        "capped": False,
    }
    assert mix.compare(plan, {"a": (10, 100)})["b"]["achieved_weight"] == 0
