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
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_batch_is_the_same_however_it_is_cut(split: Split, plan: Plan, micro: int, size: int) -> None:
    loader, windows = Loader(Stream(split), plan, torch.device("cpu")), []
    for rank in range(size):
        for first, count in plan.pieces(40, micro, rank, size):
            assert count <= micro
            windows.append(loader.windows(first, count))
    assert torch.equal(torch.cat(windows), loader.windows(40, 8))


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


def documents(split: Split, *sources: str) -> list[tuple[str, np.ndarray]]:
    """(id, ids with the end-of-text that closes them) of the sources' documents, in order."""
    out = []
    for shard in split.shards:
        table = shard.documents()
        for row, (id_, source) in enumerate(zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True)):
            if source in sources:
                out.append((id_, shard.ids[int(shard.starts[row]) : int(shard.starts[row + 1])].astype(np.int64)))
    return out


@pytest.mark.parametrize("sources", [["books"], ["crawl"], ["books", "crawl"], ["crawl", "books"]])
def test_streams_of_sources(split: Split, sources: list[str]) -> None:
    """Each holds its documents, and begins with an end-of-text even where another source's document was before."""
    stream = Stream(split, sources)
    want = []
    for source in sources:
        ids = np.concatenate([ids for _, ids in documents(split, source)])
        want.append(ids if ids[0] == 0 else np.concatenate([[0], ids]))
        assert stream.lengths[source] == len(want[-1])
    out = np.empty(len(stream), np.int64)
    stream.read(0, out)
    assert np.array_equal(out, np.concatenate(want))


def test_without_sources_there_are_no_lengths(split: Split) -> None:
    assert Stream(split).lengths == {}


@pytest.mark.parametrize("sources", [[], ["books"], ["crawl", "books"]])
def test_documents_of_a_span_are_those_that_own_its_ids(split: Split, sources: list[str]) -> None:
    stream = Stream(split, sources)
    owners: list[str] = []
    for source in [[name] for name in sources] or [["books", "crawl"]]:
        for number, (id_, ids) in enumerate(documents(split, *source)):
            owners += [id_] * len(ids)
            if number == 0 and ids[0] != 0:
                # The end-of-text before it, which the document before it owns.
                before = [each for each, _ in documents(split, "books", "crawl")]
                owners.insert(len(owners) - len(ids), before[before.index(id_) - 1])
    assert len(owners) == len(stream)
    for start in range(0, len(stream) - 40, 23):
        assert stream.documents(start, 40) == list(dict.fromkeys(owners[start : start + 40]))
    with pytest.raises(IndexError, match="of a stream of"):
        stream.documents(len(stream) - 1, 2)


def test_documents_of_samples(split: Split, plan: Plan) -> None:
    stream = Stream(split)
    found = Loader(stream, plan, torch.device("cpu")).documents(3, 5)
    assert len(found) == len(set(found))
    each = [stream.documents(int(start), 17) for start in plan.starts(3, 5)]
    assert set(found) == {id_ for ids in each for id_ in ids}
