"""The word table's speed on one core, against the same words cut and hashed in plain Python.

    python benchmarks/words.py [PATH ...]

Python's side is the definition without its lines and spans: str.split, str.lower, letters and digits kept, blake2b.
"""

import hashlib
import re

import pyarrow as pa
from _clock import arguments, least, one_core, report
from _texts import load, megabytes

from curate import words

NOT_WORD = re.compile(r"[\W_]+")


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
    args = arguments(__doc__)
    texts = load(args.paths, args.quick)
    core = one_core()
    array, size = pa.array(texts), megabytes(texts)
    first = least(lambda: words.table(array[:1]), rounds=1)
    ours, theirs = least(lambda: words.table(array)), least(lambda: plain(texts), rounds=3)
    print(f"{len(texts)} texts, {size:.1f} MB; {core}")
    print(f"words: {words.table(array).num_words}; in plain Python {plain(texts)}")
    print(f"word table {size / ours:.0f} MB/s (first call {first:.2f} s); plain Python {size / theirs:.1f} MB/s")
    report("words", theirs / ours)


if __name__ == "__main__":
    main()
