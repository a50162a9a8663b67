"""Likelihoods of completions, and the likeliest completion by beam search. Ids in, numbers or ids out.

A question's completions share most of what stands before them. What they share is read once, and its keys and values
are kept; questions with equally long shared parts are read together.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pretrain import machine
from pretrain.model import GPT, Cache

Ids = npt.NDArray[np.int32]
# What is read before, and the completion to score after it; neither is empty.
Request = tuple[Ids, Ids]

# Positions of a batch, the shared ones counted for each row; fixed, so that a model gives the same bits again.
_CPU_BATCH = 8_192
_GPU_BATCH = 131_072
# Rows whose logits are held at once.
_ROWS = 1_024
# Shared parts are cut to a multiple of this, so that more questions fall together.
_STEP = 8


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Of a completion: its nats, its tokens, and whether each of them is the likeliest where it stands."""

    nats: float
    tokens: int
    greedy: bool


class Branches(Cache):
    """Keys and values of a batch whose rows may be repeated, dropped and reordered."""

    def take(self, rows: Tensor) -> None:
        """Row i becomes what row `rows[i]` was."""
        self._pairs = {layer: (k_BHTK[rows], v_BHTK[rows]) for layer, (k_BHTK, v_BHTK) in self._pairs.items()}


@dataclass(frozen=True, slots=True)
class _Group:
    """A question's requests as rows of ids, cut to the window; `starts` are the positions of the completions."""

    index: int
    rows: list[Ids]
    starts: list[int]
    shared: int

    @property
    def tail(self) -> int:
        return max(map(len, self.rows)) - 1 - self.shared


def likelihoods(
    model: GPT, questions: Sequence[Sequence[Request]], done: Callable[[int], None] = lambda count: None
) -> list[list[Likelihood]]:
    """The likelihood of each completion given its context, question by question.

    What does not fit the model's window is cut from the beginning of the context; a completion that is longer than the
    window is read in windows, as a held-out document is. A request's result does not depend on the others but for
    rounding.

    Args:
        done: told of each batch how many questions were in it.
    """
    device, window = model.wte.weight.device, model.config.context
    parts = [[_parts(request, window) for request in question] for question in questions]
    groups = sorted(
        (_group(index, [*itertools.chain(*found)], window) for index, found in enumerate(parts) if found),
        key=lambda group: (-group.shared, -group.tail, group.index),
    )
    read: list[list[Likelihood]] = [[] for _ in questions]
    for batch in _batches(groups, _GPU_BATCH if device.type == "cuda" else _CPU_BATCH):
        with torch.inference_mode(), machine.mixed(device):
            hidden_RTD = _hidden(model, batch, device)
            found = iter(_read(model, batch, hidden_RTD))
        for group in batch:
            read[group.index] = list(itertools.islice(found, len(group.rows)))
        done(len(batch))
    out = []
    for lists, likelihood in zip(parts, map(iter, read), strict=True):
        out.append([_sum(list(itertools.islice(likelihood, len(one)))) for one in lists])
    return out


def _parts(request: Request, window: int) -> list[Request]:
    context, completion = request
    if len(completion) <= window:
        return [request]
    row = np.concatenate([context[-1:], completion])
    starts = range(0, len(completion), window)
    return [(row[start : start + 1], row[start + 1 : start + 1 + window]) for start in starts]


def _sum(parts: list[Likelihood]) -> Likelihood:
    return Likelihood(
        sum(one.nats for one in parts), sum(one.tokens for one in parts), all(one.greedy for one in parts)
    )


def _group(index: int, requests: Sequence[Request], window: int) -> _Group:
    rows, starts = [], []
    for context, completion in requests:
        kept = context[-(window + 1 - len(completion)) :]
        rows.append(np.concatenate([kept, completion]))
        starts.append(len(kept))
    # The last id of a context stays outside: what follows it is predicted there.
    shared = min(starts) - 1
    for row in rows[1:]:
        differ = np.flatnonzero(row[:shared] != rows[0][:shared])
        shared = int(differ[0]) if len(differ) else shared
    return _Group(index, rows, starts, shared // _STEP * _STEP if len(rows) > 1 else 0)


def _batches(groups: list[_Group], most: int) -> Iterator[list[_Group]]:
    """Groups of one shared length, longest tails first, in batches of at most so many positions."""
    for shared, members in itertools.groupby(groups, key=lambda group: group.shared):
        batch: list[_Group] = []
        rows = 0
        for group in members:
            tail = batch[0].tail if batch else 0
            # Each row has its copy of the shared keys and values.
            if batch and (rows + len(group.rows)) * (shared + tail) > most:
                yield batch
                batch, rows = [], 0
            batch.append(group)
            rows += len(group.rows)
        yield batch


def _hidden(model: GPT, batch: list[_Group], device: torch.device) -> Tensor:
    """Hidden states of the tails, [rows, longest tail, D]; tails are padded with 0 behind, which nothing real sees."""
    shared, longest = batch[0].shared, batch[0].tail
    rows = [row for group in batch for row in group.rows]
    tails_RT = np.zeros((len(rows), longest), np.int64)
    for tail_T, row in zip(tails_RT, rows, strict=True):
        tail_T[: len(row) - 1 - shared] = row[shared:-1]
    tails = torch.from_numpy(tails_RT).to(device)
    if not shared:
        return model.hidden(tails)
    cache = Branches()
    prefixes_GS = np.stack([group.rows[0][:shared] for group in batch]).astype(np.int64)
    model.hidden(torch.from_numpy(prefixes_GS).to(device), cache=cache)
    owners = [number for number, group in enumerate(batch) for _ in group.rows]
    cache.take(torch.tensor(owners, device=device))
    return model.hidden(tails, cache=cache)


def _read(model: GPT, batch: list[_Group], hidden_RTD: Tensor) -> list[Likelihood]:
    """The likelihood of each row's completion, from the states of its tail."""
    shared = batch[0].shared
    spans = [(row[start:], start - 1 - shared) for g in batch for row, start in zip(g.rows, g.starts, strict=True)]
    states_ND = torch.cat([hidden_RTD[r, begin : begin + len(ids)] for r, (ids, begin) in enumerate(spans)])
    targets_N = torch.from_numpy(np.concatenate([ids for ids, _ in spans]).astype(np.int64)).to(states_ND.device)
    nats, greedy = [], []
    for h_CD, t_C in zip(torch.split(states_ND, _ROWS), torch.split(targets_N, _ROWS), strict=True):
        logits_CV = F.linear(h_CD, model.wte.weight[: model.vocabulary]).float()
        nats.append(F.cross_entropy(logits_CV, t_C, reduction="none").double().cpu())
        greedy.append((logits_CV.argmax(-1) == t_C).cpu())
    lengths = [len(ids) for ids, _ in spans]
    parts = zip(torch.split(torch.cat(nats), lengths), torch.split(torch.cat(greedy), lengths), strict=True)
    return [Likelihood(float(part.sum()), len(part), bool(same.all())) for part, same in parts]


@torch.inference_mode()
def search(
    model: GPT,
    ids: Sequence[int],
    ends: Callable[[list[int]], bool],
    *,
    tokens: int,
    width: int = 4,
    penalty: float = 0.6,
) -> list[int]:
    """The continuation of `ids` with the best log P / ((5 + n) / 6)^penalty of n tokens, as beam search finds it.

    Width and penalty are T5's, which GPT-3 took for free-form answers (Brown et al. 2020, section 2.4); the form of the
    penalty is GNMT's (Wu et al. 2016, section 7). Width 1 with penalty 0 is greedy.

    Args:
        ends: whether a continuation is complete with its last token, which is returned too.
        tokens: most tokens; a continuation that has them is complete. With `ids` they must fit the window.

    Raises:
        ValueError: if they do not.
    """
    if len(ids) + tokens > model.config.context + 1:
        raise ValueError(f"{len(ids)} ids and {tokens} to come pass the window of {model.config.context}")
    device, cache = model.wte.weight.device, Branches()
    alive: list[tuple[float, list[int]]] = [(0.0, [])]
    best: tuple[float, list[int]] = (-np.inf, [])
    step_BT = torch.tensor([list(ids)], device=device)
    for length in range(1, tokens + 1):
        with machine.mixed(device):
            logits_BV = model.next(step_BT, cache)
        sums_BV = logits_BV.double().log_softmax(-1).cpu() + torch.tensor([[value] for value, _ in alive])
        # Twice the width, so that enough are left where some end; a greedy search looks at one.
        top = sums_BV.flatten().topk(min(2 * width if width > 1 else 1, sums_BV.numel()))
        parents: list[int] = []
        grown: list[tuple[float, list[int]]] = []
        for value, place in zip(top.values.tolist(), top.indices.tolist(), strict=True):
            row, token = divmod(place, model.vocabulary)
            text = [*alive[row][1], token]
            if length == tokens or ends(text):
                best = max(best, (value / _weight(length, penalty), text), key=lambda pair: pair[0])
            elif len(grown) < width:
                parents.append(row)
                grown.append((value, text))
        # Sums only fall, so that no continuation can get beyond the best of the living, divided by most.
        if not grown or best[0] >= grown[0][0] / _weight(tokens, penalty):
            break
        alive = grown
        cache.take(torch.tensor(parents, device=device))
        step_BT = torch.tensor([[text[-1]] for _, text in alive], device=device)
    return best[1]


def _weight(length: int, penalty: float) -> float:
    return float(((5 + length) / 6) ** penalty)
