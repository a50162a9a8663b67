"""A remote file by ranges: the bytes of the file, whatever is asked for, and what it takes to have them."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import storage, stream
from curate.errors import InputError

DATA = bytes(range(256)) * 8192  # 2 MiB


@given(
    stop=st.one_of(st.none(), st.integers(0, len(DATA))),
    steps=st.lists(st.tuples(st.integers(0, len(DATA) + 9), st.integers(0, 1 << 19), st.booleans()), max_size=6),
)
def test_blocks_are_the_file(stop: int | None, steps: list[tuple[int, int, bool]]) -> None:
    plain, file = io.BytesIO(DATA), stream.Blocks(lambda start, end: DATA[start:end], lambda: len(DATA), stop)
    for place, size, goes_on in steps:
        if not goes_on:
            assert file.seek(place) == plain.seek(place)
        found = file.read(size)
        assert found is not None
        assert found == plain.read(len(found))
        assert found or not size or plain.tell() >= len(DATA)
        assert file.tell() == plain.tell()
    assert file.seek(-5, io.SEEK_END) == len(DATA) - 5


def test_what_is_read_in_one_go_is_asked_for_in_growing_blocks() -> None:
    asked: list[tuple[int, int]] = []

    def read(start: int, end: int) -> bytes:
        asked.append((start, end))
        return bytes(min(end, 1 << 24) - start)

    first, stop, beyond = stream.FIRST, 5 << 20, stream.BEYOND
    file = stream.Blocks(read, lambda: 1 << 24, stop)
    while file.tell() < stop + 4 * beyond:
        file.read(1 << 19)
    ends = [first, 3 * first, 7 * first, 15 * first, stop + beyond, stop + 3 * beyond, stop + 7 * beyond]
    assert asked == list(zip([0, *ends], ends, strict=False))


class Store:
    """An object store that refuses a range beyond the end, as S3 does (416). Its arguments stand as s3fs has them."""

    def cat_file(self, path: str, version_id: str | None = None, start: int = 0, end: int | None = None) -> bytes:
        if version_id is not None or start >= len(DATA):
            raise OSError("the requested range is not satisfiable")
        return DATA[start:end]

    def size(self, path: str) -> int:
        return len(DATA)


def test_beyond_the_end_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: Any = Store()
    monkeypatch.setattr(storage, "store", lambda path: (made, path))
    assert stream.stored("s3://a/b", len(DATA) - 3, len(DATA) + 3) == DATA[-3:]
    assert stream.stored("s3://a/b", len(DATA), len(DATA) + 3) == b""
    made.size = lambda path: len(DATA) + 1
    with pytest.raises(InputError, match=r"cannot read 's3://a/b' at byte 2097152: OSError: the requested range"):
        stream.stored("s3://a/b", len(DATA), len(DATA) + 3)
