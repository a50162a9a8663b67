"""Locality-sensitive hashing: documents that share a band become candidate pairs. Blocks of numpy rows in and out.

A candidate is a suspicion: it counts only after its similarity is computed (`minhash.similarities`). Exact copies are
the exception: `copies` compares all 128 bits of the content hash and needs no verification. No text, no files here.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

U64 = npt.NDArray[np.uint64]

# One document in one bucket. `rank` orders documents by the right to survive (`cluster.rank`); `content` is one half
# of the content hash (`exact.halves`), by which exact copies within a bucket are told.
ROW = np.dtype([("key", "<u8"), ("address", "<u8"), ("rank", "<u8"), ("content", "<u8")])
Rows = npt.NDArray[np.void]

_LOW = np.uint64(0xFFFFFFFF)


def addresses(shard: int, num_rows: int) -> U64:
    """uint64[num_rows]: the addresses of a shard's documents, shard << 32 | row.

    Raises:
        ValueError: if either number needs more than 32 bits.
    """
    if not (0 <= shard < 1 << 32 and 0 <= num_rows <= 1 << 32):
        raise ValueError(f"shard {shard} with {num_rows} rows has no 64-bit address: both must fit 32 bits")
    return np.uint64(shard << 32) | np.arange(num_rows, dtype=np.uint64)


def rows(keys: U64, address: U64, rank: U64, content: U64) -> Rows:
    """ROW[n * bands]: one row for each document and band key; keys uint64[n] or [n, bands], the rest uint64[n]."""
    keys = keys[:, None] if keys.ndim == 1 else keys
    out = np.empty(keys.shape, ROW)
    out["key"] = keys
    for name, column in (("address", address), ("rank", rank), ("content", content)):
        out[name] = column[:, None]
    return out.reshape(-1)


def partition(block: Rows, num_partitions: int) -> list[Rows]:
    """The rows by hash partition: equal keys meet in the same one, whatever block they came in.

    Keys are hashes, so their top 32 bits, scaled, spread evenly.

    Raises:
        ValueError: if num_partitions is not in 1 .. 65,536.
    """
    if not 1 <= num_partitions <= 1 << 16:
        raise ValueError(f"num_partitions is {num_partitions}; choose 1 to 65,536")
    place = ((block["key"] >> np.uint64(32)) * np.uint64(num_partitions) >> np.uint64(32)).astype(np.uint16)
    stops = np.cumsum(np.bincount(place, minlength=num_partitions))
    scattered = _scatter(np.ascontiguousarray(block).view(np.uint64).reshape(-1, 4), place, stops)
    return np.split(scattered.view(ROW).reshape(-1), stops[:-1])


def copies(block: Rows) -> U64:
    """uint64[m, 2]: each exact copy with the best document (smallest rank, then address) of the same content.

    `block` holds one row a document whose key and content are the two halves of its content hash, so two rows meet
    only if all 128 bits agree. A star, not a clique: a million copies make a million pairs less one.
    """
    block = block[_shared(block["key"])]
    block = block[np.lexsort((block["address"], block["rank"], block["content"], block["key"]))]
    if not len(block):
        return np.empty((0, 2), np.uint64)
    first = np.ones(len(block), bool)
    first[1:] = (block["key"][1:] != block["key"][:-1]) | (block["content"][1:] != block["content"][:-1])
    address = block["address"]
    best = address[np.flatnonzero(first)][np.cumsum(first) - 1]
    return distinct(np.stack([best, address], axis=1))


def join(block: Rows, max_bucket: int = 32, num_anchors: int = 16) -> U64:
    """uint64[m, 2]: the distinct candidate pairs of a partition, a < b, sorted.

    Exact copies share every band, so only the best of them (smallest rank, then address) stands in a bucket; `copies`
    links the others. A bucket of up to `max_bucket` documents gives all its pairs. A larger one is hot (a template, a
    notice): each document is paired with the bucket's `num_anchors` best documents and with its predecessor in order
    of rank, so that work and pairs are linear in rows. By default that is at most 17 pairs a row on either side of
    the limit; our own rule, after the bound on comparisons that large corpora were seen to need.

    A pair that shares bands in several partitions is given by each; `distinct` over their union is cheap.

    Raises:
        ValueError: if max_bucket or num_anchors is below 1.
    """
    if max_bucket < 1 or num_anchors < 1:
        raise ValueError(f"max_bucket is {max_bucket} and num_anchors {num_anchors}; both must be at least 1")
    block = block[_shared(block["key"])]
    address, where, dense = np.unique(block["address"], return_index=True, return_inverse=True)
    by_rank = np.lexsort((address, block["rank"][where]))  # documents in the order of the right to survive
    place = np.empty(len(address), np.uint64)
    place[by_rank] = np.arange(len(address), dtype=np.uint64)
    standing = np.zeros(len(address), bool)  # by place: the best document of its content
    standing[np.unique(block["content"][where][by_rank], return_index=True)[1]] = True
    member = place[dense]
    bucket = np.unique(block["key"], return_inverse=True)[1].astype(np.uint64)
    stands = standing[member]
    members = _unique(bucket[stands] << np.uint64(32) | member[stands])
    return _unpacked(address, _pair(members, by_rank.astype(np.uint64), max_bucket, num_anchors))


def distinct(pairs: U64) -> U64:
    """uint64[k, 2]: the pairs with a < b, each once, sorted; a document paired with itself falls out."""
    address, dense = np.unique(pairs, return_inverse=True)
    low, high = np.sort(dense.reshape(-1, 2).astype(np.uint64), axis=1).T
    return _unpacked(address, (low << np.uint64(32) | high)[low != high])


def _unpacked(address: U64, packed: U64) -> U64:
    """uint64[k, 2]: the distinct pairs, sorted, of low << 32 | high, each an index into the sorted addresses."""
    packed = _unique(packed)
    return np.stack([address[packed >> np.uint64(32)], address[packed & _LOW]], axis=1)


def _unique(values: U64) -> U64:
    """As np.unique, which since NumPy 2.3 hashes integers: at 17 million 30 s, where sorting takes 0.2."""
    values = np.sort(values)
    first = np.ones(len(values), bool)
    first[1:] = values[1:] != values[:-1]
    return values[first]


def _shared(key: U64) -> npt.NDArray[np.bool_]:
    """bool[n]: whether another row has the same key."""
    order = np.argsort(key)
    same = key[order][1:] == key[order][:-1]
    shared = np.zeros(len(key), bool)
    shared[order[1:]] = same
    shared[order[:-1]] |= same
    return shared


@njit(cache=True, nogil=True)
def _scatter(words, place, stops):  # type: ignore[no-untyped-def]
    """The rows, four words each, in the order of their partitions, and within one in their own."""
    out = np.empty_like(words)
    free = np.zeros(len(stops), np.int64)
    free[1:] = stops[:-1]
    for i in range(len(words)):
        at = free[place[i]]
        free[place[i]] += 1
        for k in range(words.shape[1]):
            out[at, k] = words[i, k]
    return out


@njit(cache=True, nogil=True)
def _pair(members, dense, max_bucket, num_anchors):  # type: ignore[no-untyped-def]
    """uint64[m]: the pairs of each bucket as low << 32 | high; members is the sorted bucket << 32 | place by rank,
    and dense[place] the document's index by address."""
    n = len(members)
    pairs = np.empty(0, np.uint64)
    for write in range(2):
        total = 0
        start = 0
        while start < n:
            stop = start
            while stop < n and members[stop] >> np.uint64(32) == members[start] >> np.uint64(32):
                stop += 1
            anchors = num_anchors if stop - start > max_bucket else stop - start
            for i in range(start + 1, stop):
                shared = min(i - start, anchors)
                count = shared + (start + shared < i)  # and the predecessor, where it is none of the anchors
                if write:
                    one = dense[members[i] & _LOW]
                    for k in range(count):
                        other = dense[members[start + k if k < shared else i - 1] & _LOW]
                        pairs[total + k] = min(one, other) << np.uint64(32) | max(one, other)
                total += count
            start = stop
        if not write:
            pairs = np.empty(total, np.uint64)
    return pairs
