import hashlib

import numpy as np
import pyarrow as pa
import pytest
from resiliparse.extract.html2text import extract_plain_text

from classifiers import quality, train
from curate import words
from curate.document import SAMPLES, document_id
from curate.errors import InputError

GOOD = ["history", "empire", "river", "council", "treaty", "century", "author", "chapter", "music", "theory", "law"]
BAD = ["click", "buy", "cheap", "login", "cart", "menu", "subscribe", "cookie", "share", "discount", "shipping"]
BOTH = ["the", "of", "and", "to", "in", "a", "is", "for", "on", "with"]
CONFIG = quality.Quality(dim=1024, min_examples=20, held=0.3)


def examples(kind: str, number: int = 120, hosts: int = 30, start: int = 0) -> pa.Table:
    own = GOOD if kind == "good" else BAD
    generator = np.random.default_rng(len(kind))
    rows = []
    for i in range(start, start + number):
        text = " ".join([*generator.choice(own, 12), *generator.choice(BOTH, 20), str(i)])
        source = ("books" if i % 2 else "webtext") if kind == "good" else "crawl"
        url = "" if source == "books" else f"http://{kind}{i % hosts}.example/{i}"
        rows.append({"id": document_id(source, kind, i), "url": url, "source": source, "text": text})
    return pa.Table.from_pylist(rows, schema=SAMPLES)


def digest(model: quality.Model) -> str:
    return hashlib.sha256(b"".join(value.tobytes() for value in model.tensors().values())).hexdigest()


@pytest.mark.parametrize("kind", ["logistic", "fasttext"])
def test_learns_and_says_what_it_learnt_from(kind, tmp_path):
    config = quality.Quality(model=kind, dim=1024, min_examples=20, held=0.3)
    model, card = train.train(examples("good"), examples("bad"), config, 0)
    assert card["held_out"]["auc"] > 0.99
    assert card["held_out"]["f1"] > 0.9
    assert card["examples"] == {"positives": {"books": 60, "webtext": 60}, "negatives": {"crawl": 120}}
    assert card["held_out"]["positives"] + card["trained_on"]["positives"] == 120
    quality.save(str(tmp_path), model, card)
    loaded = quality.load(str(tmp_path))
    new = words.table(pa.array(["treaty of the empire and a council", "cheap cart discount login on the menu", ""]))
    scores = quality.score(new, loaded)
    assert scores[0] > 0.8 > 0.2 > scores[1]
    assert scores.tolist() == quality.score(new, model).tolist()


@pytest.mark.parametrize("kind", ["logistic", "fasttext"])
def test_same_examples_give_the_same_bytes_in_any_order(kind):
    config = quality.Quality(model=kind, dim=1024, min_examples=20, max_examples=100)
    good, bad = examples("good"), examples("bad")
    first, card = train.train(good, bad, config, 0)
    mixed = [table.take(np.random.default_rng(1).permutation(len(table))) for table in (good, bad)]
    second, other = train.train(pa.concat_tables([mixed[0][:50], mixed[0][50:]]), mixed[1], config, 0)
    assert digest(first) == digest(second)
    assert card == other
    third, _ = train.train(good, bad, config, 1)
    assert digest(third) != digest(first)


def test_classes_are_balanced_by_keyed_draw():
    _, card = train.train(examples("good"), examples("bad", 50), CONFIG, 0)
    assert sum(card["examples"]["positives"].values()) == 50
    small = quality.Quality(dim=1024, min_examples=20, max_examples=30)
    _, card = train.train(examples("good"), examples("bad"), small, 0)
    assert [sum(sources.values()) for sources in card["examples"].values()] == [30, 30]


def test_repeated_and_doubtful_examples_count_once():
    good, bad = examples("good", 60), examples("bad", 60)
    liked = pa.Table.from_pylist(
        [row | {"id": document_id("crawl", "again", i)} for i, row in enumerate(good.to_pylist())]
    )
    empty = pa.Table.from_pylist(
        [{"id": document_id("crawl", "empty", 0), "url": "", "source": "crawl", "text": "... !"}]
    )
    _, card = train.train(good, pa.concat_tables([bad, liked.cast(SAMPLES), empty.cast(SAMPLES), bad]), CONFIG, 0)
    assert card["examples"]["negatives"] == {"crawl": 60}
    _, plain = train.train(good, bad, CONFIG, 0)
    assert card == plain


def test_hosts_stay_on_one_side():
    tables = [examples("good", 200), examples("bad", 200)]
    held = train._held(tables, 0.3, 0)
    for table, side in zip(tables, held, strict=True):
        assert 0.1 < side.mean() < 0.5
        sides: dict[str, set[bool]] = {}
        for url, is_held in zip(table["url"].to_pylist(), side, strict=True):
            if url:
                sides.setdefault(url.split("/")[2], set()).add(bool(is_held))
        assert len(sides) > 10
        assert all(len(each) == 1 for each in sides.values())


def test_host_of_most_examples_is_split_by_document():
    held = train._held([examples("bad", 200, hosts=1)], 0.3, 0)[0]
    assert 0.2 < held.mean() < 0.4


def test_alpha_is_fitted():
    config = quality.Quality(dim=1024, min_examples=20, held=0.3, alpha="fit")
    model, card = train.train(examples("good"), examples("bad"), config, 0)
    assert 0 <= model.alpha <= 20
    assert card["config"]["alpha"] == "fit"
    fixed, _ = train.train(examples("good"), examples("bad"), CONFIG, 0)
    assert fixed.alpha == 9.0
    assert digest(fixed) == digest(model)


@pytest.mark.parametrize(
    ("good", "bad", "message"), [(10, 60, "10 distinct positives"), (60, 0, "0 distinct negatives")]
)
def test_too_few_examples(good, bad, message):
    with pytest.raises(InputError, match=message):
        train.train(examples("good", good), examples("bad", bad), CONFIG, 0)


def test_nothing_left_to_train_on():
    config = quality.Quality(dim=1024, min_examples=2, held=0.99)
    with pytest.raises(InputError, match=r"lower quality\.held"):
        train.train(examples("good", 3), examples("bad", 3), config, 0)


@pytest.mark.data("books", "html_pages")
def test_real_books_and_pages(data_dir):
    """A floor under the model on real text: two thousand words from the middle of books, and pages' main text."""
    books = sorted((data_dir / "books" / "gutenberg").glob("*.txt"))
    good = [" ".join(path.read_text("utf-8", "replace").split()[5000:7000]) for path in books]
    pages = sorted((data_dir / "html_pages").glob("*/*.html"))[::25]
    bad = [extract_plain_text(path.read_text("utf-8", "replace"), main_content=True) for path in pages]
    tables = []
    for source, texts, urls in (
        ("books", good, [""] * len(good)),
        ("crawl", bad, [f"http://{p.parent.name}/" for p in pages]),
    ):
        ids = [document_id(source, "real", i) for i in range(len(texts))]
        columns = {"id": ids, "url": urls, "source": [source] * len(texts), "text": texts}
        tables.append(pa.table(columns, schema=SAMPLES))
    _, card = train.train(*tables, quality.Quality(held=0.3), 0)
    assert card["held_out"]["auc"] > 0.98
    assert card["held_out"]["accuracy"] > 0.9
