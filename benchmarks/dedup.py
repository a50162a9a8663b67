"""Signatures to clusters of duplicates, beside datasketch's MinHashLSH on the same documents, one core.

    python benchmarks/dedup.py [--quick]

The documents are made up: 200 words each, drawn by Zipf's law; half of them stand alone, the others are one to three
revisions of a document with 3% of its words replaced in runs of ten. Ours: band keys, rows by partition, candidate
pairs, spanning forest, components. datasketch, with the same bands and the same signatures (`hashvalues`): each
document is looked up and then inserted, as its manual shows; the components are a gift. Both sides must find the same
pairs. Not in the ratio: signing, for which see minhash.py, and what ours takes to verify each pair by its shingles.
"""

import datasketch
import numpy as np
import pyarrow as pa
from _clock import arguments, least, one_core, report

from curate import words
from curate.dedup import cluster, lsh, minhash

CONFIG = minhash.MinHash()
DOCUMENTS, QUICK = 50_000, 400
LENGTH, RUN, EDITED = 200, 10, 0.03  # words of a document, words replaced at once, the share of them
VOCABULARY = 50_000
PARTITIONS = 16


def documents(number: int) -> tuple[list[str], np.ndarray]:
    """The texts in shuffled order, and int64[number]: the document of which each is a revision, or itself."""
    rng = np.random.default_rng(0)
    chances = 1 / np.arange(1, VOCABULARY + 1)
    rows = rng.choice(VOCABULARY, (number, LENGTH), p=chances / chances.sum())
    origin = np.arange(number)
    at = number // 2
    while at < number:
        copies = min(int(rng.integers(1, 4)), number - at)
        origin[at : at + copies] = rng.integers(number // 2)
        at += copies
    rows[number // 2 :] = rows[origin[number // 2 :]]
    for row in rows[number // 2 :]:
        for start in rng.choice(LENGTH - RUN, round(LENGTH * EDITED / RUN), replace=False):
            row[start : start + RUN] = rng.integers(VOCABULARY, size=RUN)
    order = rng.permutation(number)
    names = np.array([f"w{i}" for i in range(VOCABULARY)], object)
    return [" ".join(names[row]) for row in rows[order]], np.argsort(order)[origin[order]]


def find_pairs(signatures: np.ndarray) -> np.ndarray:
    """uint64[m, 2]: candidate pairs of addresses, as the stage dedup finds them partition by partition."""
    number = len(signatures)
    address = lsh.addresses(0, number)
    block = lsh.rows(minhash.bands(signatures, CONFIG), address, address, address)
    return lsh.distinct(np.concatenate([lsh.join(part) for part in lsh.partition(block, PARTITIONS)]))


def find_clusters(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(documents, the smallest document of each one's cluster)."""
    return cluster.components(cluster.forest(cluster.edges(pairs, 1.0)))


def look_up(sketches: list[datasketch.MinHash]) -> list[tuple[int, int]]:
    """The pairs that datasketch finds."""
    index = datasketch.MinHashLSH(num_perm=CONFIG.permutations, params=(CONFIG.bands, CONFIG.rows))
    pairs = []
    for key, sketch in enumerate(sketches):
        pairs += [(other, key) for other in index.query(sketch)]
        index.insert(key, sketch)
    return pairs


def main() -> None:
    args = arguments(__doc__, paths=None)
    texts, origin = documents(QUICK if args.quick else DOCUMENTS)
    core = one_core()
    table = words.table(pa.array(texts))
    signatures = minhash.signatures(table, CONFIG)
    planted = int((origin != np.arange(len(texts))).sum())
    print(f"{len(texts)} documents, {planted} of them revisions; {core}")

    find_clusters(find_pairs(signatures[:100]))  # compiled, or loaded from the cache
    pairs = find_pairs(signatures)
    _, roots = find_clusters(pairs)
    offsets, hashes = minhash.shingles(table, CONFIG)
    left, right = pairs.astype(np.int64).T
    ours = least(lambda: find_clusters(find_pairs(signatures)))
    verify = least(lambda: minhash.similarities(*minhash.shingles(table, CONFIG), left, offsets, hashes, right))
    # How hash values were made, scheme and permutations, matters only to who makes more of them.
    made = {"scheme": "legacy", "permutations": datasketch.MinHash(CONFIG.permutations, scheme="legacy").permutations}
    sketches = [datasketch.MinHash(hashvalues=row.astype(np.uint64), **made) for row in signatures]
    found: list[list[tuple[int, int]]] = []
    theirs = least(lambda: found.append(look_up(sketches)), rounds=2)
    same = set(map(tuple, pairs.tolist())) == set(found[0])
    right_pairs = int((origin[left] == origin[right]).sum())
    print(f"{len(pairs)} pairs, {right_pairs} of them right, {len(np.unique(roots))} clusters; the same pairs: {same}")
    print(f"curate {len(texts) / ours:,.0f} documents/s (with each pair verified {len(texts) / (ours + verify):,.0f})")
    print(f"datasketch {len(texts) / theirs:,.0f} documents/s")
    if not same:
        raise SystemExit("the pairs differ")
    report("dedup", theirs / ours)


if __name__ == "__main__":
    main()
