"""Text from pages: what each door lets through, what it says of the rest, and the cascade on real pages."""

import functools
import json
import random
import re
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import extract, language
from curate.extract import Extraction
from curate.reasons import BY_CODE, KEPT, Reason

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


def test_a_page_that_breaks_the_extractor_is_an_error_of_that_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(page: str) -> str:
        if "bad" in page:
            raise RecursionError("too deep")
        return page

    monkeypatch.setattr(extract, "_resiliparse", breaks)
    pages = pa.array([b"good", b"bad", b"fine"], pa.binary())
    table = extract.extract(pages, None, Extraction(extractor="resiliparse"))
    assert table["text"].to_pylist() == ["good", "", "fine"]
    assert table["error"].to_pylist() == [None, "RecursionError: too deep", None]
    assert table["reason"].to_pylist() == [KEPT] * 3
    assert extract.extract_text(pages, None, "resiliparse").to_pylist() == ["good", "", "fine"]


def test_text_nested_too_deep_reaches_no_parser_that_it_would_stop() -> None:
    body = b"<div>" * 100_000 + SENTENCE.encode() * 9
    assert "100000 elements deep" in str(run(body, "text/html", "resiliparse")["error"])
    assert run(body, "text/html", "blocks")["error"] is None


def test_prefilter_drops_before_the_extractor_and_sees_markup_alone() -> None:
    seen: list[object] = []

    def prefilter(fast: pa.StringArray, words: np.ndarray) -> np.ndarray:
        seen.extend([len(fast), words.tolist()])
        return np.array([extract.CODES[Reason.too_few_words], KEPT], np.uint8)

    pages = pa.array([b"<p>one two", b"plain", PAGE.encode()], pa.binary())
    table = extract.extract(
        pages, pa.array(["", "text/plain", None]), Extraction(extractor="blocks"), prefilter=prefilter
    )
    assert seen[0] == 2
    assert seen[1][0] == 2  # type: ignore[index]
    assert table["reason"].to_pylist() == [extract.CODES[Reason.too_few_words], KEPT, KEPT]
    assert table["text"].to_pylist()[:2] == ["", "plain"]


def test_rule_out_keeps_what_is_in_doubt() -> None:
    german = "Das ist ein deutscher Satz, der lang genug ist, um sicher erkannt zu werden. " * 5
    fast = pa.array([german, SENTENCE * 5, german[:60], "", SENTENCE])
    config = language.Language()
    reasons = extract.rule_out(
        fast, np.array([99, 99, 99, 99, 9]), wanted=config, identifier=language.load(config), min_words=50
    )
    named = [BY_CODE.get(code) for code in reasons.tolist()]
    assert named == [Reason.language_not_wanted, None, None, None, Reason.too_few_words]


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="must be one of blocks, trafilatura, resiliparse"):
        extract.Extraction(extractor="readability")
    with pytest.raises(ValueError, match="max_page_bytes is 0"):
        extract.Extraction(max_page_bytes=0)


@given(st.text())
def test_tidy(text: str) -> None:
    once = extract.tidy(text)
    assert extract.tidy(once) == once == unicodedata.normalize("NFC", once).strip()
    assert "\n\n\n" not in once
    assert not re.search(r"[^\S\n]\n", once)
    assert all(c in "\n\t" or unicodedata.category(c) != "Cc" for c in once)


@pytest.mark.parametrize("extractor", extract.EXTRACTORS)
@given(st.lists(st.sampled_from([PAGE, "<p>one", "", "caf\u00e9 <b>x", PAGE.replace("story", "tale")]), max_size=4))
def test_a_page_has_its_text_in_any_batch(extractor: str, pages: list[str]) -> None:
    bodies = [page.encode() for page in pages]
    together = extract.extract_text(pa.array(bodies, pa.binary()), None, extractor).to_pylist()
    assert together == [run(body, "", extractor)["text"] for body in bodies]


@pytest.mark.data("html_pages")
def test_the_cascade_keeps_whom_the_full_path_keeps(data_dir: Path) -> None:
    """Kept: English by 0.65 and at least 50 words (FineWeb's and Gopher's rules)."""
    rows = [json.loads(line) for line in (data_dir / "html_pages/manifest.jsonl").read_text().splitlines()]
    random.Random(7).shuffle(rows)
    pages = pa.array([(data_dir / "html_pages" / row["file"]).read_bytes() for row in rows[:400]], pa.binary())
    config = language.Language()
    model = language.load(config)
    rule_out = functools.partial(extract.rule_out, wanted=config, identifier=model, min_words=50)
    kept = []
    for prefilter in (None, rule_out):
        table = extract.extract(pages, prefilter=prefilter)
        assert table["error"].null_count == len(pages)
        judged = language.judge(*language.identify(table["text"], model), config)
        words = np.array([len(re.findall(r"\S*\w\S*", text)) for text in table["text"].to_pylist()])
        kept.append((judged == KEPT) & (words >= 50))
    full, cascade = kept
    assert full.sum() > 150
    assert (full & cascade).sum() >= 0.99 * (full | cascade).sum()
