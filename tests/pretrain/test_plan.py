"""The order of the windows: laws, and golden values that must never change."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from pretrain.plan import SHARES, Plan, Source, num_windows, permute, shares

PLAN = Plan(manifest="ab" * 32, seed=1, stream=1000, context=16, batch=4, samples=200)
RAMPED = dataclasses.replace(PLAN, batch=16, first_batch=2, ramp=120)
MIXED = dataclasses.replace(
    PLAN,
    sources=tuple(
        Source(name=name, tokens=tokens, share=share)
        for (name, share), tokens in zip(shares({"a": 6, "b": 3, "c": 1}).items(), (200, 500, 300), strict=True)
    ),
)
GOLDEN_MIXED = [11, 30, 10, 25, 3, 4, 34, 8, 45, 9, 12, 19]
KEYS = st.integers(0, 2**64 - 1)


@given(size=st.integers(1, 3000), key=KEYS)
def test_permute_is_a_bijection(size: int, key: int) -> None:
    out = permute(np.arange(size), size, key)
    assert np.array_equal(np.sort(out), np.arange(size))


@given(size=st.integers(1, 2**48), key=KEYS, seed=st.integers(0, 99))
def test_permute_of_huge_ranges_stays_inside_and_apart(size: int, key: int, seed: int) -> None:
    index = np.unique(np.random.default_rng(seed).integers(0, size, 50))
    out = permute(index, size, key)
    assert out.min() >= 0
    assert out.max() < size
    assert len(np.unique(out)) == len(index)


def test_permute_scatters() -> None:
    size = 10_000
    out = permute(np.arange(size), size, 5)
    assert abs(np.corrcoef(np.arange(size), out)[0, 1]) < 0.05
    assert (np.abs(np.diff(out)) < 10).mean() < 0.01
    # A uniform permutation has one fixed point on average.
    assert (out == np.arange(size)).sum() < 8


def test_golden_order() -> None:
    assert PLAN.order(0, 8).tolist() == [31, 30, 4, 41, 37, 3, 17, 6]
    assert PLAN.order(PLAN.windows, 4).tolist() == [28, 40, 32, 54]


@given(
    stream=st.integers(18, 4000),
    context=st.integers(1, 17),
    seed=st.integers(-3, 3),
    epoch=st.integers(0, 3),
)
def test_each_epoch_reads_each_window_once_and_every_token(stream: int, context: int, seed: int, epoch: int) -> None:
    plan = dataclasses.replace(PLAN, stream=stream, context=context, seed=seed)
    first = epoch * plan.windows
    assert np.array_equal(np.sort(plan.order(first, plan.windows)), np.arange(plan.windows))
    targets = np.zeros(stream, np.int64)
    for start in plan.starts(first, plan.windows):
        assert 0 <= start <= stream - context - 1
        targets[start + 1 : start + context + 1] += 1
    assert targets[0] == 0
    assert targets[1:].min() == 1
    assert targets.sum() - (stream - 1) < context


@settings(max_examples=50)
@given(cuts=st.lists(st.integers(0, 200), max_size=6))
def test_order_does_not_depend_on_how_it_is_asked_for(cuts: list[int]) -> None:
    bounds = [0, *sorted(cuts), 200]
    parts = [PLAN.order(a, b - a) for a, b in itertools.pairwise(bounds) if b > a]
    assert np.array_equal(np.concatenate(parts), PLAN.order(0, 200))


@pytest.mark.parametrize("plan", [PLAN, RAMPED, MIXED], ids=["plain", "ramped", "mixed"])
@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("micro", [1, 2, 3, 16])
def test_the_log_of_ids_is_the_same_for_any_world_size_and_accumulation(plan: Plan, world: int, micro: int) -> None:
    log, first = [], 0
    while first < plan.samples:
        passes = set()
        for rank in range(world):
            pieces = list(plan.pieces(first, micro, rank, world))
            passes.add(len(pieces))
            log += [plan.order(start, count) for start, count in pieces]
        assert len(passes) == 1, "all processes must make as many passes, or they wait for each other for ever"
        first += plan.count(first)
    assert np.array_equal(np.concatenate(log), plan.order(0, plan.samples))


def test_batches_grow_over_the_ramp() -> None:
    sizes, first = [], 0
    while first < RAMPED.samples:
        assert RAMPED.steps_before(first) == len(sizes)
        sizes.append(RAMPED.count(first))
        first += sizes[-1]
    assert RAMPED.steps == len(sizes)
    assert sizes[0] == RAMPED.first_batch
    assert sizes[:-1] == sorted(sizes[:-1])
    assert all(size % RAMPED.first_batch == 0 for size in sizes[:-1])
    assert sizes[-2] == RAMPED.batch
    assert sum(sizes) == RAMPED.samples


@settings(max_examples=50)
@given(weights=st.lists(st.floats(0, 10), min_size=1, max_size=6).filter(lambda w: sum(w) > 0.1))
def test_shares_are_the_weights(weights: list[float]) -> None:
    kept = [w for w in weights if w == 0 or w / sum(weights) > 1e-4]
    found = shares({str(n): w for n, w in enumerate(kept)})
    assert sum(found.values()) == SHARES
    for name, share in found.items():
        assert abs(share - kept[int(name)] / sum(kept) * SHARES) < 1
    assert set(found) == {str(n) for n, w in enumerate(kept) if w}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"a": 0.0}, "one above"),
        ({"a": -1.0, "b": 2.0}, "at least 0"),
        ({"a": float("nan")}, "give numbers"),
        ({"a": 1.0, "b": 1e-9}, "weight of b is below"),
    ],
)
def test_bad_weights_are_refused(weights: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        shares(weights)


@pytest.mark.parametrize("first", [0, 1000, SHARES - 100, 3 * SHARES + 5])
@pytest.mark.parametrize("count", [10, 100, 3000])
def test_any_stretch_holds_the_sources_by_their_weights(first: int, count: int) -> None:
    order, begin = MIXED.order(first, count), 0
    for source in MIXED.sources:
        windows = num_windows(source.tokens, MIXED.context)
        read = ((order >= begin) & (order < begin + windows)).sum()
        assert abs(read - count * source.share / SHARES) < 6
        begin += windows


def test_each_source_is_read_without_repeats_within_its_epoch() -> None:
    order, begin = MIXED.order(0, 2 * SHARES + 777), 0
    realised = MIXED.realised(2 * SHARES + 777)
    for source in MIXED.sources:
        windows = num_windows(source.tokens, MIXED.context)
        mine = order[(order >= begin) & (order < begin + windows)]
        assert realised[source.name].samples == len(mine)
        assert realised[source.name].epochs == len(mine) / windows
        for epoch in range(len(mine) // windows):
            part = mine[epoch * windows : (epoch + 1) * windows]
            assert np.array_equal(np.sort(part), np.arange(begin, begin + windows))
        begin += windows


def test_windows_of_sources_do_not_cross() -> None:
    starts, begin = MIXED.starts(0, 5000), 0
    for source in MIXED.sources:
        inside = (starts >= begin) & (starts < begin + source.tokens)
        assert (starts[inside] + MIXED.context + 1 <= begin + source.tokens).all()
        assert inside.any()
        begin += source.tokens
    assert begin == MIXED.stream


def test_golden_order_of_sources() -> None:
    assert MIXED.order(0, 12).tolist() == GOLDEN_MIXED


@pytest.mark.parametrize("change", [{"seed": 2}, {"manifest": "cd" * 32}, {"context": 15}])
def test_order_changes_with_its_causes(change: dict[str, int]) -> None:
    assert not np.array_equal(dataclasses.replace(PLAN, **change).order(0, 50), PLAN.order(0, 50))


@pytest.mark.parametrize("change", [{"batch": 8}, {"samples": 7}])
def test_order_does_not_change_with_anything_else(change: dict[str, int]) -> None:
    assert np.array_equal(dataclasses.replace(PLAN, **change).order(0, 50), PLAN.order(0, 50))


def test_epochs_differ() -> None:
    assert not np.array_equal(PLAN.order(0, PLAN.windows), PLAN.order(PLAN.windows, PLAN.windows))


@pytest.mark.parametrize(("stream", "windows"), [(17, 1), (18, 2), (33, 2), (34, 3)])
def test_num_windows(stream: int, windows: int) -> None:
    assert num_windows(stream, 16) == windows


def test_a_stream_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(InputError, match="holds 16 tokens, and one window takes 17"):
        num_windows(16, 16)


def test_the_last_step_takes_what_is_left() -> None:
    assert dataclasses.replace(PLAN, samples=9).steps == 3
    assert PLAN.tokens(9) == 144
