"""The crawl by name and by index: which files and records are meant, and that every way to them gives the same."""

import contextlib
import gzip
import io
import itertools
import json
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from curate import sources, storage, stream, warc
from curate.document import Failed, Page
from curate.errors import InputError, UsageError
from curate.sources import cdx
from pipelines import crawl, recipe, web
from pipelines.fetch import Fetch
from pipelines.recipe import Recipe

NAME = "CC-MAIN-2024-22"
FOLDER = f"crawl-data/{NAME}"
FILES = [f"{FOLDER}/segments/1716{n}/warc/CC-MAIN-20240518-{n:05d}.warc.gz" for n in range(2)]


def put(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return str(path)


def listing(folder: Path, names: list[str], kind: str = "warc") -> None:
    put(folder, f"{FOLDER}/{kind}.paths.gz", gzip.compress("".join(f"{name}\n" for name in names).encode()))


def made(mirror: Path | str, seed: int = 0, **keys: Any) -> Recipe:
    return Recipe(seed=seed, sources={"crawl": keys}, fetch=Fetch(crawls=str(mirror), requests_per_second=5000))


@pytest.fixture(scope="session")
def mirror(corpus: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus's two archives as a crawl, in the layout of Common Crawl."""
    folder = tmp_path_factory.mktemp("mirror")
    for name, path in zip(FILES, sorted((corpus.folder / "crawl").iterdir()), strict=True):
        put(folder, name, path.read_bytes())
    listing(folder, FILES)
    return folder


def captures(mirror: Path) -> list[dict[str, Any]]:
    """What an index of the crawl holds: each record that is a page, with its place."""
    rows = []
    for name in FILES:
        data = (mirror / name).read_bytes()
        found = list(warc.read(str(mirror / name)))
        ends = [*(record.offset for record in found[1:]), len(data)]
        for record, end in zip(found, ends, strict=True):
            if isinstance(record, Page):
                row = {"url": record.url, "filename": name, "offset": record.offset, "length": end - record.offset}
                rows.append({**row, "status": "200", "mime-detected": "text/html"})
    return rows


def columnar(path: Path, rows: list[dict[str, Any]], group: int = 7) -> str:
    """As cc-index-table has it: the same rows, sorted by domain."""
    rows = sorted(rows, key=lambda row: row["url"])
    table = pa.table(
        {
            "url": [row["url"] for row in rows],
            "url_host_registered_domain": pa.array([row["url"].split("/")[2] for row in rows]).dictionary_encode(),
            "fetch_status": pa.array([int(row["status"]) for row in rows], pa.int16()),
            "content_mime_detected": [row["mime-detected"] for row in rows],
            "warc_filename": [row["filename"] for row in rows],
            "warc_record_offset": pa.array([row["offset"] for row in rows], pa.int32()),
            "warc_record_length": pa.array([row["length"] for row in rows], pa.int32()),
        }
    )
    pq.write_table(table, path, row_group_size=group)
    return str(path)


def cdxj(path: Path, rows: list[dict[str, Any]]) -> str:
    lines = [f"key 20240518 {json.dumps({k: str(v) for k, v in row.items()})}\n" for row in rows]
    path.write_bytes(gzip.compress("".join(lines).encode()) if path.suffix == ".gz" else "".join(lines).encode())
    return str(path)


# ---- names to files


MANY = [f"{FOLDER}/segments/1/warc/{n:05d}.warc.gz" for n in range(300)]


@pytest.fixture
def many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A list of 300 files, of which a mirror holds them all."""
    listing(tmp_path, MANY)
    for name in MANY:
        put(tmp_path, name, b"")
    return tmp_path


@pytest.mark.parametrize(
    ("files", "expected"),
    [(None, range(300)), ("0-99", range(100)), ("7", [7]), ("5-6,290-299,6", [5, 6, *range(290, 300)])],
)
def test_ranges(many: Path, files: str | None, expected: Any) -> None:
    assert crawl.find(made(many, name=NAME, files=files)).files == [MANY[number] for number in expected]


def test_a_sample_is_drawn_by_key(many: Path) -> None:
    def draw(number: int, seed: int = 0, **keys: Any) -> list[str]:
        return list(crawl.find(made(many, seed, name=NAME, sample=number, **keys)).files)

    ten, hundred = draw(10), draw(100)
    assert len(ten) == 10
    assert set(ten) < set(hundred)
    assert hundred == sorted(hundred)
    assert draw(10, seed=1) != ten
    assert set(draw(50, files="0-49")) == set(MANY[:50])
    with pytest.raises(InputError, match="sample is 301, of 300 files"):
        draw(301)


def test_the_identity_is_that_of_the_files_not_of_their_place(many: Path, tmp_path: Path, faulty: Any) -> None:
    web.install(Fetch(requests_per_second=5000))
    paths = f"{FOLDER}/warc.paths.gz"
    faulty.files[f"/{paths}"] = gzip.compress(gzip.decompress((many / paths).read_bytes()), 1)
    here, there = (
        crawl.find(made(many, name=NAME, files="0-9")),
        crawl.find(made(faulty.address, name=NAME, files="0-9")),
    )
    assert here == there
    assert {path for path, _ in faulty.seen} == {f"/{paths}"}  # no file of the crawl was asked for
    assert crawl.find(made(many, name=NAME, files="0-8")).identity != here.identity


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("crawl-data/CC-MAIN-2024-18/segments/1/warc/0.warc.gz", "byte 0: expected crawl-data/CC-MAIN-2024-22/"),
        (f"{FOLDER}/../../../etc/0.warc.gz", "expected"),
        (f"{FOLDER}/0.warc.wet.gz.exe", "found"),
        ("<html>", "fetch the list anew, or correct fetch.crawls"),
    ],
)
def test_a_list_that_is_none(tmp_path: Path, line: str, words: str) -> None:
    listing(tmp_path, [line])
    with pytest.raises(InputError, match=words):
        crawl.find(made(tmp_path, name=NAME))


def test_what_is_missing(many: Path) -> None:
    (many / MANY[3]).unlink()
    with pytest.raises(InputError, match=r"lacks 1 of 300 files, .*00003.warc.gz the first"):
        crawl.find(made(many, name=NAME))
    with pytest.raises(InputError, match="goes beyond the 300 files"):
        crawl.find(made(many, name=NAME, files="299-300"))
    with pytest.raises(InputError, match="no such file"):
        crawl.find(made(many, name="CC-MAIN-2024-26"))
    with pytest.raises(InputError, match="no such file"):
        crawl.find(made(many, name=NAME, kind="wet"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("sources.crawl.name=CC-MAIN-24-22", "name"),
        ("sources.crawl={name: CC-MAIN-2024-22, files: 9-0}", "smaller number first"),
        ("sources.crawl={name: CC-MAIN-2024-22, files: all}", "files"),
        ("sources.crawl={name: CC-MAIN-2024-22, paths: [x]}", "paths and name are given"),
        ("sources.crawl={name: CC-MAIN-2024-22, index: [x]}", "name and index are given"),
        ("sources.crawl={paths: [x], sample: 3}", "sample is given without name"),
        ("sources.crawl={index: [x], kind: wet}", "kind is given without name"),
        ("sources.crawl.pages=[example.com]", "pages is given without index"),
        ("sources.wikipedia.name=CC-MAIN-2024-22", "no such key"),
        ("fetch.tries=0", "tries is 0"),
    ],
)
def test_keys_that_do_not_go_together(setting: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        recipe.load("gpt3", [setting])


@given(split=st.integers(1 << 20, 1 << 31), kind=st.sampled_from(["warc", "wet"]))
def test_ranges_cover_each_file_once(split: int, kind: str) -> None:
    found = list(crawl.parts(crawl.Listing(kind, ["a", "b"], None, ""), "s3://commoncrawl/", split))
    for name in ("a", "b"):
        ranges = [(part["start"], part["stop"]) for part in found if part["name"] == name]
        assert ranges[0][0] == 0
        assert ranges[-1][1] is None
        assert all(one[1] == other[0] for one, other in itertools.pairwise(ranges))
    assert found[0]["path"] == "s3://commoncrawl/a"


# ---- an index to captures


def test_pages_and_domains() -> None:
    pages = cdx.Pages.of(["example.com", "https://www.other.org/a/?utm_source=x", "BÜCHER.example"])
    for address in (
        "http://example.com/",
        "https://a.b.example.com:8080/x",
        "http://other.org/a",
        "http://bücher.example",
    ):
        assert pages.has(address), address
    for address in (
        "http://notexample.com/",
        "https://other.org/b",
        "ftp://example.com/",
        "http://example.com.evil.org/",
    ):
        assert not pages.has(address), address
    for wrong in ("https://", "example.com/page", "a b"):
        with pytest.raises(UsageError, match="no URL and no domain"):
            cdx.Pages.of([wrong])


@given(
    labels=st.lists(st.sampled_from("abc"), min_size=1, max_size=4),
    wanted=st.lists(st.sampled_from("abc"), min_size=1, max_size=3),
)
def test_no_line_between_suffix_and_domain_loses_a_page(labels: list[str], wanted: list[str]) -> None:
    """Whichever of a host's domains the index calls registered, its row is looked at if its page is meant."""
    host, pages = ".".join(labels), cdx.Pages.of([".".join(wanted), f"http://{'.'.join(wanted)}/x"])
    if pages.has(f"http://{host}/"):
        assert all(pages.may_have(".".join(labels[at:])) for at in range(len(labels)))


@pytest.mark.parametrize("form", ["index.cdxj", "index.cdxj.gz", "index.parquet"])
def test_an_index_gives_each_capture_once(tmp_path: Path, mirror: Path, form: str) -> None:
    rows = captures(mirror)
    write = columnar if form.endswith("parquet") else cdxj
    others = [{**rows[0], "status": "404", "offset": 1}, {**rows[0], "mime-detected": "image/png", "offset": 2}]
    path, again = write(tmp_path / form, [*rows, *others]), cdxj(tmp_path / "again", rows[:9])
    found = cdx.read([path, again], None, ["text/html"])
    assert list(found) == FILES
    for name in FILES:
        assert found[name].tolist() == [[row["offset"], row["length"]] for row in rows if row["filename"] == name]
    some = cdx.read([path], cdx.Pages.of(["harbour.example", rows[0]["url"]]), ["text/html"])
    meant = [row for row in rows if "://harbour.example/" in row["url"] or row["url"] == rows[0]["url"]]
    assert sum(map(len, some.values())) == len(meant) > 10


@pytest.mark.parametrize(
    "line",
    [
        b"no object",
        b"k t {broken",
        b'k t {"url": "http://a.com", "filename": "f", "offset": "1"}',
        b'k t {"url": "http://a.com", "filename": "/etc/f", "offset": "1", "length": "2"}',
        b'k t {"url": "http://a.com", "filename": "a/../f", "offset": "1", "length": "2"}',
        b'k t {"url": "http://a.com", "filename": "f", "offset": "-1", "length": "2"}',
    ],
)
def test_an_index_that_is_none(tmp_path: Path, line: bytes) -> None:
    path = put(tmp_path, "index.cdxj", b"!OpenWayback-CDXJ 1.0\n\n" + line + b"\n")
    with pytest.raises(InputError, match=r"index\.cdxj, byte 23: expected a CDXJ line"):
        cdx.read([path], None, ["text/html"])


def test_a_columnar_index_that_is_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["http://a.com"]}), tmp_path / "i.parquet")
    with pytest.raises(InputError, match="lacks warc_filename, warc_record_offset, warc_record_length"):
        cdx.read([str(tmp_path / "i.parquet")], None, ["text/html"])
    with pytest.raises(InputError, match="not a readable columnar index"):
        cdx.read([put(tmp_path, "j.parquet", b"PAR1 but no more")], None, ["text/html"])


def test_an_index_without_the_pages(tmp_path: Path, mirror: Path) -> None:
    index = cdxj(tmp_path / "index", captures(mirror))
    with pytest.raises(InputError, match="know no page of 1 entries"):
        crawl.find(made(mirror, index=index, pages="nowhere.example"))
    empty = put(tmp_path, "list", b"# nothing\n")
    with pytest.raises(InputError, match="hold no entry"):
        crawl.find(made(mirror, index=index, page_lists=empty))


# ---- captures to records


def test_captures_are_the_records_of_the_whole_file(mirror: Path) -> None:
    whole = {record.offset: record for record in warc.read(str(mirror / FILES[0])) if isinstance(record, Page)}
    places = [[row["offset"], row["length"]] for row in captures(mirror) if row["filename"] == FILES[0]]
    assert {r.offset: r for r in crawl.read(str(mirror / FILES[0]), places, warc.DEFAULT)} == whole


def test_neighbours_are_fetched_together(faulty: Any, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.install(Fetch(requests_per_second=5000, first_wait=0.001))
    faulty.files["/f"] = (mirror / FILES[0]).read_bytes()
    places = [[row["offset"], row["length"]] for row in captures(mirror) if row["filename"] == FILES[0]]
    found = list(crawl.read(f"{faulty.address}/f", places, warc.DEFAULT))
    assert len(faulty.seen) == 1
    monkeypatch.setattr(crawl, "GAP", -1)
    assert list(crawl.read(f"{faulty.address}/f", places, warc.DEFAULT)) == found
    assert len(faulty.seen) == 1 + len(places)
    monkeypatch.setattr(crawl, "MOST", 10)  # every record is long: streamed
    faulty.sent = 0
    assert list(crawl.read(f"{faulty.address}/f", places, warc.DEFAULT)) == found
    assert faulty.sent == sum(length for _, length in places)


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("has_dictionary", [True, False])
def test_the_dictionary_of_captures_is_read_once(
    held: bool, has_dictionary: bool, faulty: Any, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .warc.zst begins with what its frames are decompressed with, far from any capture."""
    web.install(Fetch(requests_per_second=5000))
    bodies = [gzip.decompress(part) for part in members_of(mirror / FILES[0])][:12]
    dictionary = zstandard.ZstdCompressionDict(b"".join(bodies))
    stored = zstandard.compress(dictionary.as_bytes()) if held else dictionary.as_bytes()
    head = b"\x5d\x2a\x4d\x18" + struct.pack("<I", len(stored)) + stored if has_dictionary else b""
    pack = zstandard.ZstdCompressor(dict_data=dictionary if has_dictionary else None)
    frames = [pack.compress(body) for body in bodies]
    data = head + b"".join(frames)
    whole = list(warc.read(put(tmp_path, "a.warc.zst", data)))
    assert sum(isinstance(record, Page) for record in whole) > 3
    url = f"{faulty.address}/{tmp_path.name}.warc.zst"
    faulty.files[f"/{tmp_path.name}.warc.zst"] = data
    starts = list(itertools.accumulate(map(len, frames[:-1]), initial=len(head)))
    places = [[start, len(frame)] for start, frame in zip(starts, frames, strict=True)]
    if not held:  # every record is long: streamed
        monkeypatch.setattr(crawl, "MOST", 10)
    found = [one for half in (places[::2], places[1::2]) for one in crawl.read(url, half, warc.DEFAULT)]
    assert sorted(found, key=lambda record: record.offset) == whole
    assert [asked for _, asked in faulty.seen].count("bytes=0-7") == 1


def members_of(path: Path) -> list[bytes]:
    """The gzip members that are sound."""
    data, found = path.read_bytes(), []
    for record in warc.read(str(path)):
        with contextlib.suppress(OSError, EOFError, zlib.error):
            stream = zlib.decompressobj(31)
            stream.decompress(data[record.offset :])
            found.append(data[record.offset : len(data) - len(stream.unused_data)])
    return found


def test_a_range_asks_for_little_beyond_its_end(faulty: Any, tmp_path: Path) -> None:
    """The whole is fetched about once, in however many ranges it is read."""
    web.install(Fetch(requests_per_second=5000))
    dice = random.Random(0)
    plain = [
        b"WARC/1.0\r\nWARC-Type: request\r\nWARC-Target-URI: http://a.example/%d\r\nContent-Length: 20000\r\n\r\n" % n
        + dice.randbytes(20_000)
        + b"\r\n\r\n"
        for n in range(200)
    ]
    for name, data in (
        ("a.warc.gz", b"".join(gzip.compress(part, mtime=0) for part in plain)),
        ("a.warc.zst", b"".join(map(zstandard.compress, plain))),
        ("a.jsonl", b"".join(b'{"text": "%s"}\n' % dice.randbytes(10_000).hex().encode() for _ in range(200))),
    ):
        whole = list(sources.open(sources.guess_format(name) or "", put(tmp_path, name, data)))
        assert len(whole) == 200
        url = f"{faulty.address}/{tmp_path.name}/{name}"
        faulty.files[f"/{tmp_path.name}/{name}"] = data
        found, step = [], 1 << 20
        for start in range(0, len(data), step):
            faulty.seen.clear()
            stop = start + step
            found += sources.open(sources.guess_format(name) or "", url, start, stop)
            asked = [tuple(map(int, asked[6:].split("-"))) for _, asked in faulty.seen]
            assert max(last for _, last in asked) < stop + 3 * stream.BEYOND
            assert sum(last - first + 1 for first, last in asked) <= step + 3 * stream.BEYOND + 64
        assert found == whole


@given(st.lists(st.tuples(st.integers(0, 1 << 26), st.integers(0, 1 << 25)), unique_by=lambda one: one[0], min_size=1))
def test_groups_hold_each_capture_once(places: list[tuple[int, int]]) -> None:
    groups = list(crawl._neighbours(sorted(places)))
    assert [one for group in groups for one in group] == sorted(places)
    for group in groups:
        assert len(group) == 1 or max(start + size for start, size in group) - group[0][0] <= crawl.MOST


def test_captures_that_are_none(tmp_path: Path, mirror: Path) -> None:
    """Each is a dead letter at its place, and its neighbours come through."""
    good = captures(mirror)[0]
    data = (mirror / FILES[0]).read_bytes()
    first, size = good["offset"], good["length"]
    record = data[first : first + size]
    path = put(tmp_path, "f.warc.gz", record + b"\x04\x22\x4d\x18 no gzip" + record + record)
    after = size + 12
    places = [
        [0, size],
        [size, 12],
        [size + 3, 5],
        [after, size - 9],
        [after + size, size],
        [after + 2 * size - 4, 90],
        [10**9, 5],
    ]
    found = list(crawl.read(path, places, warc.DEFAULT))
    assert [record.offset for record in found] == [start for start, _ in places]
    assert [isinstance(record, Page) for record in found] == [True, False, False, False, True, False, False]
    errors = [record.error for record in found if isinstance(record, Failed)]
    assert "lz4" in errors[0]
    assert "ends early" in errors[2]
    assert f"the file ends at {after + 2 * size}" in errors[3]
    with pytest.raises(InputError, match="no such file"):
        list(crawl.read(str(tmp_path / "none"), [[0, 5]], warc.DEFAULT))


# ---- all the way


def ingest(curate: Callable[..., Any], corpus: Any, out: Path, *settings: str, workers: int = 1) -> dict[str, Any]:
    words = [
        word
        for setting in ("sources.reddit.paths=[]", "sources.crawl.paths=[]", *settings)
        for word in ("--set", setting)
    ]
    for stage in ("karma", "ingest"):
        said = curate(stage, corpus.recipe, "--out", out, *words, "--quiet", "--json", "--workers", workers)
        assert said.code == 0, said.err
    stages: dict[str, Any] = json.loads(said.out)["stages"]
    return stages["ingest"]


def documents(out: Path, *folders: str) -> dict[str, bytes]:
    found = [
        path for folder in folders or ("documents", "dropped", "errors") for path in sorted((out / folder).glob("*"))
    ]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found}


def test_by_name_from_anywhere(faulty: Any, mirror: Path, corpus: Any, curate: Any, tmp_path: Path) -> None:
    """From a web server that misbehaves, from a mirror, from one after the other: the same bytes."""
    for path in mirror.rglob("*.gz"):
        faulty.files[f"/{path.relative_to(mirror)}"] = path.read_bytes()
    faulty.faults = ["503", "", "truncate", "reset", "429 0", "whole", "short", "nothing"]
    settings = (f"sources.crawl.name={NAME}", "ingest.split_bytes=1073741824", "fetch.requests_per_second=2000")
    settings += ("fetch.first_wait=0.001", "sources.wikipedia.paths=[]", "sources.books.paths=[]")
    cache = f"fetch.cache={tmp_path}/cache"
    one = ingest(curate, corpus, tmp_path / "http", *settings, f"fetch.crawls={faulty.address}", cache)
    assert one["kept"] > 40
    assert one["failed"] == 2
    assert not faulty.faults
    assert one["extra"]["fetch_retries"] >= 1
    assert one["extra"]["fetch_bytes"] > 0
    other = ingest(curate, corpus, tmp_path / "mirror", *settings, f"fetch.crawls={mirror}")
    assert documents(tmp_path / "http") == documents(tmp_path / "mirror")
    assert one["fingerprint"] == other["fingerprint"]
    assert not any(name.startswith("fetch") for name in other["extra"])
    again = ingest(curate, corpus, tmp_path / "http", *settings, f"fetch.crawls={mirror}")  # goes on from elsewhere
    assert again == one
    # Ranges of half the size, the second of each file beyond its end, by two processes.
    half = "ingest.split_bytes=536870912"
    faulty.seen.clear()
    halves = ingest(curate, corpus, tmp_path / "halves", *settings, f"fetch.crawls={faulty.address}", half, workers=2)
    assert halves["kept"] == one["kept"]
    assert all(agent.startswith("curate-pretrain/") for agent in faulty.agents)
    assert [path for path, _ in faulty.seen].count(f"/{FOLDER}/warc.paths.gz") == 1  # listed once a run


def test_by_index(faulty: Any, mirror: Path, corpus: Any, curate: Any, tmp_path: Path) -> None:
    """A list of domains through either index, from either place: those pages, with the ids that they have anyway."""
    rows = captures(mirror)
    for path in mirror.rglob("*.gz"):
        faulty.files[f"/{path.relative_to(mirror)}"] = path.read_bytes()
    indexes = [cdxj(tmp_path / "index.cdxj.gz", rows), columnar(tmp_path / "index.parquet", rows)]
    wanted = put(tmp_path, "wanted.txt", f"# liked\nharbour.example\n{corpus.planted['short'][0]}\n".encode())
    common = (f"sources.crawl.page_lists={wanted}", "sources.wikipedia.paths=[]", "sources.books.paths=[]")
    common += ("fetch.requests_per_second=2000", "fetch.first_wait=0.001")
    runs = {}
    for number, (index, base) in enumerate(zip(indexes, (str(mirror), faulty.address), strict=True)):
        out = tmp_path / f"run{number}"
        entry = ingest(curate, corpus, out, *common, f"sources.crawl.index={index}", f"fetch.crawls={base}")
        meant = [row for row in rows if "://harbour.example/" in row["url"]]
        assert entry["read"] == len(meant) + 1
        assert entry["dropped"]
        runs[number] = documents(out)
    assert runs[0] == runs[1]
    whole = ingest(
        curate,
        corpus,
        tmp_path / "whole",
        f"sources.crawl.name={NAME}",
        f"fetch.crawls={mirror}",
        *common[1:],
        "ingest.split_bytes=1073741824",
    )
    assert whole["kept"] > 40

    def texts(data: dict[str, bytes]) -> dict[str, str]:
        tables = [pq.read_table(io.BytesIO(file)) for name, file in data.items() if name.startswith("documents")]
        return {row["id"]: row["text"] for table in tables for row in table.to_pylist()}

    every = texts(documents(tmp_path / "whole", "documents"))
    assert texts(runs[0]).items() <= every.items()


def test_a_file_that_cannot_be_fetched_fails_its_task_alone(
    faulty: Any, mirror: Path, corpus: Any, curate: Any, tmp_path: Path
) -> None:
    """No dead letter stands for it: the run says what is missing, and the same command fetches that and no more."""
    faulty.files[f"/{FOLDER}/warc.paths.gz"] = (mirror / FOLDER / "warc.paths.gz").read_bytes()
    faulty.files[f"/{FILES[0]}"] = (mirror / FILES[0]).read_bytes()
    settings = [f"sources.crawl.name={NAME}", f"fetch.crawls={faulty.address}", "ingest.split_bytes=1073741824"]
    settings += ["sources.crawl.paths=[]", "sources.wikipedia.paths=[]", "sources.books.paths=[]", "fetch.tries=2"]
    settings += ["fetch.first_wait=0.001", "fetch.requests_per_second=2000", "sources.reddit.paths=[]"]
    words = [word for setting in settings for word in ("--set", setting)]
    assert curate("karma", corpus.recipe, "--out", tmp_path, *words, "--quiet").code == 0
    said = curate("ingest", corpus.recipe, "--out", tmp_path, *words, "--quiet")
    assert said.code == 1
    assert "1 of 2 tasks failed" in said.err
    assert FILES[1] in said.err
    assert storage.glob(f"{tmp_path}/documents/crawl-00000-*.parquet")
    assert not storage.glob(f"{tmp_path}/errors/ingest-crawl-00001*")
    faulty.files[f"/{FILES[1]}"] = (mirror / FILES[1]).read_bytes()
    faulty.seen.clear()
    assert curate("ingest", corpus.recipe, "--out", tmp_path, *words, "--quiet").code == 0
    assert f"/{FILES[0]}" not in {path for path, _ in faulty.seen}


def test_a_crawl_of_90000_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found, drawn from and cut without a look at any file."""
    names = [
        f"{FOLDER}/segments/{n % 100}/warc/CC-MAIN-20240518000000-20240518030000-{n:05d}.warc.gz" for n in range(90_000)
    ]
    listing(tmp_path, names)
    monkeypatch.setattr(storage, "is_remote", lambda path: True)
    found = crawl.find(made(tmp_path, name=NAME))
    assert found.files == names
    assert sum(1 for _ in crawl.parts(found, "https://x.example/", 1 << 30)) == 90_000
    assert len(crawl.find(made(tmp_path, name=NAME, sample=500)).files) == 500
