"""Archives to filtered documents, beside datatrove with the same extractor, language model and rules, one core.

    python benchmarks/ingest.py [PATH ...]

PATH is a WARC file; by default the crawl that `curate demo` builds. Ours, as the stage ingest works through a split:
read, block list, text, language, redaction, Gopher, C4 and FineWeb rules, signatures; with the recipe's extractor,
Trafilatura behind the cascade, and with `blocks`. datatrove, in the order of FineWeb's script: Trafilatura
(favour_precision) in its sandbox, language, Gopher repetition and quality, C4, FineWeb; nothing redacted or signed.

Departures that make datatrove run on a bare machine: URL filters are left out on both sides (ours has an empty list).
Its language filter asks for a fork of fastText and downloads a model: it gets the model that ours reads, through the
binding beneath. Where cchardet and magic (a system library) are missing, by which its WarcReader guesses charsets and
types, a loop over warcio reads instead. It asks for a Trafilatura below 1.12: both sides run the installed one.
Archives at whose damage its reader stops are left out.
"""

import collections
import importlib.metadata
import importlib.util
import itertools
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import fasttext_pybind
import numpy as np
from _clock import arguments, least, one_core, report
from datatrove.data import Document
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.readers import WarcReader
from loguru import logger
from resiliparse.parse.encoding import detect_encoding
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from curate import ingest, language, sources
from curate.dedup.minhash import MinHash
from curate.document import Page, document_id
from curate.extract import Extraction
from curate.filters.gopher import Gopher
from pipelines import demo

MARKUP = ("text/html", "application/xhtml+xml")
HAS_READER = all(map(importlib.util.find_spec, ("cchardet", "magic")))
QUICK, WARM = 20, 8  # pages of an archive


class Binding:
    """What datatrove's language filter asks of fastText; fastText's own class fails on numpy 2."""

    def __init__(self, path: str):
        self._model = fasttext_pybind.fasttext()
        self._model.loadModel(path)

    def predict(self, text: str, k: int) -> tuple[list[str], np.ndarray]:
        scores, labels = zip(*self._model.predict(text, k, 0.0, "strict"), strict=True)
        return list(labels), np.array(scores)


class Languages(LanguageFilter):
    """datatrove's language filter with lid.176 as it is installed here."""

    def __new__(cls, *args: object, **settings: object) -> "Languages":
        return object.__new__(cls)  # past the check for the fork of fastText

    def __init__(self) -> None:
        super().__init__(languages=["en"], language_threshold=0.65)
        self.model._model = Binding(language.find_model())


def is_readable(path: Path) -> bool:
    """Whether datatrove's way of reading comes through the archive: the first damage stops it."""
    try:
        collections.deque(read(path), maxlen=0)
    except (ArchiveLoadFailed, EOFError, OSError, zlib.error):
        return False
    return True


def read(path: Path) -> Iterable[Document]:
    """The archive's pages for datatrove."""
    if HAS_READER:
        return WarcReader(str(path.parent), glob_pattern=path.name).run(None, 0, 1)
    return read_plainly(path)


def read_plainly(path: Path) -> Iterator[Document]:
    """As WarcReader, but for the type, which the server's header tells, and the guess at a charset, Resiliparse's."""
    with path.open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type != "response" or not record.http_headers:
                continue
            served = record.http_headers.get_header("Content-Type") or ""
            if served.partition(";")[0].strip().lower() not in MARKUP:
                continue
            body = record.content_stream().read()
            try:
                text = body.decode()
            except UnicodeDecodeError:
                text = body.decode(detect_encoding(body), "replace")
            url = record.rec_headers.get_header("WARC-Target-URI")
            yield Document(text=text, id=record.rec_headers.get_header("WARC-Record-ID"), metadata={"url": url})


def ingest_by_datatrove(paths: list[Path], most: int | None) -> set[str]:
    """URLs of the documents that datatrove keeps of the first `most` pages of each archive."""
    steps = (
        Trafilatura(favour_precision=True, timeout=60),  # a busy machine is no reason to lose a page
        Languages(),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    )
    kept = set()
    for path in paths:
        documents = itertools.islice(read(path), most)
        for step in steps:
            documents = step.run(documents, 0, 1)
        kept |= {document.metadata["url"] for document in documents}
    return kept


def ingest_by_us(paths: list[Path], most: int | None, extractor: str) -> tuple[set[str], int]:
    """(URLs of the documents that we keep, how many pages there were)."""
    settings = ingest.Ingest(extraction=Extraction(extractor=extractor))
    rules = ingest.Rules.load(settings, ingest.Filters(gopher=Gopher(marks_are_words=True)), MinHash(), seed=0)
    kept, number = set(), 0
    for path in paths:
        found = (record for record in sources.open("warc", str(path)) if isinstance(record, Page))
        pages = (
            ingest.Entry(document_id("crawl", path.name, page.offset), "crawl", path.name, page)
            for page in itertools.islice(found, most)
        )
        while block := list(itertools.islice(pages, settings.block_pages)):
            number += len(block)
            kept |= set(rules.ingest_block(block).documents["url"].to_pylist())
    return kept, number


def timed(work: Callable[..., Any], paths: list[Path], most: int | None, *more: str) -> tuple[Any, float]:
    """(what it gives, the least seconds of two), after a turn in which models and compiled code are loaded."""
    work(paths[:1], WARM, *more)
    found: list[Any] = []
    took = least(lambda: found.append(work(paths, most, *more)), rounds=2)
    return found[0], took


def compare(paths: list[Path], most: int | None, core: str) -> None:
    good = [path for path in paths if is_readable(path)]
    if not good:
        raise SystemExit("datatrove can read none of the archives to its end")
    size = sum(path.stat().st_size for path in good) / 1e6
    print(f"{len(good)} archives, {size:.1f} MB, {len(paths) - len(good)} left out for damage; {core}")
    reader = "WarcReader" if HAS_READER else "a loop over warcio"
    print(f"both sides with Trafilatura {importlib.metadata.version('trafilatura')}; datatrove reads by {reader}")
    theirs, peer = timed(ingest_by_datatrove, good, most)
    ratios = {}
    for extractor in ("trafilatura", "blocks"):
        (mine, number), ours = timed(ingest_by_us, good, most, extractor)
        ratios[extractor] = peer / ours
        print(
            f"curate, {extractor}: {number} pages, {number / ours:.0f} a second; kept {len(mine)}, of them "
            f"{len(mine & theirs)} by datatrove too; ratio {ratios[extractor]:.1f}"
        )
    print(f"datatrove: {number / peer:.0f} pages a second; kept {len(theirs)}")
    report("ingest", ratios["trafilatura"])


def main() -> None:
    args = arguments(__doc__, "WARC files")
    logger.disable("datatrove")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(path) for path in args.paths]
        if not paths:
            demo.build(folder)
            paths = sorted(Path(folder, "crawl").glob("*.warc.gz"))
        compare(paths, QUICK if args.quick else None, one_core())


if __name__ == "__main__":
    main()
