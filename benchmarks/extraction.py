"""Text from pages with gold: quality of every extractor by set and by language, and what a page costs.

    python benchmarks/extraction.py [--data FOLDER] [--pages N]
    python benchmarks/extraction.py --look N --out FILE.html [--of EXTRACTOR] [--drawn]

FOLDER holds html_gold and html_pages, unpacked; without it the pages of `curate demo`, which are easy and few. Scores
are means over pages (see classifiers/gold.py). The packaged model of `blocks` was trained on these very pages: its
scores here are too good, and what it reaches on hosts kept apart stands below, from its card, which
`curate train-extractor --data FOLDER` makes anew.

Times are of decoding and extraction, both sides through `curate.extract`; the ratio is pages/s of `blocks` over
those of Trafilatura as this project runs it (`fast`, no comments). "Trafilatura default" is its own defaults.

--look writes a page with the blocks of N pages coloured beside their gold: the worst of each set in turn, or --drawn.
"""

import argparse
import functools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

import _look
import numpy as np
import pyarrow as pa
import trafilatura
from _clock import least, one_core, report

from classifiers import gold, labels
from classifiers.gold import Gold, Scores
from curate import blocks, charset, draw, extract, html, tags
from pipelines.demo import prose, site

ROOT = Path(__file__).resolve().parents[1]
DATA = os.environ.get("CURATE_TEST_DATA") or str(ROOT / ".cache" / "data")  # where the tests find and leave it
QUICK, DEMO, TIMED, BATCH = 6, 200, 500, 64  # pages
LEAST_PAGES = 10  # of a language that gets its own line

Extractor = Callable[[Sequence[bytes]], list[str]]


def ours(bodies: Sequence[bytes], name: str) -> list[str]:
    """Texts by one of `curate.extract`'s extractors, in batches as a run makes them."""
    texts: list[str] = []
    for at in range(0, len(bodies), BATCH):
        texts += extract.extract_text(pa.array(bodies[at : at + BATCH], pa.binary()), extractor=name).to_pylist()
    return texts


def default(bodies: Sequence[bytes]) -> list[str]:
    """Texts by Trafilatura's own defaults: comments, and other extractors where its own finds little."""
    return [extract.tidy(trafilatura.extract(charset.decode(body).text.replace("\0", "")) or "") for body in bodies]


EXTRACTORS: dict[str, Extractor] = {
    "blocks": functools.partial(ours, name="blocks"),
    "Trafilatura": functools.partial(ours, name="trafilatura"),
    "Trafilatura default": default,
    "Resiliparse": functools.partial(ours, name="resiliparse"),
}


def crafted(number: int) -> Iterator[Gold]:
    """The demo's pages, whose text is known: half with the whole of it as gold, half with snippets."""
    for at, piece in zip(range(number), prose.pieces("stdlib", 600), strict=False):
        host = site.Host(f"host{at % 3}.example", "An example", at % 3)
        body = site.page(piece, host, [("/a", "Another page"), ("/b", "A third")]).encode()
        if at % 2:
            first = piece.text.split("\n")[0]
            known = Gold(kind="snippets", with_=(first,), without=("Sign in", "Print this page"))
        else:
            known = Gold(kind="full", text=f"{piece.title}\n{piece.text}")
        yield replace(known, set="demo", file=f"{piece.name}.html", host=host.name, language="en", body=body)


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown that can be read as it is."""
    lines = [list(head), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def by_group(
    names: Sequence[str], golds: Sequence[Gold], found: Sequence[Sequence[Scores]], key: Callable[[Gold], str]
) -> str:
    """F1 with precision and recall for each group of pages and extractor, and the mean of the groups."""
    columns = [gold.means(golds, scores, key) for scores in found]
    rows = [
        [group, str(columns[0][group].n)]
        + [f"{c[group].f1:.4f} ({c[group].precision:.3f} {c[group].recall:.3f})" for c in columns]
        for group in columns[0]
    ]
    mean = [f"{np.mean([mean.f1 for mean in column.values()]):.4f}" for column in columns]
    return grid(["", "pages", *names], [*rows, ["mean of these", "", *mean]])


def quality(golds: Sequence[Gold], texts: dict[str, list[str]]) -> None:
    names = list(texts)
    whole = [i for i, page in enumerate(golds) if page.kind != "snippets"]
    known = [golds[i] for i in whole]
    found = [[gold.judge(golds[i], texts[name][i]) for i in whole] for name in names]
    print("\nToken F1 (precision recall) by set\n")
    print(by_group(names, known, found, lambda page: page.set))
    languages = [page.language for page in known]
    common = {code for code in languages if languages.count(code) >= LEAST_PAGES}
    print("\nToken F1 (precision recall) by language, all these sets together\n")
    print(by_group(names, known, found, lambda page: page.language if page.language in common else "others"))
    rows = []
    for name in names:
        pairs = [(page, text) for page, text in zip(golds, texts[name], strict=True) if page.kind == "snippets"]
        share = gold.snippets(*(zip(*pairs, strict=True) if pairs else ([], [])))
        rows.append([name, str(share.n), *(f"{each:.4f}" for each in share[1:])])
    print("\nSnippets: wanted found, unwanted absent, right of all\n")
    print(grid(["", "pages", "with", "without", "all"], rows))


def speed(bodies: Sequence[bytes], rounds: int) -> float:
    """Print ms a page of each extractor; how many times faster `blocks` is than Trafilatura."""
    core = one_core()
    took = {}
    for name, extractor in EXTRACTORS.items():
        extractor(bodies[:2])
        took[name] = least(functools.partial(extractor, bodies), rounds) / len(bodies) * 1e3
    size = sum(map(len, bodies)) / len(bodies) / 1e3
    print(f"\nMilliseconds a page, {len(bodies)} pages of {size:.0f} kB on average; {core}\n")
    print(grid(["", "ms"], [[name, f"{each:.2f}"] for name, each in took.items()]))
    return took["Trafilatura"] / took["blocks"]


def real_pages(data: Path, number: int) -> list[bytes]:
    """Pages of the gold and of whole sites, drawn by their names; 0: all."""
    paths = sorted(path for name in ("html_gold", "html_pages") for path in (data / name).rglob("*.htm*"))
    paths.sort(key=lambda path: draw.key("pages", path.relative_to(data).as_posix()))
    return [path.read_bytes() for path in (paths[:number] if number else paths)]


def look(golds: Sequence[Gold], texts: Sequence[str], number: int, drawn: bool) -> str:
    """The page to look at: the worst of each set in turn, or pages drawn by their names."""
    scores = []
    for page, text in zip(golds, texts, strict=True):
        if page.kind == "snippets":
            share = gold.snippets([page], [text])
            scores.append((share.all, f"with {share.with_:.2f}, without {share.without:.2f}, all {share.all:.2f}"))
        else:
            found = gold.judge(page, text)
            scores.append((found.f1, f"F1 {found.f1:.3f}, precision {found.precision:.3f}, recall {found.recall:.3f}"))
    ranks: dict[str, int] = {}
    order = []
    for i in sorted(range(len(golds)), key=lambda i: (scores[i][0], golds[i].file)):
        rank = ranks[golds[i].set] = ranks.get(golds[i].set, -1) + 1
        order.append((draw.key("look", golds[i].file) if drawn else rank, i))
    chosen = sorted(i for _, i in sorted(order)[:number])
    chosen.sort(key=lambda i: (golds[i].set, scores[i][0]))
    shown = [_look.Shown(golds[i], texts[i], scores[i][1], shown_blocks(golds[i], texts[i])) for i in chosen]
    return _look.render(f"{'Drawn' if drawn else 'Worst'} {len(shown)} of {len(golds)} pages", shown)


def shown_blocks(page: Gold, text: str) -> list[_look.Block]:
    """The page's blocks with the model's score; wanted and kept are what training would take for main text."""
    table = html.scan(charset.decode_all(pa.array([page.body], pa.binary()), ["text/html"])[0])
    wanted, kept = labels.of_gold(table, [page], [("", "")], [""]), labels.standing_in(table, [text])
    scored = blocks.packaged().scores(table)[0]
    return [
        _look.Block(
            table.block_text(i),
            tags.NAMES[table.blocks["tag"][i]],
            float(scored[i]),
            bool(kept[i]),
            bool(wanted.main[i]) if wanted.main_weight[i] else None,
        )
        for i in range(len(table.blocks))
    ]


def apart() -> None:
    """Print what `blocks` reaches on hosts that its trees had not seen, as its card has it."""
    judged = json.loads(resources.files("curate").joinpath("blocks.json").read_text())["judged"]
    print("\nblocks on hosts kept apart from training (curate/blocks.json): token F1 (precision recall)\n")
    for group in ("sets", "languages"):
        known = judged["balanced"][group]
        rows = [
            [name, str(known[name]["n"])]
            + [
                "{f1:.4f} ({precision:.3f} {recall:.3f})".format(**judged[favour][group][name])
                for favour in blocks.FAVOURS
            ]
            for name in sorted(known)
            if group == "sets" or known[name]["n"] >= LEAST_PAGES
        ]
        mean = [f"{np.mean([judged[favour][group][row[0]]['f1'] for row in rows]):.4f}" for favour in blocks.FAVOURS]
        print(grid(["", "pages", *blocks.FAVOURS], [*rows, ["mean of these", "", *mean]]) + "\n")
    rows = [
        [favour, *(f"{judged[favour]['snippets'][share]:.4f}" for share in ("with", "without", "all"))]
        for favour in blocks.FAVOURS
    ]
    print(grid(["snippets", "with", "without", "all"], rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", metavar="FOLDER", type=Path, help=f"holds html_gold and html_pages (default: {DATA})")
    parser.add_argument(
        "--pages", metavar="N", type=int, default=TIMED, help="pages to be timed, 0: all (default: %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="a tiny input: tries the script, measures nothing")
    parser.add_argument("--look", metavar="N", type=int, help="write a page that shows N pages, and measure nothing")
    parser.add_argument("--out", metavar="FILE", type=Path, help="of --look")
    parser.add_argument("--of", choices=EXTRACTORS, default="blocks", help="whose text --look shows (default: blocks)")
    parser.add_argument("--drawn", action="store_true", help="--look at pages drawn by their names, not at the worst")
    args = parser.parse_args()
    if (args.look is None) != (args.out is None):
        parser.error("--look and --out go together")
    data = args.data or Path(DATA)
    if args.data and not (data / "html_gold").is_dir():
        parser.error(f"{data} has no folder html_gold")
    if args.quick or not (data / "html_gold").is_dir():
        golds, source = list(crafted(QUICK if args.quick else DEMO)), "pages of the demo: easy, for trial only"
        timed = [page.body for page in golds]
    else:
        golds, source = gold.read(str(data / "html_gold")), str(data / "html_gold")
        timed = [] if args.look is not None else real_pages(data, args.pages)
    print(f"{len(golds)} pages with gold, {source}")
    print("blocks: the packaged model, which has SEEN these pages IN TRAINING; on others: the last tables")
    bodies = [page.body for page in golds]
    if args.look is not None:
        args.out.write_text(look(golds, EXTRACTORS[args.of](bodies), args.look, args.drawn), "utf-8")
        print(f"{args.out}: {min(args.look, len(golds))} pages")
        return
    quality(golds, {name: extractor(bodies) for name, extractor in EXTRACTORS.items()})
    apart()
    report("extraction", speed(timed, 1 if args.quick else 2))


if __name__ == "__main__":
    main()
