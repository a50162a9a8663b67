"""Trains and judges the model of `curate.blocks`: which blocks of a page are its main text.

Gold pages come from a folder with a manifest.jsonl (set, file, gold, url). A block's label is whether its words stand
in the page's gold text. Judged on hosts kept apart from training. It does not extract text: that is `curate.extract`.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors.numpy import save
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from curate import blocks, charset, draw, html, storage
from curate.errors import InputError

# Sets with full-text gold, and a page's weight in training: dragnet's gold is uneven, newspaper's was made by a tool.
SETS = {
    "cleaneval-dev": 1.0,
    "cleanportaleval": 1.0,
    "dragnet": 0.5,
    "fundus": 1.0,
    "newspaper": 0.5,
    "readability": 1.0,
    "scrapinghub": 3.0,
}
FOLDS = 5
THRESHOLDS = np.arange(0.2, 0.71, 0.05)
# Inverse regularisation strength; the features are standardised.
C = 0.1

_TOKEN = re.compile(r"[぀-ヿ㐀-鿿]|[^\W_぀-ヿ㐀-鿿]+")
_CANONICAL = re.compile(
    r"<(?:link[^>]{0,200}?canonical|meta[^>]{0,200}?og:url)[^>]{0,200}?(?:href|content)=[\"']https?://([^/\"']+)", re.I
)


@dataclass(frozen=True, slots=True)
class Gold:
    """A page and the main text that people (or a reviewed tool) took from it."""

    set: str
    file: str
    host: str
    page: str
    text: str


@dataclass(frozen=True, slots=True)
class Trained:
    """A model's two files, as bytes, and token F1 by set on hosts kept apart."""

    arrays: bytes
    card: bytes
    scores: dict[str, float]


def tokens(text: str) -> list[str]:
    """Case-folded words; each Han or kana character is one."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


def token_f1(text: str, gold: str) -> float:
    """F1 of the multisets of tokens; 1 where both are empty."""
    have, want = Counter(tokens(text)), Counter(tokens(gold))
    if not have and not want:
        return 1.0
    return 2 * sum((have & want).values()) / (sum(have.values()) + sum(want.values()))


def read_gold(folder: str, sets: Sequence[str] = tuple(SETS)) -> list[Gold]:
    """The gold pages of a folder, in the order of its manifest, each file once.

    Raises:
        InputError: if the manifest or a file that it names is missing.
    """
    root = Path(folder)
    try:
        rows = [json.loads(line) for line in (root / "manifest.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["set"] in sets and row.get("gold") and not row["dup"]]
        of_publisher = Counter(_publisher(row) for row in rows)
        found = []
        for row in rows:
            if row["set"] == "fundus" and of_publisher[_publisher(row)] > 1:
                continue  # its gold covers versions of the publisher's page; which one is of this page is not told
            text = _gold_text(row["set"], (root / row["gold"]).read_bytes())
            if len(tokens(text)) < 10:
                continue
            page = charset.decode((root / row["file"]).read_bytes()).text
            found.append(Gold(row["set"], row["file"], _host(row, page), page, text))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{folder} is no folder of gold pages: {storage.reason(error)}") from error
    return found


def labels(table: html.BlockTable, golds: Sequence[str]) -> npt.NDArray[np.bool_]:
    """bool[blocks]: half of the block's word 3-grams (or the run of its words, if fewer) stand in the gold text."""
    result = np.zeros(len(table.blocks), np.bool_)
    for page, gold in enumerate(golds):
        words = tokens(gold)
        grams = {n: set(zip(*(words[k:] for k in range(n)), strict=False)) for n in (1, 2, 3)}
        for i in range(table.page_blocks[page], table.page_blocks[page + 1]):
            mine = tokens(table.block_text(i))
            n = min(3, len(mine))
            if n:
                own = list(zip(*(mine[k:] for k in range(n)), strict=False))
                result[i] = 2 * sum(gram in grams[n] for gram in own) >= len(own)
    return result


def train(pages: Sequence[Gold]) -> Trained:
    """Train on all pages; threshold and scores from models that have not seen the page's host.

    The same pages give the same model, up to the rounding of the linear algebra library.
    """
    table = html.scan(pa.array([gold.page for gold in pages]))
    x, y = blocks.features(table), labels(table, [gold.text for gold in pages])
    per_page = np.diff(table.page_blocks)
    fold = np.repeat([draw.key("fold", gold.host) % FOLDS for gold in pages], per_page)
    weight = np.sqrt(table.blocks["words"].astype(np.float64))
    of_page = np.repeat(np.arange(len(pages)), per_page)
    weight /= np.bincount(of_page, weight, len(pages))[of_page]  # a page counts once, however long
    weight *= np.repeat([SETS[gold.set] for gold in pages], per_page)

    held_out = np.zeros((len(table.blocks), 2), np.float64)
    for k in range(FOLDS):
        model = _fit(x[fold != k], y[fold != k], weight[fold != k])
        held_out[fold == k, 0] = model.scores(table)[fold == k]
    by_threshold = {}
    for threshold in THRESHOLDS.round(2).tolist():
        by_threshold[threshold] = _by_set(pages, blocks.join(table, _shown(table) & (held_out[:, 0] >= threshold)))
    # The mean over sets, so that the largest does not decide alone.
    best = max(by_threshold, key=lambda threshold: float(np.mean(list(by_threshold[threshold].values()))))
    final = _fit(x, y, weight)
    card = {
        "bias": final.bias,
        "features": blocks.FEATURES,
        "kind": "logistic regression over block features",
        "pages": dict(sorted(Counter(gold.set for gold in pages).items())),
        "threshold": best,
        "token_f1_on_hosts_kept_apart": {name: round(score, 4) for name, score in by_threshold[best].items()},
        "weights_of_sets": SETS,
    }
    arrays = save({"weights": final.weights.astype(np.float32)})
    return Trained(arrays, (json.dumps(card, indent=1, sort_keys=True) + "\n").encode(), by_threshold[best])


def judge(pages: Sequence[Gold], extract: Callable[[pa.BinaryArray], pa.StringArray]) -> dict[str, float]:
    """Mean token F1 by set of any extractor."""
    texts = extract(pa.array([gold.page.encode() for gold in pages], pa.binary()))
    return _by_set(pages, texts.to_pylist())


def write(trained: Trained, folder: str) -> None:
    """blocks.safetensors and blocks.json in the folder."""
    for name, data in (("blocks.safetensors", trained.arrays), ("blocks.json", trained.card)):
        with storage.atomic(storage.join(folder, name)) as file:
            file.write(data)


def _fit(x: blocks.F32, y: npt.NDArray[np.bool_], weight: npt.NDArray[np.float64]) -> blocks.Model:
    """A regression on standardised features, with the standardisation folded into its weights."""
    scaler = StandardScaler().fit(x)
    model = LogisticRegression(C=C, max_iter=1000).fit(scaler.transform(x), y, weight * len(weight) / weight.sum())
    weights = (model.coef_[0] / scaler.scale_).astype(np.float32).astype(np.float64)
    return blocks.Model(weights, float(model.intercept_[0] - weights @ scaler.mean_), 0.5)


def _shown(table: html.BlockTable) -> npt.NDArray[np.bool_]:
    return blocks.Model(np.zeros(len(blocks.FEATURES)), 0.0, 0.0).keep(table)


def _by_set(pages: Sequence[Gold], texts: Sequence[str]) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for gold, text in zip(pages, texts, strict=True):
        scores.setdefault(gold.set, []).append(token_f1(text, gold.text))
    return {name: float(np.mean(values)) for name, values in sorted(scores.items())}


def _host(row: dict[str, Any], page: str) -> str:
    """The page's host, from its URL or what it says of itself; else its own name, a fold of its own."""
    named = _CANONICAL.search(page)
    host = (urlsplit(row.get("url") or "").hostname or "") or (named[1] if named else "")
    return host.lower().removeprefix("www.") or str(row["file"])


def _publisher(row: dict[str, Any]) -> str:
    """The name of a gold file without the date at its end."""
    return re.sub(r"_\d{4}_\d\d_\d\d\.\w+$", "", str(row["gold"]))


def _gold_text(name: str, data: bytes) -> str:
    text = charset.decode(data, markup=False).text
    if name == "fundus":
        versions = json.loads(text)
        body = versions[max(versions)]["body"]
        parts = [*body["summary"]]
        for section in body["sections"]:
            parts += [*section["headline"], *section["paragraphs"]]
        return "\n".join(parts)
    if name == "readability":
        table = html.scan(pa.array([text]))
        return "\n".join(table.block_text(i) for i in range(len(table.blocks)))
    if name == "dragnet":
        return text.split("!@#$%^&*() COMMENTS")[0]
    if name.startswith("clean"):
        return re.sub(r"<[phl]>", "\n", re.sub(r"^\s*URL:.*", "", text))
    return text
