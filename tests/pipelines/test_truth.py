"""The comparison of a planted truth with run directories made by hand: each verdict by a table."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from curate import document, storage
from curate.errors import InputError
from pipelines.truth import Comparison, Outcome, Plant, Row, Truth, compare, render

SCHEMAS = {
    "documents": document.DOCUMENTS,
    "dropped": document.DROPPED,
    "errors": document.ERRORS,
    "removals": document.REMOVALS,
    "cuts": document.CUTS,
    "corpus": document.CORPUS,
}
BLANK = {pa.string(): "", pa.int32(): 0, pa.int64(): 0, pa.float32(): 0.0, pa.bool_(): False}


def write(root: Path, tables: dict[str, list[dict[str, Any]]]) -> None:
    """A run directory of one shard for each table; fields that are not given are blank."""
    for name, rows in tables.items():
        schema = SCHEMAS[name]
        whole = [{field.name: row.get(field.name, BLANK[field.type]) for field in schema} for row in rows]
        storage.write_table(str(root / name / "00000.parquet"), pa.Table.from_pylist(whole, schema=schema))


def page(url: str, source: str = "crawl", text: str = "A text.") -> dict[str, Any]:
    return {"id": f"id of {url}", "url": url, "source": source, "text": text}


def drop(url: str, reason: str, source: str = "crawl") -> dict[str, Any]:
    return {"url": url, "source": source, "reason": reason}


def removal(url: str, survivor: str) -> dict[str, Any]:
    return {"id": f"id of {url}", "url": url, "reason": "near_duplicate", "survivor_url": survivor}


def run(tmp_path: Path, plants: list[Plant], **tables: list[dict[str, Any]]) -> Comparison:
    Truth(tuple(plants)).save(str(tmp_path / "input" / "truth.json"))
    write(tmp_path / "run", {**{name: [] for name in SCHEMAS}, **tables})
    return compare(str(tmp_path / "input"), str(tmp_path / "run"))


def verdict(found: Comparison) -> str:
    (row,) = found.rows
    assert row.planted == row.found + row.missed + row.drawn
    assert bool(row.examples) == bool(row.missed)
    return " ".join(name for name in ("found", "missed", "drawn") for _ in range(getattr(row, name)))


KEPT = Plant(kind="k", outcome=Outcome.kept, url="u")


@pytest.mark.parametrize(
    ("plant", "tables", "expected"),
    [
        (KEPT, {"corpus": [page("u")]}, "found"),
        (KEPT, {}, "missed"),
        (KEPT, {"corpus": [page("u")], "dropped": [drop("u", "too_few_words")]}, "missed"),  # in two places
        (KEPT, {"corpus": [page("u"), page("u")]}, "missed"),
        (KEPT, {"dropped": [drop("u", "too_few_words")]}, "missed"),
        (KEPT, {"dropped": [drop("u", "low_quality")]}, "drawn"),
        (KEPT, {"dropped": [drop("u", "not_needed")]}, "drawn"),
        # Other records of the same URL: its request, a link to it.
        (
            KEPT,
            {"corpus": [page("u")], "dropped": [drop("u", "not_a_page"), drop("u", "low_karma", "reddit")]},
            "found",
        ),
        (
            Plant(kind="k", outcome=Outcome.kept, url="u", contains="é b"),
            {"corpus": [page("u", text="a é\nb")]},
            "found",
        ),
        (
            Plant(kind="k", outcome=Outcome.kept, url="u", contains="é b"),
            {"corpus": [page("u", text="a Ã© b")]},
            "missed",
        ),
        (Plant(kind="k", outcome=Outcome.kept, url="u", lacks="{{"), {"corpus": [page("u", text="{{x}}")]}, "missed"),
        (Plant(kind="k", outcome=Outcome.kept, url="u", source="webtext"), {"corpus": [page("u", "webtext")]}, "found"),
        (Plant(kind="k", outcome=Outcome.kept, url="u", source="webtext"), {"corpus": [page("u", "crawl")]}, "missed"),
        (Plant(kind="k", outcome=Outcome.kept, url="u", source="books"), {"corpus": [page("u", "books")]}, "found"),
        (Plant(kind="k", outcome=Outcome.kept, url="u", source="books"), {"corpus": [page("u", "crawl")]}, "missed"),
        (Plant(kind="k", outcome=Outcome.anywhere, url="u"), {"dropped": [drop("u", "no_text")]}, "found"),
        (Plant(kind="k", outcome=Outcome.anywhere, url="u"), {}, "missed"),
        (
            Plant(kind="k", outcome=Outcome.dropped, url="u", reasons=("no_text",)),
            {"dropped": [drop("u", "no_text")]},
            "found",
        ),
        (
            Plant(kind="k", outcome=Outcome.dropped, url="u", reasons=("no_text",)),
            {"dropped": [drop("u", "low_quality")]},
            "missed",
        ),
        (Plant(kind="k", outcome=Outcome.dropped, url="u", reasons=("no_text",)), {"corpus": [page("u")]}, "missed"),
        (
            Plant(kind="k", outcome=Outcome.cut, url="u", lacks="leak"),
            {"documents": [page("u")], "cuts": [{"id": "id of u"}], "corpus": [page("u")]},
            "found",
        ),
        (Plant(kind="k", outcome=Outcome.cut, url="u", lacks="leak"), {"corpus": [page("u")]}, "missed"),
        (
            Plant(kind="k", outcome=Outcome.cut, url="u", lacks="leak"),
            {"documents": [page("u")], "cuts": [{"id": "id of u"}], "corpus": [page("u", text="a leak")]},
            "missed",
        ),
        (
            Plant(kind="k", outcome=Outcome.error, file="a.gz", start=10, stop=20),
            {"errors": [{"file": "s3://x/a.gz", "offset": 19}]},
            "found",
        ),
        (
            Plant(kind="k", outcome=Outcome.error, file="a.gz", start=10, stop=20),
            {"errors": [{"file": "s3://x/a.gz", "offset": 20}, {"file": "b.gz", "offset": 12}]},
            "missed",
        ),
    ],
)
def test_single(plant: Plant, tables: dict[str, list[dict[str, Any]]], expected: str, tmp_path: Path) -> None:
    assert verdict(run(tmp_path, [plant], **tables)) == expected


@pytest.mark.parametrize(
    ("survivor", "kept", "removed", "dropped", "expected"),
    [
        ("", ["a"], {"b": "a", "c": "a"}, {}, "found found found"),
        ("", ["b"], {"a": "b", "c": "b"}, {}, "found found found"),
        ("a", ["b"], {"a": "b", "c": "b"}, {}, "missed missed missed"),  # another had to survive
        ("", ["a", "b"], {"c": "a"}, {}, "found missed missed"),  # two stayed
        ("", ["a"], {"b": "a", "c": "x"}, {}, "found found missed"),  # removed for a stranger
        ("", ["a"], {"b": "a"}, {"c": "low_quality"}, "found found drawn"),
        ("", ["a"], {"b": "a"}, {"c": "no_text"}, "found found missed"),
        ("", ["a"], {"b": "a"}, {}, "found found missed"),  # lost
    ],
)
def test_cluster(
    survivor: str, kept: list[str], removed: dict[str, str], dropped: dict[str, str], expected: str, tmp_path: Path
) -> None:
    plants = [
        Plant(kind="k", outcome=Outcome.duplicate, url=url, cluster="one", survivor=survivor) for url in ("a", "b", "c")
    ]
    found = run(
        tmp_path,
        plants,
        documents=[page(url) for url in (*kept, *removed)],
        corpus=[page(url) for url in kept],
        removals=[removal(url, by) for url, by in removed.items()],
        dropped=[drop(url, reason) for url, reason in dropped.items()]
        + [drop(url, "near_duplicate") for url in removed],
    )
    assert verdict(found) == expected


def test_precision(tmp_path: Path) -> None:
    plants = [
        Plant(kind="duplicate", outcome=Outcome.duplicate, url="a", cluster="one"),
        Plant(kind="good", outcome=Outcome.kept, url="b"),
        Plant(kind="leak", outcome=Outcome.cut, url="c"),
    ]
    found = run(
        tmp_path,
        plants,
        documents=[page(url) for url in "abcd"],
        corpus=[page("c"), page("d")],
        removals=[removal("a", "d"), removal("b", "d")],
        cuts=[{"id": "id of c"}, {"id": "id of c"}, {"id": "id of d"}],
    )
    removals, cuts = found.precision
    assert (removals.taken, removals.planted, removals.examples) == (2, 1, ["b: near_duplicate of d"])
    assert (cuts.taken, cuts.planted) == (2, 1)


def test_links_are_found_under_their_normal_form(tmp_path: Path) -> None:
    plant = Plant(
        kind="k", outcome=Outcome.dropped, url="https://www.x.test/a", source="reddit", reasons=("low_karma",)
    )
    assert verdict(run(tmp_path, [plant], dropped=[drop("http://x.test/a", "low_karma", "reddit")])) == "found"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    plants = [KEPT, Plant(kind="leak", outcome=Outcome.cut, url="c")]
    Truth(tuple(plants)).save(str(tmp_path / "truth.json"))
    with pytest.raises(InputError, match="holds no corpus"):
        compare(str(tmp_path), str(tmp_path / "run"))
    write(tmp_path / "run", {"corpus": [page("u")]})
    found = compare(str(tmp_path), str(tmp_path / "run"))
    assert found.unchecked == ["cuts", "dropped", "errors", "removals"]
    assert found.rows == [Row("k", Outcome.kept, planted=1, found=1)]
    assert found.precision == []


def test_render(tmp_path: Path) -> None:
    found = run(tmp_path, [KEPT, Plant(kind="lost", outcome=Outcome.kept, url="gone")], corpus=[page("u")])
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(render(found))
    text = console.export_text()
    assert "gone: in 0 places: no trace" in text
    assert "nothing taken" in text
    assert found.missed == 1


@pytest.mark.parametrize("text", ['{"version": 2, "plants": []}', "[]", '{"version": 1, "plants": [{"shape": 1}]}'])
def test_a_truth_of_another_kind(text: str, tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(text)
    with pytest.raises(InputError, match="build the demo's inputs again"):
        Truth.load(str(tmp_path / "truth.json"))
