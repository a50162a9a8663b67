"""Encodes the same texts with curate.tokens and with tokenizers' encode_batch_fast, and compares speed and ids.

    python benchmarks/encode.py [PATH ...]

The tokenizer is trained on part of the texts, with GPT-2's vocabulary size as the upper bound. Both sides run on one
thread. Ours remembers words that it has met: `cold` is a new encoder's first batch, which the ratio is of, `warm` a
later one.
"""

import os

import numpy as np
import pyarrow as pa
import tokenizers
from _clock import arguments, least, one_core, report
from _texts import load, megabytes

from curate import tokens

ROUNDS = 3


def main() -> None:
    args = arguments(__doc__)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    texts = load(args.paths, args.quick)
    core = one_core()
    array, size = pa.array(texts), megabytes(texts)
    serialised = tokens.train(texts, tokens.Tokenization(sample_bytes=5_000_000)).to_str()
    encoder = tokens.Encoder(serialised.encode())
    print(f"{len(texts)} texts, {size:.1f} MB, vocabulary {encoder.vocab_size}, engine {encoder.engine}; {core}")

    fresh = iter([tokens.Encoder(encoder.serialised) for _ in range(ROUNDS)])
    cold = least(lambda: next(fresh).encode(array), ROUNDS)
    encoder.encode(array)
    warm = least(lambda: encoder.encode(array), ROUNDS)
    peer = tokenizers.Tokenizer.from_str(serialised)
    peer.encode_special_tokens = True  # text that spells a special token out stays text
    theirs = least(lambda: peer.encode_batch_fast(texts, add_special_tokens=False), ROUNDS)
    expected = [i for each in peer.encode_batch_fast(texts, add_special_tokens=False) for i in each.ids]
    if not np.array_equal(encoder.encode(array)[0], expected):
        raise SystemExit("the ids differ")
    print(f"curate {size / cold:.0f} MB/s cold, {size / warm:.0f} warm; tokenizers {size / theirs:.1f} MB/s; same ids")
    report("encode", theirs / cold)


if __name__ == "__main__":
    main()
