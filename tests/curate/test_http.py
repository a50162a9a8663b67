"""Bodies of HTTP messages: codings, those that lie about them, those cut short, and those made to do harm."""

import contextlib
import gzip
import itertools
import random
import zlib

import brotli
import pytest
import zstandard

from curate import http

HTML = "<html><p>café au lait</p></html>".encode()
LONG = b"<html>" + b"".join(b"<p>paragraph %d of many</p>\n" % n for n in range(4000)) + b"</html>"


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def chunked(data: bytes) -> bytes:
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}
STORED = CODINGS | {"deflate": raw_deflate, "": bytes}


def message(payload: bytes, encoding: str = "", transfer: str = "") -> http.Message:
    fields = {"content-encoding": encoding, "transfer-encoding": transfer}
    return http.Message(200, {name: value for name, value in fields.items() if value}, payload)


@pytest.mark.parametrize("text", [HTML, LONG], ids=["short", "long"])
@pytest.mark.parametrize("one", CODINGS)
@pytest.mark.parametrize("two", [*CODINGS, ""])
def test_codings_in_their_order(one: str, two: str, text: bytes) -> None:
    payload = STORED[two](CODINGS[one](text))
    declared = ", ".join(coding for coding in (one, two) if coding)
    assert http.body(message(payload, declared.upper())) == text
    assert http.body(message(chunked(payload), declared, "chunked")) == text
    assert http.body(message(chunked(payload), one, f"{two}, chunked" if two else "chunked")) == text


@pytest.mark.parametrize("text", [HTML, LONG], ids=["short", "long"])
@pytest.mark.parametrize("declared", [*CODINGS, "", "utf-8", "gzip, gzip", "gzip, br"])
@pytest.mark.parametrize("stored", ["", "gzip", "zstd"])
def test_the_magic_counts_for_more_than_what_is_declared(declared: str, stored: str, text: bytes) -> None:
    assert http.body(message(STORED[stored](text), declared)) == text


@pytest.mark.parametrize("coding", [*CODINGS, "raw deflate"])
def test_a_body_cut_short_keeps_what_decodes(coding: str) -> None:
    text = random.Random(0).randbytes(3000).hex().encode()
    payload = raw_deflate(text) if coding == "raw deflate" else CODINGS[coding](text)
    kept = http.body(message(payload[: len(payload) // 2], coding.removeprefix("raw ")))
    if coding != "zstd":  # its one block is not there as a whole
        assert 1000 < len(kept) < len(text)
    assert text.startswith(kept)


def test_members_follow_one_another() -> None:
    parts = [gzip.compress(bytes([at]), mtime=0) for at in LONG]
    assert http.body(message(b"".join(parts), "gzip")) == LONG
    assert http.body(message(b"".join(parts) + b"\0\0", "gzip")) == LONG
    assert http.body(message(b"".join(parts), "gzip"), len(LONG)) == LONG


@pytest.mark.parametrize(
    ("payload", "declared"),
    [
        (gzip.compress(bytes(1 << 24)), "gzip"),
        (gzip.compress(gzip.compress(bytes(1 << 24))), "gzip, gzip"),
        (gzip.compress(bytes(1 << 24)), ""),
        (zlib.compress(bytes(1 << 24)), "deflate"),
        (raw_deflate(bytes(1 << 24)), "deflate"),
        (brotli.compress(bytes(1 << 24)), "br"),
        (zstandard.compress(bytes(1 << 24)), "zstd"),
        (bytes(2000), "identity"),
    ],
    ids=["gzip", "gzip in gzip", "undeclared", "deflate", "raw deflate", "br", "zstd", "identity"],  # not the sizes
)
def test_bombs_stop_at_the_limit(payload: bytes, declared: str) -> None:
    with pytest.raises(http.TooLargeError, match="over 1000 bytes"):
        http.body(message(payload, declared), 1000)


def test_members_without_end() -> None:
    """A copy of what follows at each member's end would take hours."""
    assert http.body(message(gzip.compress(b"") * 100_000, "gzip"), 1000) == b""


def test_codings_without_end() -> None:
    with pytest.raises(http.DamagedError, match="2000 codings are declared"):
        http.body(message(HTML, ", ".join(["gzip"] * 2000)), 1000)


@pytest.mark.parametrize("size", [1 << 10, 1 << 18])
def test_folded_lines(size: int) -> None:
    """Joined one by one the long header would take minutes."""
    head = b"HTTP/1.1 200 OK\r\nA: 0\r\n" + b" x\r\n" * size + b"A: 1\r\n y\r\nB:\r\n z\r\n"
    assert http.fields(head) == {"a": " ".join(["0", *"x" * size]), "b": "z"}


def test_a_header_without_end() -> None:
    content = b"HTTP/1.1 200 OK\r\n" + b"".join(b"x%d: y\r\n" % n for n in range(100_000))
    with pytest.raises(http.DamagedError, match="does not end within 1048576 bytes"):
        http.parse(content + b"\r\n<html>")
    assert http.parse(content[:1000]).payload == b""


def test_mutated_bodies() -> None:
    """No byte makes it fail otherwise than by saying so."""
    dice = random.Random(0)
    for coding, seed in itertools.product(CODINGS, range(150)):
        payload = bytearray(CODINGS[coding](LONG[: dice.randrange(1, 5000)]))
        if seed % 2:
            payload = bytearray(chunked(bytes(payload)))
        for _ in range(dice.randrange(1, 4)):
            payload[dice.randrange(len(payload))] = dice.randrange(256)
        with contextlib.suppress(http.DamagedError, http.TooLargeError):
            assert len(http.body(message(bytes(payload), coding, "chunked" if seed % 2 else ""), 10_000)) <= 10_000
