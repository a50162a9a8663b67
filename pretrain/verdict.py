"""What the commands compare and report do: a comparison as a page and as a table. Both read result.json alone."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from curate import storage
from curate.errors import UsageError
from pretrain import arms, checkpoint, compare, page, presets, report
from pretrain.page import Interval, Series

REPORT = "report.html"


def run_compare(args: argparse.Namespace) -> int:
    """Train what is left, judge, show."""
    try:
        config = compare.CompareConfig(
            arms=tuple(arms.parse(text) for text in args.arm),
            held=args.held,
            out=args.out,
            preset=presets.find(args.preset),
            tokens=args.tokens,
            seeds=args.seeds,
            sizes=args.sizes,
            passage_tokens=args.passage_tokens,
            device=args.device,
            threads=args.threads,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    comparison = compare.Comparison(config)
    comparison.run()
    path, result = write(comparison.out), compare.load(comparison.out)
    if args.json:
        print(json.dumps(result, sort_keys=True))
    else:
        show(result)
        print(f"report  {path}")
    return 0


def run_report(args: argparse.Namespace) -> int:
    """The page of a comparison or of a training run, whichever lies there."""
    out = checkpoint.local(args.out, "DIR")
    print(write(out) if (out / compare.RESULT).exists() else report.write(out))
    return 0


def show(result: dict[str, Any], console: Console | None = None) -> None:
    """The verdicts, and the noise that they are judged by."""
    console = console or Console(highlight=False)
    table = Table(box=None, pad_edge=False, header_style="dim")
    head, *rows = compare.table(result)
    for name in head:
        table.add_column(name, justify="left" if name in ("arm", "held-out", "verdict") else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print("loss in bits per byte; seeds: how many would decide; never: documents are too few")
    for arm, law in result["laws"].items():
        console.print(
            f"{arm}: loss = {law['scale']:.3g} C^-{law['exponent']:.4f} "
            f"({law['exponent_low']:.4f} to {law['exponent_high']:.4f})"
        )


def write(out: Path) -> Path:
    """Build report.html of a comparison; its path.

    Raises:
        InputError: if it is not finished.
    """
    result = compare.load(out)
    control, *others = result["arms"]
    seeds, sources = len(result["seeds"]), result["held"]["sources"]
    top = result["rungs"][-1]
    title = f"{' and '.join(others)} against {control}"
    parts = [
        f"<h1>{page.escape(title)}</h1>{_lead(result)}",
        _verdicts(result),
        f"<p class=soft>Bits per byte of the arm less those of {page.escape(control)}, on the same {top['tokens']:,} "
        f"tokens a run and {seeds} seeds: left of 0 is better. Intervals hold all together with 95%; seeds and "
        "documents are drawn anew. A difference below the noise floor decides nothing.</p>",
        _noise(result),
        _curves(result),
        _scaling(result),
        "<h2>Each run</h2>" + _runs(result),
        "<h2>What was run</h2>" + _inputs(result, sources),
    ]
    path = out / REPORT
    with storage.atomic(str(path)) as file:
        file.write(page.document(title, parts))
    return path


def _lead(result: dict[str, Any]) -> str:
    """The verdict over all sources, arm by arm."""
    name = list(result["noise"])[-1]
    lines = []
    for arm, sources in result["differences"].items():
        each = sources[name]
        needed = each["seeds_to_decide"]
        more = "more held-out documents are needed" if needed is None else f"{needed:,} seeds would decide"
        decided = each["verdict"] != "undecided"
        end = "" if decided else f": at this effect and noise {more}"
        lines.append(
            f"<p class=lead><b>{page.escape(arm)}</b> is {page.verdict(each['verdict'])}{end}. "
            f"{each['value']:+.4f} bits per byte ({each['low']:+.4f} to {each['high']:+.4f}), "
            f"{each['value'] / result['noise'][name]['loss']:+.1%}.</p>"
        )
    return "".join(lines)


def _verdicts(result: dict[str, Any]) -> str:
    rows, cells = [], []
    for arm, sources in result["differences"].items():
        for name, each in sources.items():
            label = name if len(result["differences"]) == 1 else f"{arm}, {name}"
            rows.append(
                Interval(name=label, value=each["value"], low=each["low"], high=each["high"], kind=each["verdict"])
            )
            needed = each["seeds_to_decide"]
            cells.append(
                (
                    arm,
                    name,
                    page.verdict(each["verdict"]),
                    f"{result['noise'][name]['loss']:.4f}",
                    f"{each['loss']:.4f}",
                    f"{each['value']:+.4f}",
                    f"{each['low']:+.4f} to {each['high']:+.4f}",
                    "more documents" if needed is None else f"{needed:,}",
                )
            )
    head = ("arm", "held-out", "verdict", "control", "arm", "difference", "interval", "seeds that decide")
    return page.forest(rows, unit="difference, bits per byte") + page.table(head, cells, words=3)


def _noise(result: dict[str, Any]) -> str:
    rows = [
        (name, f"{each['loss']:.4f}", f"{each['deviation']:.4f}", f"{each['floor']:.4f}")
        for name, each in result["noise"].items()
    ]
    head = ("held-out", "control's bits per byte", "deviation from seed to seed", "noise floor")
    return (
        "<h2>Noise</h2><p class=soft>The control, run with each seed. The floor is the least difference that so many "
        f"seeds can see.</p>{page.table(head, rows)}"
    )


def _curves(result: dict[str, Any]) -> str:
    arms = result["arms"]
    charts = [
        page.chart(
            f"Held-out: {source}",
            [Series(name=arm, points=value["curve"]["held"][source]) for arm, value in arms.items()],
            x="tokens",
            y="bits per byte",
        )
        for source in result["held"]["sources"]
    ]
    losses = [Series(name=arm, points=value["curve"]["train"]) for arm, value in arms.items()]
    charts.append(page.chart("Training loss", losses, x="tokens", y="nats a token"))
    return (
        f"<h2>Curves</h2><div class=charts>{''.join(charts)}</div><p class=soft>Means over seeds. Held-out curves "
        "are of a few passages, verdicts of all, after the last step. Training losses are each on the arm's own text, "
        "and say nothing of which is better.</p>"
    )


def _scaling(result: dict[str, Any]) -> str:
    if not result["laws"]:
        return ""
    compute = {rung["name"]: rung["compute"] for rung in result["rungs"]}
    name = list(result["noise"])[-1]
    series, rows = [], []
    for arm, law in result["laws"].items():
        losses = result["arms"][arm]["losses"]
        means = [(compute[size], sum(found[name]) / len(found[name])) for size, found in losses.items()]
        series.append(
            Series(
                name=arm,
                points=list(zip(law["compute"], law["loss"], strict=True)),
                band=list(zip(law["compute"], law["low"], law["high"], strict=True)),
                dots=means,
            )
        )
        rows.append(
            (
                arm,
                f"{law['scale']:.3g}",
                f"{law['exponent']:.4f}",
                f"{law['exponent_low']:.4f} to {law['exponent_high']:.4f}",
            )
        )
    chart = page.chart("Loss against compute", series, x="floating-point operations", y="bits per byte", log=True)
    return (
        f"<h2>Scaling</h2><div class=charts>{chart}</div>{page.table(('arm', 'a', 'b', '95% of b'), rows)}"
        "<p class=soft>L = a C^-b, C = 6 x parameters without embeddings x tokens; bands from seeds, documents and the "
        "points' distance from the line. It describes these sizes; what lies beyond them is a guess.</p>"
    )


def _runs(result: dict[str, Any]) -> str:
    names = list(result["noise"])
    rows = [
        (arm, size, seed, *(f"{losses[name][place]:.4f}" for name in names))
        for arm, value in result["arms"].items()
        for size, losses in value["losses"].items()
        for place, seed in enumerate(result["seeds"])
    ]
    return page.table(("arm", "model", "seed", *names), rows, words=2)


def _inputs(result: dict[str, Any], sources: dict[str, Any]) -> str:
    rows = [
        (
            arm,
            value["data"],
            f"{value['documents']:,}",
            f"{value['tokens']:,}",
            f"{value['epochs']:.2f}",
            _weights(value),
        )
        for arm, value in result["arms"].items()
    ]
    held = [(name, f"{each['documents']:,}", f"{each['bytes']:,}") for name, each in sources.items()]
    sizes = [
        (rung["name"], f"{rung['parameters']:,}", f"{rung['tokens']:,}", f"{rung['compute']:.2e}")
        for rung in result["rungs"]
    ]
    settings = {"preset": result["preset"], "seeds": result["seeds"], "held": result["held"]}
    return (
        page.table(("arm", "tokens/ folder", "documents", "tokens", "epochs of a run", "weights"), rows, words=2)
        + page.table(("held-out", "passages", "bytes"), held)
        + page.table(("model", "parameters without embeddings", "tokens", "operations"), sizes)
        + f"<details><summary>settings</summary><pre>{page.escape(json.dumps(settings, indent=1))}</pre></details>"
    )


def _weights(arm: dict[str, Any]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in (arm["weights"] or {}).items()) or "as they lie"
