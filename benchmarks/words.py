"""The word table's speed on one core, against the same words cut and hashed in plain Python.

    python benchmarks/words.py [FILE OR FOLDER ...]

Python's side is the definition without its lines and spans: str.split, str.lower, letters and digits kept, blake2b.
"""

import hashlib
import re
import sys
import time

import pyarrow as pa
from _texts import load

from curate import words

NOT_WORD = re.compile(r"[\W_]+")
ROUNDS = 5


def plain(texts: list[str]) -> int:
    """Hash every word of the texts; the number of words."""
    count = 0
    for text in texts:
        for token in text.lower().split():
            word = NOT_WORD.sub("", token)
            if word:
                hashlib.blake2b(word.encode(), digest_size=8).digest()
                count += 1
    return count


def main() -> None:
    texts = load(sys.argv[1:])
    array = pa.array(texts)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    start = time.perf_counter()
    words.table(array.slice(0, 1))
    first = time.perf_counter() - start
    ours, theirs = [], []
    for _ in range(ROUNDS):
        start = time.process_time()
        table = words.table(array)
        ours.append(megabytes / (time.process_time() - start))
        start = time.process_time()
        count = plain(texts)
        theirs.append(megabytes / (time.process_time() - start))
    print(f"{len(texts)} texts, {megabytes:.1f} MB, {table.num_words} words (plain Python: {count}), one core")
    print(f"first call {first:.2f} s; word table {max(ours):.0f} MB/s; split and hash in Python {max(theirs):.1f} MB/s")
    print(f"words ratio {max(ours) / max(theirs):.1f}")


if __name__ == "__main__":
    main()
