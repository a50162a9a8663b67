"""What was planted in a folder of inputs, and whether a run found it: one verdict for each planted record."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

import pyarrow as pa
from rich.table import Table as RichTable

from curate import storage
from curate import url as urls
from curate.errors import InputError
from curate.reasons import Reason

# Sources of pages: a crawl page with karma moves from the first to the second.
PAGES = frozenset({"crawl", "webtext"})
# Stages that take good documents too, by design: a draw, a mixture. Neither proves nor disproves what was planted.
DRAWN = frozenset({Reason.low_quality, Reason.not_needed, Reason.not_drawn})
EXAMPLES = 3
EXAMPLE_CHARS = 42


class Outcome(StrEnum):
    """What should become of a planted record."""

    kept = "kept"  # in the corpus
    dropped = "dropped"  # in dropped/, for one of `reasons`
    duplicate = "duplicate"  # all of a cluster but one in removals/, naming a survivor of the same cluster
    cut = "cut"  # the planted span in cuts/, the rest kept
    error = "error"  # in errors/, within the span of bytes
    anywhere = "anywhere"  # in exactly one place, whichever


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One planted record: a page by its URL, a damaged record by its place.

    `file` is a base name; `start` and `stop` span the record and the one before it, as stored: a reader may not be able
    to tell where the first ends. `contains` must stand in the text that the run keeps, `lacks` must not. `survivor` is
    the URL that must outlive the cluster; empty: any member may.
    """

    kind: str
    outcome: Outcome
    url: str = ""
    source: str = "crawl"
    reasons: tuple[str, ...] = ()
    cluster: str = ""
    survivor: str = ""
    file: str = ""
    start: int = 0
    stop: int = 0
    contains: str = ""
    lacks: str = ""


@dataclass(frozen=True, slots=True)
class Truth:
    """All that was written into a folder."""

    plants: tuple[Plant, ...]

    def save(self, path: str) -> None:
        """Write the truth as JSON, empty fields left out."""
        rows = [{name: value for name, value in asdict(plant).items() if value} for plant in self.plants]
        storage.write_json(path, {"version": 1, "plants": rows})

    @classmethod
    def load(cls, path: str) -> "Truth":
        """The truth that `save` wrote.

        Raises:
            InputError: if the file is missing or is none of ours.
        """
        value = storage.read_json(path)
        names = {item.name for item in fields(Plant)}
        if not isinstance(value, dict) or value.get("version") != 1:
            raise InputError(f"{path} is no truth of version 1: build the demo's inputs again")
        plants = []
        for row in value["plants"]:
            if not names.issuperset(row):
                raise InputError(f"{path} has unknown fields {sorted(set(row) - names)}: build the demo's inputs again")
            outcome, reasons = Outcome(row.pop("outcome")), tuple(row.pop("reasons", ()))
            plants.append(Plant(outcome=outcome, reasons=reasons, **row))
        return cls(tuple(plants))


@dataclass(slots=True)
class Row:
    """The verdicts on one kind: planted = found + missed + drawn."""

    kind: str
    outcome: Outcome
    planted: int = 0
    found: int = 0
    missed: int = 0
    drawn: int = 0  # taken by the quality draw or the mixture before it could be told
    examples: list[str] = field(default_factory=list)  # of what was missed


@dataclass(slots=True)
class Precision:
    """Of what a stage took, how much had been planted for it."""

    stage: str
    taken: int = 0
    planted: int = 0
    examples: list[str] = field(default_factory=list)  # of what it took besides


@dataclass(frozen=True, slots=True)
class Comparison:
    """The planted truth beside what a run found."""

    rows: list[Row]
    precision: list[Precision]
    unchecked: list[str]  # folders that the run does not have

    @property
    def missed(self) -> int:
        return sum(row.missed for row in self.rows)


@dataclass(slots=True)
class _Trace:
    """What the run directory says of one (source, URL)."""

    corpus: list[tuple[str, str]] = field(default_factory=list)  # (source, text)
    dropped: list[str] = field(default_factory=list)  # reasons
    removed: list[tuple[str, str]] = field(default_factory=list)  # (reason, the survivor's URL)
    cuts: int = 0

    @property
    def told(self) -> str:
        parts = [f"kept as {source}" for source, _ in self.corpus] + self.dropped
        parts += [f"{reason} of {survivor}" for reason, survivor in self.removed]
        return ", ".join(parts) or "no trace"

    @property
    def places(self) -> int:
        return len(self.corpus) + len(self.dropped) + len(self.removed)


def compare(folder: str, run_dir: str) -> Comparison:
    """The truth of `folder` beside the documents, drops, errors, removals, cuts and corpus of `run_dir`.

    A folder that the run lacks is named in `unchecked`, and the kinds that only it could prove are left out.

    Raises:
        InputError: if the truth, or a file of the run, is missing or damaged; if the run has no corpus.
    """
    truth = Truth.load(storage.join(folder, "truth.json"))
    tables = {name: _table(run_dir, name) for name in ("documents", "dropped", "errors", "removals", "cuts", "corpus")}
    if tables["corpus"] is None:
        raise InputError(f"{run_dir} holds no corpus/*.parquet: run the recipe to its end first")
    traces = _traces(tables)
    errors = [(posixpath.basename(row["file"]), row["offset"]) for row in tables["errors"] or ()]
    needs = {Outcome.duplicate: "removals", Outcome.cut: "cuts", Outcome.error: "errors", Outcome.dropped: "dropped"}
    unchecked = sorted(name for name in set(needs.values()) if tables[name] is None)
    clusters: dict[str, list[Plant]] = defaultdict(list)
    for plant in truth.plants:
        if plant.outcome is Outcome.duplicate:
            clusters[plant.cluster].append(plant)
    rows: dict[str, Row] = {}
    for plant in truth.plants:
        if needs.get(plant.outcome, "") in unchecked:
            continue
        trace = traces.get(_key(plant.source, plant.url), _Trace())
        row = rows.setdefault(plant.kind, Row(plant.kind, plant.outcome))
        row.planted += 1
        if plant.outcome is Outcome.error:
            right: bool | None = any(plant.file == file and plant.start <= at < plant.stop for file, at in errors)
            told = "found" if right else "no such dead letter"
        elif plant.outcome is Outcome.duplicate:
            right, told = _duplicate(plant, trace, clusters[plant.cluster], traces)
        else:
            right, told = _single(plant, trace)
        row.found += right is True
        row.drawn += right is None
        row.missed += right is False
        if right is False and len(row.examples) < EXAMPLES:
            row.examples.append(f"{plant.url or f'{plant.file} at {plant.start}'}: {told}")
    return Comparison(list(rows.values()), _precision(truth, traces, unchecked), unchecked)


def _key(source: str, url: str) -> tuple[str, str]:
    """By what a record is known in all files; links are written down normalised, pages as they were found."""
    return "pages" if source in PAGES else source, urls.normalise(url) or url


def _table(run_dir: str, name: str) -> list[dict[str, Any]] | None:
    """The rows of all the folder's shards, or None where there is no shard."""
    paths = storage.glob(storage.join(run_dir, name, "*.parquet"))
    if not paths:
        return None
    columns = {
        "documents": ["id", "url", "source"],
        "dropped": ["url", "source", "reason"],
        "errors": ["file", "offset"],
        "removals": ["id", "reason", "survivor_url"],
        "cuts": ["id"],
        "corpus": ["url", "source", "text"],
    }[name]
    rows: list[dict[str, Any]] = pa.concat_tables([storage.read_table(path, columns) for path in paths]).to_pylist()
    return rows


def _traces(tables: dict[str, list[dict[str, Any]] | None]) -> dict[tuple[str, str], _Trace]:
    traces: dict[tuple[str, str], _Trace] = defaultdict(_Trace)
    by_id = {row["id"]: _key(row["source"], row["url"]) for row in tables["documents"] or ()}
    for row in tables["corpus"] or ():
        traces[_key(row["source"], row["url"])].corpus.append((row["source"], row["text"]))
    for row in tables["dropped"] or ():
        # A page's request and metadata records bear its URL too; what dedup removes is told again in removals/.
        if row["reason"] not in (Reason.not_a_page, Reason.exact_duplicate, Reason.near_duplicate):
            traces[_key(row["source"], row["url"])].dropped.append(row["reason"])
    for row in tables["removals"] or ():
        traces[by_id[row["id"]]].removed.append((row["reason"], row["survivor_url"]))
    for row in tables["cuts"] or ():
        traces[by_id[row["id"]]].cuts += 1
    return dict(traces)


def _single(plant: Plant, trace: _Trace) -> tuple[bool | None, str]:
    """Whether one page fared as it should (None: a draw took it first), and what became of it."""
    if trace.places != 1:
        return False, f"in {trace.places} places: {trace.told}"
    if plant.outcome is Outcome.anywhere:
        return True, trace.told
    if plant.outcome is Outcome.dropped:
        return bool(set(plant.reasons) & set(trace.dropped)), trace.told
    if DRAWN.issuperset(trace.dropped) and trace.dropped:
        return None, trace.told
    if not trace.corpus:
        return False, trace.told
    source, text = trace.corpus[0][0], " ".join(trace.corpus[0][1].split())
    if plant.source not in ("crawl", source):
        return False, f"{trace.told}, not as {plant.source}"
    if plant.contains not in text:
        return False, f"kept without {plant.contains!r}"
    if plant.lacks and plant.lacks in text:
        return False, f"kept with {plant.lacks!r}"
    return (plant.outcome is not Outcome.cut or trace.cuts > 0), f"{trace.told}, {trace.cuts} cuts"


def _duplicate(
    plant: Plant, trace: _Trace, cluster: list[Plant], traces: dict[tuple[str, str], _Trace]
) -> tuple[bool | None, str]:
    """A removed member names a survivor of its cluster; a kept member is the only one kept."""
    urls = {member.url for member in cluster}
    kept = [member.url for member in cluster if traces.get(_key(member.source, member.url), _Trace()).corpus]
    if trace.places != 1:
        return False, f"in {trace.places} places: {trace.told}"
    if trace.removed:
        survivor = trace.removed[0][1]
        return survivor in urls and plant.survivor in ("", survivor), trace.told
    if trace.dropped:
        return (None if DRAWN.issuperset(trace.dropped) else False), trace.told
    return kept == [plant.url] and plant.survivor in ("", plant.url), f"kept, with {len(kept) - 1} of its cluster"


def _precision(truth: Truth, traces: dict[tuple[str, str], _Trace], unchecked: Iterable[str]) -> list[Precision]:
    planted: dict[Outcome, set[tuple[str, str]]] = defaultdict(set)
    for plant in truth.plants:
        planted[plant.outcome].add(_key(plant.source, plant.url))
    found = [Precision("removals"), Precision("cuts")]
    for key, trace in sorted(traces.items()):
        pairs = ((trace.removed, Outcome.duplicate), (trace.cuts, Outcome.cut))
        for stage, (taken, outcome) in zip(found, pairs, strict=True):
            if taken:
                stage.taken += 1
                stage.planted += key in planted[outcome]
                if key not in planted[outcome] and len(stage.examples) < EXAMPLES:
                    stage.examples.append(f"{key[1]}: {trace.told}")
    return [stage for stage in found if stage.stage not in unchecked]


def _short(example: str) -> str:
    """An example that leaves room for the counts: the end of its URL, and what became of it."""
    address, colon, fate = example.partition(": ")
    return f"...{address[-24:]}{colon}{fate}"[:EXAMPLE_CHARS]


def render(comparison: Comparison) -> RichTable:
    """The comparison as a table for the terminal."""
    table = RichTable(
        title="Planted truth and what the run found",
        title_justify="left",
        title_style="bold",
        caption_justify="left",
        show_footer=True,
        box=None,
        pad_edge=False,
        header_style="dim",
    )
    total = Counter[str]()
    for row in comparison.rows:
        total.update(planted=row.planted, found=row.found, missed=row.missed, drawn=row.drawn)
    table.add_column("kind", footer="in all", no_wrap=True)
    table.add_column("should be", no_wrap=True)
    for name in ("planted", "found", "missed", "drawn"):
        table.add_column(name, justify="right", footer=str(total[name]), no_wrap=True)
    table.add_column("missed, for example", no_wrap=True, overflow="ellipsis")
    for row in comparison.rows:
        counts = map(str, (row.planted, row.found, row.missed, row.drawn))
        table.add_row(row.kind, row.outcome, *counts, *map(_short, row.examples[:1]))
    for stage in comparison.precision:
        share = f"{stage.planted / stage.taken:.1%}" if stage.taken else "nothing taken"
        table.add_row(
            f"precision of {stage.stage}",
            share,
            str(stage.planted),
            str(stage.taken),
            "",
            "",
            *map(_short, stage.examples[:1]),
        )
    table.caption = "drawn: taken by the quality draw or the mixture before it could be told"
    if comparison.unchecked:
        table.caption += f"; not checked, for the run has none: {', '.join(comparison.unchecked)}"
    return table
