"""Every random draw of the project: a hash of (document id, seed, purpose). No generator, no state, no order.

The same document draws the same number on any runner, in any order, on any retry, whatever else is in the batch.
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt


def key(*parts: str | int) -> int:
    """A 64-bit key of the parts: BLAKE2b, little-endian, parts separated by NUL."""
    digest = hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def keys(ids: Iterable[str], seed: int, purpose: str) -> npt.NDArray[np.uint64]:
    """uint64[n]: one key for each id; ids must be the project's own hex ids (see `document.document_id`)."""
    salt = np.uint64(key(seed, purpose))
    low = np.fromiter((int(i[:16], 16) for i in ids), np.uint64)
    return mix(low ^ salt)


def draws(ids: Iterable[str], seed: int, purpose: str) -> npt.NDArray[np.float64]:
    """float64[n] in [0, 1): one uniform draw for each id."""
    return (keys(ids, seed, purpose) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mix(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer (Steele, Lea and Flood 2014), a bijection of uint64 that scatters every bit."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
