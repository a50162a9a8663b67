"""fastText's supervised text classifier as a quality model, behind the interface of `quality.Model`.

It sees words as they are written, in lower case, where the logistic model sees hashes without punctuation.

fastText 0.9.3 with one thread, without which it is not deterministic, sets only the first tenth of its vectors and
leaves the others to whatever the memory held: the same call gave three different models, one with entries of 1e20.
So each vector is given here, as pretrained ones are. That reaches words but not fastText's buckets: no word pairs, no
subwords.

This module neither chooses examples nor decides what is kept.
"""

import itertools
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import fasttext
import numpy as np
import numpy.typing as npt

from curate import draw
from curate.words import WordTable

# fastText's own learning rate; fewer dimensions than its 100 and more epochs than its 5, for few examples.
_DIM, _EPOCHS, _RATE = 16, 25, 0.1
# fastText takes one step for an example of whatever length: documents give a few of this many words.
_PIECE = 200
_PIECES = 8
_MIN_COUNT = 3
_LABEL = "__label__"
_POSITIVE = f"{_LABEL}1"
_END = "</s>"
# What could make a label or an end of a text's own words, and the one blank of fastText that Python does not split at.
_CONTROL = str.maketrans({"_": " ", "<": " ", "\0": " "})


class FastText:
    """A trained model. `data` is fastText's own file as uint8[bytes].

    Raises:
        ValueError: if fastText does not read it.
    """

    kind: ClassVar[str] = "fasttext"

    def __init__(self, data: npt.NDArray[np.uint8], alpha: float) -> None:
        self.data = data
        self.alpha = alpha
        with tempfile.TemporaryDirectory() as folder:  # fastText reads files only
            path = Path(folder, "model.bin")
            path.write_bytes(data.tobytes())
            self._model = fasttext.load_model(str(path))

    def score(self, table: WordTable) -> npt.NDArray[np.float32]:
        """float32[n]: P(curated) of each document."""
        found = np.empty(table.num_docs, np.float32)
        for row, line in enumerate(lines(table)):
            # The binding below `predict`, which fails with numpy 2 (its `copy=False`).
            guesses = self._model.f.predict(f"{line}\n", 2, 0.0, "strict")
            # fastText adds 1e-5 to a probability before its logarithm, so it may pass 1.
            found[row] = min(1.0, sum(p for p, label in guesses if label == _POSITIVE))
        return found

    def with_alpha(self, alpha: float) -> "FastText":
        """The same model with another alpha."""
        return FastText(self.data, alpha)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """The model's one tensor, by name."""
        return {"model": self.data}


def train(table: WordTable, labels: npt.NDArray[np.bool_], alpha: float) -> FastText:
    """A model of the table's documents."""
    pieces: list[tuple[bool, list[str]]] = []
    for label, line in zip(labels.tolist(), lines(table), strict=True):
        spelt = line.split()
        starts = range(0, len(spelt), _PIECE)[:_PIECES]
        pieces += [(label, spelt[start : start + _PIECE]) for start in starts]
    counts = Counter(word for _, piece in pieces for word in piece)
    vocabulary = [_END, *sorted(word for word, count in counts.items() if count >= _MIN_COUNT)]
    known = set(vocabulary)
    # A step follows the last example most: the classes must not come one after the other.
    order = np.argsort(draw.mix(np.arange(len(pieces), dtype=np.uint64)))
    with tempfile.TemporaryDirectory() as folder:
        text, vectors, binary = (Path(folder, name) for name in ("examples.txt", "vectors.txt", "model.bin"))
        with text.open("w", encoding="utf-8", newline="\n") as file:
            for label, piece in (pieces[i] for i in order):
                file.write(" ".join([f"{_LABEL}{int(label)}", *(word for word in piece if word in known)]) + "\n")
        with vectors.open("w", encoding="utf-8", newline="\n") as file:
            file.write(f"{len(vocabulary)} {_DIM}\n")
            for word, vector in zip(vocabulary, _vectors(len(vocabulary)), strict=True):
                file.write(f"{word} {' '.join(f'{x:.6f}' for x in vector)}\n")
        model = fasttext.train_supervised(
            input=str(text),
            pretrainedVectors=str(vectors),
            dim=_DIM,
            epoch=_EPOCHS,
            lr=_RATE,
            label=_LABEL,
            thread=1,
            seed=0,
            verbose=0,
        )
        model.save_model(str(binary))
        return FastText(np.frombuffer(binary.read_bytes(), np.uint8), alpha)


def _vectors(number: int) -> npt.NDArray[np.float64]:
    """float64[number, dim], uniform in +-1/dim as fastText draws them; the same for ever."""
    draws = draw.mix(np.arange(number * _DIM, dtype=np.uint64)) >> np.uint64(11)
    return (draws.astype(np.float64).reshape(number, _DIM) * 2.0**-52 - 1.0) / _DIM


def lines(table: WordTable) -> Iterator[str]:
    """Each document on one line, in lower case, punctuation kept, blanks single."""
    for start, stop in itertools.pairwise(table.doc_start.tolist()):
        yield " ".join(table.text[start:stop].tobytes().decode().lower().translate(_CONTROL).split())
