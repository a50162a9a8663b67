"""Signs the same texts with curate.dedup.minhash and with datasketch: 112 permutations over 5-word shingles, one core.

    python benchmarks/minhash.py [FILE ...] [--megabytes N]

Texts are pieces of the given text files (default: the documentation of the standard library as pydoc renders it, so it
runs on a bare machine). Each side starts from the texts: ours builds the word table; datasketch gets its shingles from
str.lower().split() and hashes them with crc32, faster than its default SHA-1; its permutations are made once and
update_batch is called once a document (MinHash.generator). The error of both against the exact similarity of neighbours
shows that both sign rightly. Where rensa is installed its speed is shown too.
"""

import argparse
import importlib.util
import io
import itertools
import pkgutil
import pydoc
import sys
import time
import zlib
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import datasketch
import numpy as np
import pyarrow as pa

from curate import words
from curate.dedup import minhash

PIECE = 8_000  # characters, about a web page
CONFIG = minhash.MinHash()


def standard_library() -> list[str]:
    """The documentation of the pure Python modules that import without side effects, by name."""
    texts = []
    for name in sorted(sys.stdlib_module_names - {"antigravity", "this", "idlelib", "turtledemo", "test", "lib2to3"}):
        if name.startswith("_") or pkgutil.resolve_name("importlib.util").find_spec(name) is None:
            continue
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            try:
                texts.append(pydoc.render_doc(name, renderer=pydoc.plaintext))
            except (ImportError, pydoc.ErrorDuringImport):
                continue  # a module of another platform
    return texts


def pieces(texts: list[str], limit: int) -> list[str]:
    """The texts in pieces, over and over until they fill `limit` bytes."""
    cut = [text[i : i + PIECE] for text in texts for i in range(0, len(text), PIECE)]
    sizes = np.cumsum([len(piece.encode()) for piece in cut])
    rounds = -(-limit // int(sizes[-1]))
    return (cut * rounds)[: int(np.searchsorted(np.cumsum(np.tile(np.diff(sizes, prepend=0), rounds)), limit)) + 1]


def best(call: Callable[[], object], rounds: int = 3) -> float:
    """The least of some times in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def shingles(text: str) -> list[bytes]:
    tokens = text.lower().split()
    return [" ".join(tokens[i : i + CONFIG.shingle]).encode() for i in range(max(len(tokens) - CONFIG.shingle + 1, 1))]


def sign_datasketch(texts: list[str]) -> list[datasketch.MinHash]:
    sets = (shingles(text) for text in texts)
    return list(datasketch.MinHash.generator(sets, num_perm=CONFIG.permutations, hashfunc=zlib.crc32))


def sign_rensa(texts: list[str]) -> None:
    rensa = importlib.import_module("rensa")
    for text in texts:
        sketch = rensa.RMinHash(num_perm=CONFIG.permutations, seed=1)
        sketch.update([shingle.decode() for shingle in shingles(text)])
        sketch.digest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--megabytes", type=int, default=20)
    args = parser.parse_args()
    read = [path.read_text("utf-8", "replace") for path in args.files] or standard_library()
    texts = pieces(read, args.megabytes * 1_000_000)
    array = pa.array(texts, pa.string())
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"{len(texts)} texts, {size:.1f} MB, {CONFIG.permutations} permutations of {CONFIG.shingle}-word shingles")

    minhash.signatures(words.table(array), CONFIG)  # compiled, or loaded from the cache
    table = words.table(array)
    scan, sign = best(lambda: words.table(array)), best(lambda: minhash.signatures(table, CONFIG))
    ours = best(lambda: minhash.signatures(words.table(array), CONFIG))
    print(f"curate      {size / ours:8.1f} MB/s (word table {size / scan:.1f}, signatures {size / sign:.1f})")
    few = texts[: len(texts) // 4]
    few_size = sum(len(text.encode()) for text in few) / 1e6
    peer = best(lambda: sign_datasketch(few), rounds=2)
    print(f"datasketch  {few_size / peer:8.1f} MB/s (on a quarter of the texts)")
    if importlib.util.find_spec("rensa"):
        print(f"rensa       {few_size / best(lambda: sign_rensa(few), rounds=2):8.1f} MB/s")
    else:
        print("rensa       is not installed")

    offsets, hashes = minhash.shingles(table, CONFIG)
    mine, theirs, sets = minhash.signatures(table, CONFIG), sign_datasketch(few), [set(shingles(text)) for text in few]
    errors = []
    for i, j in itertools.pairwise(range(len(few))):
        left, right = (hashes[offsets[d] : offsets[d + 1]] for d in (i, j))
        errors.append(
            (
                float((mine[i] == mine[j]).mean()) - minhash.jaccard(left, right),
                theirs[i].jaccard(theirs[j]) - len(sets[i] & sets[j]) / len(sets[i] | sets[j]),
            )
        )
    ours_off, theirs_off = np.sqrt(np.mean(np.square(errors), axis=0))
    print(
        f"error of the estimates for neighbours: curate {ours_off:.4f}, datasketch {theirs_off:.4f} (root mean square)"
    )
    print(f"minhash ratio {(size / ours) / (few_size / peer):.1f}")


if __name__ == "__main__":
    main()
