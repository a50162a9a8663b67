"""Receipts, tallies, the guard: what closes, what is refused, what is found."""

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import storage
from curate.errors import ConservationError, InputError, ModelError
from curate.reasons import Reason
from pipelines import guard, io


def tally(read: int, kept: int, dropped: int, failed: int) -> io.Tally:
    made = io.Tally()
    made.read["crawl"] = read
    made.kept["crawl"] = kept
    made.drop("crawl", Reason.low_quality, dropped)
    made.failed["crawl"] = failed
    return made


@given(st.tuples(*[st.integers(0, 9)] * 4))
def test_conservation(counts: tuple[int, int, int, int]) -> None:
    made = tally(*counts).as_dict()
    if counts[0] == sum(counts[1:]):
        io.check("here", made)
    else:
        with pytest.raises(ConservationError, match=f"here does not close: read {counts[0]}, but kept {counts[1]}"):
            io.check("here", made)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=4))
def test_receipts_add_up(parts: list[tuple[int, int, int]]) -> None:
    total = io.Tally()
    for part in parts:
        total.add(tally(sum(part), *part).as_dict())
    counts = total.as_dict()
    assert counts["read"] == sum(map(sum, parts))
    assert counts["kept"] == sum(part[0] for part in parts)
    assert sum(counts["dropped"].values()) == sum(part[1] for part in parts)


def test_receipt_round_trip(tmp_path) -> None:
    folder = str(tmp_path / "receipts")
    assert io.finished(folder) == set()
    io.write_receipt(
        folder, io.Task("b"), tally(3, 1, 1, 1), [f"{tmp_path}/x/y.parquet", None], str(tmp_path), shards=["s"]
    )
    io.write_receipt(folder, io.Task("a"), tally(1, 1, 0, 0), [], str(tmp_path))
    assert io.finished(folder) == {"a", "b"}
    found = dict(io.read_receipts(folder))
    assert list(found) == ["a", "b"]
    assert found["b"]["outputs"] == ["x/y.parquet"]
    assert found["b"]["info"] == {"shards": ["s"]}
    assert found["b"]["dropped"] == {"low_quality": 1}
    assert found["a"]["dropped"] == {}


def test_a_receipt_that_does_not_close_is_not_written(tmp_path) -> None:
    with pytest.raises(ConservationError, match="task a"):
        io.write_receipt(str(tmp_path), io.Task("a"), tally(2, 1, 0, 0), [], str(tmp_path))
    assert not list(tmp_path.iterdir())


@given(st.lists(st.integers(0, 99), unique=True, max_size=20), st.sets(st.integers(0, 99), max_size=4))
def test_isolate_finds_the_records_that_break(block: list[int], bad: set[int]) -> None:
    def work(part: list[int]) -> list[int]:
        if found := bad & set(part):
            raise ValueError(f"bad {found}")
        return list(part)

    done = list(guard.isolate(work, block))
    broken = [one[0] for one in done if isinstance(one, tuple)]
    good = list(itertools.chain.from_iterable(one for one in done if isinstance(one, list)))
    assert sorted(broken) == sorted(bad & set(block))
    assert good == [one for one in block if one not in bad]


def test_isolate_lets_errors_about_the_run_through() -> None:
    def work(part: list[int]) -> None:
        raise ModelError("no model")

    with pytest.raises(ModelError):
        list(guard.isolate(work, [1, 2]))


@pytest.mark.parametrize(
    ("error", "mendable", "words"),
    [(InputError("x is gone"), True, "x is gone"), (KeyError("k"), False, "KeyError: 'k'")],
)
def test_a_task_that_fails_leaves_a_note(tmp_path, error: Exception, mendable: bool, words: str) -> None:
    def work() -> None:
        raise error

    assert not guard.attempt(str(tmp_path), "t", work)
    note = storage.read_json(guard.note_path(str(tmp_path), "t"))
    assert (note["mendable"], note["error"]) == (mendable, words)
    assert "Traceback" in note["traceback"]
    assert guard.attempt(str(tmp_path), "t", lambda: None)


def test_nothing_half_written(tmp_path) -> None:
    path = tmp_path / "a" / "file"

    def write(ends_well: bool) -> None:
        with storage.atomic(str(path)) as file:
            file.write(b"half")
            if not ends_well:
                raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write(ends_well=False)
    assert list(path.parent.iterdir()) == []
    write(ends_well=True)
    assert path.read_bytes() == b"half"


@pytest.fixture
def box() -> Iterator[str]:
    """A folder of the store in memory, which is this process's."""
    yield "memory://box"
    storage.remove("memory://box")


def test_a_remote_file_appears_whole_or_not_at_all(box: str) -> None:
    def write(ends_well: bool) -> None:
        with storage.atomic(f"{box}/file") as file:
            file.write(b"half")
            if not ends_well:
                raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        write(ends_well=False)
    assert not storage.exists(f"{box}/file")
    write(ends_well=True)
    assert storage.glob(f"{box}/*") == [f"{box}/file"]
