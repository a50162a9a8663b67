"""The report of a run: one self-contained page, and the funnel in the terminal. Reads the run directory alone."""

import html
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from rich.console import Console
from rich.table import Table

from curate import draw, mix, storage
from curate.errors import UsageError
from curate.reasons import Reason
from pipelines.mix import PLANS
from pipelines.progress import clock, size

SAMPLES = 6  # texts shown of each kind
CHARS = 400
REASONS_SHOWN = 12
ERRORS_SHOWN = 50
MOST_FILES = 500  # of a kind that are opened for a sample or a histogram; of more, as many are drawn by key
UNITS = {"karma": "links", "train": "examples"}  # what a stage counts, where it is not documents

CSS = """
:root{--ink:#1c2733;--soft:#5b6b7b;--line:#dde4ea;--page:#fff;--kept:#2f7d5b;--drop:#c98a2b;--fail:#b23b3b;--tint:#f5f8fa}
@media (prefers-color-scheme:dark){:root{--ink:#e4eaf0;--soft:#9aa9b8;--line:#34404c;--page:#161c22;--kept:#58b68c;
--drop:#d9a654;--fail:#de7373;--tint:#1e262e}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:1040px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2.4rem 0 .6rem}p.lead,.soft{color:var(--soft)}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:.85rem}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.bar{display:flex;height:14px;border-radius:3px;overflow:hidden;background:var(--tint);min-width:200px}
.k{background:var(--kept)}.d{background:var(--drop)}.f{background:var(--fail)}
.legend span{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin:0 .35em 0 1em}
.off{color:var(--drop)}.lost{color:var(--fail);font-weight:600}code,pre{font:13px/1.45 ui-monospace,monospace}
pre{background:var(--tint);padding:.8rem;overflow:auto;border-radius:4px}
.text{white-space:pre-wrap;background:var(--tint);border-radius:4px;padding:.5rem .7rem;margin:.2rem 0 .8rem}
.wide{overflow-x:auto}details{margin:.4rem 0}summary{cursor:pointer}.url{overflow-wrap:anywhere}
"""


def write(root: str) -> str:
    """Build report.html in the run directory; its path.

    Raises:
        UsageError: if the directory holds no manifest.
    """
    manifest = _manifest(root)
    stages = manifest["stages"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Report of {_e(root.rsplit('/', 1)[-1])}</title><style>{CSS}</style>",
        f"<h1>Report of {_e(root.rsplit('/', 1)[-1])}</h1>{_lead(stages)}",
        _set_aside(stages),
        "<h2>Funnel</h2>",
        _funnel(stages),
        "<h2>Why documents went</h2>",
        "".join(_reasons(name, entry) for name, entry in stages.items() if entry["dropped"]),
        "<h2>By source</h2>",
        _sources(stages),
        _fetched(stages),
        _benchmarks(root),
        _mixture(root),
        _model(root),
        _scores(root),
        _kept(root),
        _dropped(root, stages),
        _errors(root, stages),
        f"<h2>Recipe</h2><details><summary>all keys</summary><pre>"
        f"{_e(yaml.safe_dump(manifest['recipe'], sort_keys=False, allow_unicode=True))}</pre></details>",
    ]
    path = storage.join(root, "report.html")
    with storage.atomic(path) as file:
        file.write("\n".join(part for part in parts if part).encode())
    return path


def show(root: str, console: Console) -> None:
    """The funnel, and where the results lie."""
    stages = _manifest(root)["stages"]
    table = Table(title=None, box=None, pad_edge=False, header_style="dim")
    for name in ("stage", "read", "kept", "dropped", "failed", "most of it"):
        table.add_column(name, justify="left" if name in ("stage", "most of it") else "right")
    for name, entry in stages.items():
        if entry.get("off"):
            table.add_row(name, "", "", "", "", f"[yellow]off:[/] {entry['off']}")
            continue
        top = sorted(entry["dropped"].items(), key=lambda item: -item[1])[:3]
        counts = [f"{n:,}" for n in (entry["read"], entry["kept"], sum(entry["dropped"].values()), entry["failed"])]
        table.add_row(name, *counts, ", ".join(f"{reason} {number:,}" for reason, number in top))
    console.print(table)
    for name, numbers in fetched(stages).items():
        console.print(f"\nfetched by {name}: " + ", ".join(_said(key, n) for key, n in numbers.items()))
    for name, number, lost in _lost(stages):
        splits = f"{number:,} split{'s' if number > 1 else ''} ({size(lost)})"
        console.print(f"\n[red]{name}: {splits} set aside[/], named in {storage.join(root, 'errors')}")
    if "tokenize" in stages:
        console.print(f"\ntokens  {stages['tokenize']['extra'].get('tokens', 0):,} in {storage.join(root, 'tokens')}")
    console.print(f"report  {storage.join(root, 'report.html')}")


def _manifest(root: str) -> dict[str, Any]:
    path = storage.join(root, "manifest.json")
    if not storage.exists(path):
        raise UsageError(f"{root} holds no manifest.json: name the directory of a run of which a stage has finished")
    value: dict[str, Any] = storage.read_json(path)
    return value


def _lead(stages: dict[str, Any]) -> str:
    read = stages.get("ingest", {}).get("read", 0)
    last = next((stages[name] for name in ("tokenize", "mix", "dedup", "score", "ingest") if name in stages), None)
    if last is None:
        return ""
    share = f", {last['kept'] / read:.1%} of what was read" if read else ""
    spent = clock(sum(entry["seconds"] for entry in stages.values()))
    tokens = stages.get("tokenize", {}).get("extra", {}).get("tokens")
    end = f" They are {tokens:,} tokens." if tokens else ""
    return f"<p class=lead>{read:,} records read, {last['kept']:,} documents kept{share}.{end} {spent} of work.</p>"


def _funnel(stages: dict[str, Any]) -> str:
    rows = []
    for name, entry in stages.items():
        if entry.get("off"):
            rows.append(f"<tr><td>{name}<td colspan=6 class=off>off: {_e(entry['off'])}")
            continue
        dropped = sum(entry["dropped"].values())
        whole = max(1, entry["read"])
        bar = "".join(
            f"<div class={kind} style='width:{100 * number / whole:.2f}%' title='{title} {number:,}'></div>"
            for kind, number, title in (
                ("k", entry["kept"], "kept"),
                ("d", dropped, "dropped"),
                ("f", entry["failed"], "failed"),
            )
        )
        numbers = "".join(f"<td class=n>{n:,}" for n in (entry["read"], entry["kept"], dropped, entry["failed"]))
        unit = f" <span class=soft>({UNITS[name]})</span>" if name in UNITS else ""
        rows.append(f"<tr><td>{name}{unit}{numbers}<td><div class=bar>{bar}</div><td class=n>{clock(entry['seconds'])}")
    head = "<th>stage<th class=n>read<th class=n>kept<th class=n>dropped<th class=n>failed<th>share<th class=n>time"
    legend = (
        "<p class='soft legend'>read = kept + dropped + failed at every stage."
        "<span class=k></span>kept<span class=d></span>dropped<span class=f></span>failed (see errors)</p>"
    )
    return f"<div class=wide><table><tr>{head}{''.join(rows)}</table></div>{legend}"


def _reasons(name: str, entry: dict[str, Any]) -> str:
    ordered = sorted(entry["dropped"].items(), key=lambda item: (-item[1], item[0]))
    most = max(number for _, number in ordered)
    rows = "".join(
        f"<tr><td><code>{reason}</code><td class=n>{number:,}<td class=n>{number / max(1, entry['read']):.1%}"
        f"<td style='width:45%'><div class=bar><div class=d style='width:{100 * number / most:.1f}%'></div></div>"
        for reason, number in ordered
    )
    open_ = " open" if name in ("ingest", "dedup") else ""
    total = f"{sum(number for _, number in ordered):,}"
    head = "<th>reason<th class=n>number<th class=n>of read<th>"
    return f"<details{open_}><summary>{name}: {total} dropped</summary><table><tr>{head}{rows}</table></details>"


def _sources(stages: dict[str, Any]) -> str:
    names = [name for name in stages if name not in UNITS and not stages[name].get("off")]
    sources = sorted({source for name in names for source in stages[name]["sources"]})
    if not sources:
        return "<p class=soft>no source had a record</p>"
    head = "".join(f"<th class=n>{name}" for name in names)
    rows = "".join(
        f"<tr><td>{_e(source)}"
        + "".join(f"<td class=n>{stages[name]['sources'].get(source, {}).get('kept', 0):,}" for name in names)
        for source in sources
    )
    says = "<p class=soft>documents kept after each stage</p>"
    return f"{says}<div class=wide><table><tr><th>source{head}{rows}</table></div>"


def fetched(stages: dict[str, Any]) -> dict[str, dict[str, int]]:
    """By stage that read from afar what its tasks counted: requests, retries, bytes ..."""
    prefix = "fetch_"
    found = {
        name: {
            key.removeprefix(prefix).replace("_", " "): n
            for key, n in sorted(entry["extra"].items())
            if key.startswith(prefix)
        }
        for name, entry in stages.items()
    }
    return {name: counts for name, counts in found.items() if counts}


def _fetched(stages: dict[str, Any]) -> str:
    found = fetched(stages)
    if not found:
        return ""
    keys = sorted({key for counts in found.values() for key in counts})
    head = "".join(f"<th class=n>{_e(key)}" for key in keys)
    rows = "".join(
        f"<tr><td>{name}" + "".join(f"<td class=n>{_amount(key, counts.get(key, 0))}" for key in keys)
        for name, counts in found.items()
    )
    says = "<p class=soft>from web servers, by tasks that came to their end</p>"
    return f"<h2>Fetched</h2>{says}<div class=wide><table><tr><th>stage{head}{rows}</table></div>"


def _lost(stages: dict[str, Any]) -> list[tuple[str, int, int]]:
    """(stage, splits set aside, their bytes)."""
    extras = {name: entry["extra"] for name, entry in stages.items() if entry["extra"].get("set_aside_splits")}
    return [(name, extra["set_aside_splits"], extra["set_aside_bytes"]) for name, extra in extras.items()]


def _set_aside(stages: dict[str, Any]) -> str:
    return "".join(
        f"<p class=lost>{name}: {number:,} {'split is' if number == 1 else 'splits are'} set aside, {size(lost)} of "
        "input that nobody has read: the workers that were at it died. Each part is one failed record below."
        for name, number, lost in _lost(stages)
    )


def _mixture(root: str) -> str:
    """What the plan asked for beside what stands in the training shards."""
    path = storage.join(root, "mix.json")
    if not storage.exists(path):
        return ""
    plan = PLANS.validate_python(storage.read_json(path))
    shards = storage.join(root, "tokens", "manifest.json")
    written = storage.read_json(shards)["splits"]["train"]["sources"] if storage.exists(shards) else {}
    achieved = {source: (counts["documents"], counts["tokens"]) for source, counts in written.items()}
    columns = (
        *("available_documents", "available_tokens", "asked_weight"),
        *(f"{when}_{what}" for when in ("planned", "achieved") for what in ("weight", "epochs", "tokens")),
    )
    rows = "".join(
        f"<tr><td>{_e(source)}" + "".join(f"<td class=n>{_number(values[name])}" for name in columns)
        for source, values in mix.compare(plan, achieved).items()
    )
    head = (
        "<tr><th><th class=n colspan=2>there is<th class=n>asked"
        "<th class=n colspan=3>planned<th class=n colspan=3>written"
        "<tr><th>source<th class=n>documents<th class=n>tokens<th class=n>weight<th class=n>weight<th class=n>epochs"
        "<th class=n>tokens<th class=n>weight<th class=n>epochs<th class=n>tokens"
    )
    notes = "".join(f"<p class=soft>{_e(note)}</p>" for note in plan.notes)
    return f"<h2>Mixture</h2><div class=wide><table>{head}{rows}</table></div>{notes}"


def _benchmarks(root: str) -> str:
    """How much of each benchmark stood in the documents, before the cuts: as GPT-3's table C.1."""
    path = storage.join(root, "benchmarks", "table.parquet")
    if not storage.exists(path):
        return ""
    rows = "".join(
        f"<tr><td>{_e(row['benchmark'])}<td class=n>{row['texts']:,}<td class=n>{row['contaminated']:,}"
        f"<td class=n>{1 - row['contaminated'] / max(1, row['texts']):.1%}"
        for row in storage.read_table(path).to_pylist()
    )
    head = "<tr><th>file<th class=n>texts of enough words<th class=n>found in documents<th class=n>clean"
    return f"<h2>Benchmarks</h2><p class=soft>before the cuts, by shared grams</p><table>{head}{rows}</table>"


def _model(root: str) -> str:
    """Its examples, and how it did on those that were held out."""
    path = storage.join(root, "model", "card.json")
    if not storage.exists(path):
        return ""
    card = storage.read_json(path)
    rows = {"kind": card["kind"], "alpha": card["alpha"]}
    for name, table in card["examples"].items():
        rows[name] = ", ".join(f"{source} {number:,}" for source, number in table.items())
    judged = {name: value for name, value in card["held_out"].items() if isinstance(value, int | float)}
    rows |= {f"held out: {name.replace('_', ' ')}": value for name, value in judged.items()}
    lines = "".join(f"<tr><td>{_e(name)}<td>{_number(value)}" for name, value in rows.items())
    return f"<h2>Quality model</h2><p class=soft>judged on examples held out of its training</p><table>{lines}</table>"


def _scores(root: str) -> str:
    """Histograms of the score for kept and dropped documents."""
    counts = {True: np.zeros(20, int), False: np.zeros(20, int)}
    for path in _some(root, "scores"):
        table = storage.read_table(path)
        score = table["score"].to_numpy()
        kept = table["kept"].to_numpy(zero_copy_only=False)
        for side in counts:
            counts[side] += np.histogram(score[(kept == side) & ~np.isnan(score)], bins=20, range=(0, 1))[0]
    if not (counts[True].sum() + counts[False].sum()):
        return ""
    most = max(int((counts[True] + counts[False]).max()), 1)
    bars = []
    for i in range(20):
        kept, dropped = (int(120 * counts[side][i] / most) for side in (True, False))
        tip = f"{i / 20:.2f} to {(i + 1) / 20:.2f}: {counts[True][i]:,} kept, {counts[False][i]:,} dropped"
        bars.append(
            f"<g><title>{tip}</title><rect x={i * 24} y={120 - kept} width=20 height={kept} fill='var(--kept)'/>"
            f"<rect x={i * 24} y={120 - kept - dropped} width=20 height={dropped} fill='var(--drop)'/></g>"
        )
    axis = "".join(f"<text x={i * 96} y=136 font-size=11 fill='var(--soft)'>{i / 5:.1f}</text>" for i in range(6))
    return (
        "<h2>Quality scores</h2><p class=soft>documents by score; the draw keeps nearly all near 1 and a few near 0</p>"
        f"<svg viewBox='0 0 500 140' width=620 role=img aria-label='histogram of scores'>{''.join(bars)}{axis}</svg>"
    )


def _kept(root: str) -> str:
    """Texts of the corpus, drawn by key so that two reports of one run show the same."""
    rows: list[tuple[int, dict[str, Any]]] = []
    for path in _some(root, "corpus"):
        table = storage.read_table(path, ["id", "url", "source", "text"])
        if len(table):
            rank = draw.keys(table["id"].to_pylist(), 0, "report")
            for row in np.argsort(rank)[:SAMPLES]:
                rows.append((int(rank[row]), table.slice(int(row), 1).to_pylist()[0]))
    rows.sort(key=lambda item: item[0])
    shown = "".join(
        f"<div class=url><b>{_e(row['source'])}</b> {_e(row['url'])} <code class=soft>{row['id']}</code></div>"
        f"<div class=text>{_e(row['text'][:CHARS])}{'…' if len(row['text']) > CHARS else ''}</div>"
        for _, row in rows[:SAMPLES]
    )
    return f"<h2>Kept, drawn at random</h2>{shown}" if shown else ""


def _dropped(root: str, stages: dict[str, Any]) -> str:
    """For each reason a few of the URLs that it took."""
    drawn: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = {}
    for path in _some(root, "dropped"):
        table = storage.read_table(path, ["id", "url", "file", "stage", "reason", "detail"])
        for pair in table.select(["stage", "reason"]).group_by(["stage", "reason"]).aggregate([]).to_pylist():
            rows = table.filter((pc.field("stage") == pair["stage"]) & (pc.field("reason") == pair["reason"]))
            rank = draw.keys(rows["id"].to_pylist(), 0, "report")
            first = np.argsort(rank)[:SAMPLES]
            some = zip(rank[first].tolist(), rows.take(pa.array(first)).to_pylist(), strict=True)
            drawn.setdefault((pair["stage"], pair["reason"]), []).extend(some)
    if not drawn:
        return ""
    parts = []
    for stage, entry in stages.items():
        ordered = sorted(entry["dropped"].items(), key=lambda item: (-item[1], item[0]))
        for reason, number in [item for item in ordered if (stage, item[0]) in drawn and item[0] != Reason.not_a_page][
            :REASONS_SHOWN
        ]:
            rows = sorted(drawn[stage, reason], key=lambda item: item[0])[:SAMPLES]
            lines = "".join(
                f"<tr><td class=url>{_e(row['url'] or row['file'])}<td>{_e(row['detail'])}" for _, row in rows
            )
            title = f"{stage}: <code>{reason}</code> ({number:,})"
            parts.append(f"<details><summary>{title}</summary><table>{lines}</table></details>")
    return (
        "<h2>Dropped, by reason</h2><p class=soft>a few of each; <code>curate why DIR URL</code> tells of any</p>"
        + "".join(parts)
    )


def _errors(root: str, stages: dict[str, Any]) -> str:
    shown: list[dict[str, Any]] = []
    for path in _some(root, "errors"):
        shown += storage.read_table(path).slice(0, ERRORS_SHOWN - len(shown)).to_pylist()
        if len(shown) == ERRORS_SHOWN:
            break
    if not shown:
        return ""
    rows = "".join(
        f"<tr><td class=url>{_e(row['file'])}<td class=n>{row['offset']:,}<td>{_e(row['error'])}" for row in shown
    )
    head = "<tr><th>file<th class=n>offset<th>error"
    further = sum(entry["failed"] for entry in stages.values()) - len(shown)
    more = f"<p class=soft>and {further:,} more in errors/</p>" if further > 0 else ""
    return f"<h2>Records that could not be read</h2><div class=wide><table>{head}{rows}</table></div>{more}"


def _some(root: str, kind: str) -> list[str]:
    """The files of a kind, or of more than `MOST_FILES` so many, drawn by key."""
    paths = storage.glob(storage.join(root, kind, "*.parquet"))
    if len(paths) <= MOST_FILES:
        return paths
    return sorted(sorted(paths, key=lambda path: draw.key(0, "report", path.rsplit("/", 1)[-1]))[:MOST_FILES])


def _said(key: str, number: int) -> str:
    return f"{_amount(key, number)} {key.replace('bytes', '').strip()}".strip()


def _amount(key: str, number: int) -> str:
    return size(number) if "bytes" in key else f"{number:,}"


def _number(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value).lower()
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if isinstance(value, float) else _e(value)


def _e(text: Any) -> str:
    return html.escape(str(text))
