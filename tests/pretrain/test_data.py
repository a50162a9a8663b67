"""Windows against slices of the shards laid end to end."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curate.shards import Split, open_tokens
from pretrain.data import Loader, Stream
from pretrain.plan import Plan


@pytest.fixture(scope="module")
def split(tokens_dir: Path) -> Split:
    return open_tokens(str(tokens_dir)).split("train")


@pytest.fixture(scope="module")
def plan(split: Split) -> Plan:
    return Plan(manifest="00" * 32, seed=3, stream=split.entry.tokens, context=16, batch=8, samples=10**6)


def whole(split: Split) -> np.ndarray:
    return np.concatenate([shard.ids for shard in split.shards]).astype(np.int64)


def test_the_stream_is_the_shards_end_to_end(split: Split) -> None:
    stream, want = Stream(split), whole(split)
    assert len(split.shards) == 2
    assert len(stream) == len(want) == split.entry.tokens
    out = np.empty(len(want), np.int64)
    stream.read(0, out)
    assert np.array_equal(out, want)


@given(data=st.data())
def test_reads_cross_shards(split: Split, data: st.DataObject) -> None:
    want = whole(split)
    start = data.draw(st.integers(0, len(want)))
    length = data.draw(st.integers(0, len(want) - start))
    out = np.empty(length, np.int64)
    Stream(split).read(start, out)
    assert np.array_equal(out, want[start : start + length])


@pytest.mark.parametrize("start", [-1, 10**9])
def test_reads_outside_the_stream_are_refused(split: Split, start: int) -> None:
    with pytest.raises(IndexError, match="of a stream of"):
        Stream(split).read(start, np.empty(3, np.int64))


def test_windows_are_the_plans(split: Split, plan: Plan) -> None:
    loader, want = Loader(Stream(split), plan, torch.device("cpu")), whole(split)
    windows = loader.windows(5, 20)
    assert windows.shape == (20, 17)
    assert windows.dtype == torch.int64
    for window, start in zip(windows.numpy(), plan.starts(5, 20), strict=True):
        assert np.array_equal(window, want[start : start + 17])


@pytest.mark.parametrize("micro", [1, 3, 8, 100])
def test_a_batch_is_the_same_however_it_is_cut(split: Split, plan: Plan, micro: int) -> None:
    loader = Loader(Stream(split), plan, torch.device("cpu"))
    pieces = list(loader.batch(40, 8, micro))
    assert max(len(piece) for piece in pieces) <= micro
    assert torch.equal(torch.cat(pieces), loader.windows(40, 8))


def test_the_loader_has_no_memory(split: Split, plan: Plan) -> None:
    used, fresh = (Loader(Stream(split), plan, torch.device("cpu")) for _ in range(2))
    for first in range(0, 64, 8):
        used.windows(first, 8)
    assert torch.equal(used.windows(64, 8), fresh.windows(64, 8))


def test_an_epoch_trains_on_every_token(split: Split, plan: Plan) -> None:
    whole_epoch = dataclasses.replace(plan, samples=plan.windows)
    windows = Loader(Stream(split), whole_epoch, torch.device("cpu")).windows(0, plan.windows)
    counts = np.bincount(windows[:, 1:].flatten().numpy(), minlength=257)
    want = np.bincount(whole(split)[1:], minlength=257)
    assert (counts >= want).all()
    assert counts.sum() - want.sum() < plan.context
