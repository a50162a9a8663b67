"""The report page: every stage and every sum, self-contained, safe against what stands in the data."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.rows: list[list[str]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def page(finished: Any) -> Page:
    return Page((finished.root / "report.html").read_text())


def test_funnel_shows_every_stage_and_sum(page: Page, finished: Any) -> None:
    stages = finished.manifest["stages"]
    rows = {row[0].split()[0]: row for row in page.rows if row and row[0].split()[:1]}
    for name, entry in stages.items():
        dropped = sum(entry["dropped"].values())
        numbers = [f"{number:,}" for number in (entry["read"], entry["kept"], dropped, entry["failed"])]
        assert rows[name][1:5] == numbers, name
    assert "read = kept + dropped + failed" in " ".join(page.text)


def test_reasons_and_sources(page: Page, finished: Any) -> None:
    text = " ".join(" ".join(page.text).split())
    cells = [[cell.strip() for cell in row] for row in page.rows]
    for entry in finished.manifest["stages"].values():
        for reason, number in entry["dropped"].items():
            assert any(row[:2] == [reason, f"{number:,}"] for row in cells), reason
    for source in ("crawl", "webtext", "wikipedia", "books"):
        assert any(row[:1] == [source] for row in cells), source
    assert "vocab_size: 512" in text
    assert "a.warc.gz" in text


def test_no_reference_leaves_the_page(page: Page) -> None:
    assert not {"script", "link", "img", "iframe", "object", "embed", "base"} & set(page.tags)
    loading = [one for one in page.attributes if one[1] in ("src", "href", "srcset", "action", "data", "xlink:href")]
    assert loading == []
    styles = [value for _, name, value in page.attributes if name == "style"]
    assert not any("url(" in style for style in styles)


def test_urls_and_texts_are_escaped(page: Page, finished: Any) -> None:
    (url,) = finished.corpus.planted["markup"]
    raw = (finished.root / "report.html").read_text()
    assert "<script" not in raw
    assert url in "".join(page.text)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert not re.search(r"@import|url\(", raw)


def test_rebuilt_from_the_directory_alone(copy: Path, finished: Any, curate: Any) -> None:
    (copy / "report.html").unlink()
    said = curate("report", copy)
    assert (said.code, said.out.strip()) == (0, str(copy / "report.html"))
    again = (copy / "report.html").read_text().replace("of copy<", "of run<")
    assert again == (finished.root / "report.html").read_text()


def test_a_run_that_failed_has_a_report_too(copy: Path, corpus: Any, curate: Any) -> None:
    (copy / "report.html").unlink()
    tokenizer = copy.parent / "tokenizer.json"
    words = ["run", corpus.recipe, "--set", f"tokenize.tokenizer={tokenizer}", "--out", copy, "--quiet"]
    said = curate(*words)
    assert (said.code, f"cannot read '{tokenizer}': no such file" in said.err) == (1, True)
    assert "mix" in json.loads((copy / "manifest.json").read_text())["stages"]  # nothing was begun
    tokenizer.write_text("{}")
    said = curate(*words)
    assert said.code == 1
    assert str(tokenizer) in said.err
    assert "Traceback" not in said.err
    rows = Page((copy / "report.html").read_text()).rows
    shown = {row[0].split()[0] for row in rows if row and row[0].split()[:1]}
    assert {"ingest", "dedup"} <= shown
    assert "tokenize" not in shown
    assert "mix" not in json.loads((copy / "manifest.json").read_text())["stages"]


def test_stages_that_are_off_say_why(copy: Path, corpus: Any, curate: Any) -> None:
    said = curate("run", corpus.recipe, "--set", "decontaminate.paths=[]", "--out", copy, "--quiet")
    assert said.code == 0
    text = " ".join(Page((copy / "report.html").read_text()).text)
    assert "off: decontaminate.paths is empty: no benchmark to look for" in text
