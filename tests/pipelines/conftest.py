"""A corpus of some hundred small pages whose every fate is known in kind, and one finished run of it.

The prose is drawn by key from word lists: distinct, fluent enough for the published rules, the same on every machine.
"""

import contextlib
import hashlib
import http.server
import json
import os
import re
import shutil
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from curate import draw
from pipelines import cli
from pipelines.demo import archive, library
from pipelines.demo.archive import Answer, Archive
from pipelines.demo.prose import Block, Kind, Piece
from pipelines.demo.site import Host, chapter, page

HOSTS = (Host("meadow.example", "The Meadow", 0), Host("harbour.example", "The Harbour", 1))
GOOD, LIKED = 44, 14  # pages of the crawl that nothing is wrong with; how many of them were liked

VOCABULARY = {
    "noun": "river orchard lantern harbour meadow bridge teacher carpenter library kitchen market valley garden engine "
    "window forest island letter painter village winter summer captain station baker mountain cottage farmer weaver "
    "museum tower railway chapel pasture ferry workshop printer shepherd miller bakery fountain archive orchestra "
    "sailor gardener potter quarry tavern theatre lighthouse cellar granary mason cooper tailor surgeon clerk",
    "kind": "quiet narrow ancient wooden gentle crooked bright patient distant humble steady curious silver "
    "forgotten broad cheerful hollow modest famous stubborn careful lonely generous plain restless sturdy weary "
    "graceful dusty solemn frozen fragrant",
    "did": "watched repaired painted remembered followed described measured visited carried guarded borrowed "
    "sketched collected restored admired crossed inherited examined abandoned decorated surveyed rented "
    "purchased polished mended praised",
    "when": "yesterday seldom eventually afterwards gradually sometimes suddenly meanwhile nightly often again "
    "together alone early late quickly slowly calmly",
    "place": "Ashford Bramley Corfield Dunmore Elmwood Fairview Glenbrook Haverton Kingsley Larkhill Marston "
    "Northwick Oakridge Penrith Quarrington Ravensby Selworthy Thornbury Underwood Westmere",
}
WORDS = {name: text.split() for name, text in VOCABULARY.items()}
PATTERNS = (
    "The {kind} {noun} near {place} was {did} by a {noun} who {when} {did} the {kind} {noun}.",
    "In {place} we {when} {did} every {noun} that the {kind} {noun} had {did}.",
    "After the {noun} closed, {place} kept its {kind} {noun} and {did} what the {noun} needed.",
    "Nobody in {place} believed that a {noun} could be so {kind}, but the {noun} {when} {did} it.",
    "Her {kind} {noun} stood between the {noun} and the {noun} of {place}.",
    "They {did} the {noun}, {did} the {kind} {noun}, and {when} went back to {place}.",
    "A {noun} with {kind} hands {did} this {noun} long before {place} had a {noun}.",
    "Because the {noun} of {place} seemed {kind}, my brother {did} our {noun} {when}.",
    "Some say the {kind} {noun} of {place} {when} {did} both the {noun} and its {noun}.",
    "It would take a {kind} {noun} to have {did} the {noun} that {place} {when} lost.",
)
FOREIGN = (
    "Der alte Müller ging am frühen Morgen durch das stille Dorf und grüßte jeden, der ihm auf der Straße begegnete.",
    "Am Abend saßen die Kinder vor dem Haus und hörten den Geschichten zu, die ihre Großmutter ihnen erzählte.",
    "Niemand wusste genau, woher der fremde Händler gekommen war, aber seine Waren gefielen allen sehr gut.",
    "Im Winter lag der Schnee so hoch, dass die Wege zum Wald wochenlang nicht mehr zu sehen waren.",
)

RECIPE = """
seed: 11
partitions: 2
sources:
  crawl: {{paths: ['{folder}/crawl/*.warc.gz']}}
  reddit: {{paths: '{folder}/reddit'}}
  wikipedia: {{paths: '{folder}/wikipedia/*.bz2'}}
  books: {{paths: '{folder}/books/*.txt'}}
ingest: {{split_bytes: 24000, block_pages: 8, shard_bytes: 30000, sample_rate: 1.0}}
quality: {{min_examples: 10, dim: 4096, alpha: 1.0}}
decontaminate: {{paths: '{folder}/eval/*.jsonl'}}
mix: {{tokens: 30000, held: 0.1}}
tokenize: {{vocab_size: 512, shard_tokens: 8000}}
"""


def sentence(*key: str | int) -> str:
    """A sentence drawn by the key."""
    text = PATTERNS[draw.key("test", *key) % len(PATTERNS)]
    for at in range(text.count("{")):
        name = text[text.index("{") + 1 : text.index("}")]
        text = text.replace(f"{{{name}}}", WORDS[name][draw.key("test", *key, at) % len(WORDS[name])], 1)
    return text


def piece(name: str, paragraphs: int = 5, sentences: int = 5) -> Piece:
    """A page of prose named `name`."""
    texts = [" ".join(sentence(name, at, which) for which in range(sentences)) for at in range(paragraphs)]
    return Piece(name, name.replace("-", " ").title(), tuple(Block(Kind.paragraph, text) for text in texts))


def answer(url: str, text: Piece, host: Host = HOSTS[0]) -> Answer:
    return Answer(url=url, body=page(text, host).encode())


@dataclass(frozen=True, slots=True)
class Corpus:
    """Inputs on disk, and what was planted: URLs by what should become of them."""

    folder: Path
    recipe: Path
    planted: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Finished:
    """A run directory that is done; tests read it and never write to it."""

    root: Path
    corpus: Corpus
    manifest: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Said:
    """What a command ended with."""

    code: int
    out: str
    err: str


def build(folder: Path) -> Corpus:
    """Two archives with a damaged record each, a wiki dump, a book, submissions, a benchmark, and the recipe."""
    planted: dict[str, list[str]] = {}
    entries: list[tuple[str, Answer, archive.Damage | None]] = []

    def add(kind: str, one: Answer, damage: archive.Damage | None = None) -> None:
        entries.append((kind, one, damage))
        planted.setdefault(kind, []).append(one.url)

    for number in range(GOOD):
        host = HOSTS[number % 2]
        add("liked" if number < LIKED else "good", answer(host.url(f"page-{number}"), piece(f"page-{number}"), host))
    for number in range(3):
        original = piece(f"original-{number}")
        add("original", answer(HOSTS[0].url(f"original-{number}"), original))
        add("exact", answer(f"https://mirror.test/original-{number}", original))
        *most, last = original.blocks
        revised = replace(original, blocks=(*most, Block(last.kind, f"{last.text} {sentence('revised', number)}")))
        add("near", answer(f"https://mirror.test/revised-{number}", revised))
    questions = [" ".join(sentence("question", at, which) for which in range(2)) for at in range(4)]
    for number in range(2):
        leaking = piece(f"leak-{number}", 8)
        middle = Block(Kind.paragraph, questions[number])
        add("leak", answer(HOSTS[1].url(f"leak-{number}"), replace(leaking, blocks=(*leaking.blocks, middle))))
    add("short", answer(HOSTS[0].url("short"), piece("short", 1, 2)))
    german = Piece("german", "Das Dorf", tuple(Block(Kind.paragraph, text) for text in FOREIGN))
    add("german", answer(HOSTS[0].url("german"), german))
    add("gone", replace(answer(HOSTS[0].url("gone"), piece("gone")), status="404 Not Found"))
    add("picture", Answer(url=HOSTS[0].url("picture"), body=b"\x89PNG\r\n", content_type="image/png"))
    add("markup", answer("https://meadow.example/?q=<script>alert(\"1\")</script>&x='2'", piece("markup", 1, 2)))
    add("damaged", answer(HOSTS[0].url("damaged-0"), piece("damaged-0")), archive.corrupt)
    add("damaged", answer(HOSTS[1].url("damaged-1"), piece("damaged-1")), archive.bad_version)
    order = sorted(range(len(entries)), key=lambda at: draw.key("test", "order", at))
    for half, name in enumerate(("a.warc.gz", "b.warc.gz")):
        file = Archive(name)
        file.info("http://bibnum.bnf.fr/WARC/WARC_ISO_28500_version1_latestdraft.pdf")
        for at in order[half::2]:
            file.page(entries[at][1], entries[at][2])
        write(folder / "crawl" / name, file.data)
    wiki, truth = library.wiki([piece(f"article-{number}", 3) for number in range(8)])
    planted["article"] = [plant.url for plant in truth if plant.kind == "wiki: article"]
    write(folder / "wikipedia" / "test-pages-articles.xml.bz2", wiki["wikipedia/demo-pages-articles.xml.bz2"])
    chapters = [chapter(piece(f"chapter-{number}", 6)) for number in range(3)]
    write(folder / "books" / "1.txt", library.book("The Meadow", 1, chapters))
    planted["book"] = [f"{library.EBOOKS}1"]
    # Duplicates and leaks are liked, so that no draw on quality takes them before their stage is reached.
    linked = [url for kind in ("liked", "original", "exact", "near", "leak") for url in planted[kind]]
    rows = [{"url": url, "score": 3 + at % 5} for at, url in enumerate(linked)]
    rows += [{"url": url, "score": 1} for url in planted["good"][:3]]
    rows += [{"url": "https://www.reddit.com/r/a/comments/1/", "score": 9, "is_self": True}]
    lines = [json.dumps({"id": f"s{at}", "over_18": False, "is_self": False, **row}) for at, row in enumerate(rows)]
    write(folder / "reddit" / "RS_test.ndjson", "\n".join([*lines, '{"url": "https://broken', ""]).encode())
    quiz = "".join(json.dumps({"question": question}) + "\n" for question in questions)
    write(folder / "eval" / "quiz.jsonl", quiz.encode())
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(folder=folder))
    return Corpus(folder, recipe, planted)


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return build(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def finished(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run of the corpus in this process, as the command line does it."""
    root = tmp_path_factory.mktemp("finished") / "run"
    assert cli.main(["run", str(corpus.recipe), "--out", str(root), "--quiet"]) == 0
    return Finished(root, corpus, json.loads((root / "manifest.json").read_text()))


@pytest.fixture
def copy(finished: Finished, tmp_path: Path) -> Path:
    """The finished run, to be changed."""
    return Path(shutil.copytree(finished.root, tmp_path / "copy"))


@pytest.fixture
def curate(capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """The command line in this process."""

    def call(*words: object) -> Said:
        capfd.readouterr()
        code = cli.main([str(word) for word in words])
        out, err = capfd.readouterr()
        return Said(code, out, err)

    return call


# ---- a web server that misbehaves as told


@dataclass(slots=True)
class Faulty:
    """Files by path over HTTP/1.1 with ranges and ETags. Each request takes the next of `faults`; then all is well.

    403, 429, 500, 503: that status (`429 2`: with Retry-After: 2). nothing: hangs up. garbage: no HTTP. truncate: hangs
    up, reset: resets, stall: falls silent, each in the midst of the body. drip: 64 pieces. whole: ignores Range.
    long, short: Content-Length is 7 too large, or half. elsewhere: another range than asked for. total: a wrong size in
    Content-Range. none: 416. loop: redirects to itself. away: redirects once, to the same file.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    forever: str = ""  # the fault of every request once `faults` are used up
    seen: list[tuple[str, str]] = field(default_factory=list)  # path, Range
    agents: set[str] = field(default_factory=set)
    sent: int = 0  # bytes of bodies
    drip: float = 0.001  # seconds between two pieces
    lock: Any = field(default_factory=threading.Lock)

    def reset(self) -> None:
        self.files, self.faults, self.forever, self.seen, self.sent = {}, [], "", [], 0
        self.agents, self.drip = set(), 0.001
        shutil.rmtree(Path(tempfile.gettempdir(), f"curate-pace-{os.getuid()}"), ignore_errors=True)

    def next(self, path: str, asked: str, agent: str) -> str:
        with self.lock:
            self.seen.append((path, asked))
            self.agents.add(agent)
            return self.faults.pop(0) if self.faults else self.forever


class FaultyHandler(http.server.BaseHTTPRequestHandler):
    """One answer, as the next fault has it."""

    protocol_version = "HTTP/1.1"
    state: Faulty

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        path, _, moved = self.path.partition("?")
        asked = self.headers.get("Range", "")
        fault = self.state.next(path, asked, self.headers.get("User-Agent", ""))
        if found := re.fullmatch(r"(\d+)(?: (\d+))?", fault):
            self.answer(int(found[1]), b"no", {"Retry-After": found[2]} if found[2] else {})
        elif fault == "nothing":
            self.close_connection = True
        elif fault == "garbage":
            self.wfile.write(b"\x00\x01 this is no HTTP\r\n\r\n")
            self.close_connection = True
        elif fault == "loop" or (fault == "away" and not moved):
            self.answer(302, b"", {"Location": f"{path}?moved" if fault == "away" else self.path})
        elif path not in self.state.files:
            self.answer(404, b"no such file", {})
        else:
            self.file(self.state.files[path], asked, fault)

    def file(self, data: bytes, asked: str, fault: str) -> None:
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {"ETag": tag, "Last-Modified": "Sat, 18 May 2024 00:00:00 GMT"}
        ranged = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
        if not ranged or fault == "whole" or self.headers.get("If-Range", tag) != tag:
            self.answer(200, data, headers, fault)
            return
        start, stop = int(ranged[1]), min(int(ranged[2]) + 1, len(data))
        if fault == "elsewhere":
            start = start // 2 + 1
        if start >= stop or fault == "none":
            self.answer(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
            return
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data) + (5 if fault == 'total' else 0)}"
        self.answer(206, data[start:stop], headers, fault)

    def answer(self, status: int, body: bytes, headers: dict[str, str], fault: str = "") -> None:
        told = {"long": len(body) + 7, "short": len(body) // 2}.get(fault, len(body))
        cut = len(body) // 2 if fault in ("truncate", "reset", "stall") else len(body)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(told)}.items():
            self.send_header(name, value)
        self.end_headers()
        self.state.sent += cut  # before the client can have all of it
        with contextlib.suppress(OSError):
            if fault == "drip":
                size = len(body) // 64 + 1
                for at in range(0, len(body), size):
                    self.wfile.write(body[at : at + size])
                    time.sleep(self.state.drip)
            else:
                self.wfile.write(body[:cut])
        if fault in ("long", "short", "truncate", "reset", "stall"):
            self.close_connection = True
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault == "stall":
            with contextlib.suppress(OSError):
                self.connection.settimeout(10)
                self.connection.recv(1)  # until the client hangs up


class FaultyServer(http.server.ThreadingHTTPServer):
    """A client that hangs up before its answer is through is no error of ours."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    """A server for the session; the rates of its host are kept in a folder of their own."""
    state = Faulty()
    handler = type("Handler", (FaultyHandler,), {"state": state})
    with pytest.MonkeyPatch.context() as patch, FaultyServer(("127.0.0.1", 0), handler) as made:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("rates")))
        thread = threading.Thread(target=made.serve_forever, daemon=True)
        thread.start()
        state.address = f"http://127.0.0.1:{made.server_port}"
        yield state
        made.shutdown()
        thread.join()


@pytest.fixture
def faulty(serving: Faulty) -> Faulty:
    """The server, without files or faults."""
    serving.reset()
    return serving
