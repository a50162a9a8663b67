"""WARC and WET files as Common Crawl writes them: one gzip member for each record, requests and metadata between pages.

Dates and record ids follow from the place of the record, so that the same records give the same bytes. Damage is done
to a member on its way into the file.
"""

import base64
import hashlib
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

CRLF = b"\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a server answered: the body as sent, its headers beside those that follow from it."""

    url: str
    body: bytes
    status: str = "200 OK"
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Damage = Callable[[bytes], bytes]


def gzip_member(data: bytes) -> bytes:
    """The data as one gzip member without name or time (RFC 1952)."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


class Archive:
    """A file under way; `data` is its bytes so far."""

    def __init__(self, name: str):
        self.name = name
        self._members: list[bytes] = []
        self._size = 0
        self._count = 0

    @property
    def data(self) -> bytes:
        return b"".join(self._members)

    @property
    def size(self) -> int:
        return self._size

    def info(self, conforms: str) -> None:
        """The warcinfo record that opens the file."""
        body = f"software: curate demo\r\nformat: WARC File Format 1.0\r\nisPartOf: DEMO\r\nconformsTo: {conforms}\r\n"
        self.record("warcinfo", body.encode(), {"WARC-Filename": self.name, "Content-Type": "application/warc-fields"})

    def page(self, answer: Answer, damage: Damage | None = None) -> tuple[int, int]:
        """The request, the response and the metadata of one fetch; returns the span of the first two in the file."""
        host, _, path = answer.url.removeprefix("https://").partition("/")
        target = {"WARC-Target-URI": answer.url}
        request = f"GET /{path} HTTP/1.1\r\nUser-Agent: demo\r\nAccept-Encoding: identity\r\nHost: {host}\r\n\r\n"
        asked = {**target, "Content-Type": "application/http; msgtype=request"}
        start, _ = self.record("request", request.encode(), asked)
        headers = {"Server": "demo", "Content-Length": str(len(answer.body)), **answer.headers}
        if answer.content_type:
            headers["Content-Type"] = answer.content_type
        head = f"HTTP/1.1 {answer.status}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        response = head.encode() + CRLF + answer.body
        kind = {"Content-Type": "application/http; msgtype=response", "WARC-Payload-Digest": sha1(answer.body)}
        _, stop = self.record("response", response, {**target, **kind}, damage)
        if damage is not truncate:  # after a break-off comes nothing
            self.record("metadata", b"fetchTimeMs: 87\r\n", {**target, "Content-Type": "application/warc-fields"})
        return start, stop

    def record(
        self, kind: str, block: bytes, headers: Mapping[str, str], damage: Damage | None = None
    ) -> tuple[int, int]:
        """One record of the type `kind` as a member of its own; returns its span in the file."""
        minutes, seconds = divmod(self._count, 60)
        own = {
            "WARC-Type": kind,
            "WARC-Date": f"2024-05-{18 + minutes // 1440:02}T{minutes // 60 % 24:02}:{minutes % 60:02}:{seconds:02}Z",
            "WARC-Record-ID": f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{self.name}#{self._count}')}>",
            "Content-Length": str(len(block)),
            "WARC-Block-Digest": sha1(block),
            **headers,
        }
        head = b"WARC/1.0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in own.items()).encode()
        record = head + CRLF + block + CRLF + CRLF
        member = gzip_member(record) if damage is None else damage(record)
        start = self._size
        self._members.append(member)
        self._size += len(member)
        self._count += 1
        return start, self._size


def sha1(data: bytes) -> str:
    """A digest as WARC headers write it."""
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def corrupt(record: bytes) -> bytes:
    """A member whose compressed bytes are spoilt in the middle."""
    member = bytearray(gzip_member(record))
    middle = len(member) // 2
    member[middle : middle + 32] = bytes(byte ^ 0xA5 for byte in member[middle : middle + 32])
    return bytes(member)


def truncate(record: bytes) -> bytes:
    """A member that ends halfway, as a download that broke off."""
    member = gzip_member(record)
    return member[: len(member) // 2]


def bad_version(record: bytes) -> bytes:
    """A sound member whose record does not begin as one."""
    return gzip_member(record.replace(b"WARC/1.0", b"<html>", 1))


def too_long(record: bytes) -> bytes:
    """A sound member whose record promises more bytes than it has."""
    head, _, rest = record.partition(b"Content-Length: ")
    length, _, tail = rest.partition(CRLF)
    return gzip_member(head + b"Content-Length: %d" % (int(length) + 100_000) + CRLF + tail)
