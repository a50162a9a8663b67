"""Signatures against a plain Python reading of their definition, exact Jaccard, and golden values."""

import hashlib
import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import draw, words
from curate.dedup import minhash
from curate.dedup.minhash import MinHash

MASK = 2**64 - 1
SINGLE = MinHash(shingle=1)  # a document's shingles are its words

texts = st.lists(
    st.lists(st.sampled_from(["the", "cat", "sat", "on", "a", "日本", "and,", "--", "Ran"]), max_size=14).map(" ".join),
    max_size=6,
)
configs = st.builds(
    MinHash, bands=st.integers(1, 5), rows=st.integers(1, 5), shingle=st.integers(1, 6), seed=st.integers(0, 3)
)


def table(documents):
    return words.table(pa.array(documents, pa.string()))


def grams_by_definition(hashes, size):
    size = min(size, len(hashes))
    out = []
    for i in range(len(hashes) - size + 1 if size else 0):
        total = 0
        for word in hashes[i : i + size]:
            total = (total * 0x9E3779B97F4A7C15 + int(word)) & MASK
        out.append(int(draw.mix(np.array([total], np.uint64))[0]))
    return out


@settings(deadline=None)  # kernels compile on the first call
@given(texts, configs)
def test_signatures_by_definition(documents, config):
    parts = table(documents)
    got = minhash.signatures(parts, config)
    assert got.shape == (len(documents), config.permutations)
    for d in range(len(documents)):
        shingles = grams_by_definition(parts.hash[parts.doc_words[d] : parts.doc_words[d + 1]], config.shingle)
        assert minhash.present(parts)[d] == bool(shingles)
        for k in range(config.permutations):
            a, b = (draw.key(config.seed, "minhash", part, k) for part in ("factor", "term"))
            least = min((((a * (x >> 32) + b) & MASK) >> 32 for x in shingles), default=2**32 - 1)
            assert got[d, k] == least


@settings(deadline=None)  # kernels compile on the first call
@given(texts, configs)
def test_shingles_and_jaccard_are_those_of_sets(documents, config):
    parts = table(documents)
    offsets, hashes = minhash.shingles(parts, config)
    sets = []
    for d in range(len(documents)):
        expected = set(grams_by_definition(parts.hash[parts.doc_words[d] : parts.doc_words[d + 1]], config.shingle))
        assert hashes[offsets[d] : offsets[d + 1]].tolist() == sorted(expected)
        sets.append(expected)
    pairs = np.array(list(itertools.product(range(len(documents)), repeat=2)), np.int64).reshape(-1, 2)
    got = minhash.similarities(offsets, hashes, pairs[:, 0].copy(), offsets, hashes, pairs[:, 1].copy())
    expected = [len(sets[a] & sets[b]) / len(sets[a] | sets[b]) if sets[a] | sets[b] else 0.0 for a, b in pairs]
    np.testing.assert_array_equal(got, np.array(expected, np.float32))


@settings(deadline=None)  # kernels compile on the first call
@given(texts, st.data())
def test_a_signature_depends_on_its_document_alone(documents, data):
    whole = minhash.signatures(table(documents), MinHash())
    cut = data.draw(st.integers(0, len(documents)))
    parts = [minhash.signatures(table(part), MinHash()) for part in (documents[:cut], documents[cut:])]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


def two_sets(rng, size, shared):
    """Two documents of distinct words, `shared` of which they have in common."""
    names = [f"w{n}" for n in rng.choice(10**9, 2 * size - shared, replace=False)]
    return " ".join(names[:size]), " ".join(names[size - shared :])


@pytest.mark.parametrize(("size", "shared"), [(30, 3), (200, 66), (200, 133), (3000, 2700)])
def test_estimates_are_unbiased_and_as_narrow_as_theory(size, shared):
    rng = np.random.default_rng(7)
    trials = 240
    true = shared / (2 * size - shared)
    estimates = []
    for seed in range(4):
        documents = list(itertools.chain.from_iterable(two_sets(rng, size, shared) for _ in range(trials // 4)))
        signed = minhash.signatures(table(documents), MinHash(shingle=1, seed=seed))
        estimates += (signed[::2] == signed[1::2]).mean(axis=1).tolist()
    deviation = np.sqrt(true * (1 - true) / SINGLE.permutations)
    assert abs(np.mean(estimates) - true) < 4 * deviation / np.sqrt(trials)
    assert 0.8 < np.std(estimates) / deviation < 1.2  # permutations that hang together would widen it


def test_each_shingle_is_as_likely_to_be_the_least():
    size, rng = 50, np.random.default_rng(3)
    won = np.zeros(size)
    for seed in range(40):
        names = [f"w{n}" for n in rng.choice(10**9, size, replace=False)]
        signed = minhash.signatures(table([*names, " ".join(names)]), MinHash(shingle=1, seed=seed))
        won += (signed[:-1] == signed[-1]).sum(axis=1)
    expected = won.sum() / size
    assert won.sum() == 40 * SINGLE.permutations  # no ties
    assert ((won - expected) ** 2 / expected).sum() < 94  # chi-square, 49 degrees, one in 10,000


def test_bands_agree_where_their_minima_do():
    rng = np.random.default_rng(0)
    config = MinHash(bands=6, rows=3)
    signed = rng.integers(0, 2, (400, 18), dtype=np.uint32)
    keys = minhash.bands(signed, config)
    minima = signed.reshape(400, 6, 3)
    for a, b in rng.integers(0, 400, (500, 2)):
        np.testing.assert_array_equal(keys[a] == keys[b], (minima[a] == minima[b]).all(axis=1))
    assert len(np.unique(keys)) == 6 * 2**3  # and no two bands share a key


def test_the_curve_of_candidates():
    """P(a common band) = 1 - (1 - s^8)^14 at 75% and at 50% alike."""
    rng = np.random.default_rng(11)
    for size, shared in ((140, 120), (150, 100)):
        trials = 400
        documents = list(itertools.chain.from_iterable(two_sets(rng, size, shared) for _ in range(trials)))
        keys = minhash.bands(minhash.signatures(table(documents), SINGLE), SINGLE)
        true = shared / (2 * size - shared)
        expected = 1 - (1 - true**8) ** 14
        met = (keys[::2] == keys[1::2]).any(axis=1).mean()
        assert abs(met - expected) < 4 * np.sqrt(expected * (1 - expected) / trials)


def test_columns_come_back():
    config = MinHash(bands=2, rows=3)
    parts = table(["one two three", "--", "", "four"])
    signed, present = minhash.signatures(parts, config), minhash.present(parts)
    column = minhash.to_column(signed, present)
    column.validate(full=True)
    assert [value is None for value in column.to_pylist()] == [False, True, True, False]
    for part, rows in ((column, slice(0, 4)), (column[1:], slice(1, 4)), (column[:0], slice(0, 0))):
        got, minima = minhash.from_column(part, config)
        np.testing.assert_array_equal(got, present[rows])
        np.testing.assert_array_equal(minima, signed[rows][present[rows]])
    with pytest.raises(ValueError, match="made with other bands or rows"):
        minhash.from_column(column, MinHash())
    with pytest.raises(ValueError, match="shape"):
        minhash.bands(signed, MinHash())


@pytest.mark.parametrize("name", ["bands", "rows", "shingle"])
def test_config_names_the_bad_value(name):
    with pytest.raises(ValueError, match=f"{name} is 0"):
        MinHash(**{name: 0})


GOLDEN = (
    "The quick brown fox jumps over the lazy dog. "
    "Съешь же ещё этих мягких французских булок, да выпей чаю. 日本語の文章"
)


def test_hashes_for_ever():
    parts = table([GOLDEN, "three short words"])
    config = MinHash()
    _, hashes = minhash.shingles(parts, config)
    signed = minhash.signatures(parts, config)
    keys = minhash.bands(signed, config)
    arrays = [array.astype(array.dtype.newbyteorder("<")) for array in (hashes, signed, keys)]
    assert [hashlib.sha256(array.tobytes()).hexdigest()[:16] for array in arrays] == [
        "13a665c2643c5cd8",
        "1e3ae6f534925c3d",
        "9de5eaa53eb5073e",
    ]
    assert (hashes[-1], signed[0, 0], keys[0, 0]) == (0x908A5C5EDA0013D6, 0x1B029D66, 0xB11710099B70294D)
