"""Encodes the same texts with curate.tokens and with tokenizers' encode_batch_fast, and compares speed and ids.

    python benchmarks/encode.py [--data DIR] [--megabytes N]

Texts are paragraphs-long pieces of every .txt file under DIR (default: the standard library's own source files, so it
runs on a bare machine). The tokenizer is trained on part of them, with GPT-2's vocabulary size as the upper bound.
Both sides run on one thread, and again on all cores; the ratio is of single threads.
"""

import argparse
import os
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import tokenizers

from curate import tokens

PIECE = 8_000  # characters, about a web page


def read(folder: Path | None, limit: int) -> list[str]:
    """Pieces of the files, in the order of their paths, up to `limit` bytes."""
    paths = sorted(folder.rglob("*.txt") if folder else Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    pieces: list[str] = []
    size = 0
    for path in paths:
        text = path.read_text("utf-8", "replace")
        pieces += [text[i : i + PIECE] for i in range(0, len(text), PIECE)]
        size += len(text.encode())
        if size > limit:
            break
    return pieces


def best(call: Callable[[], object], rounds: int = 3) -> float:
    """The least of three times in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--megabytes", type=int, default=20)
    args = parser.parse_args()
    texts = read(args.data, args.megabytes * 1_000_000)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    config = tokens.Tokenization(sample_bytes=5_000_000)
    peer = tokens.train(texts, config)
    encoder = tokens.Encoder(peer.to_str().encode())
    array = pa.array(texts)
    print(f"{len(texts)} texts, {megabytes:.1f} MB, vocabulary {encoder.vocab_size}, engine {encoder.engine}")

    peer = tokenizers.Tokenizer.from_str(peer.to_str())
    peer.encode_special_tokens = True
    ratio = 0.0
    for label, parallel in (("all cores", True), ("one thread", False)):
        # tokenizers reads this each time it starts a batch.
        os.environ["TOKENIZERS_PARALLELISM"] = str(parallel).lower()
        fresh = tokens.Encoder(encoder.serialised)
        cold = best(lambda e=fresh, p=parallel: e.encode(array, parallel=p), rounds=1)
        warm = best(lambda e=fresh, p=parallel: e.encode(array, parallel=p))
        theirs = best(lambda: peer.encode_batch_fast(texts, add_special_tokens=False))
        print(
            f"{label}: curate {megabytes / cold:.0f} MB/s cold, {megabytes / warm:.0f} MB/s warm; "
            f"tokenizers {megabytes / theirs:.1f} MB/s"
        )
        ratio = theirs / cold
    expected = [i for each in peer.encode_batch_fast(texts, add_special_tokens=False) for i in each.ids]
    if not np.array_equal(encoder.encode(array)[0], expected):
        raise SystemExit("the ids differ")
    print("the same ids; the ratio is of one thread, cold")
    print(f"tokenize ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
