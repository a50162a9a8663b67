"""`curate why`: the story of one document of each fate, by URL and by id."""

import json
from typing import Any

import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest


def story(curate: Any, finished: Any, what: str) -> dict[str, Any]:
    """The document that `why` finds, from its JSON; a URL also names the page's request and metadata, and its links."""
    said = curate("why", finished.root, what, "--json")
    assert said.code == 0
    documents = json.loads(said.out)["documents"]
    assert len(documents) == 1 or what.startswith("http")
    return documents[0]


def events(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(event["stage"], event["event"]) for event in document["events"]]


def dropped(finished: Any, stage: str) -> list[dict[str, Any]]:
    rows = ds.dataset(finished.root / "dropped", format="parquet").to_table().to_pylist()
    return [row for row in rows if row["stage"] == stage]


def test_kept_from_archive_to_shard(finished: Any, curate: Any) -> None:
    row = next(
        row
        for path in sorted((finished.root / "corpus").glob("crawl-*"))
        for row in pq.read_table(path).to_pylist()
        if row["source"] == "crawl"
    )
    by_url, by_id = (story(curate, finished, row[key]) for key in ("url", "id"))
    assert by_url["events"] == by_id["events"]
    assert (by_id["id"], by_id["url"], by_id["source"]) == (row["id"], row["url"], "crawl")
    stages = [stage for stage, _ in events(by_id)]
    assert stages[0] == "ingest"
    assert stages[-1] == "mix"
    assert "score" in stages
    last = by_id["events"][-1]["detail"]
    assert f"split {row['split']}" in last
    assert f"{row['tokens']} tokens" in last
    said = curate("why", finished.root, row["url"])
    assert said.code == 0
    assert all(word in said.out for word in (row["id"], row["url"], "ingest", "en ", "words, from"))


@pytest.mark.parametrize("stage", ["ingest", "score", "dedup", "mix"])
def test_dropped_at_each_stage(stage: str, finished: Any, curate: Any) -> None:
    rows = [row for row in dropped(finished, stage) if row["url"] and row["reason"] not in ("not_a_page",)]
    row = rows[0]
    document = story(curate, finished, row["id"])
    assert (stage, f"dropped: {row['reason']}") == events(document)[-1]
    assert row["detail"] in document["events"][-1]["detail"]
    assert ("ingest", "kept") in events(document) or stage == "ingest"
    assert not any(other == "mix" and event == "kept" for other, event in events(document))


def test_dropped_links(finished: Any, curate: Any) -> None:
    """A URL that submissions name: what became of the link, beside what became of the page."""
    url = finished.corpus.planted["good"][0]
    said = curate("why", finished.root, url, "--json")
    found = [event for document in json.loads(said.out)["documents"] for event in events(document)]
    assert ("karma", "dropped: low_karma") in found
    assert ("ingest", "kept") in found


@pytest.mark.parametrize(("kind", "reason"), [("exact", "exact_duplicate"), ("near", "near_duplicate")])
def test_a_duplicate_names_its_survivor(kind: str, reason: str, finished: Any, curate: Any) -> None:
    """Of an original, its copy and its revision one stays, and both others name it."""
    gone = [row for row in dropped(finished, "dedup") if row["reason"] == reason]
    assert len(gone) == 3
    for row in gone:
        document = story(curate, finished, row["id"])
        last = document["events"][-1]
        assert (last["stage"], last["event"]) == ("dedup", f"dropped: {reason}")
        survivor = last["detail"].split()[1]
        assert story(curate, finished, survivor)["events"][-1]["stage"] == "mix"
        similarity = float(last["detail"].split("similarity ")[1].rstrip(")"))
        assert (similarity == 1.0) == (reason == "exact_duplicate")


def test_cut(finished: Any, curate: Any) -> None:
    for url in finished.corpus.planted["leak"]:
        document = story(curate, finished, url)
        (cut,) = [event for event in document["events"] if event["event"] == "cut"]
        assert cut["stage"] == "decontaminate"
        assert "quiz.jsonl" in cut["detail"]


def test_a_url_that_the_archive_holds_twice(finished: Any, curate: Any) -> None:
    """The request and the metadata of a page bear its URL; the page comes first."""
    said = curate("why", finished.root, finished.corpus.planted["gone"][0])
    assert said.code == 0
    assert "dropped: not_success" in said.out
    assert "404" in said.out


def test_strange_urls(finished: Any, curate: Any) -> None:
    """With quotes and signs of markup: found as they are."""
    (url,) = finished.corpus.planted["markup"]
    said = curate("why", finished.root, url)
    assert said.code == 0
    assert url in said.out


@pytest.mark.parametrize("what", ["https://nobody.example/", "0" * 32, "no url", "'; drop"])
def test_unknown(what: str, finished: Any, curate: Any) -> None:
    said = curate("why", finished.root, what)
    assert said.code == 1
    assert "has been kept or dropped by this run" in said.out
    said = curate("why", finished.root, what, "--json")
    assert json.loads(said.out) == {"what": what, "found": False, "documents": []}


def test_nothing_asked_for(finished: Any, curate: Any) -> None:
    said = curate("why", finished.root, "")
    assert (said.code, "give the id or the URL" in said.err) == (2, True)


def test_a_damaged_record_is_looked_for_in_errors(finished: Any, curate: Any) -> None:
    """Its URL could not be read."""
    said = curate("why", finished.root, finished.corpus.planted["damaged"][0])
    assert "records that could not be read are in errors/" in said.out or "not_a_page" in said.out
