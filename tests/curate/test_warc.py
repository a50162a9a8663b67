"""The WARC reader: what each record becomes, damage, splits, and warcio as an oracle on real archives."""

import functools
import gzip
import itertools
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator
from warcio.recordloader import ArcWarcRecord

from curate import warc
from curate.document import Dropped, Failed, Page, Record
from curate.errors import InputError

DATE = "2024-05-01T00:00:00Z"


def record(kind: str, body: bytes, url: str = "http://a.example/", length: int | None = None, **fields: str) -> bytes:
    head = {"WARC-Type": kind, "WARC-Target-URI": url, "WARC-Date": DATE, **fields}
    head["Content-Length"] = str(len(body) if length is None else length)
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in head.items())
    return f"WARC/1.0\r\n{lines}\r\n".encode() + body + b"\r\n\r\n"


def answer(body: bytes, status: str = "200 OK", **fields: str) -> bytes:
    head = {"Content_Type": "text/html; charset=utf-8", **fields}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in head.items() if value)
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def page(text: str) -> bytes:
    return record("response", answer(text.encode()), f"http://a.example/{text}")


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Record]]:
    def read_bytes(data: bytes, name: str = "a.warc", **settings: object) -> list[Record]:
        path = tmp_path / name
        path.write_bytes(data)
        return list(warc.read(str(path), **settings))  # type: ignore[arg-type]

    return read_bytes


def bodies(records: list[Record]) -> list[str]:
    return [r.body.decode() for r in records if isinstance(r, Page)]


def failures(records: list[Record]) -> list[Failed]:
    return [r for r in records if isinstance(r, Failed)]


def told(r: Record) -> str:
    match r:
        case Page(body=body):
            return body.decode()
        case Dropped(reason=reason, detail=detail):
            return f"{reason} {detail}".strip()
        case Failed():
            return "failed"


HTML = b"<html>caf\xc3\xa9</html>"
TEXT = HTML.decode()
TWO_MEMBERS = gzip.compress(HTML[:9]) + gzip.compress(HTML[9:])
RAW_DEFLATE = zlib.compressobj(wbits=-15)
CHUNKED = b"7;x=y\r\n<html>c\r\n" + b"b\r\n" + HTML[7:] + b"\r\n0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (record("response", answer(HTML)), TEXT),
        (record("response", answer(HTML, Content_Type="")), TEXT),
        (record("response", answer(b"\x00\x01", Content_Type="")), "not_text"),
        (record("response", answer(HTML, Content_Type="Application/XHTML+XML")), TEXT),
        (record("response", answer(b"caf\xe9 au lait", Content_Type="text/plain; charset=iso-8859-1")), "café au lait"),
        (record("response", answer(b"\x89PNG", Content_Type="image/png")), "not_text image/png"),
        (record("response", answer(b"gone", "404 Not Found")), "not_success 404"),
        (record("response", answer(b"moved", "301")), "not_success 301"),
        (record("response", answer(b"")), "empty_page"),
        (record("response", b""), "empty_page"),
        (record("response", b"a.example. 3600 IN A", "dns:a.example", Content_Type="text/dns"), "not_a_page text/dns"),
        (record("response", b"<html>no status"), "failed"),
        (record("resource", HTML, Content_Type="text/html"), TEXT),
        (record("resource", b"\xff\xd8", Content_Type="image/jpeg"), "not_text image/jpeg"),
        (record("conversion", HTML, Content_Type="text/plain"), TEXT),
        *((record(kind, b"x: y"), f"not_a_page {kind}") for kind in ("request", "metadata", "warcinfo", "revisit")),
        (record("continuation", b"x"), "not_a_page continuation"),
        (record("response", answer(gzip.compress(HTML), Content_Encoding="gzip")), TEXT),
        (record("response", answer(TWO_MEMBERS, Content_Encoding="x-gzip")), TEXT),
        (record("response", answer(zlib.compress(HTML), Content_Encoding="deflate")), TEXT),
        (
            record(
                "response",
                answer(RAW_DEFLATE.compress(HTML) + RAW_DEFLATE.flush(), Content_Encoding="deflate"),
            ),
            TEXT,
        ),
        (record("response", answer(brotli.compress(HTML), Content_Encoding="br")), TEXT),
        (record("response", answer(zstandard.compress(HTML), Content_Encoding="zstd")), TEXT),
        (record("response", answer(brotli.compress(gzip.compress(HTML)), Content_Encoding="gzip, br")), TEXT),
        (record("response", answer(HTML, Content_Encoding="gzip")), TEXT),  # stored decoded
        (record("response", answer(HTML, Content_Encoding="br")), TEXT),
        (record("response", answer(HTML, Content_Encoding="utf-8")), TEXT),  # no coding at all
        (record("response", answer(gzip.compress(HTML)[:-9], Content_Encoding="gzip")), TEXT),  # ends early
        (record("response", answer(gzip.compress(HTML)[:10] + b"\xff" * 20, Content_Encoding="gzip")), "failed"),
        (record("response", answer(CHUNKED, Transfer_Encoding="chunked")), TEXT),
        (record("response", answer(CHUNKED[:-17], Transfer_Encoding="chunked")), TEXT),
        (record("response", answer(HTML, Transfer_Encoding="chunked")), TEXT),  # stored without its chunks
        (record("response", answer(b"3\r\n<p>\r\nxyz\r\n", Transfer_Encoding="chunked")), "failed"),
    ],
)
def test_each_record_ends_in_one_place(read: Callable[..., list[Record]], data: bytes, expected: str) -> None:
    assert [told(r) for r in read(data)] == [expected]


def test_a_page_carries_what_the_archive_says(read: Callable[..., list[Record]]) -> None:
    data = page("x") + record("response", answer(HTML), "<http://b.example/>")
    assert read(data)[1] == Page(len(page("x")), HTML, "http://b.example/", DATE, "text/html; charset=utf-8")


def test_header_lines_may_be_folded_bare_and_lower_case(read: Callable[..., list[Record]]) -> None:
    data = b"warc/1.0\nwarc-type:\n resource\nno colon here\ncontent-length:\n\t4\ncontent-type: text/html\n\n<p>x\n\n"
    assert [told(r) for r in read(data)] == ["<p>x"]


@pytest.mark.parametrize("name", ["a.warc.gz", "a.warc.zst", "a.warc"])
def test_too_large_bodies_are_not_held(read: Callable[..., list[Record]], name: str) -> None:
    config = warc.Warc(max_page_bytes=1000)
    bomb = answer(gzip.compress(b"x" * 100_000), Content_Encoding="gzip")
    parts = [
        record("response", answer(b"x" * 100_000)),
        record("response", bomb),
        page("a"),
        record("request", b"x" * 2000),
    ]
    found = read(pack(parts, name), name, config=config)
    assert [told(r).split()[0] for r in found] == ["too_large", "too_large", "a", "not_a_page"]


def pack(parts: list[bytes], name: str) -> bytes:
    """One member for each part, compressed by the name."""
    if name.endswith(".gz"):
        return b"".join(gzip.compress(part, mtime=0) for part in parts)
    return b"".join(zstandard.compress(part) for part in parts) if name.endswith(".zst") else b"".join(parts)


ABC = [page("a"), page("b"), page("c")]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.warc.zst", "misnamed.gz.open"])
def test_containers(read: Callable[..., list[Record]], name: str) -> None:
    found = read(pack(ABC, name.removesuffix(".open")), name)
    assert bodies(found) == ["a", "b", "c"]
    assert [r.offset for r in found] == [len(pack(ABC[:n], name.removesuffix(".open"))) for n in range(3)]


def test_a_single_member_is_read_whole_and_does_not_split(read: Callable[..., list[Record]], tmp_path: Path) -> None:
    data = gzip.compress(b"".join(ABC))
    assert bodies(read(data)) == ["a", "b", "c"]
    assert [r.offset for r in read(data)] == [0, 1, 2]
    assert not warc.is_splittable(str(tmp_path / "a.warc"))
    assert [len(read(data, start=start, stop=stop)) for start, stop in ((0, 9), (9, None))] == [3, 0]
    read(pack(ABC, ".gz"))
    assert warc.is_splittable(str(tmp_path / "a.warc"))


def test_members_may_cut_through_records(read: Callable[..., list[Record]]) -> None:
    data = b"".join(ABC)
    cuts = [data[i : i + 50] for i in range(0, len(data), 50)]
    assert bodies(read(pack(cuts, ".gz"))) == ["a", "b", "c"]


def test_a_zstandard_dictionary_comes_first(read: Callable[..., list[Record]]) -> None:
    dictionary = zstandard.ZstdCompressionDict(b"".join(ABC))
    frames = [zstandard.ZstdCompressor(dict_data=dictionary).compress(part) for part in ABC]
    for stored in (dictionary.as_bytes(), zstandard.compress(dictionary.as_bytes())):
        head = b"\x5d\x2a\x4d\x18" + struct.pack("<I", len(stored)) + stored
        data = head + b"".join(frames)
        assert bodies(read(data)) == ["a", "b", "c"]
        assert bodies(read(data, start=5)) == ["a", "b", "c"]
        assert bodies(read(data, start=len(head) + 1)) == ["b", "c"]


@pytest.mark.parametrize(
    "head", [b"filedesc://x 0.0.0.0", gzip.compress(b"filedesc://x 0.0.0.0"), b"\x04\x22\x4d\x18", b"BZh91AY"]
)
def test_other_formats_are_refused(read: Callable[..., list[Record]], head: bytes) -> None:
    with pytest.raises(InputError, match=r"not read: (convert|recompress)"):
        read(head + b"x" * 40)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        list(warc.read(str(tmp_path / "none.warc.gz")))


GARBAGE = bytes(range(256))
GZ = [gzip.compress(part, mtime=0) for part in ABC]


def spoil(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


@pytest.mark.parametrize(
    ("data", "kept", "failed_at"),
    [
        (b"", "", [0]),
        (gzip.compress(b""), "", [0]),
        (GARBAGE, "", [0]),
        (b"".join(GZ)[:-12], "ab", [len(GZ[0] + GZ[1])]),  # truncated
        (b"".join(GZ) + GZ[0][:5], "abc", [len(b"".join(GZ))]),
        (GZ[0] + spoil(GZ[1], 30) + GZ[2], "ac", [len(GZ[0])]),  # a corrupt member
        (GZ[0] + spoil(GZ[1], len(GZ[1]) - 6) + GZ[2], "ac", [len(GZ[0])]),  # a wrong checksum
        (spoil(GZ[0], 1) + GZ[1] + GZ[2], "bc", [0]),  # a damaged head, known by its name
        (GZ[0] + GARBAGE + GZ[1] + GZ[2], "abc", [len(GZ[0])]),
        (GZ[0] + gzip.compress(GARBAGE) + GZ[1], "ab", [1]),  # counted with the member before it
        (GZ[0] + GZ[1][: len(GZ[1]) // 2] + GZ[2], "ac", [len(GZ[0])]),  # cut in its midst
        (gzip.compress(ABC[0] + ABC[1] + ABC[2])[:-6], "ab", [2]),  # a single member cut at its end
        (
            gzip.compress(b"".join(ABC), mtime=0) + random.Random(0).randbytes(20_000),
            "abc",
            [187],
        ),  # no member after it
        (gzip.compress(b"".join(ABC) * 2000)[:-2000], None, None),
    ],
)
def test_damaged_gzip(
    read: Callable[..., list[Record]], data: bytes, kept: str | None, failed_at: list[int] | None
) -> None:
    found = read(data, "a.warc.gz")
    if kept is None:  # most of a large member comes through before its damage
        assert len(bodies(found)) > 3000
        assert len(failures(found)) == 1
        assert isinstance(found[-1], Failed)
        return
    assert "".join(bodies(found)) == kept
    assert [f.offset for f in failures(found)] == failed_at


A, B, C = ABC
SHORT = record("response", answer(b"long body here"), length=60)
LONG = record("response", answer(b"body"), length=300)


@pytest.mark.parametrize("wrap", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("data", "kept", "damaged"),
    [
        (A + SHORT + B, "ab", 1),  # Content-Length too small
        (A + LONG + B + C, "abc", 1),  # too large, within the file
        (A + record("response", answer(b"body"), length=10**15) + B + C, "a", 1),  # absurd
        (A + b"GARBAGE\r\n" + B, "ab", 1),
        (A + B[:-30], "a", 1),  # truncated
        (A + B.replace(b"Content-Length", b"Content-Size") + C, "ac", 1),
        (A + B.replace(b"Content-Length: ", b"Content-Length: -") + C, "ac", 1),
        (A + B.replace(b"WARC-Type", b"WARC-Kind") + C, "ac", 1),
        (A + B.replace(b"WARC/1.0", b"WARC/one") + C, "ac", 1),
        (A + B.replace(b"WARC/1.0\r\n", b"") + C, "ac", 1),  # no version
        (A + b"WARC/1.0\r\n" + b"X: " + b"x" * (2 << 20) + B + C, None, 1),  # a header over the limit
        (A.rstrip() + B, "ab", 0),  # no blank lines between
        (b"\r\n\r\n" + A + b"\r\n" * 5 + B, "ab", 0),
    ],
)
def test_damaged_records(
    read: Callable[..., list[Record]], wrap: Callable[[bytes], bytes], data: bytes, kept: str | None, damaged: int
) -> None:
    found = read(wrap(data))
    assert len(failures(found)) == damaged
    if kept is None:
        assert bodies(found)[0] == "a"
        assert bodies(found)[-1] == "c"
    elif b"Content-Length: 1000000000000000" in data:
        assert bodies(found)[0] == "a"
    else:
        assert "".join(bodies(found)) == kept
    assert len({r.offset for r in found}) == len(found)


def test_an_error_says_what_was_found(read: Callable[..., list[Record]]) -> None:
    (first,) = failures(read(A + b"GARBAGE\r\n"))
    assert first == Failed(len(A), "expected a record that begins with WARC/, found b'GARBAGE\\r\\n'")


# Pieces of a file for the property: records whose bodies hold version lines and magic bytes, and damage.
PIECES = [
    *ABC,
    record("response", answer(b"WARC/1.0\r\n\r\nWARC/1.0 nested\n" * 3)),
    record("response", answer(random.Random(0).randbytes(700), Content_Type="text/plain")),
    record("request", b"\x1f\x8b\x08\x00" * 9),
    record("response", answer(b"short"), length=45),
    record("response", answer(b"long"), length=400),
    b"GARBAGE\r\n",
]


@functools.cache
def member(piece: int, level: int, spoiled: bool, codec: str) -> bytes:
    data = PIECES[piece]
    packed = gzip.compress(data, level, mtime=0) if codec == "gz" else zstandard.compress(data, level + 1)
    return spoil(packed, len(packed) // 2) if spoiled else packed


@settings(max_examples=150, deadline=None)
@given(
    codec=st.sampled_from(["gz", "zst", "plain"]),
    parts=st.lists(st.tuples(st.integers(0, len(PIECES) - 1), st.sampled_from([0, 6]), st.integers(0, 5)), max_size=8),
    cut=st.lists(st.floats(0, 1), max_size=6),
    tail=st.integers(0, 20),
)
def test_any_cuts_yield_every_record_once(
    tmp_path_factory: pytest.TempPathFactory, codec: str, parts: list[tuple[int, int, int]], cut: list[float], tail: int
) -> None:
    if codec == "plain":
        data = b"".join(PIECES[piece] for piece, _, _ in parts)
    else:
        data = b"".join(member(piece, level, damage == 0, codec) for piece, level, damage in parts)
    data = data[: len(data) - tail]
    path = tmp_path_factory.getbasetemp() / f"cuts.warc.{codec}"
    path.write_bytes(data)
    cuts = sorted({0, *(int(c * len(data)) for c in cut)})
    whole = list(warc.read(str(path)))
    parted = [list(warc.read(str(path), a, b)) for a, b in itertools.zip_longest(cuts, cuts[1:])]
    assert [r for part in parted for r in part] == whole
    assert len({r.offset for r in whole}) == len(whole)


@pytest.mark.data("warc")
def test_warcio_finds_the_same_pages(data_dir: Path) -> None:
    """Where warcio reads an archive clean, so do we: as many records, and the same URLs and bodies of pages."""
    lines = (data_dir / "warc" / "warcio_check.jsonl").read_text().splitlines()
    compared = pages = 0
    for row in map(json.loads, lines):
        path = data_dir / "warc" / row["file"]
        if row["warcio_error"] or ".arc" in path.name or "null" in row["records"]:
            continue
        ours = list(warc.read(str(path)))
        if failures(ours):  # listed by the test below
            continue
        compared += 1
        with open(path, "rb") as file:
            theirs = [
                (r.rec_type, (r.rec_headers.get_header("WARC-Target-URI") or "").strip("<>"), payload(r))
                for r in ArchiveIterator(file)
            ]
        assert len(ours) == len(theirs), path
        for our, (kind, url, body) in zip(ours, theirs, strict=True):
            if isinstance(our, Page):
                pages += 1
                assert our.url == url, path
                assert kind in ("response", "resource", "conversion"), path
                assert body is None or our.content_type == "text/plain" or our.body == body, (path, our.url)
    assert compared >= 130
    assert pages >= 550


def payload(r: ArcWarcRecord) -> bytes | None:
    """None where warcio fails: it does not know the present brotli module."""
    try:
        return bytes(r.content_stream().read())
    except AttributeError:
        return None


# Damage that each archive is known to hold: file -> how many dead letters; pages that come through all the same.
QUIRKS = {
    "hashgupta+feedfull/CC-MAIN-20180116070444-20180116090444-00000.warc.gz": (1, 115),
    "chatnoir-eu+chatnoir-resiliparse/tests/data/clipped.warc.gz": (1, 0),
    "internetarchive+gowarc/testdata/warcs/corrupted-mid-record.warc.gz.open": (1, 12),
    "internetarchive+gowarc/testdata/warcs/corrupted-trailing-bytes.warc.gz.open": (1, 30),
    "internetarchive+gowarc/testdata/warcs/good.warc.gz.open": (0, 50),
    "cbeams+warc/src/test/resources/io/webgraph/warc/multi-with-garbage-on-last-line.warc": (1, 0),
    "cbeams+warc/src/test/resources/io/webgraph/warc/multi-with-malformed-record.warc": (1, 0),
    "webrecorder+warcio/test/data/example-bad-non-chunked.warc.gz": (0, 1),
    "webrecorder+warcio/test/data/example-wrong-chunks.warc.gz": (0, 1),
    "cllu+PyWARC/sample.warc.gz": (0, 100),
    "oduwsdl+ipwb/samples/warcs/broken.warc": (1, 1),
    "xmagam00+clueWeb/TEST/moj.warc.gz": (1, 0),
}


@pytest.mark.data("warc")
@pytest.mark.parametrize("name", QUIRKS)
def test_quirks(data_dir: Path, name: str) -> None:
    found = list(warc.read(str(data_dir / "warc" / name)))
    assert (len(failures(found)), len(bodies_raw(found))) == QUIRKS[name]


def bodies_raw(records: list[Record]) -> list[bytes]:
    return [r.body for r in records if isinstance(r, Page)]


@pytest.mark.data("warc")
def test_every_archive_is_accounted_for(data_dir: Path) -> None:
    """No archive stops the reader but those in formats that it refuses, and offsets tell records apart."""
    refused = 0
    for row in map(json.loads, (data_dir / "warc" / "warcio_check.jsonl").read_text().splitlines()):
        path = str(data_dir / "warc" / row["file"])
        if ".arc" in row["file"] and "record-then-garbage" not in row["file"]:  # that one has no ARC head either
            refused += 1
            with pytest.raises(InputError, match="ARC file"):
                list(warc.read(path))
            continue
        found = list(warc.read(path))
        assert found, row["file"]
        assert len({r.offset for r in found}) == len(found), row["file"]
        if not row["warcio_error"] and not failures(found) and "null" not in row["records"]:
            assert len(found) == sum(row["records"].values()), row["file"]
    assert refused == 16


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="max_page_bytes is 0"):
        warc.Warc(max_page_bytes=0)
    with pytest.raises(ValueError, match="content_types is empty"):
        warc.Warc(content_types=())
