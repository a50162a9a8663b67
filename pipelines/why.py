"""What became of a document, and why: one id or URL followed through every file of the run directory."""

from typing import Any

import pyarrow.compute as pc
import pyarrow.dataset as ds

from curate import storage, url
from curate.errors import UsageError
from curate.reasons import Reason
from pipelines.io import RECEIPTS

COLUMNS = {
    "documents": ["id", "url", "source", "file", "offset", "language", "language_score", "words"],
    "dropped": ["id", "url", "source", "stage", "reason", "detail", "file", "offset"],
    "corpus": ["id", "url", "source", "split", "copies", "tokens", "score"],
}


def why(root: str, what: str) -> dict[str, Any]:
    """`found`, and for each document of that id or URL its events in order: (stage, what happened, detail).

    Raises:
        UsageError: if there is no run in `root`, or nothing is asked for.
    """
    if not what:
        raise UsageError("give the id or the URL of a document")
    if not storage.exists(storage.join(root, RECEIPTS)):
        raise UsageError(f"{root} holds no run: name the directory that was given as --out")
    tables = {kind: rows(root, kind, columns, what) for kind, columns in COLUMNS.items()}
    ids = sorted({row["id"] for found in tables.values() for row in found})
    documents = [_story(root, id_, tables) for id_ in ids]
    documents.sort(key=lambda document: Reason.not_a_page in document["events"][0]["event"])  # pages first
    return {"what": what, "found": bool(documents), "documents": documents}


def rows(root: str, kind: str, columns: list[str], what: str) -> list[dict[str, Any]]:
    """The rows of a folder's Parquet files whose id or URL is `what`; links are kept by their normalised URL."""
    fs, inner = storage.store(storage.join(root, kind))
    if not fs.exists(inner):
        return []
    data = ds.dataset(inner, filesystem=fs, format="parquet")
    found = pc.field("id") == what if is_id(what) else pc.field("url").isin([what, url.normalise(what) or what])
    return data.to_table(columns=columns, filter=found).to_pylist()  # type: ignore[no-any-return]


def is_id(what: str) -> bool:
    """Whether it has the form of an id: 32 hex digits."""
    return len(what) == 32 and all(letter in "0123456789abcdef" for letter in what)


def _story(root: str, id_: str, tables: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    mine = {kind: [row for row in found if row["id"] == id_] for kind, found in tables.items()}
    first = next(row for kind in COLUMNS for row in mine[kind])
    events: list[dict[str, str]] = []

    def add(stage: str, event: str, detail: str = "") -> None:
        events.append({"stage": stage, "event": event, "detail": detail})

    for row in mine["documents"]:
        language = f"{row['language']} {row['language_score']:.2f}, " if row["language"] else ""
        add("ingest", "kept", f"{language}{row['words']} words, from {row['file']} at {row['offset']}")
    for row in mine["corpus"]:
        if row["score"] == row["score"]:
            add("score", "kept", f"score {row['score']:.4f}")
    for cut in _cuts(root, id_) if mine["documents"] else []:
        add("decontaminate", "cut", f"bytes {cut['start']} to {cut['stop']}, which stand in {cut['benchmark']}")
    for row in mine["dropped"]:
        where = "" if mine["documents"] else f"; it lies in {row['file']} at {row['offset']}"
        add(row["stage"], f"dropped: {row['reason']}", row["detail"] + where)
    for row in mine["corpus"]:
        add("mix", "kept", f"split {row['split']}, {row['copies']} times, {row['tokens']} tokens")
    return {"id": id_, "url": first["url"], "source": first["source"], "events": events}


def _cuts(root: str, id_: str) -> list[dict[str, Any]]:
    return rows(root, "cuts", ["id", "start", "stop", "benchmark"], id_)


def text(found: dict[str, Any]) -> str:
    """The same for a person."""
    if not found["found"]:
        form = "id" if is_id(found["what"]) else "URL (as the archive spells it)"
        return (
            f"no record with the {form} {found['what']!r} has been kept or dropped by this run.\n"
            "It may not be in the input; records that could not be read are in errors/, by file and offset."
        )
    lines = []
    for document in found["documents"]:
        lines.append(f"{document['id']}  {document['source']}  {document['url']}")
        for event in document["events"]:
            lines.append(f"  {event['stage']:<14} {event['event']:<28} {event['detail']}".rstrip())
    return "\n".join(lines)
