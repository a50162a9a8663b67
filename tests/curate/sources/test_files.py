"""Parquet, JSON lines and text files."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from curate.document import Dropped, Failed, Page
from curate.errors import InputError
from curate.reasons import Reason
from curate.sources import files, lines
from curate.sources.files import Table

ROWS = [
    {"text": "é a", "url": "http://a.example/"},
    {"text": "b", "url": None},
    {"text": None, "url": "u"},
    {"text": " "},
]
EXPECTED = [
    Page(0, "é a".encode(), "http://a.example/", "", "text/plain"),
    Page(1, b"b", "", "", "text/plain"),
    Failed(2, "expected a string as text, found null"),
    Dropped(3, Reason.empty_page),
]


def parquet(path: Path, rows: list[dict[str, Any]], **settings: Any) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path, **settings)
    return str(path)


@pytest.mark.parametrize("group", [1, 2, 100])
def test_parquet(tmp_path: Path, group: int) -> None:
    path = parquet(tmp_path / "a.parquet", ROWS, row_group_size=group)
    assert list(files.read_parquet(path)) == EXPECTED
    assert files.count_rows(path) == 4
    assert [*files.read_parquet(path, 0, 2), *files.read_parquet(path, 2)] == EXPECTED


def test_other_columns(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", [{"body": "x", "t": "T", "d": 2024, "text": 1}])
    config = Table(text="body", url=None, title="t", date="d")
    assert list(files.read_parquet(path, config=config)) == [Page(0, b"x", "", "2024", "text/plain", "T")]
    with pytest.raises(InputError, match=r"no column 'url' .* columns are body, t, d, text.* or null"):
        list(files.read_parquet(path, config=Table(text="body")))
    with pytest.raises(InputError, match=r"column 'text' .* holds int64, not strings"):
        list(files.read_parquet(path, config=Table(url=None)))
    with pytest.raises(InputError, match=r"no column 'content' .*: name the column of the text$"):
        list(files.read_parquet(path, config=Table(text="content")))


def test_a_damaged_row_group_is_one_dead_letter(tmp_path: Path) -> None:
    rows = [{"text": f"{i} " * 50, "url": ""} for i in range(40)]
    path = tmp_path / "a.parquet"
    parquet(path, rows, row_group_size=10, compression="zstd", use_dictionary=False)
    place = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    data = bytearray(path.read_bytes())
    data[place : place + 60] = b"\xff" * 60
    path.write_bytes(data)
    found = list(files.read_parquet(str(path)))
    assert [r.offset for r in found if isinstance(r, Failed)] == [10]
    assert sum(isinstance(r, Page) for r in found) == 30
    path.write_bytes(data[:-20])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        list(files.read_parquet(str(path)))


def jsonl(rows: list[Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.compress])
def test_jsonl(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(pack(jsonl(ROWS)))
    found = list(files.read_jsonl(str(path)))
    assert [type(r) for r in found] == [type(r) for r in EXPECTED]
    assert [json.loads(jsonl(ROWS)[r.offset :].splitlines()[0]) for r in found] == ROWS


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b'{"text": "x"', "expected a JSON object on the line: Expecting ',' delimiter"),
        (b"[1]", "expected a JSON object on the line, found list"),
        (b'{"a": 1, "b": 2}', "no key 'text' (text); its keys are a, b"),
        (b'{"text": 1}', "expected a string as text, found int"),
        (b'{"text": "\xff"}', "expected a JSON object on the line: 'utf-8' codec"),
        (b'{"text": "\\ud800"}', "the text holds a lone surrogate at character 0"),
        (b"[" * 100_000, "expected a JSON object on the line: "),
    ],
)
def test_a_bad_line_is_one_dead_letter(tmp_path: Path, line: bytes, error: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "a"}\n\n' + line + b'\n{"text": "b"}')
    first, second, third = files.read_jsonl(str(path))
    assert isinstance(second, Failed)
    assert second.error.startswith(error)
    assert [r.offset for r in (first, second, third)] == [0, 15, 16 + len(line)]


def test_a_long_line_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"a\n" + b"x" * 500_000 + b"\nb\n")
    assert list(lines.read(str(path), max_line=1000)) == [
        (0, b"a"),
        Failed(2, "a line of 500000 bytes; at most 1000 are read"),
        (500_003, b"b"),
    ]


def test_compressed_lines_are_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b"{}\n{}\n"))
    assert lines.is_compressed(str(path))
    with pytest.raises(InputError, match="cannot be read from byte 3 on"):
        list(lines.read(str(path), 3))


@given(
    st.lists(st.sampled_from([b"", b" ", b"a", b"bcd", b"\r"]), max_size=12), st.sets(st.integers(1, 30)), st.booleans()
)
def test_any_cuts_yield_every_line_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], cuts: set[int], ended: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "cuts.jsonl"
    path.write_bytes(b"\n".join(parts) + b"\n" * ended)
    starts = [0, *sorted(cuts)]
    found = [
        line
        for start, stop in zip(starts, [*starts[1:], None], strict=True)
        for line in lines.read(str(path), start, stop)
    ]
    assert found == list(lines.read(str(path)))
    assert [line for _, line in found] == [p.strip() for p in parts if p.strip()]  # type: ignore[misc]


def test_text_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for stored in ("café!\n".encode(), "café!\n".encode("utf-8-sig"), "café!\n".encode("utf-16"), b"caf\xe9!\n"):
        path.write_bytes(stored)
        assert list(files.read_text(str(path))) == [Page(0, "café!\n".encode(), "", "", "text/plain")]
    path.write_bytes(b"\n")
    assert list(files.read_text(str(path))) == [Dropped(0, Reason.empty_page)]
    path.write_bytes(b"x" * 11)
    assert files.load(str(path), 10) == Dropped(0, Reason.too_large, detail="over 10 bytes")


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="text names no column"):
        Table(text="")
