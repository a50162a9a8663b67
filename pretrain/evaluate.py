"""Bits per byte on held-out documents, by source: a measure that does not depend on the tokenizer.

Each document is read whole and alone. Its text's ids, with an end-of-text before them, are cut into windows of the
model's context that overlap by one id, so each id is predicted once, from the ids of its own window. The nats of all
ids are summed and divided by ln 2 and by the bytes of the text. The end-of-text that closes a document stands for no
byte and is not counted.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from curate import draw
from curate.errors import StaleError
from curate.shards import TOKENIZER, Ids, Split, open_tokens
from pretrain import checkpoint, machine
from pretrain.model import GPT

# Ids of one forward pass; a fixed number, so that the same model gives the same bits in every command.
_CPU_BATCH = 8_192
_GPU_BATCH = 131_072


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A source's result. `nats` is the sum over its `tokens`, the ids of the text; `bytes` is its text in UTF-8."""

    documents: int
    tokens: int
    bytes: int
    nats: float

    @property
    def bits_per_byte(self) -> float:
        return self.nats / math.log(2) / self.bytes


@dataclass(frozen=True, slots=True)
class Held:
    """Held-out documents: parallel lists."""

    ids: list[Ids]  # of the text, without end-of-text
    sources: list[str]
    bytes: list[int]
    end_of_text: int


def evaluate(folder: Path, data: str, device: torch.device) -> dict[str, Score]:
    """A checkpoint's scores on all held-out documents of a tokens/ folder.

    Raises:
        InputError, ModelError: if the folder holds no checkpoint or is damaged, or the tokens have no held-out split.
        StaleError: if the two do not share a tokenizer.
    """
    folder = checkpoint.resolve(folder)
    state = checkpoint.read_state(folder)
    tokens = open_tokens(data)
    digest = hashlib.sha256((folder / TOKENIZER).read_bytes()).hexdigest()
    if digest != tokens.manifest.tokenizer:
        raise StaleError(
            f"{folder} has tokenizer {digest[:12]}, and {data} has {tokens.manifest.tokenizer[:12]}: ids mean other "
            "words; give tokens made with the model's own tokenizer.json"
        )
    model = checkpoint.load_model(folder, state).to(device)
    return scores(model, choose(tokens.split("held"), state.end_of_text))


def choose(split: Split, end_of_text: int, *, limit: int | None = None) -> Held:
    """The split's documents, or of each source as many as begin within `limit` tokens of it, in an order keyed by id.

    Documents without a byte of text are left out: they have nothing to predict.
    """
    rows = [row for row in documents(split) if row[2]]
    rows.sort(key=lambda row: (draw.key("pretrain.held", row[0]), row[0]))
    held, taken = Held([], [], [], end_of_text), dict[str, int]()
    for _, source, size, ids in rows:
        if limit is None or taken.get(source, 0) < limit:
            taken[source] = taken.get(source, 0) + len(ids)
            held.ids.append(ids)
            held.sources.append(source)
            held.bytes.append(size)
    return held


def documents(split: Split) -> Iterator[tuple[str, str, int, Ids]]:
    """(id, source, bytes of the text, ids of the text) of each document."""
    for shard in split.shards:
        table = shard.documents()
        columns = (table[name].to_pylist() for name in ("id", "source", "bytes"))
        for index, (id_, source, size) in enumerate(zip(*columns, strict=True)):
            # The first document of a shard owns the leading end-of-text too.
            begin, end = int(shard.starts[index]) + (index == 0), int(shard.starts[index + 1]) - 1
            yield id_, source, size, shard.ids[begin:end]


def document_nats(model: GPT, held: Held) -> npt.NDArray[np.float64]:
    """float64[documents]: the nats of each document's text."""
    device = model.wte.weight.device
    out = np.zeros(len(held.ids))
    for owners, lengths, windows in _batches(held, model.config.context, device):
        with torch.inference_mode(), machine.mixed(device):
            nats_BT = model.nats(windows.to(device)).double().cpu()
        real_BT = torch.arange(nats_BT.shape[1]) < lengths[:, None]
        np.add.at(out, owners, (nats_BT * real_BT).sum(1).numpy())
    return out


def scores(model: GPT, held: Held) -> dict[str, Score]:
    """The score of each source, and of all documents together under "all" where there is more than one source."""
    nats = document_nats(model, held)
    names = sorted(set(held.sources))
    members = {name: [i for i, source in enumerate(held.sources) if source == name] for name in names}
    if len(names) > 1:
        members["all"] = list(range(len(nats)))
    return {
        name: Score(
            documents=len(indices),
            tokens=sum(len(held.ids[i]) for i in indices),
            bytes=sum(held.bytes[i] for i in indices),
            nats=math.fsum(nats[indices]),
        )
        for name, indices in members.items()
    }


def _batches(
    held: Held, context: int, device: torch.device
) -> Iterator[tuple[npt.NDArray[np.int64], torch.Tensor, torch.Tensor]]:
    """(documents [B], targets of each window [B], windows int64 [B, T + 1]); longest windows first, padded with 0.

    Padding follows the text, and attention is causal, so no real position sees it.
    """
    cuts = sorted(
        ((document, start) for document, ids in enumerate(held.ids) for start in range(0, len(ids), context)),
        key=lambda cut: (-min(context, len(held.ids[cut[0]]) - cut[1]), cut),
    )
    size = max(1, (_GPU_BATCH if device.type == "cuda" else _CPU_BATCH) // context)
    for first in range(0, len(cuts), size):
        part = cuts[first : first + size]
        targets = [held.ids[document][start : start + context] for document, start in part]
        windows = np.zeros((len(part), len(targets[0]) + 1), np.int64)
        for row, (document, start), ids in zip(windows, part, targets, strict=True):
            row[0] = held.ids[document][start - 1] if start else held.end_of_text
            row[1 : len(ids) + 1] = ids
        owners = np.array([document for document, _ in part])
        yield owners, torch.tensor([len(ids) for ids in targets]), torch.from_numpy(windows)
