"""Joins against a plain Python reading of the rules, for any order and number of partitions."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup import lsh


@st.composite
def documents(draw):
    """(bands, addresses, ranks, contents) of documents; equal contents have equal bands, as signatures do."""
    bands = draw(st.integers(1, 4))
    kinds = draw(st.lists(st.lists(st.integers(0, 3), min_size=bands, max_size=bands), min_size=1, max_size=12))
    content = draw(st.lists(st.integers(0, len(kinds) - 1), max_size=40))
    address = draw(st.lists(st.integers(0, 2**40), min_size=len(content), max_size=len(content), unique=True))
    rank = draw(st.lists(st.integers(0, 5), min_size=len(content), max_size=len(content)))
    spread = np.arange(bands, dtype=np.uint64) * np.uint64(2**62 // 3)  # bands do not meet one another
    keys = np.array([kinds[c] for c in content], np.uint64).reshape(-1, bands) * np.uint64(2**57 + 1) + spread
    return keys, *(np.array(column, np.uint64) for column in (address, rank, content))


def pairs_by_definition(keys, address, rank, content, max_bucket, num_anchors):
    best = {}
    for document in sorted(zip(rank.tolist(), address.tolist(), content.tolist(), keys.tolist(), strict=True)):
        best.setdefault(document[2], document)
    buckets = defaultdict(list)
    for document in sorted(best.values()):
        for key in document[3]:
            buckets[key].append(document[1])
    pairs = set()
    for bucket in buckets.values():
        for i in range(len(bucket)):
            near = range(i) if len(bucket) <= max_bucket else {*range(min(i, num_anchors)), *range(max(i - 1, 0), i)}
            pairs |= {tuple(sorted((bucket[i], bucket[j]))) for j in near}
    return sorted(pairs)


@settings(deadline=None)  # kernels compile on the first call
@given(documents(), st.integers(1, 6), st.integers(1, 3), st.integers(1, 9), st.randoms(use_true_random=False))
def test_join_by_definition(corpus, max_bucket, num_anchors, num_partitions, random):
    keys, address, rank, content = corpus
    block = lsh.rows(*corpus)
    block = block[random.sample(range(len(block)), len(block))]
    parts = [lsh.join(part, max_bucket, num_anchors) for part in lsh.partition(block, num_partitions)]
    expected = pairs_by_definition(keys, address, rank, content, max_bucket, num_anchors)
    for part in parts:
        assert part.tolist() == sorted(map(list, {*map(tuple, part.tolist())}))
    assert [tuple(pair) for pair in lsh.distinct(np.concatenate(parts)).tolist()] == expected


@settings(deadline=None)  # kernels compile on the first call
@given(documents(), st.integers(1, 9))
def test_partitions_split_by_key_and_lose_nothing(corpus, num_partitions):
    block = lsh.rows(*corpus)
    parts = lsh.partition(block, num_partitions)
    assert len(parts) == num_partitions
    assert sorted(np.concatenate(parts).tolist()) == sorted(block.tolist())
    seen = [set(part["key"].tolist()) for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen))


def test_partitions_are_even():
    block = lsh.rows(
        np.random.default_rng(0).integers(0, 2**64, 100_000, np.uint64), *[np.arange(100_000, dtype=np.uint64)] * 3
    )
    sizes = np.array([len(part) for part in lsh.partition(block, 48)])
    assert abs(sizes - sizes.mean()).max() < 6 * np.sqrt(sizes.mean())


@settings(deadline=None)  # kernels compile on the first call
@given(documents(), st.randoms(use_true_random=False))
def test_copies_are_stars_around_the_best(corpus, random):
    _, address, rank, content = corpus
    block = lsh.rows(content // np.uint64(2), address, rank, content)  # keys meet without the contents being equal
    block = block[random.sample(range(len(block)), len(block))]
    groups = defaultdict(list)
    for document in sorted(zip(rank.tolist(), address.tolist(), content.tolist(), strict=True)):
        groups[document[2]].append(document[1])
    expected = sorted(sorted((group[0], other)) for group in groups.values() for other in group[1:])
    assert lsh.copies(block).tolist() == expected


@pytest.mark.parametrize("alike", ["copies", "template"])
def test_a_hot_bucket_costs_linear(alike):
    n = 100_000
    one = np.zeros(n, np.uint64)
    each = np.arange(n, dtype=np.uint64)
    block = lsh.rows(one, each, each[::-1].copy(), one if alike == "copies" else each)
    assert len(lsh.join(block)) == (0 if alike == "copies" else 17 * n - 16 * 17 // 2 - 17)
    assert len(lsh.copies(block)) == (n - 1 if alike == "copies" else 0)


def test_addresses_hold_shard_and_row():
    assert lsh.addresses(3, 2).tolist() == [3 << 32, (3 << 32) + 1]
    assert lsh.addresses(0, 0).dtype == np.uint64
    for shard, num_rows in ((1 << 32, 1), (-1, 1), (0, (1 << 32) + 1)):
        with pytest.raises(ValueError, match="must fit 32 bits"):
            lsh.addresses(shard, num_rows)


def test_bad_numbers_are_named():
    block = np.empty(0, lsh.ROW)
    for count in (0, 65_537):
        with pytest.raises(ValueError, match=f"num_partitions is {count}"):
            lsh.partition(block, count)
    with pytest.raises(ValueError, match="max_bucket is 0"):
        lsh.join(block, max_bucket=0)
