"""One self-contained page: style, tables, charts as inline SVG. No script, no network; light, dark, phone, desk."""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# Series: blue, vermilion, green, purple, brown, of Okabe and Ito's palette, darkened for white and lightened for black;
# dashes tell them apart without colour.
CSS = """
:root{--ink:#1c2733;--soft:#5b6b7b;--line:#dde4ea;--page:#fff;--tint:#f5f8fa;
--s0:#0067a8;--s1:#c44e00;--s2:#00805a;--s3:#a3497a;--s4:#7a5c00;--good:#00805a;--bad:#c44e00}
@media (prefers-color-scheme:dark){:root{--ink:#e4eaf0;--soft:#9aa9b8;--line:#34404c;--page:#161c22;--tint:#1e262e;
--s0:#63b6ee;--s1:#f0975a;--s2:#43c39a;--s3:#dd95bd;--s4:#d9b857;--good:#43c39a;--bad:#f0975a}}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:1040px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.5rem;line-height:1.25;margin:0}h2{font-size:1.1rem;margin:2.4rem 0 .6rem}
h3{font-size:.95rem;margin:0 0 .3rem}
.soft,.lead{color:var(--soft)}.wide{overflow-x:auto;margin:.4rem 0 1.2rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600;color:var(--soft);font-size:.85rem}
td.n,th.n{text-align:right}td.n{font-variant-numeric:tabular-nums;white-space:nowrap}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:1.6rem 2rem}
figure{margin:0;min-width:0;max-width:560px}svg{width:100%;height:auto;display:block}
svg text{font:12px system-ui,sans-serif;fill:var(--soft)}svg .grid{stroke:var(--line)}svg .zero{stroke:var(--soft)}
.key{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.85rem;color:var(--soft)}.key svg{width:24px;height:10px;
display:inline-block;margin-right:.4em;vertical-align:middle}
.text{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--tint);border-radius:4px;padding:.5rem .7rem;
margin:.2rem 0 .8rem;max-height:16rem;overflow-y:auto}
.better{color:var(--good);font-weight:600}.worse{color:var(--bad);font-weight:600}.undecided{color:var(--soft)}
code,pre{font:13px/1.45 ui-monospace,monospace;overflow-wrap:anywhere}
pre{background:var(--tint);padding:.8rem;overflow:auto;border-radius:4px}
"""
_DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 4")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 460, 240, 52, 14, 10, 34

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line of a chart, its band (x, low, high), its dots."""

    name: str
    points: Sequence[Point] = ()
    band: Sequence[tuple[float, float, float]] = ()
    dots: Sequence[Point] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A row of a forest plot."""

    name: str
    value: float
    low: float
    high: float
    kind: str  # better, worse, undecided


def document(title: str, parts: Iterable[str]) -> bytes:
    """The page."""
    head = (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'><meta name=color-scheme content='light dark'>"
        f"<title>{escape(title)}</title><style>{CSS}</style>"
    )
    return "\n".join([head, *(part for part in parts if part)]).encode()


def escape(value: object) -> str:
    """Text for the inside of an element or a quoted attribute."""
    return html.escape(str(value))


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, words: int = 1) -> str:
    """A table; the first `words` columns hold text, the others numbers. All is escaped but `Markup`."""

    def cell(tag: str, column: int, value: object) -> str:
        text = value if isinstance(value, Markup) else escape(value)
        return f"<{tag}{' class=n' if column >= words else ''}>{text}"

    lines = ["".join(cell("th", column, value) for column, value in enumerate(head))]
    lines += ["".join(cell("td", column, value) for column, value in enumerate(row)) for row in rows]
    return f"<div class=wide><table>{''.join(f'<tr>{line}' for line in lines)}</table></div>"


class Markup(str):
    """Text that is HTML already."""


def verdict(kind: str) -> Markup:
    """A verdict in its colour."""
    return Markup(f"<span class={kind}>{kind}</span>")


def chart(title: str, series: Sequence[Series], *, x: str, y: str, log: bool = False) -> str:
    """Lines over a common x; nothing without a point.

    Args:
        x, y: names of the axes.
        log: both axes in logarithms.
    """
    xs = [p[0] for s in series for p in (*s.points, *s.band, *s.dots)]
    ys = [v for s in series for p in (*s.points, *s.band, *s.dots) for v in p[1:]]
    if not xs:
        return ""
    across = _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT, log)
    up = _Axis(min(ys), max(ys), _HEIGHT - _BOTTOM, _TOP, log, pad=0.06)
    parts = [
        f"<line class=grid x1={_LEFT} x2={_WIDTH - _RIGHT} y1={up.at(v):.1f} y2={up.at(v):.1f} />"
        f"<text x={_LEFT - 6} y={up.at(v) + 4:.1f} text-anchor=end>{short(v)}</text>"
        for v in up.ticks(5)
    ]
    parts += [
        f"<text x={across.at(v):.1f} y={_HEIGHT - _BOTTOM + 16} text-anchor=middle>{short(v)}</text>"
        for v in across.ticks(5)
    ]
    parts.append(f"<text x={(_LEFT + _WIDTH - _RIGHT) / 2} y={_HEIGHT - 3} text-anchor=middle>{escape(x)}</text>")
    for number, each in enumerate(series):
        colour, dash = f"var(--s{number % 5})", _DASHES[number % len(_DASHES)]
        if each.band:
            edge = [(p[0], p[1]) for p in each.band] + [(p[0], p[2]) for p in reversed(each.band)]
            parts.append(f"<polygon points='{_path(edge, across, up)}' fill='{colour}' opacity=.15 />")
        if each.points:
            parts.append(
                f"<polyline points='{_path(each.points, across, up)}' fill=none stroke='{colour}' stroke-width=1.8 "
                f"stroke-dasharray='{dash}' stroke-linejoin=round />"
            )
        parts += [f"<circle cx={across.at(a):.1f} cy={up.at(b):.1f} r=2.6 fill='{colour}' />" for a, b in each.dots]
    label = f"{title}: {y} by {x}"
    svg = f"<svg viewBox='0 0 {_WIDTH} {_HEIGHT}' role=img aria-label='{escape(label)}'>{''.join(parts)}</svg>"
    key = _key(series) if len(series) > 1 else ""
    return f"<figure><h3>{escape(title)} <span class=soft>{escape(y)}</span></h3>{key}{svg}</figure>"


def forest(rows: Sequence[Interval], *, unit: str) -> str:
    """Values with their intervals about a line at 0."""
    ends = [0.0, *(v for row in rows for v in (row.low, row.high))]
    top, step, left = 10, 30, 110
    height = top + step * len(rows) + 38
    across = _Axis(min(ends), max(ends), left, _WIDTH - _RIGHT, False, pad=0.06)
    base = top + step * len(rows)
    parts = [f"<line class=zero x1={across.at(0):.1f} x2={across.at(0):.1f} y1={top} y2={base} />"]
    for number, row in enumerate(rows):
        y = top + step * (number + 0.5)
        colour = {"better": "var(--good)", "worse": "var(--bad)"}.get(row.kind, "var(--soft)")
        tip = f"{row.name}: {row.value:+.4f} ({row.low:+.4f} to {row.high:+.4f}), {row.kind}"
        parts.append(
            f"<g><title>{escape(tip)}</title><text x={left - 10} y={y + 4} text-anchor=end>{escape(row.name)}</text>"
            f"<line x1={across.at(row.low):.1f} x2={across.at(row.high):.1f} y1={y} y2={y} stroke='{colour}' "
            f"stroke-width=2 /><circle cx={across.at(row.value):.1f} cy={y} r=4.5 fill='{colour}' /></g>"
        )
    parts += [f"<text x={across.at(v):.1f} y={base + 16} text-anchor=middle>{short(v)}</text>" for v in across.ticks(5)]
    parts.append(f"<text x={(left + _WIDTH - _RIGHT) / 2} y={base + 34} text-anchor=middle>{escape(unit)}</text>")
    return (
        "<figure style='margin:1rem 0'>"
        f"<svg viewBox='0 0 {_WIDTH} {height}' role=img aria-label='{escape(unit)}'>"
        f"{''.join(parts)}</svg></figure>"
    )


def short(value: float) -> str:
    """A number for an axis."""
    size = abs(value)
    for limit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if limit <= size < 1e15:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}".replace("e-0", "e-").replace("e+", "e")


def _key(series: Sequence[Series]) -> str:
    lines = (
        f"<span><svg viewBox='0 0 24 10'><line x1=0 x2=24 y1=5 y2=5 stroke='var(--s{number % 5})' stroke-width=2.4 "
        f"stroke-dasharray='{_DASHES[number % len(_DASHES)]}' /></svg>{escape(each.name)}</span>"
        for number, each in enumerate(series)
    )
    return f"<div class=key>{''.join(lines)}</div>"


def _path(points: Sequence[Point], across: "_Axis", up: "_Axis") -> str:
    return " ".join(f"{across.at(a):.1f},{up.at(b):.1f}" for a, b in points)


class _Axis:
    """Numbers to places on the page."""

    def __init__(self, low: float, high: float, start: float, end: float, log: bool, pad: float = 0.0) -> None:
        self._log = log
        low, high = (math.log(low), math.log(high)) if log else (low, high)
        span = (high - low) or abs(high) or 1.0
        self._low, self._high = low - pad * span, (high if high > low else low + span) + pad * span
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        share = ((math.log(value) if self._log else value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    def ticks(self, count: int) -> list[float]:
        """Round numbers within, about so many."""
        low, high = (math.exp(self._low), math.exp(self._high)) if self._log else (self._low, self._high)
        if self._log and high / low > 30:
            decades = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
            return [10.0**power for power in decades][:: max(1, -(-len(decades) // count))]
        raw = (high - low) / count
        unit = 10.0 ** math.floor(math.log10(raw))
        step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw)
        return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]
