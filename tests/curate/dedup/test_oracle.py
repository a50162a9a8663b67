"""The whole of deduplication beside brute force: every pair of documents compared by exact Jaccard similarity."""

import csv
import itertools
import json
import re
from collections import defaultdict

import numpy as np
import pyarrow as pa
import pytest

from curate import words
from curate.dedup import cluster, exact, lsh, minhash

CONFIG = minhash.MinHash()
THRESHOLD = 0.75


def verified(texts, num_partitions=4, blocks=2, order=None):
    """(candidate pairs, verified edges, forests by partition) of the texts, whose addresses are their numbers."""
    table = words.table(pa.array(texts, pa.large_string()))
    keys = minhash.bands(minhash.signatures(table, CONFIG), CONFIG)
    high, low = exact.halves(exact.content_hashes(pa.array(texts, pa.large_string())))
    address = np.arange(len(texts), dtype=np.uint64)
    rank = cluster.rank(0, np.nan, [f"{i:032x}" for i in range(len(texts))])
    order = np.arange(len(texts)) if order is None else order
    offsets, hashes = minhash.shingles(table, CONFIG)
    forests, candidates = [], []
    for name in ("content", "bands"):
        parts = defaultdict(list)
        for block in np.array_split(order, blocks):
            rows = lsh.rows((high if name == "content" else keys)[block], address[block], rank[block], low[block])
            for number, part in enumerate(lsh.partition(rows, num_partitions)):
                parts[number].append(part)
        for part in parts.values():
            joined = (lsh.copies if name == "content" else lsh.join)(np.concatenate(part))
            left, right = joined.astype(np.int64).T
            alike = minhash.similarities(offsets, hashes, left.copy(), offsets, hashes, right.copy())
            alike = np.where(name == "content", np.float32(1), alike)
            candidates.append(joined)
            forests.append(cluster.forest(cluster.edges(joined[alike >= THRESHOLD], alike[alike >= THRESHOLD])))
    return lsh.distinct(np.concatenate(candidates)), forests


def brute_force(texts):
    """float[n, n]: Jaccard similarity of the sets of 5-word shingles, from Python sets."""
    table = words.table(pa.array(texts, pa.large_string()))
    sets = []
    for d in range(len(texts)):
        own = table.hash[table.doc_words[d] : table.doc_words[d + 1]].tolist()
        sets.append({tuple(own[i : i + 5]) for i in range(max(1, len(own) - 4))} if own else set())
    out = np.zeros((len(texts), len(texts)))
    for a, b in itertools.combinations(range(len(texts)), 2):
        out[a, b] = len(sets[a] & sets[b]) / max(1, len(sets[a] | sets[b]))
    return out


def chance(similarity):
    return 1 - (1 - similarity**CONFIG.rows) ** CONFIG.bands


def edited(rng, base, share):
    """The words with a stretch of them replaced, which costs about that share of the shingles."""
    count = int(len(base) * share)
    at = int(rng.integers(0, len(base) - count + 1))
    return [*base[:at], *(f"new{n}" for n in rng.integers(0, 10**9, count)), *base[at + count :]]


def test_recall_is_theory_and_precision_one():
    rng = np.random.default_rng(5)
    texts = []
    for _ in range(150):
        base = [f"w{n}" for n in rng.integers(0, 3000, int(rng.integers(60, 300)))]
        texts += [" ".join(base), " ".join(edited(rng, base, rng.uniform(0, 0.3)))]
    truth = brute_force(texts)
    candidates, forests = verified(texts)
    met = {tuple(pair) for pair in candidates.tolist()}
    alike = [tuple(pair) for pair in np.argwhere(truth >= THRESHOLD).tolist()]
    expected = [chance(truth[pair]) for pair in alike]
    deviation = np.sqrt(sum(p * (1 - p) for p in expected))
    assert len(alike) > 50
    assert abs(sum(pair in met for pair in alike) - sum(expected)) < 4 * deviation
    trees = cluster.forest(*forests)
    assert {(a, b) for a, b, _ in trees.tolist()} == {pair for pair in alike if pair in met}  # a pair is its own tree
    np.testing.assert_array_equal(trees["similarity"], [np.float32(truth[a, b]) for a, b, _ in trees.tolist()])


def test_a_cluster_is_what_hangs_together():
    """Several versions of each document, exact copies among them: components of the found pairs, no matter the way."""
    rng = np.random.default_rng(6)
    texts = []
    for _ in range(30):
        version = [f"w{n}" for n in rng.integers(0, 2000, 200)]
        for _ in range(int(rng.integers(1, 7))):
            version = edited(rng, version, rng.uniform(0, 0.12))
            texts += [" ".join(version)] * int(rng.integers(1, 4))
    texts += ["", "", "two words", "two words"]
    truth = brute_force(texts) >= THRESHOLD
    for a, b in itertools.combinations(range(len(texts)), 2):
        truth[a, b] |= texts[a] == texts[b]
    candidates, forests = verified(texts)
    same = [(a, b) for a, b in candidates.tolist() if truth[a, b]]
    trees = cluster.forest(*forests)
    expected = cluster.components(cluster.edges(np.array(same, np.uint64), 1.0))
    for got, want in zip(cluster.components(trees), expected, strict=True):
        np.testing.assert_array_equal(got, want)
    docs, roots = cluster.components(trees)
    root = dict(zip(docs.tolist(), roots.tolist(), strict=True))
    copies = [(a, b) for a, b in itertools.combinations(range(len(texts)), 2) if texts[a] == texts[b]]
    assert all(root[a] == root[b] for a, b in copies)
    for seed, (partitions, blocks) in enumerate([(1, 1), (7, 3), (64, 11)]):
        order = np.random.default_rng(seed).permutation(len(texts))
        _, others = verified(texts, partitions, blocks, order)
        merged = others[0]
        for part in np.random.default_rng(seed).permutation(len(others)).tolist():
            merged = cluster.forest(merged, others[part])
        assert merged.tobytes() == trees.tobytes()


# ---- real data


def visible(html):
    return re.sub(r"(?s)<[^>]*>", " ", re.sub(r"(?is)<(script|style)\b.*?</\1>|<!--.*?-->", " ", html))


@pytest.mark.data("neardup")
@pytest.mark.parametrize("name", ["recrawl", "mirror_variants"])
def test_versions_of_real_pages(data_dir, name):
    folder = data_dir / "neardup" / name
    with open(folder / "pairs_exact_jaccard.tsv") as file:
        listed = list(csv.DictReader(file, delimiter="\t"))
    files = sorted({row[side] for row in listed for side in ("file_a", "file_b")})
    number = {file: i for i, file in enumerate(files)}
    texts = [visible((folder / file).read_text("utf-8", "replace")) for file in files]
    table = words.table(pa.array(texts))
    offsets, hashes = minhash.shingles(table, CONFIG)
    pairs = np.array([[number[row["file_a"]], number[row["file_b"]]] for row in listed])
    truth = minhash.similarities(offsets, hashes, pairs[:, 0].copy(), offsets, hashes, pairs[:, 1].copy())
    given = np.array([float(row["jaccard_word5"]) for row in listed])
    assert np.corrcoef(truth, given)[0, 1] > 0.99  # the same measure, though their text was stripped in another way
    signed = minhash.signatures(table, CONFIG)
    estimate = (signed[pairs[:, 0]] == signed[pairs[:, 1]]).mean(axis=1)
    assert np.sqrt(np.mean((estimate - truth) ** 2)) < 0.5 / np.sqrt(CONFIG.permutations)
    keys = minhash.bands(signed, CONFIG)
    met = (keys[pairs[:, 0]] == keys[pairs[:, 1]]).any(axis=1)
    alike = truth >= THRESHOLD
    recall, theory = met[alike].mean(), chance(truth[alike].astype(float)).mean()
    print(f"{name}: {alike.sum()} of {len(pairs)} pairs alike, recall {recall:.4f}, theory {theory:.4f}")
    print(f"  precision {alike[met].mean():.4f} before verification; error of estimates {np.std(estimate - truth):.4f}")
    assert recall > theory - 0.03
    _, forests = verified(texts)
    docs, roots = cluster.components(cluster.forest(*forests))
    root = {int(doc): int(root) for doc, root in zip(docs, roots, strict=True)}
    together = np.array([root.get(a, a) == root.get(b, b) for a, b in pairs.tolist()])
    shares = together[alike].mean(), together[truth < 0.5].mean()
    print(f"  in one cluster: {shares[0]:.4f} of the alike, {shares[1]:.4f} of those below 0.5")
    assert together[alike].mean() >= recall


def read_book(path):
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


@pytest.mark.data("books")
def test_distinct_books_never_join_and_editions_do(data_dir):
    folder = data_dir / "books"
    with open(folder / "manifest.jsonl") as file:
        entries = [entry for entry in map(json.loads, file) if entry.get("book")]
    work = {entry["book"]: entry["title"] for entry in reversed(entries) if entry["title"]}  # two numbers may share one
    candidates, forests = verified([read_book(folder / entry["file"]) for entry in entries])
    docs, roots = cluster.components(cluster.forest(*forests))
    clusters = defaultdict(set)
    for doc, root in zip(docs.tolist(), roots.tolist(), strict=True):
        clusters[root].add(work[entries[doc]["book"]])
    editions = [i for i, entry in enumerate(entries) if entry["file"].startswith("editions/")]
    found = len(set(editions) & set(docs.tolist()))
    print(f"{len(entries)} files of {len(set(work.values()))} works: {len(candidates)} candidate pairs")
    print(f"  {len(docs)} files in {len(clusters)} clusters; {found} of {len(editions)} other editions found")
    assert [works for works in clusters.values() if len(works) > 1] == []
    assert found >= 70
