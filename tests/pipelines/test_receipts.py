"""Receipts by the thousand: folded or not, all are read, none twice; one whose file is gone is withdrawn for good."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from curate import storage
from curate.errors import InputError
from pipelines import io, receipts


@pytest.fixture(params=["local", "memory"])
def root(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(receipts, "FEWEST", 5)
    monkeypatch.setattr(receipts, "MOST", 4)
    monkeypatch.setattr(receipts, "AT_ONCE", 3)
    if request.param == "local":
        yield str(tmp_path)
        return
    yield "memory://receipts/run"
    fsspec.filesystem("memory").rm("/receipts", recursive=True)


def add(root: str, numbers: range) -> None:
    for number in numbers:
        path = storage.join(root, "documents", f"t-{number}.parquet")
        with storage.atomic(path) as file:
            file.write(b"x")
        tally = io.Tally()
        tally.read["crawl"] = tally.kept["crawl"] = number
        io.write_receipt(folder(root), io.Task(f"t-{number}"), tally, [path], root, at=number)


def folder(root: str) -> str:
    return io.receipts_folder(root, "ingest", "splits")


def tables(root: str) -> int:
    return len(storage.glob(storage.join(folder(root), "folded", "*")))


def read(root: str, **which: Any) -> dict[str, int]:
    found = [(name, receipt["info"]["at"]) for name, receipt in receipts.read(folder(root), **which)]
    assert len(dict(found)) == len(found)
    return dict(found)


def numbers(*ranges: range) -> dict[str, int]:
    return {f"t-{number}": number for some in ranges for number in some}


def test_folded_and_loose_are_one(root: str) -> None:
    add(root, range(3))
    receipts.fold(folder(root))
    assert (tables(root), read(root)) == (0, numbers(range(3)))  # too few
    add(root, range(3, 10))
    receipts.fold(folder(root))
    assert (tables(root), read(root)) == (3, numbers(range(10)))
    add(root, range(10, 13))
    receipts.fold(folder(root))
    assert (tables(root), read(root)) == (3, numbers(range(13)))
    assert read(root, without={"t-0", "t-12"}) == numbers(range(1, 12))
    assert dict(io.read_receipts(folder(root))) == dict(receipts.read(folder(root)))
    assert receipts.names(folder(root)) == set(numbers(range(13)))


def test_one_whose_file_is_gone_is_withdrawn(root: str) -> None:
    add(root, range(8))
    assert receipts.sound(root, folder(root)) == set(numbers(range(8)))
    assert tables(root) == 2
    storage.remove(storage.join(root, "documents", "t-3.parquet"))
    storage.remove(storage.join(root, "documents", "t-7.parquet"))
    assert receipts.sound(root, folder(root)) == set(numbers(range(3), range(4, 7)))
    assert (tables(root), read(root)) == (0, numbers(range(3), range(4, 7)))
    path = storage.join(folder(root), "t-3.json")
    add(root, range(3, 4))
    storage.write_json(path, storage.read_json(path) | {"info": {"at": 33}})
    receipts.fold(folder(root))
    assert tables(root) == 2
    assert read(root) == numbers(range(3), range(4, 7)) | {"t-3": 33}


def test_nothing_yet(root: str) -> None:
    assert receipts.sound(root, folder(root)) == set()
    assert read(root) == {}
    add(root, range(1))  # so that there is something to clear away


def test_a_receipt_that_is_none(tmp_path: Path) -> None:
    add(str(tmp_path), range(1))
    path = Path(folder(str(tmp_path)), "t-0.json")
    path.write_text("{")
    with pytest.raises(InputError, match=r"t-0\.json is not JSON"):
        read(str(tmp_path))
    path.write_text(json.dumps({"info": {"at": 1}}))
    assert read(str(tmp_path)) == {"t-0": 1}
