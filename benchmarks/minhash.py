"""Signs the same texts with curate.dedup.minhash and with datasketch: 112 permutations over 5-word shingles, one core.

    python benchmarks/minhash.py [PATH ...]

Each side starts from the texts: ours builds the word table; datasketch gets its shingles from str.lower().split() and
hashes them with crc32, faster than its default SHA-1; its permutations are made once and update_batch is called once a
document (MinHash.generator). The error of both against the exact similarity of neighbours shows that both sign rightly.
"""

import itertools
import zlib

import datasketch
import numpy as np
import pyarrow as pa
from _clock import arguments, least, one_core, report
from _texts import load, megabytes

from curate import words
from curate.dedup import minhash

CONFIG = minhash.MinHash()


def shingles(text: str) -> list[bytes]:
    tokens = text.lower().split()
    return [" ".join(tokens[i : i + CONFIG.shingle]).encode() for i in range(max(len(tokens) - CONFIG.shingle + 1, 1))]


def sign_datasketch(texts: list[str]) -> list[datasketch.MinHash]:
    sets = (shingles(text) for text in texts)
    return list(datasketch.MinHash.generator(sets, num_perm=CONFIG.permutations, hashfunc=zlib.crc32))


def errors(texts: list[str], table: words.WordTable) -> np.ndarray:
    """(ours, datasketch's): root mean square of estimated less exact similarity of each text and the next."""
    offsets, hashes = minhash.shingles(table, CONFIG)
    mine, theirs, sets = minhash.signatures(table, CONFIG), sign_datasketch(texts), [set(shingles(t)) for t in texts]
    found = []
    for i, j in itertools.pairwise(range(len(texts))):
        left, right = (hashes[offsets[d] : offsets[d + 1]] for d in (i, j))
        ours = float((mine[i] == mine[j]).mean()) - minhash.jaccard(left, right)
        found.append((ours, theirs[i].jaccard(theirs[j]) - len(sets[i] & sets[j]) / len(sets[i] | sets[j])))
    return np.sqrt(np.mean(np.square(found), axis=0))


def main() -> None:
    args = arguments(__doc__)
    texts = load(args.paths, args.quick)
    core = one_core()
    array, size = pa.array(texts), megabytes(texts)
    print(f"{len(texts)} texts, {size:.1f} MB, {CONFIG.permutations} permutations, {CONFIG.shingle} words; {core}")

    table = words.table(array)
    minhash.signatures(table, CONFIG)  # compiled, or loaded from the cache
    scan, sign = least(lambda: words.table(array)), least(lambda: minhash.signatures(table, CONFIG))
    ours = least(lambda: minhash.signatures(words.table(array), CONFIG))
    theirs = least(lambda: sign_datasketch(texts), rounds=3)
    print(f"curate {size / ours:.1f} MB/s (word table {size / scan:.0f}, signatures {size / sign:.0f})")
    print(f"datasketch {size / theirs:.1f} MB/s")
    mine, other = errors(texts, table)
    print(f"error of the estimates for neighbours: curate {mine:.4f}, datasketch {other:.4f} (root mean square)")
    report("minhash", theirs / ours)


if __name__ == "__main__":
    main()
