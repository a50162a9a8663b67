"""Real archives beside warcio and FastWARC: as many records as theirs, and each difference with its reason."""

import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from curate import warc

fastwarc = pytest.importorskip("fastwarc.warc")

EMPTY = "holds no record: one failure says so"
LF = "its lines end with LF alone, of which FastWARC makes one record"
DIFFERENT = {  # file -> (peers that count otherwise and raise nothing, why)
    "empty.gz": ("warcio, FastWARC", EMPTY),
    "empty.warc.gz.open": ("warcio, FastWARC", EMPTY),
    "moj.warc.gz": ("warcio, FastWARC", EMPTY),
    "1memento.warc": ("FastWARC", LF),
    "1memento_noContentType.warc": ("FastWARC", LF),
    "2mementos.warc": ("FastWARC", LF),
    "2mementos_htmlXhtml.warc": ("FastWARC", LF),
    "2mementos_queryString.warc": ("FastWARC", LF),
    "3mementos.warc": ("FastWARC", LF),
    "4mementos.warc": ("FastWARC", LF),
    "5mementos.warc": ("FastWARC", LF),
    "5mementosAndFroggie.warc": ("FastWARC", LF),
    "redirect.warc": ("FastWARC", LF),
    "redirectRelative.warc": ("FastWARC", LF),
    "slash.warc": ("FastWARC", LF),
    "variableSizedDates.warc": ("FastWARC", LF),
    "invalid-warcfile-lonely-warcinfo-metadata.warc": (
        "warcio",
        "two records without a Content-Length: the first swallows the second",
    ),
    "data/test.warc": ("warcio", "an empty line comes before the first record: warcio stops after it"),
}


def count(records: Iterable[object]) -> int | None:
    """How many there are; None where the reader raises."""
    number = 0
    try:
        for _ in records:
            number += 1
    except Exception:
        return None
    return number


@pytest.mark.data("warc")
def test_as_many_records_as_the_peers(data_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = data_dir / "warc"
    files = [json.loads(line)["file"] for line in (folder / "warcio_check.jsonl").read_text().splitlines()]
    peers: dict[str, Callable[..., Iterable[object]]] = {
        "warcio": ArchiveIterator,
        "FastWARC": lambda file: fastwarc.ArchiveIterator(file, parse_http=False),
    }
    compared, found = 0, {}
    for name in files:
        if ".arc" in name:  # refused: see test_warc.py
            continue
        ours = count(warc.read(str(folder / name)))
        others = []
        for peer, read in peers.items():
            with (folder / name).open("rb") as file, warnings.catch_warnings(action="ignore"):
                theirs = count(read(file))
            compared += theirs is not None
            if theirs not in (None, ours):
                others.append(peer)
        if others:
            found[name] = ", ".join(others)
    capfd.readouterr()  # warcio prints what it finds odd
    assert compared >= 250
    unexplained = {
        name: who
        for name, who in found.items()
        if not any(name.endswith(known) and who == peers for known, (peers, _) in DIFFERENT.items())
    }
    assert not unexplained
    assert len(found) == len(DIFFERENT)
