"""A block of pages to documents: text, language, redaction, rules, signatures, in that order, for the whole block.

Each page ends in exactly one place: a document, a drop with its reason, or a failure. Pure: no files, no Beam.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate import blocklist, draw, extract, language, pii, words
from curate.blocklist import BlockList
from curate.cascade import Cascade
from curate.dedup import exact, minhash
from curate.document import DOCUMENTS, SAMPLES, SIGNATURES, Page
from curate.extract import Extraction
from curate.filters import Judgement, Rule, c4, fineweb, gopher
from curate.filters.papers import Filters
from curate.language import Language
from curate.pii import Redaction
from curate.reasons import BY_CODE, CODES, KEPT, Reason

Mask = npt.NDArray[np.bool_]

# Columns of the documents by the names that `extract` has for them: a document's own date and language are others.
EXTRACTED_AS = {
    "text": "text",
    "title": "title",
    "author": "author",
    "published": "date",
    "declared_language": "language",
    "canonical_url": "canonical",
}
FORESEEN = "foreseen by the cascade"  # the detail of a drop on the text of its fast pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingest(Extraction):
    """How pages become documents, beginning with how they become text."""

    __pydantic_config__ = {"extra": "forbid"}

    split_bytes: int = 64 << 20  # of an archive as stored: one task
    block_pages: int = 256  # pages in memory at a time
    shard_bytes: int = 128 << 20  # text in one documents/*.parquet
    language: Language = Language()
    urls: BlockList = BlockList()
    redaction: Redaction | None = Redaction()
    sample_rate: float = 0.1  # of the unfiltered crawl, kept aside as the quality model's negatives

    def __post_init__(self) -> None:
        Extraction.__post_init__(self)  # super() does not know the class that slots make
        if not 0 < self.sample_rate <= 1:
            raise ValueError(f"sample_rate is {self.sample_rate}; it must be in (0, 1]")
        for name in ("split_bytes", "block_pages", "shard_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True, slots=True)
class Entry:
    """A page with the names that the run gives it."""

    id: str
    source: str
    file: str
    page: Page


@dataclass(frozen=True, slots=True)
class Fate:
    """Where a page of the block went, if not into the documents."""

    entry: Entry
    reason: Reason | None  # None: it failed
    detail: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """`documents` (row-aligned with `signatures`) and `fates` close over the block; `sample` is drawn beside them."""

    documents: pa.RecordBatch
    signatures: pa.RecordBatch
    sample: pa.RecordBatch
    fates: list[Fate]
    counts: dict[str, int]  # bytes read, lines cut, things redacted ...


class Block:
    """The pages still alive, with their columns; `drop` thins all columns at once."""

    def __init__(self, entries: Sequence[Entry]):
        self.entries = list(entries)
        self.columns: dict[str, pa.Array] = {}
        self.fates: list[Fate] = []
        self.counts: Counter[str] = Counter()

    def drop(self, gone: Mask, reason: Sequence[Reason | None], detail: Sequence[str]) -> None:
        """Send the pages where `gone` holds to their fates; a reason of None means failed."""
        if not gone.any():
            return
        self.fates += [Fate(self.entries[i], reason[i], detail[i]) for i in np.flatnonzero(gone).tolist()]
        self.entries = [entry for entry, out in zip(self.entries, gone, strict=True) if not out]
        keep = pa.array(~gone)
        self.columns = {name: column.filter(keep) for name, column in self.columns.items()}

    def part(self, chosen: Mask) -> "Block":
        """A block of those pages alone."""
        part = Block([entry for entry, one in zip(self.entries, chosen, strict=True) if one])
        part.columns = {name: column.filter(pa.array(chosen)) for name, column in self.columns.items()}
        return part

    def join(self, parts: Sequence["Block"]) -> None:
        """Hold what is left of all the parts, in the order from before, and what became of the rest."""
        place = {id(entry): i for i, entry in enumerate(self.entries)}
        entries = [entry for part in parts for entry in part.entries]
        order = np.argsort([place[id(entry)] for entry in entries]) if entries else np.zeros(0, np.int64)
        self.entries = [entries[i] for i in order.tolist()]
        for name in self.columns:
            whole = pa.concat_arrays([part.columns[name] for part in parts])
            self.columns[name] = whole.take(pa.array(order))
        for part in parts:
            self.fates += part.fates
            self.counts.update(part.counts)

    def judged(self, code: npt.NDArray[np.uint8], detail: Sequence[str]) -> Mask:
        """Drop by codes of `reasons.CODES`; bool[n]: who is left."""
        self.drop(code != KEPT, [BY_CODE.get(int(one)) for one in code], detail)
        return np.equal(code, KEPT)


@dataclass(frozen=True, slots=True)
class Rules:
    """All that a block needs, models loaded: made once for a task.

    `filters` None leaves the rules on URL, language and quality out: for sources that are curated already.
    """

    settings: Ingest
    filters: Filters | None
    signing: minhash.MinHash
    seed: int
    identifier: language.Identifier
    blocker: blocklist.Blocker

    @classmethod
    def load(cls, settings: Ingest, filters: Filters | None, signing: minhash.MinHash, seed: int) -> "Rules":
        """Read the models and lists that the settings name.

        Raises:
            CurateError: if one of them is missing or damaged.
        """
        models = language.load(settings.language), blocklist.load(settings.urls)
        return cls(settings, filters, signing, seed, *models)

    def ingest_block(self, entries: Sequence[Entry]) -> Outcome:
        """The block's pages to documents and fates. What becomes of a page does not depend on its block."""
        block = Block(entries)
        if self.filters is not None:
            self._block_urls(block)
        self._extract_text(block)
        self._identify_language(block)
        sample = self._draw_sample(block)
        self._redact(block)
        table = words.table(block.columns["text"])
        if self.filters is not None:
            table = self._filter_by_language(block, self.filters, table)
        return Outcome(self._documents(block, table), self._sign(block, table), sample, block.fates, block.counts)

    def _block_urls(self, block: Block) -> None:
        why = self.blocker.why(pa.array([entry.page.url for entry in block.entries], pa.string()))
        gone = why.is_valid().to_numpy(zero_copy_only=False)
        block.drop(gone, [Reason.blocked_url] * len(why), why.to_pylist())

    def _extract_text(self, block: Block) -> None:
        bodies = pa.array([entry.page.body for entry in block.entries], pa.binary())
        types = pa.array([entry.page.content_type for entry in block.entries], pa.string())
        urls = pa.array([entry.page.url for entry in block.entries], pa.string())
        block.counts["bytes"] += sum(len(entry.page.body) for entry in block.entries)
        found = extract.extract(bodies, types, self.settings, urls=urls, prefilter=self._prefilter(block))
        block.counts["replaced_characters"] += pc.sum(found["replaced"]).as_py() or 0
        block.columns = {name: found[said] for name, said in EXTRACTED_AS.items()}
        errors = found["error"].to_pylist()
        failed = np.array([error is not None for error in errors], bool)
        block.drop(failed, [None] * len(errors), [error or "" for error in errors])
        code = found["reason"].to_numpy()[~failed]
        block.judged(code, ["" if BY_CODE.get(one) in extract.REASONS else FORESEEN for one in code.tolist()])

    def _prefilter(self, block: Block) -> extract.Prefilter | None:
        """The cascade's fast pass, where the recipe asks for it and there is a rule that it can foresee.

        Before `blocks`, which is that fast pass, it would save nothing. Pages drawn for the sample meet no rule.
        """
        how = self.settings
        if not how.cascade or how.extractor in ("blocks", extract.WET) or self.filters is None:
            return None
        cascade, drawn = Cascade(self.settings.language, self.identifier, self.filters), self._drawn(block)
        return lambda table, main, places: cascade.rule_out(table, main, drawn[places])

    def _identify_language(self, block: Block) -> None:
        languages, scores = language.identify(block.columns["text"], self.identifier)
        block.columns |= {"language": languages, "language_score": pa.array(scores)}
        if self.filters is not None:
            code = language.judge(languages, scores, self.settings.language)
            block.judged(code, [f"{one} {score:.2f}" for one, score in zip(languages.to_pylist(), scores, strict=True)])

    def _draw_sample(self, block: Block) -> pa.RecordBatch:
        """Crawl pages before any rule on quality: what GPT-3's classifier told from good text."""
        rows = {
            "id": pa.array([entry.id for entry in block.entries], pa.string()),
            "url": pa.array([entry.page.url for entry in block.entries], pa.string()),
            "source": pa.array([entry.source for entry in block.entries], pa.string()),
            "text": block.columns["text"],
        }
        return pa.RecordBatch.from_arrays([rows[name] for name in SAMPLES.names], schema=SAMPLES).filter(
            pa.array(self._drawn(block))
        )

    def _drawn(self, block: Block) -> Mask:
        """bool[n]: the crawl's pages that the sample takes, drawn by id."""
        ids = [entry.id for entry in block.entries]
        chosen: Mask = draw.draws(ids, self.seed, "sample") < self.settings.sample_rate
        chosen &= np.array([entry.source == "crawl" for entry in block.entries], bool)
        return chosen

    def _redact(self, block: Block) -> None:
        if self.settings.redaction is not None:
            block.columns["text"], counts = pii.redact(block.columns["text"], self.settings.redaction)
            block.counts.update({f"redacted_{kind}": int(number.sum()) for kind, number in counts.items()})

    def _filter_by_language(self, block: Block, filters: Filters, table: words.WordTable) -> words.WordTable:
        """The rules of each text's language; the table of those that stay, in the order they had."""
        codes = [code if code in filters.languages else "" for code in block.columns["language"].to_pylist()]
        if len(set(codes)) <= 1:
            return self._filter(block, filters.languages.get(codes[0], filters) if codes else filters, table)
        parts = []
        for code in sorted(set(codes)):
            part = block.part(np.array([one == code for one in codes], bool))
            self._filter(part, filters.languages.get(code, filters), words.table(part.columns["text"]))
            parts.append(part)
        block.join(parts)
        return words.table(block.columns["text"])

    def _filter(self, block: Block, filters: Filters, table: words.WordTable) -> words.WordTable:
        """Each paper's rules on the word table of those that are left; the table of those that stay."""

        def judge(verdict: Judgement, rules: Sequence[Rule], config: object) -> None:
            nonlocal table
            limits = {CODES[rule.reason]: f"{rule.limit} is {getattr(config, rule.limit)}" for rule in rules}
            told = zip(verdict.reason.tolist(), verdict.value, strict=True)
            keep = block.judged(verdict.reason, [f"{value:.4g}, {limits.get(code)}" for code, value in told])
            if not keep.all():
                table = words.table(block.columns["text"])

        if filters.gopher is not None:
            judge(gopher.judge(table, filters.gopher), gopher.RULES, filters.gopher)
        if filters.c4 is not None:
            block.columns["text"], table, whole, cut = c4.clean(block.columns["text"], table, filters.c4)
            cut_by = np.bincount(cut, minlength=len(c4.LINE_CODES) + 1)
            block.counts.update({f"cut_lines_{why}": int(cut_by[code]) for why, code in c4.LINE_CODES.items()})
            judge(c4.judge(table, filters.c4, whole), c4.RULES, filters.c4)
        if filters.fineweb is not None:
            judge(fineweb.judge(table, filters.fineweb), fineweb.RULES, filters.fineweb)
        return table

    def _documents(self, block: Block, table: words.WordTable) -> pa.RecordBatch:
        pages = [entry.page for entry in block.entries]

        def either(known: Sequence[str], said: pa.Array) -> list[str]:
            """What the source knows goes before what the page says."""
            return [ours or theirs for ours, theirs in zip(known, said.to_pylist(), strict=True)]

        values = {
            **block.columns,
            "id": [entry.id for entry in block.entries],
            "source": [entry.source for entry in block.entries],
            "file": [entry.file for entry in block.entries],
            "url": [page.url for page in pages],
            "date": [page.date for page in pages],
            "offset": [page.offset for page in pages],
            "title": either([page.title for page in pages], block.columns["title"]),
            "author": either([page.author for page in pages], block.columns["author"]),
            "words": np.diff(table.doc_words).astype(np.int32),
        }
        return pa.RecordBatch.from_arrays(
            [pa.array(values[field.name], field.type) for field in DOCUMENTS], schema=DOCUMENTS
        )

    def _sign(self, block: Block, table: words.WordTable) -> pa.RecordBatch:
        minima = minhash.to_column(minhash.signatures(table, self.signing), minhash.present(table))
        contents = exact.content_hashes(block.columns["text"])
        return pa.RecordBatch.from_arrays([contents, minima], schema=SIGNATURES)
