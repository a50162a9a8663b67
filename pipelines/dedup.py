"""Signatures to removals: bands by partition, candidates, verified pairs, components, one survivor each.

Text is read twice, and only where a copy is suspected: to compare the shingles of candidates, and to state the
similarity of each removed document to its survivor.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import storage, words
from curate.dedup import cluster, exact, lsh, minhash
from curate.document import REMOVALS
from curate.reasons import Reason
from pipelines import io, shard
from pipelines.context import Context

PAIRS = pa.schema(
    [
        pa.field("a", pa.uint64(), nullable=False),  # addresses: shard number << 32 | row
        pa.field("b", pa.uint64(), nullable=False),
        pa.field("rank_a", pa.uint64(), nullable=False),
        pa.field("rank_b", pa.uint64(), nullable=False),
        pa.field("similarity", pa.float32(), nullable=False),
    ]
)
# What JoinBands sends: a candidate pair, the right of each to survive, and whether their contents are the same.
CANDIDATE = np.dtype([("a", "<u8"), ("b", "<u8"), ("rank_a", "<u8"), ("rank_b", "<u8"), ("exact", "?")])
SURVIVORS = pa.schema([pa.field(name, pa.uint64(), nullable=False) for name in ("address", "survivor")])
Forest = tuple[cluster.Edges, npt.NDArray[np.uint64], npt.NDArray[np.uint64]]  # edges; addresses and their ranks


# ---- pairs


def plan_pairs(context: Context) -> list[io.Task]:
    return shard.tasks(context)


def send_bands(context: Context, task: io.Task) -> Iterator[tuple[tuple[str, int], lsh.Rows]]:
    """The shard's rows of (key, address, rank, content): once by content hash, once for each band."""
    table = shard.documents(context, task.name, ["id", "source"])
    alive = np.flatnonzero(shard.alive(context, task.name, len(table), "dedup"))
    if not len(alive):
        return
    score = shard.scores(context, task.name, len(table))["score"].to_numpy()[alive]
    table = table.take(pa.array(alive))
    rank = cluster.rank(priorities(context, table["source"]), score, table["id"].to_pylist())
    address = lsh.addresses(task.data["number"], int(alive[-1]) + 1)[alive]
    signatures = shard.sidecar(context, "signatures", task.name).take(pa.array(alive)).combine_chunks()
    high, low = exact.halves(signatures["content"].chunk(0))
    signed, minima = minhash.from_column(signatures["minhash"].chunk(0), context.recipe.dedup.minhash)
    keys = minhash.bands(minima, context.recipe.dedup.minhash)
    for kind, block in (
        ("content", lsh.rows(high, address, rank, low)),
        ("bands", lsh.rows(keys, address[signed], rank[signed], low[signed])),
    ):
        for number, part in enumerate(lsh.partition(block, context.recipe.partitions)):
            if len(part):
                yield (kind, number), part


def priorities(context: Context, source: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """int64[n]: the place of each document's source in the recipe's order; the unnamed come last."""
    order = {name: place for place, name in enumerate(context.recipe.dedup.priority)}
    return np.array([order.get(name, len(order)) for name in source.to_pylist()], np.int64)


def join_bands(
    context: Context, key: tuple[str, int], blocks: list[lsh.Rows]
) -> Iterator[tuple[int, npt.NDArray[np.void]]]:
    """All rows of a partition -> CANDIDATE rows, for the shard of their first document."""
    # In order of address, since the engine's order is nobody's promise.
    block = np.concatenate(blocks)
    block = block[np.lexsort((block["key"], block["address"]))]
    exact_copies = key[0] == "content"
    pairs = lsh.copies(block) if exact_copies else lsh.join(block)
    address, where = np.unique(block["address"], return_index=True)
    rank = block["rank"][where]
    out = np.empty(len(pairs), CANDIDATE)
    for side, name in enumerate("ab"):
        out[name] = pairs[:, side]
        out[f"rank_{name}"] = rank[np.searchsorted(address, pairs[:, side])]
    out["exact"] = exact_copies
    number = (out["a"] >> np.uint64(32)).astype(np.int64)
    for one in np.unique(number):
        yield int(one), out[number == one]


def verify_pairs(context: Context, task: io.Task, blocks: list[npt.NDArray[np.void]]) -> None:
    """Candidates whose first document lies in this shard -> pairs/SHARD.parquet: those similar enough."""
    rows = np.concatenate([np.empty(0, CANDIDATE), *blocks])
    rows = rows[np.lexsort((~rows["exact"], rows["b"], rows["a"]))]  # of the same pair, the exact one first
    first = np.ones(len(rows), bool)
    first[1:] = (rows["a"][1:] != rows["a"][:-1]) | (rows["b"][1:] != rows["b"][:-1])
    rows = rows[first]
    similarity = np.ones(len(rows), np.float32)
    near = ~rows["exact"]
    similarity[near] = similarities(context, np.stack([rows["a"][near], rows["b"][near]], axis=1))
    chosen = similarity >= np.float32(context.recipe.dedup.min_similarity)
    columns = [rows[name][chosen] for name in PAIRS.names[:4]]
    path = context.path("pairs", f"{task.name}.parquet")
    storage.write_table(path, pa.table([*columns, similarity[chosen]], schema=PAIRS))
    context.finish("pairs", task, io.Tally(), path, candidates=len(rows), verified=int(chosen.sum()))


def similarities(context: Context, pairs: npt.NDArray[np.uint64]) -> npt.NDArray[np.float32]:
    """float32[m]: the exact Jaccard similarity of the shingle sets of each pair of addresses.

    The shards of the second documents are visited in order and one at a time, so that two are in memory at most.
    """
    out = np.zeros(len(pairs), np.float32)
    number = pairs >> np.uint64(32)
    names = shard.names(context)
    for here in np.unique(number[:, 0]):
        mine = np.flatnonzero(number[:, 0] == here)
        left = Shingles(context, names[int(here)], pairs[mine, 0])
        for there in np.unique(number[mine, 1]):
            both = mine[number[mine, 1] == there]
            right = Shingles(context, names[int(there)], pairs[both, 1])
            out[both] = minhash.similarities(
                left.offsets,
                left.hashes,
                left.places(pairs[both, 0]),
                right.offsets,
                right.hashes,
                right.places(pairs[both, 1]),
            )
    return out


class Shingles:
    """The shingle sets of some documents of one shard."""

    def __init__(self, context: Context, name: str, addresses: npt.NDArray[np.uint64]):
        self.rows = np.unique(addresses & np.uint64(0xFFFFFFFF)).astype(np.int64)
        texts = shard.documents(context, name, ["text"])["text"].take(pa.array(self.rows)).combine_chunks()
        table = words.table(texts)
        self.offsets, self.hashes = minhash.shingles(table, context.recipe.dedup.minhash)

    def places(self, addresses: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """Where each address stands among the sets."""
        return np.searchsorted(self.rows, (addresses & np.uint64(0xFFFFFFFF)).astype(np.int64))


# ---- components


plan_components = shard.single("components")


def read_forest(context: Context, task: io.Task) -> Iterator[Forest]:
    """The pairs of a shard as a spanning forest, with the ranks of its documents."""
    table = shard.sidecar(context, "pairs", task.name)
    a, b, rank_a, rank_b, similarity = (column.to_numpy() for column in table.columns)
    address, where = np.unique(np.concatenate([a, b]), return_index=True)
    yield (
        cluster.forest(cluster.edges(np.stack([a, b], axis=1), similarity)),
        address,
        np.concatenate([rank_a, rank_b])[where],
    )


def merge_forests(parts: list[Forest]) -> Forest:
    """One forest of many; associative and commutative."""
    empty = np.empty(0, np.uint64)
    addresses, where = np.unique(np.concatenate([empty, *(part[1] for part in parts)]), return_index=True)
    ranks = np.concatenate([empty, *(part[2] for part in parts)])[where]
    return cluster.forest(*(part[0] for part in parts)), addresses, ranks


def name_survivors(context: Context, task: io.Task, merged: Forest) -> None:
    """The merged forest -> pairs/survivors.parquet: the address of each document that goes, and of who stays for it."""
    trees, addresses, ranks = merged
    docs, roots = cluster.components(trees)
    survivor = cluster.survivors(docs, roots, ranks[np.searchsorted(addresses, docs)])
    goes = docs != survivor
    path = context.path("pairs", "survivors.parquet")
    storage.write_table(path, pa.table([docs[goes], survivor[goes]], schema=SURVIVORS))
    context.finish("components", task, io.Tally(), path, clusters=len(np.unique(roots)), documents=len(docs))


# ---- removals


def plan_removals(context: Context) -> list[io.Task]:
    return shard.tasks(context)


def remove_duplicates(context: Context, task: io.Task) -> None:
    """A shard -> removals/SHARD.parquet: its documents that go, each with its survivor and their similarity."""
    table = shard.documents(context, task.name, ["id", "url", "source", "file", "offset"])
    ledger = shard.Ledger(context, task, table, shard.alive(context, task.name, len(table), "dedup"))
    first, last = (lsh.addresses(task.data["number"] + i, 1)[0] for i in (0, 1))
    goes = storage.read_table(context.path("pairs", "survivors.parquet"))
    address, survivor = (column.to_numpy() for column in goes.columns)
    mine = slice(*np.searchsorted(address, [first, last]))
    address, survivor = address[mine], survivor[mine]
    similarity = similarities(context, np.stack([address, survivor], axis=1))
    content = shard.sidecar(context, "signatures", task.name, ["content"])["content"].to_pylist()
    removals = io.Rows(REMOVALS)
    stays = Survivors(context, survivor)
    for one, other, alike in zip(address.tolist(), survivor.tolist(), similarity.tolist(), strict=True):
        row = one & 0xFFFFFFFF
        stay = stays.by_address[other]
        reason = Reason.exact_duplicate if content[row] == stay["content"] else Reason.near_duplicate
        ledger.drop(row, reason, f"like {stay['id']} {stay['url']} (similarity {alike:.3f})")
        removals.add(
            row=row,
            id=table["id"][row].as_py(),
            url=table["url"][row].as_py(),
            reason=str(reason),
            survivor=stay["id"],
            survivor_url=stay["url"],
            similarity=alike,
        )
    path = context.path("removals", f"{task.name}.parquet")
    storage.write_table(path, pa.Table.from_pylist(removals.rows, schema=REMOVALS))
    context.finish("removals", task, ledger.tally, path, ledger.write())


class Survivors:
    """Id, URL and content hash of the documents that stay for others."""

    def __init__(self, context: Context, addresses: npt.NDArray[np.uint64]):
        self.by_address: dict[int, dict[str, object]] = {}
        names = shard.names(context)
        unique = np.unique(addresses)
        for number in np.unique(unique >> np.uint64(32)):
            here = unique[unique >> np.uint64(32) == number]
            rows = pa.array((here & np.uint64(0xFFFFFFFF)).astype(np.int64))
            name = names[int(number)]
            table = shard.documents(context, name, ["id", "url"]).take(rows)
            content = shard.sidecar(context, "signatures", name, ["content"]).take(rows)["content"]
            for address, row, hash_ in zip(here.tolist(), table.to_pylist(), content.to_pylist(), strict=True):
                self.by_address[address] = {**row, "content": hash_}
