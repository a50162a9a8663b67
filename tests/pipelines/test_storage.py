"""Inputs by https, s3 and an object store in memory, and a run directory that is no folder of this machine.

The servers are small and real: they speak HTTP on this machine, and the clients are those that a user's run takes.
"""

import hashlib
import http.server
import importlib.util
import json
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import fsspec
import pytest
import yaml

from curate import storage
from pipelines import io, recipe, why
from pipelines.engine import Engine
from pipelines.graph import BY_NAME
from pipelines.progress import Progress
from pipelines.run import Run

Handler = type[http.server.BaseHTTPRequestHandler]


class Files(http.server.BaseHTTPRequestHandler):
    """A folder over HTTP/1.1 with ranges and ETags; `/bucket?list-type=2` lists as S3 does."""

    protocol_version = "HTTP/1.1"
    folder: Path
    seen: list[str]

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        self.seen.append(f"{self.command} {self.path}")
        if "list-type" in query:
            self._list(query)
            return
        path = self.folder / urllib.parse.unquote(url.path).removeprefix("/bucket").lstrip("/")
        if not path.is_file():
            self._send(404, b"<Error><Code>NoSuchKey</Code></Error>", {"Content-Type": "application/xml"})
            return
        data, asked = path.read_bytes(), self.headers.get("Range", "")
        headers = {"ETag": f'"{hashlib.md5(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        headers["Last-Modified"] = "Sat, 18 May 2024 00:00:00 GMT"
        if not asked:
            self._send(200, data, headers)
            return
        first, last = asked.removeprefix("bytes=").split("-")
        start, stop = int(first), min(int(last or len(data)), len(data) - 1) + 1
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        self._send(206, data[start:stop], headers)

    def _list(self, query: dict[str, str]) -> None:
        """ListObjectsV2, in one page."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys = sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if path.is_file())
        files, folders = [], set()
        for key in keys:
            if key.startswith(prefix):
                rest = key[len(prefix) :]
                if delimiter and delimiter in rest:
                    folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                else:
                    files.append(key)
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{(self.folder / key).stat().st_size}</Size>"
            f'<ETag>"{key}"</ETag><LastModified>2024-05-18T00:00:00.000Z</LastModified></Contents>'
            for key in files
        ) + "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in sorted(folders))
        head = f"<Name>bucket</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(files)}</KeyCount>"
        body = f"<ListBucketResult>{head}<IsTruncated>false</IsTruncated>{found}</ListBucketResult>"
        self._send(200, body.encode(), {"Content-Type": "application/xml"})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    """A client that hangs up before its answer is through is no error of ours."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@pytest.fixture
def server(corpus: Any) -> Iterator[tuple[str, list[str]]]:
    """Its address, and what it was asked for."""
    seen: list[str] = []
    handler: Handler = type("CorpusFiles", (Files,), {"folder": corpus.folder, "seen": seen})
    with Server(("127.0.0.1", 0), handler) as made:
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}", seen
        made.shutdown()
        thread.join()


@pytest.fixture
def memory() -> Iterator[str]:
    """An object store within this process; emptied afterwards."""
    fs = fsspec.filesystem("memory")
    yield "memory://bucket"
    for name in fs.ls("/", detail=False):
        fs.rm(name, recursive=True)


def put(corpus: Any, folder: str) -> None:
    fs = fsspec.filesystem("memory")
    for path in corpus.folder.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"{folder}/{path.relative_to(corpus.folder)}".removeprefix("memory:/"), path.read_bytes())


def run(root: str, corpus: Any, folder: str, *names: str, literal: bool = False) -> dict[str, Any]:
    """The stages of the corpus's recipe, its inputs read from `folder`."""
    value = corpus.recipe.read_text().replace(str(corpus.folder), folder)
    if literal:  # a web server lists nothing
        for glob, files in {
            "crawl/*.warc.gz": ["crawl/a.warc.gz", "crawl/b.warc.gz"],
            "wikipedia/*.bz2": ["wikipedia/test-pages-articles.xml.bz2"],
            "books/*.txt": ["books/1.txt"],
            "eval/*.jsonl": ["eval/quiz.jsonl"],
        }.items():
            listed = ", ".join(f"'{folder}/{file}'" for file in files)
            value = value.replace(f"['{folder}/{glob}']", f"[{listed}]").replace(f"'{folder}/{glob}'", f"[{listed}]")
        value = value.replace(f"'{folder}/reddit'", f"'{folder}/reddit/RS_test.ndjson'")
    else:
        value = value.replace(f"'{folder}/reddit'", f"'{folder}/reddit/*.ndjson'")
    made = recipe.validate(yaml.safe_load(value), "test")
    stages = [BY_NAME[name] for name in names] or list(BY_NAME.values())
    return Run(root, made, Engine((), 1), Progress(quiet=True)).run(stages)["stages"]


def documents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((root / "documents").iterdir())}


def test_inputs_by_http(server: tuple[str, list[str]], finished: Any, tmp_path: Path) -> None:
    """Ranges of archives, whole dumps, submissions: the same documents as from the disk, ids included."""
    pytest.importorskip("aiohttp")
    address, seen = server
    run(str(tmp_path / "run"), finished.corpus, address, "karma", "ingest", literal=True)
    assert documents(tmp_path / "run") == documents(finished.root)
    assert any(line.startswith("GET /crawl/a.warc.gz") for line in seen)


def test_a_web_server_that_lacks_the_file(
    server: tuple[str, list[str]], curate: Callable[..., Any], tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp")
    address, _ = server
    setting = f"sources.crawl.paths={address}/crawl/none.warc.gz"
    said = curate("run", "gpt3", "--set", setting, "--out", tmp_path / "run", "--quiet")
    assert (said.code, "none.warc.gz' matches no file" in said.err) == (1, True)
    assert "Traceback" not in said.err


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is None, reason="s3fs, of the extra s3, is not installed")
def test_inputs_by_s3(
    server: tuple[str, list[str]], finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, seen = server
    settings = {"endpoint_url": address, "key": "key", "secret": "secret", "skip_instance_cache": True}
    monkeypatch.setitem(fsspec.config.conf, "s3", settings)
    run(str(tmp_path / "run"), finished.corpus, "s3://bucket", "karma", "ingest")
    assert documents(tmp_path / "run") == documents(finished.root)
    assert any("list-type=2" in line for line in seen)


def test_inputs_in_an_object_store(memory: str, finished: Any, tmp_path: Path) -> None:
    put(finished.corpus, memory)
    run(str(tmp_path / "run"), finished.corpus, memory, "karma", "ingest")
    assert documents(tmp_path / "run") == documents(finished.root)


def test_a_run_directory_in_an_object_store(memory: str, finished: Any) -> None:
    """All stages, the same bytes; then nothing to do; then a lost file is made again; `why` and the report read it."""
    root = f"{memory}/run"
    stages = run(root, finished.corpus, str(finished.corpus.folder))
    fs = fsspec.filesystem("memory")

    def digest(folder: str) -> dict[str, str]:
        found = fs.find(f"/bucket/run/{folder}")
        return {name.removeprefix("/bucket/run/"): hashlib.sha256(fs.cat_file(name)).hexdigest() for name in found}

    for folder in ("corpus", "tokens", "documents", "dropped", "removals"):
        local = {
            str(path.relative_to(finished.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (finished.root / folder).rglob("*")
            if path.is_file()
        }
        assert digest(folder) == local, folder
    receipts = digest(io.RECEIPTS)
    assert run(root, finished.corpus, str(finished.corpus.folder)) == stages
    assert digest(io.RECEIPTS) == receipts
    before = digest("corpus")
    fs.rm(f"/bucket/run/{min(before)}")
    run(root, finished.corpus, str(finished.corpus.folder))
    assert digest("corpus") == before
    assert why.why(root, finished.corpus.planted["leak"][0])["found"]
    assert json.loads(fs.cat_file("/bucket/run/manifest.json"))["stages"].keys() == finished.manifest["stages"].keys()


def test_a_foreign_store_is_refused_untouched(memory: str, corpus: Any, curate: Callable[..., Any]) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/bucket/corpus/theirs.parquet", b"theirs")
    said = curate("run", corpus.recipe, "--out", memory)
    assert (said.code, "holds files but no run of ours" in said.err) == (2, True)
    assert fs.find("/") == ["/bucket/corpus/theirs.parquet"]


@pytest.mark.parametrize(("path", "words"), [("s4://b/x.warc.gz", "s4"), ("memory://b/none.warc.gz", "no file")])
def test_a_store_that_is_none(path: str, words: str, curate: Callable[..., Any], tmp_path: Path) -> None:
    said = curate("run", "gpt3", "--set", f"sources.crawl.paths={path}", "--out", tmp_path / "run", "--quiet")
    assert (said.code, words in said.err) == (1, True)
    assert "Traceback" not in said.err
    assert not storage.glob(f"{tmp_path}/run/documents/*")
