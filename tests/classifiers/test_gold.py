"""Gold pages: every set's format read into one shape, the pages left out, and measures against hand-made cases."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers import gold
from classifiers.gold import Gold, Scores
from curate.errors import InputError

STORY = "One fine morning the ferry to the islands did not leave, and nobody in the harbour office knew why."
PAGE = f"<html><head><title>The ferry</title></head><body><nav>Home News</nav><p>{STORY}</p></body></html>"


def folder(root: Path, name: str, known: str, page: str = PAGE, **row: Any) -> str:
    """A folder with one gold page of a set."""
    (root / "page.html").write_text(page, "utf-8")
    (root / "gold").write_text(known, "utf-8")
    known_row = {"set": name, "id": "a", "file": "page.html", "gold": "gold", "dup": False, "url": None} | row
    (root / "manifest.jsonl").write_text(json.dumps(known_row) + "\n", "utf-8")
    return str(root)


def version(text: str, title: str) -> dict[str, Any]:
    return {"title": title, "body": {"summary": [], "sections": [{"headline": [], "paragraphs": [text]}]}}


@pytest.mark.parametrize(
    ("name", "known", "text"),
    [
        ("cleaneval-dev", f"URL: http://a.example/\n<h>{STORY[:30]}\n<p>{STORY[30:]}&#039;", STORY),
        ("dragnet", f"{STORY}\n!@#$%^&*() COMMENTS\nWhat a pity", STORY),
        ("fundus", json.dumps({"V1": version(STORY.replace("ferry", "x" * 9), ""), "V1_1": version(STORY, "")}), STORY),
        ("newspaper", STORY, STORY),
        ("readability", f"<div><p>{STORY}</p></div>", STORY),
        (
            "llm-webkit-bench",
            json.dumps({"content": f"# {STORY[:20]}[{STORY[20:]}](http://b.example)![pic](c)"}),
            STORY,
        ),
    ],
)
def test_formats(tmp_path: Path, name: str, known: str, text: str) -> None:
    (page,) = gold.read(folder(tmp_path, name, known))
    assert gold.tokens(page.text) == gold.tokens(text)
    assert (page.set, page.kind, page.language, page.host) == (name, "full", "en", "page.html")
    assert page.comments.strip() == ("What a pity" if name == "dragnet" else "")


def test_of_versions_alike_the_title_decides(tmp_path: Path) -> None:
    known = {"V1": version(f"{STORY} {STORY}", "The train"), "V2": version(STORY, "The ferry")}
    (page,) = gold.read(folder(tmp_path, "fundus", json.dumps(known)))
    assert (page.title, page.text) == ("The ferry", STORY)


def test_prefixes_and_snippets(tmp_path: Path) -> None:
    known = {
        "url": "http://www.a.example/b",
        "expected": {"cleaned_text": STORY.split(" did")[0], "title": "The ferry"},
    }
    (page,) = gold.read(folder(tmp_path, "goose3", json.dumps(known)))
    assert (page.kind, page.host, page.title) == ("prefix", "a.example", "The ferry")
    assert gold.judge(page, STORY) == (1, 1, 1)
    assert gold.judge(page, f"Home News {STORY}").precision == pytest.approx(6 / 8)
    snippets = json.dumps({"with": ["One  fine"], "without": ["Home"]})
    (page,) = gold.read(folder(tmp_path, "trafilatura", snippets, url="http://c.example/"))
    assert (page.kind, page.with_, page.without, page.host) == ("snippets", ("One  fine",), ("Home",), "c.example")
    with pytest.raises(ValueError, match="snippets"):
        gold.judge(page, STORY)


@pytest.mark.parametrize(
    ("page", "url", "host"),
    [
        (PAGE, "https://www.A.example/x", "a.example"),
        (f"<link rel=canonical href='https://b.example/y'>{PAGE}", None, "b.example"),
        (f"<link rel=canonical href='https://d.example/y'>{PAGE}", "hard::a-name.html", "d.example"),
        (PAGE, "http://web.archive.org/web/2013id_/http://c.example/", "c.example"),
        (PAGE, None, "page.html"),
    ],
)
def test_hosts(tmp_path: Path, page: str, url: str | None, host: str) -> None:
    assert [page.host for page in gold.read(folder(tmp_path, "newspaper", STORY, page, url=url))] == [host]


@pytest.mark.parametrize(
    ("known", "row"),
    [
        (STORY, {"gold": None}),
        (STORY, {"dup": True}),
        ("MISSES THE SECOND HALF", {}),
        ("A story of trains and of other things that stand on quite another page than this one.", {}),
    ],
)
def test_pages_left_out(tmp_path: Path, known: str, row: dict[str, Any]) -> None:
    assert gold.read(folder(tmp_path, "newspaper", known, **row)) == []


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder of gold pages: no such file"):
        gold.read(str(tmp_path))
    with pytest.raises(InputError, match="unpack the set fundus again"):
        gold.read(folder(tmp_path, "fundus", "{"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Der STRASSE, der Straße!", ["der", "strasse", "der", "strasse"]),
        ("東京へ_go 2x", ["東", "京", "へ", "go", "2x"]),
    ],
)
def test_tokens(text: str, words: list[str]) -> None:
    assert gold.tokens(text) == words


@pytest.mark.parametrize(
    ("text", "known", "scores"),
    [
        ("", "", (1, 1, 1)),
        ("a b", "", (0, 0, 0)),
        ("", "a", (0, 0, 0)),
        ("A b", "b a", (1, 1, 1)),
        ("a a x", "a", (1 / 3, 1, 0.5)),
    ],
)
def test_scores(text: str, known: str, scores: Scores) -> None:
    assert gold.scores(text, known) == pytest.approx(scores)


@given(st.text("ab é東", max_size=30), st.text("ab é東", max_size=30))
def test_scores_are_those_of_multisets(text: str, known: str) -> None:
    have, want = Counter(gold.tokens(text)), Counter(gold.tokens(known))
    both = (have & want).total()
    found = gold.scores(text, known)
    if have and want:
        assert found == pytest.approx((both / have.total(), both / want.total(), 2 * both / (have + want).total()))
    else:
        assert found == (float(have == want),) * 3


def test_means_and_snippets() -> None:
    pages = [Gold(kind="full", set="b"), Gold(kind="full", set="a"), Gold(kind="full", set="b", language="en")]
    found = [Scores(1, 0, 0), Scores(0.5, 0.5, 0.5), Scores(0, 1, 1)]
    assert gold.means(pages, found) == {"a": (1, 0.5, 0.5, 0.5), "b": (2, 0.5, 0.5, 0.5)}
    assert gold.means(pages, found, lambda page: page.language)["en"] == (1, 0, 1, 1)
    known = [Gold(kind="snippets", with_=("a b", "c"), without=("d", "e")), Gold(kind="snippets", with_=("f",))]
    assert gold.snippets(known, ["a\n b e", "f"]) == (2, 2 / 3, 1 / 2, 3 / 5)
    assert gold.snippets([], []) == (0, 1, 1, 1)
