"""Content hashes against hashlib, whatever the Arrow layout."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest

from curate.dedup import exact

TEXTS = ["", "a", "naïve café", "日本語", "x" * 100_000, "a"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(("start", "stop"), [(0, 6), (2, 5), (3, 3)])
def test_hashes_are_blake2b_of_the_bytes(kind, start, stop):
    got = exact.content_hashes(pa.array(TEXTS, kind)[start:stop])
    assert got.type == pa.binary(16)
    assert got.to_pylist() == [hashlib.blake2b(t.encode(), digest_size=16).digest() for t in TEXTS[start:stop]]


def test_empty_texts_without_a_buffer():
    empty = hashlib.blake2b(b"", digest_size=16).digest()
    assert exact.content_hashes(pa.array([], pa.string())).to_pylist() == []
    assert exact.content_hashes(pa.array(["", ""])).to_pylist() == [empty, empty]


def test_nulls_are_refused():
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        exact.content_hashes(pa.array(["a", None]))


def test_halves_are_the_two_words_of_a_hash():
    hashes = exact.content_hashes(pa.array(TEXTS))
    for part in (hashes, hashes[2:5], hashes[:0]):
        high, low = exact.halves(part)
        assert high.dtype == low.dtype == np.uint64
        assert np.stack([high, low], axis=1).astype("<u8").tobytes() == b"".join(part.to_pylist())
