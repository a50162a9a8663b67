"""Mutated archives of all forms: nothing crashes or hangs, every byte belongs to a record or a failure, sound records
come through, and any ranges yield what the whole file does."""

import gzip
import itertools
import os
import random
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

from curate import draw, http, members, records, stream, warc
from curate.document import Failed, Record
from curate.errors import InputError

SMALL_WINDOW = 256  # so that what the tests read lies across many blocks
SMALL_LOOK_BACK = (1 << 10, 1 << 12, 1 << 26)
ENDS = (b"\r\n\r\n", b"\n\n", b"")
HELD = re.compile(rb"\nWARC/1[^\n]*\n[A-Z][-A-Za-z]+:", re.IGNORECASE)
FORMS = (".warc", ".warc.gz", ".single.warc.gz", ".warc.zst", ".dictionary.warc.zst", ".parts.warc.gz")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and look-backs shrunk to the archives' measure."""
    for module in (stream, members, records):
        monkeypatch.setattr(module, "WINDOW", SMALL_WINDOW)
    monkeypatch.setattr(records, "LOOK_BACK", SMALL_LOOK_BACK)


def record(kind: str, body: bytes, url: str, length: int | None = None, end: bytes = b"\r\n\r\n", **more: str) -> bytes:
    head = {"WARC-Type": kind, "WARC-Target-URI": url, "WARC-Date": "2024-05-01T00:00:00Z", **more}
    head["Content-Length"] = str(len(body) if length is None else length)
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in head.items())
    return f"WARC/1.0\r\n{lines}\r\n".encode() + body + end


def made(dice: random.Random, number: int) -> bytes:
    """A record, mostly sound."""
    text = b"<html>" + bytes(dice.choices(b"abcdefgh \n<>\xc3\xa9", k=dice.choice([0, 20, 90, 400])))
    url = f"http://{dice.choice('abc')}.example/{number}"
    kind = dice.choices(["response", "request", "conversion", "warcinfo", "inside", "lines", "length"], k=1)[0]
    match kind:
        case "response":
            coding = dice.choice(["", "gzip", "chunked"])
            fields = {"": "", "gzip": "Content-Encoding: gzip\r\n", "chunked": "Transfer-Encoding: chunked\r\n"}[coding]
            body = gzip.compress(text, mtime=0) if coding == "gzip" else text
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text) if coding == "chunked" else body
            head = f"HTTP/1.1 {dice.choice(['200 OK', '404 No'])}\r\nContent-Type: text/html\r\n{fields}\r\n"
            return record("response", head.encode() + body, url)
        case "inside":  # a record as a body
            return record("conversion", made(dice, number)[:600], url, Content_Type="application/warc")
        case "lines":
            return record(
                "conversion", b"WARC/1.0\r\n\r\n\r\nwarc/1.1 \nWARC/1.0\n" * 3, url, Content_Type="text/plain"
            )
        case "length":
            wrong = len(text) + dice.choice([-1, 1, 7, 300, 5000, 10**9, 10**17])
            return record("request", text, url, max(0, wrong))
    return record(
        kind, text, url, end=dice.choice(ENDS), Content_Type=dice.choice(["text/plain", "text/html", "image/png"])
    )


@dataclass
class Archive:
    form: str
    data: bytes
    sound: list[bytes]  # as they lie in the file: members, or records of an uncompressed one
    raw: bytes  # uncompressed

    @property
    def codec(self) -> bytes:
        return b"" if self.form == ".warc" else b"\x1f\x8b\x08" if self.form.endswith("gz") else b"\x28\xb5\x2f\xfd"


def is_sound(data: bytes) -> bool:
    head = re.match(
        rb"WARC/1\.0\r\nWARC-Type: \w[^\n]*\n(?:[A-Z][-A-Za-z]+: [^\n]*\n){2,4}?Content-Length: (\d+)\r\n\r\n", data
    )
    stop = head.end() + int(head[1]) if head and head[0].count(b"Content-Length") == 1 else len(data) + 1
    return stop <= len(data) and data[stop:] in ENDS


def packed(form: str, parts: list[bytes]) -> Archive:
    raw = b"".join(parts)
    match form:
        case ".warc":
            return Archive(form, raw, [part for part in parts if is_sound(part)], raw)
        case ".single.warc.gz":
            return Archive(form, gzip.compress(raw, mtime=0), [], raw)
        case ".parts.warc.gz":  # members that cut through records
            pieces = [raw[at : at + 333] for at in range(0, len(raw), 333)]
            return Archive(form, b"".join(gzip.compress(piece, mtime=0) for piece in pieces), [], raw)
        case ".warc.gz":
            ours = [gzip.compress(part, mtime=0) for part in parts]
            head = b""
        case ".warc.zst":
            ours, head = [zstandard.compress(part) for part in parts], b""
        case _:
            dictionary = zstandard.ZstdCompressionDict(record("conversion", b"<html>abc", "http://a.example/") * 4)
            head = b"\x5d\x2a\x4d\x18" + struct.pack("<I", len(dictionary)) + dictionary.as_bytes()
            ours = [zstandard.ZstdCompressor(dict_data=dictionary).compress(part) for part in parts]
    sound = [mine for mine, part in zip(ours, parts, strict=True) if is_sound(part)]
    return Archive(form, head + b"".join(ours), sound, raw)


SPLICES = (
    b"",
    b"\r\n",
    b"WARC/1.0\r\n",
    b"\r\nWARC/1.1\r\nContent-Length: 5\r\n",
    b"WARC/1.0\n\n" * 9,
    b"\x1f\x8b\x08",
    b"\x1f\x8b\x08\0\0\0\0\0\0\3" + b"\xff" * 30,
    gzip.compress(b"", mtime=0),
    gzip.compress(b"no record", mtime=0),
    b"\x28\xb5\x2f\xfd",
    b"\x50\x2a\x4d\x18\4\0\0\0abcd",
    bytes(range(256)) * 3,
)


def mutated(dice: random.Random, data: bytes) -> bytes:
    at, size = dice.randrange(len(data) + 1), dice.choice([1, 2, 9, 60, 500])
    match dice.randrange(7):
        case 0:
            return data[:at] + bytes(byte ^ 1 << dice.randrange(8) for byte in data[at : at + 1]) + data[at + 1 :]
        case 1:
            return data[:at] + dice.randbytes(size) + data[at + size :]
        case 2:
            return data[: max(1, len(data) - size)] if dice.random() < 0.5 else data[:at]
        case 3:
            return data[:at] + data[at + size :]
        case 4:
            return data[:at] + dice.choice(SPLICES) + data[at:]
        case 5:
            start = dice.randrange(len(data) + 1)
            return data[:at] + data[start : start + 4 * size] + data[at:]
        case _:  # digits of a length, where they can be seen
            return re.sub(rb"(?<=Length: )\d", lambda match: b"%d" % dice.randrange(10), data)


def archive(seed: int) -> Archive:
    """Archive number `seed`, mutated in its records, in its file, in both, or not at all."""
    dice = random.Random(draw.key("archives", seed))
    parts = [made(dice, number) for number in range(dice.choice([1, 2, 5, 9]))]
    for _ in range(dice.choice([0, 0, 1, 2])):
        number = dice.randrange(len(parts))
        parts[number] = mutated(dice, parts[number])
    whole = packed(dice.choice(FORMS), parts)
    for _ in range(dice.choice([0, 1, 1, 2, 4])):
        whole.data = mutated(dice, whole.data)
    return whole


def places(data: bytes, part: bytes) -> Iterator[int]:
    at = data.find(part)
    while at >= 0:
        yield at
        at = data.find(part, at + 1)


def extent(data: bytes, at: int) -> int:
    """Where the record of an uncompressed file that begins at `at` says it ends."""
    end = re.compile(rb"\n\r*\n").search(data, at)
    assert end is not None
    length = http.fields(data[at : end.end()]).get("content-length", "")
    return end.end() + int(length) if length.isdigit() else at


def check(number: int, path: str) -> None:
    built = archive(number)
    data = built.data
    Path(path).write_bytes(data)
    dice = random.Random(draw.key("cuts", number))
    config = warc.Warc(max_page_bytes=dice.choice([60, 300, 1 << 25]))
    try:
        whole = list(warc.read(path, config=config))
    except InputError as refusal:
        if "not read" in str(refusal) or "dictionary" in str(refusal):
            return
        raise
    offsets = [found.offset for found in whole]
    assert offsets == sorted(set(offsets)), (number, offsets)
    assert not offsets or offsets[-1] < max(1, len(data)), number
    if not offsets or offsets[0]:  # what comes before holds no byte of a record
        before = data[: offsets[0]] if offsets else data
        assert not before.strip(b"\r\n") or before[1:4] == b"\x2a\x4d\x18", number  # a frame to be skipped

    size = len(data)
    cuts = sorted({0, *(dice.randrange(size + 1) for _ in range(dice.choice([1, 2, 5])))})
    parted = [found for a, b in itertools.pairwise([*cuts, None]) for found in warc.read(path, a, b, config)]
    if parted != whole:  # a record in a record, or what a length makes one, longer than the look-back or broken itself
        assert members.container(path, data[:16]) is None, number
        sound = [(found.offset, extent(data, found.offset)) for found in whole if not isinstance(found, Failed)]
        assert any(b - a > SMALL_LOOK_BACK[0] or HELD.search(data, a, b) for a, b in sound), (number, cuts)

    if built.codec == getattr(members.container(path, data[:16]), "magic", b""):
        check_sound(number, built, whole, config)
    if built.form == ".single.warc.gz" and data == gzip.compress(built.raw, mtime=0):
        plain = path.removesuffix(".gz")
        Path(plain).write_bytes(built.raw)
        assert list(map(told, warc.read(plain, config=config))) == list(map(told, whole)), number


def told(found: Record) -> tuple[str, str]:
    return type(found).__name__, "" if isinstance(found, Failed) else found.url


def check_sound(number: int, built: Archive, whole: list[Record], config: warc.Warc) -> None:
    """Every sound record that lies in the file is found, unless a sound one before it claims its bytes."""
    if "dictionary" in built.form:
        return  # may be damaged
    # Of a record that is sound the HTTP message may not be.
    good = {found.offset for found in whole if not isinstance(found, Failed) or found.error.startswith("http://")}
    failed = {found.offset: found.error for found in whole if isinstance(found, Failed)}
    for part in built.sound:
        for at in places(built.data, part):
            if at in good:
                continue
            if built.form == ".warc":
                if at and built.data[at - 1 : at] != b"\n":
                    continue
                if any(q < at < extent(built.data, q) for q in good):
                    continue
                held = len(part) <= config.max_page_bytes and b"warc/1" not in part[9:].lower()
                behind = rb"[\r\n]*WARC/|[\r\n]*$" + rb"|\r?\n" * held
                if not re.match(behind, built.data[extent(built.data, at) :]):
                    continue  # something was put right behind it: its length looks wrong
            raise AssertionError((number, built.form, at, part[:80], failed))


NUMBER = 1000


@pytest.mark.usefixtures("small")
def test_mutated_archives(tmp_path: Path) -> None:
    for number in range(NUMBER):
        check(number, str(tmp_path / ("a" + archive(number).form)))


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.usefixtures("small")
def test_many_mutated_archives(tmp_path: Path) -> None:
    """Some ten minutes; ARCHIVES sets another number."""
    for number in range(NUMBER, int(os.environ.get("ARCHIVES", "100000"))):
        check(number, str(tmp_path / ("a" + archive(number).form)))
