"""Forests and components against networks walked in plain Python; merging as a property."""

import functools
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import draw
from curate.dedup import cluster

NODES = st.integers(0, 14).map(lambda n: n * 0x1234567890AB + 5)
LINKS = st.lists(st.tuples(NODES, NODES).filter(lambda pair: pair[0] < pair[1]), max_size=40)


def edges(links):
    """The edges, whose similarity is a function of the pair, with many ties."""
    pairs = np.array(links, np.uint64).reshape(-1, 2)
    return cluster.edges(pairs, [draw.key(a, b) % 4 / 4 for a, b in links])


def reached(links):
    """document -> the smallest document that it hangs together with."""
    near = defaultdict(set)
    for a, b in links:
        near[a].add(b)
        near[b].add(a)
    root = {}
    for start in sorted(near):
        stack = [start]
        while stack:
            node = stack.pop()
            if node not in root:
                root[node] = start
                stack += near[node]
    return root


@settings(deadline=None)  # kernels compile on the first call
@given(LINKS)
def test_components_by_definition(links):
    docs, roots = cluster.components(edges(links))
    assert dict(zip(docs.tolist(), roots.tolist(), strict=True)) == reached(links)
    assert docs.tolist() == sorted(docs.tolist())


@settings(deadline=None)  # kernels compile on the first call
@given(LINKS)
def test_a_forest_keeps_components_at_every_threshold(links):
    whole = edges(links)
    trees = cluster.forest(whole)
    docs, roots = cluster.components(trees)
    assert len(trees) == len(docs) - len(np.unique(roots))
    for threshold in (0.0, 0.25, 0.5, 0.75):
        for expected, got in zip(
            cluster.components(whole[whole["similarity"] >= threshold]),
            cluster.components(trees[trees["similarity"] >= threshold]),
            strict=True,
        ):
            np.testing.assert_array_equal(expected, got)


@settings(deadline=None)  # kernels compile on the first call
@given(LINKS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_forests_merge_in_any_tree_to_the_same_bytes(links, num_parts, random):
    whole = cluster.forest(edges(links))
    parts = [
        cluster.forest(edges([link for link in links if random.randrange(num_parts) in (0, part)]))
        for part in range(num_parts)
    ]
    parts.append(cluster.forest(edges(links)))
    random.shuffle(parts)
    assert cluster.forest(*parts).tobytes() == whole.tobytes()
    assert functools.reduce(cluster.forest, parts).tobytes() == whole.tobytes()
    assert functools.reduce(lambda a, b: cluster.forest(b, a), parts[::-1]).tobytes() == whole.tobytes()
    assert cluster.forest(whole, whole).tobytes() == whole.tobytes()


def test_nothing_makes_nothing():
    for trees in (cluster.forest(), cluster.forest(edges([]))):
        assert trees.dtype == cluster.EDGE
        assert len(trees) == 0
    docs, roots = cluster.components(cluster.forest())
    assert len(docs) == len(roots) == len(cluster.survivors(docs, roots, docs)) == 0


@settings(deadline=None)  # kernels compile on the first call
@given(LINKS, st.randoms(use_true_random=False))
def test_the_survivor_has_the_smallest_rank_then_address(links, random):
    docs, roots = cluster.components(edges(links))
    ranks = np.array([random.randrange(3) for _ in docs], np.uint64)
    order = np.array(random.sample(range(len(docs)), len(docs)), np.int64)
    got = cluster.survivors(docs[order], roots[order], ranks[order])
    for doc, root, survivor in zip(docs[order], roots[order], got, strict=True):
        members = [(r, d) for d, o, r in zip(docs, roots, ranks, strict=True) if o == root]
        assert survivor == min(members)[1], doc


def test_a_long_chain_is_one_component():
    n = 200_000
    nodes = np.arange(n, dtype=np.uint64)
    pairs = np.stack([nodes[:-1], nodes[1:]], axis=1)
    docs, roots = cluster.components(cluster.forest(cluster.edges(pairs, 1.0)))
    assert len(docs) == n
    assert not roots.any()


def test_rank_orders_by_source_then_quality_then_id():
    ids = ["ffffffff" + "0" * 24, "00000001" + "0" * 24, "00000000" + "f" * 24]
    cases = [(0, 0.9, ids[0]), (0, 0.9 - 2**-20, ids[2]), (0, 0.0, ids[2]), (0, float("nan"), ids[1]), (1, 1.0, ids[2])]
    ranks = cluster.rank([c[0] for c in cases], [c[1] for c in cases], [c[2] for c in cases])
    assert ranks.tolist() == sorted(ranks.tolist())
    assert len(set(ranks.tolist())) == len(cases)
    assert cluster.rank(0, 1.0, ids).tolist() == [0xFFFFFFFF, 1, 0]
    assert cluster.rank(255, 0.0, ids[:1]).tolist() == [2**64 - 1]


@pytest.mark.parametrize(("priority", "score"), [(256, 0.5), (-1, 0.5), (0, 1.1), (0, -0.1)])
def test_rank_refuses_what_does_not_fit(priority, score):
    with pytest.raises(ValueError, match="must lie in"):
        cluster.rank(priority, score, ["0" * 32])
