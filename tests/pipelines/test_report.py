"""The report page: every stage and every sum, self-contained, safe against what stands in the data."""

import json
import re
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from curate import storage
from pipelines import report


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


def test_what_was_fetched_and_what_was_set_aside(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    counts = {"fetch_requests": 12345, "fetch_retries": 17, "fetch_bytes": 6_400_000_000, "fetch_cached_bytes": 512}
    lost = {"set_aside_splits": 2, "set_aside_bytes": 134_000_000}
    manifest["stages"]["ingest"]["extra"] |= counts | lost
    (copy / "manifest.json").write_text(json.dumps(manifest))
    page = Page(Path(report.write(str(copy))).read_text())
    rows = {row[0]: row[1:] for row in page.rows if row}
    assert rows["stage"] == ["bytes", "cached bytes", "requests", "retries"]
    assert rows["ingest"][:3] == ["6.4 GB", "512 B", "12,345"]
    assert rows["ingest"][3].split()[0] == "17"
    assert "ingest: 2 splits are set aside, 134.0 MB of input" in " ".join(page.text)
    said = StringIO()
    report.show(str(copy), Console(file=said, width=200))
    assert "fetched by ingest: 6.4 GB, 512 B cached, 12,345 requests, 17 retries" in said.getvalue()
    assert "ingest: 2 splits (134.0 MB) set aside" in said.getvalue()


def test_many_files_are_drawn_from(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums come from the manifest; samples from as many files as may be opened."""
    monkeypatch.setattr(report, "MOST_FILES", 3)
    opened: list[str] = []
    read = storage.read_table

    def note(path: str, columns: list[str] | None = None) -> Any:
        opened.append(path.rsplit("/", 2)[-2])
        return read(path, columns)

    monkeypatch.setattr(storage, "read_table", note)
    first = Path(report.write(str(copy))).read_text()
    assert {kind: opened.count(kind) for kind in ("dropped", "corpus", "scores")} == dict.fromkeys(
        ("dropped", "corpus", "scores"), 3
    )
    assert Path(report.write(str(copy))).read_text() == first
