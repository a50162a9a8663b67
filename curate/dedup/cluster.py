"""Clusters of duplicates: spanning forests that merge in any order, their components, and who survives.

A partition reduces its verified pairs to a forest, and forests merge in a combine tree, so memory is bounded by the
documents that have a duplicate and never by the pairs. Takes pairs as true: verification comes before (`lsh`).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from numba import njit

U64 = npt.NDArray[np.uint64]

EDGE = np.dtype([("a", "<u8"), ("b", "<u8"), ("similarity", "<f4")])
Edges = npt.NDArray[np.void]

_QUALITY_STEPS = (1 << 24) - 1


def edges(pairs: U64, similarity: npt.ArrayLike) -> Edges:
    """EDGE[m]: verified pairs uint64[m, 2] of addresses, a < b, with their similarity float32[m] or one for all."""
    out = np.empty(len(pairs), EDGE)
    out["a"], out["b"] = pairs[:, 0], pairs[:, 1]
    out["similarity"] = similarity
    return out


def forest(*parts: Edges) -> Edges:
    """EDGE[k]: the maximum spanning forest of all edges in `parts`, sorted by (a, b).

    Kruskal over the total order (similarity falling, a, b), which makes the forest unique. So forests of parts merge
    to the very forest of the whole: associative, commutative and idempotent bit for bit. And since it keeps the
    strongest links, its edges of at least some higher similarity are the clusters at that threshold.
    """
    if not sum(map(len, parts)):
        return np.empty(0, EDGE)
    block = np.concatenate(parts)
    address, packed = _dense(block)
    order = np.argsort(packed, kind="stable")
    order = order[np.argsort(-block["similarity"][order], kind="stable")]
    chosen: Edges = block[order[_kruskal(packed[order], len(address))]]
    return chosen[np.lexsort((chosen["b"], chosen["a"]))]


def components(trees: Edges) -> tuple[U64, U64]:
    """(docs uint64[d] sorted, root uint64[d]): every document of the edges, and the smallest address of its cluster."""
    address, packed = _dense(trees)
    return address, address[_roots(packed, len(address))]


def survivors(docs: U64, roots: U64, ranks: U64) -> U64:
    """uint64[d]: for each document the address of its cluster's survivor: the smallest rank, then address."""
    order = np.lexsort((docs, ranks, roots))
    _, first, where = np.unique(roots[order], return_index=True, return_inverse=True)
    out = np.empty(len(docs), np.uint64)
    out[order] = docs[order[first]][where]
    return out


def rank(source_priority: npt.ArrayLike, score: npt.ArrayLike, ids: Sequence[str]) -> U64:
    """uint64[n]: the right to survive, smallest first: source priority (8 bits) | quality falling (24) | id (32).

    Args:
        source_priority: 0 .. 255 for each document or for all; 0 goes first.
        score: quality in [0, 1] for each document or for all; NaN (not scored) counts as 0.
        ids: hex ids (`document.document_id`), of which the first 8 digits break ties.

    Raises:
        ValueError: if a priority or score is outside its range.
    """
    priority = np.broadcast_to(np.asarray(source_priority, np.int64), len(ids))
    quality = np.nan_to_num(np.broadcast_to(np.asarray(score, np.float64), len(ids)), nan=0.0)
    if ((priority < 0) | (priority > 255)).any():
        raise ValueError(f"source priorities are {priority.min()} .. {priority.max()}; they must lie in 0 .. 255")
    if ((quality < 0) | (quality > 1)).any():
        raise ValueError(f"scores are {quality.min()} .. {quality.max()}; they must lie in 0 .. 1")
    worse = np.rint((1.0 - quality) * _QUALITY_STEPS).astype(np.uint64)
    tie = np.fromiter((int(i[:8], 16) for i in ids), np.uint64, len(ids))
    return priority.astype(np.uint64) << np.uint64(56) | worse << np.uint64(32) | tie


def _dense(block: Edges) -> tuple[U64, U64]:
    """(addresses uint64[d] sorted, uint64[m]): the edges as index of a << 32 | index of b into the addresses."""
    address, dense = np.unique(np.concatenate([block["a"], block["b"]]), return_inverse=True)
    a, b = dense.astype(np.uint64).reshape(2, -1)
    return address, a << np.uint64(32) | b


@njit(cache=True, nogil=True)
def _find(parent, i):  # type: ignore[no-untyped-def]
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True)
def _kruskal(packed, num_docs):  # type: ignore[no-untyped-def]
    """bool[m]: the edges, in the given order, that join two trees."""
    parent = np.arange(num_docs)
    chosen = np.zeros(len(packed), np.bool_)
    for i in range(len(packed)):
        a = _find(parent, np.int64(packed[i] >> np.uint64(32)))
        b = _find(parent, np.int64(packed[i] & np.uint64(0xFFFFFFFF)))
        if a != b:
            parent[max(a, b)] = min(a, b)
            chosen[i] = True
    return chosen


@njit(cache=True, nogil=True)
def _roots(packed, num_docs):  # type: ignore[no-untyped-def]
    """int64[num_docs]: the smallest document of each one's tree."""
    parent = np.arange(num_docs)
    for i in range(len(packed)):
        a = _find(parent, np.int64(packed[i] >> np.uint64(32)))
        b = _find(parent, np.int64(packed[i] & np.uint64(0xFFFFFFFF)))
        parent[max(a, b)] = min(a, b)
    for i in range(num_docs):
        parent[i] = _find(parent, i)
    return parent
