"""Exact copies: a hash of the text's bytes, nothing normalised. Near copies are for `minhash`."""

import hashlib
import itertools

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_BYTES = 16


def content_hashes(texts: pa.Array) -> pa.FixedSizeBinaryArray:
    """binary(16)[n]: BLAKE2b-128 of each text's UTF-8; texts is a string or large_string array without nulls.

    At 128 bits a billion distinct texts collide with a chance of 2e-21, so equal hashes count as equal texts.

    Raises:
        ValueError: if it holds nulls.
    """
    if texts.null_count:
        raise ValueError(f"{texts.null_count} of {len(texts)} texts are null; leave them out or fill them")
    out = bytearray(_BYTES * len(texts))
    if len(texts):
        _, offset_buffer, data = texts.buffers()
        width = np.dtype(np.int64 if pa.types.is_large_string(texts.type) else np.int32)
        offsets = np.frombuffer(offset_buffer, width, len(texts) + 1, texts.offset * width.itemsize).tolist()
        view = memoryview(data or b"")
        for i, (start, stop) in enumerate(itertools.pairwise(offsets)):
            out[i * _BYTES : (i + 1) * _BYTES] = hashlib.blake2b(view[start:stop], digest_size=_BYTES).digest()
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(_BYTES), len(texts), [None, pa.py_buffer(out)])


def halves(hashes: pa.FixedSizeBinaryArray) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """(uint64[n], uint64[n]): the two halves of each content hash, little-endian: key and content of `lsh.copies`."""
    if not len(hashes):
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    pairs = np.frombuffer(hashes.buffers()[1], "<u8", 2 * len(hashes), _BYTES * hashes.offset).reshape(-1, 2)
    return pairs[:, 0].copy(), pairs[:, 1].copy()
