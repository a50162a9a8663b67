"""MinHash over the word table: shingles, signatures, band keys, and the exact similarity that verifies candidates.

A shingle is the hash of some consecutive words of a document (Broder 1997). Hashes are the same for ever, whatever
the machine, the batch and the order. Who is compared with whom is decided in `lsh`.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from curate import draw
from curate.scan import mix
from curate.words import WordTable

U64 = npt.NDArray[np.uint64]

_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, and 5 modulo 8: swapping two words changes all but the lowest bits
_LANES = 4  # permutations to a sweep over the shingles: their minima and factors stay in registers


@dataclass(frozen=True, slots=True, kw_only=True)
class MinHash:
    """Signatures of bands x rows minima over shingles of some words.

    The defaults are FineWeb's (Penedo et al. 2024, section 3.4): 14 bands of 8 over 5-word shingles, aimed at
    documents that are at least 75% alike, of which one pass finds 77%; at 85% it finds 98.8%.

    Args:
        bands: more of them find more pairs, and cost a row each in the shuffle.
        rows: minima in a band; more of them make a chance meeting rarer.
        shingle: words in a shingle. A shorter document is one shingle of all its words.
        seed: of the permutations.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    bands: int = 14
    rows: int = 8
    shingle: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("bands", "rows", "shingle"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; choose 1 or more")

    @property
    def permutations(self) -> int:
        return self.bands * self.rows


def present(table: WordTable) -> npt.NDArray[np.bool_]:
    """bool[n]: the documents that have a shingle, that is, a word."""
    return np.diff(table.doc_words) > 0


def signatures(table: WordTable, config: MinHash) -> npt.NDArray[np.uint32]:
    """uint32[n, permutations]: for each permutation the minimum over the document's shingles.

    The family is multiply-shift, ((a x + b) mod 2^64) >> 32 over the top 32 bits x of a shingle's hash with a and b
    of 64 bits: strongly universal (Dietzfelbinger 1996), and one multiplication. Documents without a word, for which
    `present` is false, have a row of 2^32 - 1.
    """
    factor, term = _permutations(config)
    return _signatures(table.hash, table.doc_words, config.shingle, factor, term, config.permutations)  # type: ignore[no-any-return]


def bands(signatures: npt.NDArray[np.uint32], config: MinHash) -> U64:
    """uint64[n, bands]: the keys by which documents meet; a key is a hash of the band's minima and its number.

    Raises:
        ValueError: if the signatures have another length than the config's.
    """
    if signatures.shape[1:] != (config.permutations,):
        raise ValueError(f"signatures have shape {signatures.shape}, the configuration {config.permutations} minima")
    minima = signatures.reshape(-1, config.bands, config.rows)
    seeds = np.array([draw.key(config.seed, "minhash band", i) for i in range(config.bands)], np.uint64)
    keys = np.broadcast_to(seeds, minima.shape[:2])
    for row in range(config.rows):
        keys = draw.mix(keys ^ minima[:, :, row])
    return keys


def to_column(signatures: npt.NDArray[np.uint32], present: npt.NDArray[np.bool_]) -> pa.BinaryArray:
    """binary[n], null where not present: the signatures as `document.SIGNATURES` stores them."""
    width = 4 * signatures.shape[1]
    stops = np.concatenate([np.zeros(1, np.int64), np.cumsum(present) * width])
    if stops[-1] >= 1 << 31:
        raise ValueError(f"{len(present)} signatures take {stops[-1]} bytes, over 2^31 - 1: cut them into batches")
    rows = np.ascontiguousarray(signatures[present], "<u4")
    mask = pa.array(present).buffers()[1]
    return pa.BinaryArray.from_buffers(
        pa.binary(), len(present), [mask, pa.py_buffer(stops.astype(np.int32)), pa.py_buffer(rows)]
    )


def from_column(column: pa.BinaryArray, config: MinHash) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint32]]:
    """(present bool[n], uint32[p, permutations]): who has a signature, and the signatures of those p documents.

    Raises:
        ValueError: if they have another length than the config's.
    """
    present = column.is_valid().to_numpy(zero_copy_only=False)
    stored = b"".join(column.drop_null().to_pylist())
    if len(stored) != 4 * config.permutations * int(present.sum()):
        raise ValueError(
            f"{int(present.sum())} stored signatures take {len(stored)} bytes, but {config.permutations} minima take "
            f"{4 * config.permutations} bytes each: they were made with other bands or rows; sign the documents again"
        )
    return present, np.frombuffer(stored, "<u4").reshape(-1, config.permutations).astype(np.uint32)


def shingles(table: WordTable, config: MinHash) -> tuple[npt.NDArray[np.int64], U64]:
    """(offsets int64[n + 1], hashes uint64): each document's distinct shingles, sorted: [offsets[d]:offsets[d + 1]]."""
    offsets, hashes = grams(table, config.shingle)
    for start, stop in itertools.pairwise(offsets):
        hashes[start:stop].sort()
    return _compact(offsets, hashes)  # type: ignore[no-any-return]


def grams(table: WordTable, size: int) -> tuple[npt.NDArray[np.int64], U64]:
    """(offsets int64[n + 1], hashes uint64): the hash of each run of `size` words, in the order of the text.

    A document of fewer words, but not of none, has one gram of all its words.
    """
    return _grams(table.hash, table.doc_words, size)  # type: ignore[no-any-return]


def similarities(
    offsets: npt.NDArray[np.int64],
    hashes: U64,
    left: npt.NDArray[np.int64],
    other_offsets: npt.NDArray[np.int64],
    other_hashes: U64,
    right: npt.NDArray[np.int64],
) -> npt.NDArray[np.float32]:
    """float32[m]: `jaccard` of document left[i] of one `shingles` with document right[i] of another (or the same)."""
    return _similarities(offsets, hashes, left, other_offsets, other_hashes, right)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def jaccard(a, b):  # type: ignore[no-untyped-def]
    """|A and B| / |A or B| of two sorted arrays of distinct values; 0 if both are empty."""
    i = j = common = 0
    while i < len(a) and j < len(b):
        common += a[i] == b[j]
        step = a[i] <= b[j]
        j += a[i] >= b[j]
        i += step
    union = len(a) + len(b) - common
    return common / union if union else 0.0


@njit(cache=True, nogil=True)
def windows(words, size, out):  # type: ignore[no-untyped-def]
    """Fill `out` with the hash of each run of `size` words, or of all words if they are fewer; their number.

    The sum of word times a power of the base, rolled from word to word, then scattered. `out` has room for len(words).
    """
    n = len(words)
    size = min(size, n)
    if size == 0:
        return 0
    power = np.uint64(1)
    for _ in range(size):
        power *= _BASE
    total = np.uint64(0)
    for i in range(size):
        total = total * _BASE + words[i]
    out[0] = mix(total)
    for i in range(size, n):
        total = total * _BASE + words[i] - words[i - size] * power
        out[i - size + 1] = mix(total)
    return n - size + 1


def _permutations(config: MinHash) -> tuple[U64, U64]:
    """(factor, term): uint64, one for each permutation, and more up to a whole number of sweeps."""
    count = -(-config.permutations // _LANES) * _LANES
    factor, term = (
        np.array([draw.key(config.seed, "minhash", part, i) for i in range(count)], np.uint64)
        for part in ("factor", "term")
    )
    return factor, term


@njit(cache=True, nogil=True)
def _longest(bounds):  # type: ignore[no-untyped-def]
    longest = 0
    for d in range(len(bounds) - 1):
        longest = max(longest, bounds[d + 1] - bounds[d])
    return longest


@njit(cache=True, nogil=True)
def _signatures(words, bounds, size, factor, term, permutations):  # type: ignore[no-untyped-def]
    out = np.full((len(bounds) - 1, permutations), 0xFFFFFFFF, np.uint32)
    scratch = np.empty(_longest(bounds), np.uint64)
    least = np.empty(len(factor), np.uint64)
    for d in range(len(bounds) - 1):
        count = windows(words[bounds[d] : bounds[d + 1]], size, scratch)
        if count == 0:
            continue
        # Four permutations to a sweep, each a reduction that the compiler turns into vector instructions; with the
        # shingles in the outer loop the minima go through memory, which takes four times as long.
        for k in range(0, len(factor), 4):
            a0, a1, a2, a3 = factor[k], factor[k + 1], factor[k + 2], factor[k + 3]
            b0, b1, b2, b3 = term[k], term[k + 1], term[k + 2], term[k + 3]
            m0 = m1 = m2 = m3 = np.uint64(0xFFFFFFFFFFFFFFFF)
            for i in range(count):
                x = scratch[i] >> np.uint64(32)
                m0 = min(m0, a0 * x + b0)
                m1 = min(m1, a1 * x + b1)
                m2 = min(m2, a2 * x + b2)
                m3 = min(m3, a3 * x + b3)
            least[k], least[k + 1], least[k + 2], least[k + 3] = m0, m1, m2, m3
        for k in range(permutations):
            out[d, k] = least[k] >> np.uint64(32)
    return out


@njit(cache=True, nogil=True)
def _grams(words, bounds, size):  # type: ignore[no-untyped-def]
    offsets = np.zeros(len(bounds), np.int64)
    out = np.empty(len(words), np.uint64)
    for d in range(len(bounds) - 1):
        offsets[d + 1] = offsets[d] + windows(words[bounds[d] : bounds[d + 1]], size, out[offsets[d] :])
    return offsets, out[: offsets[-1]]


@njit(cache=True, nogil=True)
def _compact(offsets, hashes):  # type: ignore[no-untyped-def]
    """Each document's sorted hashes without repetitions, in place."""
    kept = np.zeros(len(offsets), np.int64)
    at = 0
    for d in range(len(offsets) - 1):
        for i in range(offsets[d], offsets[d + 1]):
            if i == offsets[d] or hashes[i] != hashes[i - 1]:
                hashes[at] = hashes[i]
                at += 1
        kept[d + 1] = at
    return kept, hashes[:at]


@njit(cache=True, nogil=True)
def _similarities(offsets, hashes, left, other_offsets, other_hashes, right):  # type: ignore[no-untyped-def]
    out = np.empty(len(left), np.float32)
    for i in range(len(left)):
        a, b = left[i], right[i]
        out[i] = jaccard(hashes[offsets[a] : offsets[a + 1]], other_hashes[other_offsets[b] : other_offsets[b + 1]])
    return out
