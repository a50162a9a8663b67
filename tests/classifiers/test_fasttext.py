import numpy as np
import pyarrow as pa
import pytest

from classifiers import fasttext, quality
from curate import words
from curate.errors import ModelError

GOOD = ["the treaty of the old empire", "a history of the river council", "the law of the empire and the council"] * 8
BAD = ["click the cart to buy", "cheap offer buy the discount", "login to the menu and buy cheap"] * 8


def table(texts: list[str]) -> words.WordTable:
    return words.table(pa.array(texts, pa.string()))


def trained(texts: list[str] | None = None) -> fasttext.FastText:
    labels = np.repeat([True, False], len(GOOD))
    return fasttext.train(table(texts or GOOD + BAD), labels, 9.0)


def test_learns():
    scores = trained().score(table(["empire treaty council", "buy cheap offer", "", "unseen words"]))
    assert scores.dtype == np.float32
    assert scores[0] > 0.7 > 0.3 > scores[1]
    assert ((scores >= 0) & (scores <= 1)).all()


def test_same_bytes_whatever_the_memory_held():
    first = trained().data.tobytes()
    # Blocks of the size of the model's vectors, filled and freed, are what the next model's memory is made of.
    junk = [np.full(n, 1e20, np.float32) for n in (500, 700, 1000, 2000, 4000) for _ in range(50)]
    assert junk
    del junk
    assert all(trained().data.tobytes() == first for _ in range(3))


@pytest.mark.parametrize("poison", ["__label__1", "__label__0", "</s>", "a\0b", "\x1c\x85\u2028"])
def test_text_cannot_pass_for_a_label_or_an_end(poison):
    texts = [f"{poison} {text} {poison}" for text in GOOD + BAD]
    scores = trained(texts).score(table(["empire treaty council", "buy cheap offer", f"{poison} buy cheap offer"]))
    assert scores[0] > 0.6 > 0.4 > scores[1]
    assert scores[2] < 0.5


def test_scores_do_not_depend_on_the_batch():
    model = trained()
    texts = ["empire of\nthe river", "cheap", "", "Council  TREATY"]
    assert model.score(table(texts)).tolist() == [model.score(table([text]))[0] for text in texts]


def test_round_trip_and_damage(tmp_path):
    model = trained()
    quality.save(str(tmp_path), model, {})
    loaded = quality.load(str(tmp_path))
    assert isinstance(loaded, fasttext.FastText)
    assert loaded.data.tobytes() == model.data.tobytes()
    assert loaded.with_alpha(2.0).alpha == 2.0
    quality.save(
        str(tmp_path),
        type(
            "Broken", (), {"kind": "fasttext", "alpha": 1.0, "tensors": lambda self: {"model": np.zeros(64, np.uint8)}}
        )(),
        {},
    )
    with pytest.raises(ModelError, match="holds no fasttext model"):
        quality.load(str(tmp_path))
