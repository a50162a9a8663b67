"""Archives to filtered Parquet, beside datatrove with the same extractor, language model and rules, one core.

    python benchmarks/ingest_vs_datatrove.py [ARCHIVE ...]

ARCHIVE is a WARC file; by default the crawl that `curate demo` builds. Ours is the stage ingest as a run has it,
receipts and all: read, block list, text, language, redaction, Gopher, C4 and FineWeb rules, signatures; with
Trafilatura behind the cascade, with Trafilatura alone, and with `blocks`. datatrove, in the order of FineWeb's script:
its reader, Trafilatura (favour_precision) in its sandbox, language, Gopher repetition and quality, C4, FineWeb, its
Parquet writer; nothing is redacted or signed. Each side is a process of its own, and what it takes before its first
real archive, imports, models and compiled code, is counted apart.

Then whom they keep: with the cascade and without, ours and theirs, and both sides' rules on the same texts, those that
datatrove extracted, with every class of difference.

Departures that make datatrove run on a bare machine: URL filters are left out on both sides (ours has an empty list).
Its language filter asks for a fork of fastText and downloads a model: it gets the model that ours reads, through the
binding beneath. Where cchardet and magic (a system library) are missing, by which its WarcReader guesses charsets and
types, a loop over warcio reads instead. It asks for a Trafilatura below 1.12: both sides run the installed one.
Archives at whose damage its reader stops are left out.
"""

import collections
import concurrent.futures
import importlib.metadata
import importlib.util
import multiprocessing
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import fasttext_pybind
import numpy as np
import pyarrow.parquet as pq
from _clock import arguments, least, one_core, report, seconds
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    LanguageFilter,
)
from datatrove.pipeline.readers import WarcReader
from datatrove.pipeline.writers import ParquetWriter
from loguru import logger
from resiliparse.parse.encoding import detect_encoding
from warcio.archiveiterator import ArchiveIterator
from warcio.exceptions import ArchiveLoadFailed

from curate import ingest, language, sources
from curate.dedup.minhash import MinHash
from curate.document import Page, document_id
from curate.filters.gopher import Gopher
from curate.filters.papers import Filters
from pipelines import demo
from pipelines import ingest as stage
from pipelines.context import Context
from pipelines.recipe import Recipe

MARKUP = ("text/html", "application/xhtml+xml")
HAS_READER = all(map(importlib.util.find_spec, ("cchardet", "magic")))
QUICK, WARM = 20, 8  # pages
RULES = Filters(gopher=Gopher(marks_are_words=True))  # as datatrove counts words


class Side(NamedTuple):
    """What a process reports: processor seconds before and for the archives; URL and text of the documents kept."""

    start_up: float
    took: float
    kept: dict[str, str]


class Binding:
    """What datatrove's language filter asks of fastText; fastText's own class fails on numpy 2."""

    def __init__(self, path: str):
        self._model = fasttext_pybind.fasttext()
        self._model.loadModel(path)

    def predict(self, text: str, k: int) -> tuple[list[str], np.ndarray]:
        found = self._model.predict(text, k, 0.0, "strict") or [(0.0, "__label__none")]  # a text without a word
        scores, labels = zip(*found, strict=True)
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


def extractor() -> Trafilatura:
    return Trafilatura(favour_precision=True, timeout=60)  # a busy machine is no reason to lose a page


def filters() -> list[Any]:
    """datatrove's, in the order of FineWeb's script."""
    return [
        Languages(),
        GopherRepetitionFilter(),
        GopherQualityFilter(),
        C4QualityFilter(filter_no_terminal_punct=False),
        FineWebQualityFilter(),
    ]


def ingest_by_datatrove(steps: list[PipelineStep], paths: list[Path], out: Path) -> dict[str, str]:
    """URL and text of the documents kept."""
    kept = {}
    with ParquetWriter(str(out)) as writer:
        for path in paths:
            documents = read(path)
            for step in steps:
                documents = step.run(documents, 0, 1)
            for document in documents:
                writer.write(document)
                kept[document.metadata["url"]] = document.text
    return kept


def ingest_by_us(settings: ingest.Ingest, paths: list[Path], out: Path) -> dict[str, str]:
    """The same of ours."""
    crawl = {"crawl": {"paths": [str(path) for path in paths]}}
    context = Context(str(out), "ingest", Recipe(sources=crawl, ingest=settings, filters=RULES), frozenset({"karma"}))
    for task in stage.plan(context):
        stage.ingest_split(context, task)
    tables = [pq.read_table(path, columns=["url", "text"]) for path in sorted(out.rglob("documents/*.parquet"))]
    return {url: text for table in tables for url, text in zip(*table.to_pydict().values(), strict=True)}


def work(ours: ingest.Ingest | None, paths: list[Path], first: Path, rounds: int) -> Side:
    """One side, datatrove's where there are no settings of ours, in a process that does nothing else."""
    one_core()
    logger.disable("datatrove")
    run = partial(ingest_by_datatrove, [extractor(), *filters()]) if ours is None else partial(ingest_by_us, ours)
    with tempfile.TemporaryDirectory() as folder:
        run([first], Path(folder, "warm"))
        start_up = seconds()
        kept: list[dict[str, str]] = []
        took = least(lambda: kept.append(run(paths, Path(folder, str(len(kept))))), rounds)
    return Side(start_up, took, kept[0])


def extract_by_datatrove(paths: list[Path]) -> dict[str, str]:
    """URL and text of every page in which datatrove's Trafilatura finds some, kept or not."""
    logger.disable("datatrove")
    step = extractor()
    return {found.metadata["url"]: found.text for path in paths for found in step.run(read(path), 0, 1)}


def judge_by_datatrove(texts: dict[str, str]) -> dict[str, str]:
    """The filter that takes each text, with its reason; empty: kept."""
    steps, verdicts = filters(), {}
    for url, text in texts.items():
        document, why = Document(text=text, id=url, metadata={"url": url}), ""
        for step in steps:
            found = step.filter(document)
            if found is False or (isinstance(found, tuple) and not found[0]):
                why = f"{step.name.split(' ', 1)[-1]}: {found[1] if isinstance(found, tuple) else 'no'}"
                break
        verdicts[url] = why
    return verdicts


def judge_by_us(texts: dict[str, str]) -> dict[str, str]:
    """The reason for which each text goes; empty: kept."""
    rules = ingest.Rules.load(ingest.Ingest(redaction=None), RULES, MinHash(), seed=0)
    pages = [Page(i, text.encode(), url, "", "text/plain") for i, (url, text) in enumerate(texts.items())]
    verdicts = dict.fromkeys(texts, "")
    entries = [ingest.Entry(document_id("crawl", "a", page.offset), "crawl", "a", page) for page in pages]
    for start in range(0, len(entries), 256):
        for fate in rules.ingest_block(entries[start : start + 256]).fates:
            verdicts[fate.entry.page.url] = fate.reason.value if fate.reason else "failed"
    return verdicts


def apart(call: Callable[..., Any], *args: Any) -> Any:
    """The call's result, from a new process."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(call, *args).result()


def shorten(path: Path, pages: int, folder: Path) -> Path:
    """A copy that ends before the archive's page of that number; the archive itself where it has no more."""
    for number, page in enumerate(record for record in sources.open("warc", str(path)) if isinstance(record, Page)):
        if number == pages:
            short = folder / f"{len(list(folder.iterdir()))}-{path.name}"
            short.write_bytes(path.read_bytes()[: page.offset])
            return short
    return path


def agree(name: str, one: set[str], other: set[str]) -> None:
    """Of the pages that one side or the other keeps, those that both keep."""
    shared = len(one & other) / max(1, len(one | other))
    print(f"kept, {name}: {len(one)} and {len(other)}, {len(one & other)} of them the same: {shared:.1%}")


def compare(paths: list[Path], folder: Path, rounds: int) -> None:
    good = [path for path in paths if is_readable(path)]
    if not good:
        raise SystemExit("datatrove can read none of the archives to its end")
    pages = sum(1 for path in good for _ in read(path))
    size = sum(path.stat().st_size for path in good) / 1e6
    print(f"{len(good)} archives, {size:.1f} MB, {pages} pages; {len(paths) - len(good)} left out for damage")
    reader = "WarcReader" if HAS_READER else "a loop over warcio"
    print(f"both sides with Trafilatura {importlib.metadata.version('trafilatura')}; datatrove reads by {reader}")
    first = shorten(good[0], WARM, folder)
    of_ours = {
        "trafilatura": ingest.Ingest(extractor="trafilatura"),
        "trafilatura, cascade off": ingest.Ingest(extractor="trafilatura", cascade=False),
        "blocks": ingest.Ingest(),
    }
    theirs: Side = apart(work, None, good, first, rounds)
    print(f"datatrove: {pages / theirs.took:.0f} pages/s a core, start-up {theirs.start_up:.1f} s")
    sides: dict[str, Side] = {}
    for name, settings in of_ours.items():
        side = sides[name] = apart(work, settings, good, first, rounds)
        print(
            f"curate, {name}: {pages / side.took:.0f} pages/s a core, start-up {side.start_up:.1f} s, "
            f"ratio {theirs.took / side.took:.1f}"
        )
    kept = {name: set(side.kept) for name, side in sides.items()}
    agree("cascade on and off", kept["trafilatura"], kept["trafilatura, cascade off"])
    agree("curate with trafilatura and datatrove", kept["trafilatura"], set(theirs.kept))
    agree("curate with blocks and datatrove", kept["blocks"], set(theirs.kept))
    same_texts(apart(extract_by_datatrove, good))
    report("ingest_blocks", theirs.took / sides["blocks"].took)
    report("ingest_vs_datatrove", theirs.took / sides["trafilatura"].took)


def same_texts(texts: dict[str, str]) -> None:
    """Both sides' rules on the same texts, and how they differ."""
    theirs, ours = apart(judge_by_datatrove, texts), apart(judge_by_us, texts)
    same = sum(bool(theirs[url]) == bool(ours[url]) for url in texts)
    print(f"the same {len(texts)} texts: {same / max(1, len(texts)):.1%} of the decisions agree")
    agree("of the same texts", {url for url in texts if not ours[url]}, {url for url in texts if not theirs[url]})
    different = [(theirs[url], ours[url], url) for url in texts if bool(theirs[url]) != bool(ours[url])]
    classes = collections.Counter((their or "kept", our or "kept") for their, our, _ in different)
    for (their, our), number in classes.most_common():
        example = next(url for one, other, url in different if (one or "kept", other or "kept") == (their, our))
        print(f"  {number:5} datatrove: {their}; curate: {our}; {example}")


def main() -> None:
    args = arguments(__doc__, "WARC files")
    logger.disable("datatrove")
    print(one_core())
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(path) for path in args.paths]
        if not paths:
            demo.build(folder)
            paths = sorted(Path(folder, "crawl").glob("*.warc.gz"))
        cut = Path(folder, "cut")
        cut.mkdir()
        if args.quick:
            paths = [shorten(path, QUICK, cut) for path in paths[:2]]
        compare(paths, cut, 1 if args.quick else 2)


if __name__ == "__main__":
    main()
