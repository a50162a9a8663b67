"""Text from pages: what each door lets through, and what it says of the rest."""

import functools
import random
import re
import unicodedata
import unittest.mock
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import trafilatura
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import charset, extract, html, metadata
from curate.extract import Extraction
from curate.reasons import BY_CODE, CODES, KEPT, Reason

SENTENCE = "This is a sentence of the story, long enough to be taken for prose by anyone who reads it. "
PAGE = (
    "<html><head><title>The &amp; title</title></head><body><nav><a href=/>Home</a> <a href=/x>More</a></nav><article>"
    f"<h1>Heading</h1><p>First. {SENTENCE * 4}</p><p>Second. {SENTENCE * 4}</p></article>"
    "<footer>Copyright</footer></body></html>"
)


def run(body: bytes, content_type: str = "", extractor: str = "blocks", **options: Any) -> dict[str, object]:
    how = Extraction(extractor=extractor, **options)
    table = extract.extract(pa.array([body], pa.binary()), pa.array([content_type]), how)
    assert table.schema == extract.EXTRACTED
    row: dict[str, object] = table.to_pylist()[0]
    row["reason"] = BY_CODE.get(int(str(row["reason"])))
    return row


@pytest.mark.parametrize("extractor", extract.EXTRACTORS)
def test_every_extractor_finds_the_story(extractor: str) -> None:
    row = run(PAGE.encode(), "text/html", extractor)
    assert str(row["text"]).count(SENTENCE.strip()) == 8
    assert "Copyright" not in str(row["text"])
    assert (row["title"], row["charset"], row["replaced"]) == ("The & title", "utf-8", 0)
    assert (row["reason"], row["error"]) == (None, None)


def test_wet_takes_what_is_text_already() -> None:
    assert run(b"Text, as it is.", "text/plain", "wet")["text"] == "Text, as it is."
    row = run(PAGE.encode(), "text/html", "wet")
    assert (row["text"], row["reason"], row["error"]) == ("", Reason.not_text, None)
    with pytest.raises(ValueError, match="wet has neither favour nor markdown"):
        Extraction(extractor="wet", markdown=True)


@pytest.mark.parametrize("extractor", extract.EXTRACTORS)
@pytest.mark.parametrize("body", [b"<html></html>", b"<p>", b"<!-- x -->", b"<script>x</script>", b"\0" * 50 + b"<p>"])
def test_pages_without_text_say_so(extractor: str, body: bytes) -> None:
    row = run(body, "text/html", extractor)
    assert (row["text"], row["reason"], row["error"]) == ("", Reason.no_text, None)


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (b"", "text/html", Reason.empty_page),
        (b"%PDF-1.4 words", "text/html", Reason.not_text),
        (b"<p>x", "image/png", Reason.not_text),
        (b"p { color: red }", "text/css", Reason.not_text),
        (b"{}", "application/json; charset=utf-8", Reason.not_text),
        (b"\x01\x02\x03", "", Reason.not_text),
        (b"<rss><item>x", "application/xml", Reason.not_text),
        (b"x" * 101, "text/plain", Reason.too_large),
    ],
)
def test_pages_that_are_not_read(body: bytes, content_type: str, reason: Reason) -> None:
    row = run(body, content_type, max_page_bytes=100)
    assert (row["text"], row["reason"], row["charset"], row["error"]) == ("", reason, "", None)


@pytest.mark.parametrize(
    ("content_type", "head", "text"),
    [
        ("text/html; charset=utf-8", b"<p>", True),
        ("TEXT/HTML", b"\x93quoted\x94", True),
        ("application/xhtml+xml", b"<?xml", True),
        ("application/xml", b"<?xml?><html xmlns=x>", True),
        ("text/plain", b"words", True),
        ("text/plain", b"wo\0rds", False),
        ("text/plain", "\ufeffwords".encode("utf-16-le"), True),
        ("", b"just words", True),
        ("application/octet-stream", b"<!DOCTYPE html>\0", True),
        ("text/html", b"\x89PNG\r\n", False),
        ("text/html", b"PK\x03\x04", False),
        ("video/mp4", b"words", False),
    ],
)
def test_is_text(content_type: str, head: bytes, text: bool) -> None:
    assert extract.is_text(content_type, head) is text


def test_plain_text_passes_as_it_is() -> None:
    text = "A  line \r\n\n\n\n<p>no markup</p>\ttab\u00ad "
    assert run(text.encode(), "text/plain")["text"] == text
    row = run(b"words " * 40 + b"\xff words", "text/plain; charset=utf-8")
    assert row["reason"] is None
    assert run(b" \n ", "text/plain")["reason"] == Reason.no_text


def test_text_nested_too_deep_reaches_no_parser_that_it_would_stop() -> None:
    body = b"<div>" * 100_000 + SENTENCE.encode() * 9
    assert "100000 elements deep" in str(run(body, "text/html", "resiliparse")["error"])
    assert run(body, "text/html", "blocks")["error"] is None
    for limit, error in ((103, "text is 104 elements deep; trafilatura is given at most 103 (max_depth)"), (104, None)):
        page = b"<div>" * 101 + PAGE.encode()
        assert run(page, "text/html", "trafilatura", max_depth=limit)["error"] == error


def test_prefilter_drops_before_the_extractor_and_sees_markup_alone() -> None:
    seen: list[object] = []

    def prefilter(table: html.BlockTable, main: np.ndarray, places: np.ndarray) -> np.ndarray:
        seen.extend([table.num_pages, len(table.blocks), len(main), places.tolist()])
        return np.array([CODES[Reason.too_few_words], KEPT], np.uint8)

    pages = pa.array([b"<p>one two", b"plain", PAGE.encode()], pa.binary())
    table = extract.extract(
        pages, pa.array(["", "text/plain", None]), Extraction(extractor="blocks"), prefilter=prefilter
    )
    assert seen[0] == 2
    assert seen[1] == seen[2]
    assert seen[3] == [0, 2]
    assert table["reason"].to_pylist() == [CODES[Reason.too_few_words], KEPT, KEPT]
    assert table["text"].to_pylist()[:2] == ["", "plain"]


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="must be one of blocks, trafilatura, resiliparse"):
        extract.Extraction(extractor="readability")
    for limit in ("max_page_bytes", "max_depth", "max_page_seconds", "max_page_memory"):
        for value in (0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=f"{limit} is {value}; it must be above 0 and at most 1e.*, or null"):
                extract.Extraction(**{limit: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="favour is 'speed'; it must be one of precision, balanced, recall"):
        extract.Extraction(favour="speed")
    with pytest.raises(ValueError, match="resiliparse has neither favour nor markdown"):
        extract.Extraction(extractor="resiliparse", favour="recall")


@given(st.text())
def test_tidy(text: str) -> None:
    once = extract.tidy(text)
    assert extract.tidy(once) == once == unicodedata.normalize("NFC", once).strip()
    assert "\n\n\n" not in once
    assert not re.search(r"[^\S\n]\n", once)
    assert all(c in "\n\t" or unicodedata.category(c) != "Cc" for c in once)


SAMPLES = [
    (PAGE.encode(), "text/html"),
    (PAGE.replace("story", "tale").encode("utf-16"), ""),
    (PAGE.replace("story", "caf\u00e9").encode("latin-1"), "text/html; charset=latin1"),
    (PAGE.replace("story", "st\0ory").encode(), None),
    (b"\xef\xbb\xbf A  line\r\n", "text/plain"),
    (" caf\u00e9\n\n\n".encode("latin-1"), "text/plain"),
    (b" \n", "text/plain; charset=utf-8"),
    (b"<p>one", "TEXT/HTML"),
    (b"", ""),
    (b"%PDF-1.4", "application/pdf"),
    (b"<div>" * 1000 + SENTENCE.encode() * 9, "text/html"),
]


@functools.cache
def alone(sample: tuple[bytes, str | None], extractor: str) -> dict[str, Any]:
    pages, types = pa.array([sample[0]], pa.binary()), pa.array([sample[1]], pa.string())
    row: dict[str, Any] = extract.extract(pages, types, Extraction(extractor=extractor)).to_pylist()[0]
    return row


@pytest.mark.parametrize("extractor", extract.EXTRACTORS)
@given(st.lists(st.sampled_from(SAMPLES), max_size=9), st.integers(1, 9), st.integers(1, 4000), st.integers(0, 4))
@settings(deadline=None, max_examples=40)
def test_a_page_has_its_row_in_any_batch(
    extractor: str, samples: list[tuple[bytes, str | None]], most_pages: int, most_bytes: int, skip: int
) -> None:
    """Whatever the batch's size and order, wherever it is cut, and if it is itself cut from a larger array."""
    pages, types = pa.array([b for b, _ in samples], pa.binary())[skip:], pa.array([t for _, t in samples], pa.string())
    with (
        unittest.mock.patch.object(extract, "SLICE_PAGES", most_pages),
        unittest.mock.patch.object(extract, "SLICE_BYTES", most_bytes),
    ):
        table = extract.extract(pages, types[skip:], Extraction(extractor=extractor))
    assert table.schema == extract.EXTRACTED
    assert table.to_pylist() == [alone(sample, extractor) for sample in samples[skip:]]


HOSTILE = {
    "NUL": b"\0" * 9999,
    "NUL within": PAGE.replace("story", "st\0ory").encode(),
    "deep blocks": b"<div>" * 100_000 + SENTENCE.encode(),
    "deep inline": b"<b><font>" * 50_000 + SENTENCE.encode(),
    "deep tables": b"<table><tr><td>" * 30_000 + SENTENCE.encode(),
    "attribute of 50 MB": b'<p class="' + b"a " * (25 << 20) + b'">' + SENTENCE.encode() * 9,
    "open tags": b"<" * 300_000,
    "one tag": b"<p" + b" a=b" * 200_000,
    "comments": b"<!--" * 100_000,
    "bytes of no charset": b"<p>\x81\x8d\xff" + PAGE.encode() + b"\xc3",
    "half of UTF-16": PAGE.encode("utf-16")[:-1],
    "no tag": b"\xf0\x9f" * 999,
}


@pytest.mark.parametrize("extractor", extract.EXTRACTORS)
def test_hostile_pages_spoil_no_batch(extractor: str) -> None:
    bodies = [body for pair in zip([PAGE.encode()] * len(HOSTILE), HOSTILE.values(), strict=True) for body in pair]
    how = Extraction(extractor=extractor, max_page_bytes=None)
    rows = extract.extract(pa.array(bodies, pa.binary()), None, how).to_pylist()
    assert len({row["text"] for row in rows[::2]}) == 1
    assert rows[0]["text"].count(SENTENCE.strip()) == 8
    for name, row in zip(HOSTILE, rows[1::2], strict=True):
        assert bool(row["text"]) + (row["error"] is not None) + (row["reason"] != KEPT) == 1, name


def test_what_a_page_says_of_itself_is_read_if_asked() -> None:
    body = PAGE.replace("<head>", "<head><meta name=author content='A\u00ad. Writer'><link rel=canonical href=/x>")
    pages, urls = pa.array([body.encode(), b"plain"], pa.binary()), pa.array(["https://a.example/y?z", None])
    types = pa.array(["", "text/plain"])
    page, plain = extract.extract(pages, types, urls=urls).to_pylist()
    assert (page["title"], page["author"], page["canonical"]) == ("The & title", "A. Writer", "https://a.example/x")
    assert {plain[name] for name in metadata.METADATA.names} == {""}
    page, _ = extract.extract(pages, types, urls=urls, about=False).to_pylist()
    assert {page[name] for name in metadata.METADATA.names} == {""}


def test_markdown_and_favour_are_each_extractors_own() -> None:
    body = f"<p><b>Bold.</b> {SENTENCE * 4}</p><ol start=3><li>{SENTENCE * 4}</li></ol>{PAGE}".encode()
    assert "3. This is" in str(run(body, markdown=True)["text"])
    assert str(run(body, "", "trafilatura", markdown=True)["text"]).startswith("# Heading\n")
    for favour in ("precision", "recall"):
        wanted = trafilatura.extract(body.decode(), fast=True, include_comments=False, **{f"favor_{favour}": True})
        assert run(body, "", "trafilatura", favour=favour)["text"] == extract.tidy(wanted)


def assert_trafilaturas_text(paths: list[Path]) -> None:
    for path in paths:
        body = path.read_bytes()
        page = charset.decode(body).text.replace("\0", "")
        wanted = trafilatura.extract(page, fast=True, include_comments=False, with_metadata=False, deduplicate=False)
        text = extract.extract_text(pa.array([body], pa.binary()), None, "trafilatura")[0].as_py()
        assert text == extract.tidy(wanted or ""), path


def html_paths(data_dir: Path) -> list[Path]:
    return sorted(path for name in ("html_gold", "html_pages") for path in (data_dir / name).rglob("*.htm*"))


@pytest.mark.data("html_gold", "html_pages")
def test_trafilaturas_text_is_its_own(data_dir: Path) -> None:
    assert_trafilaturas_text(random.Random(5).sample(html_paths(data_dir), 150))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.data("html_gold", "html_pages")
def test_trafilaturas_text_is_its_own_on_all_pages(data_dir: Path) -> None:
    assert_trafilaturas_text(html_paths(data_dir))
