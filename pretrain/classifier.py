"""GPT-1's network for labelled tasks: the pretrained one, three new tokens, and a linear head on the last state.

Shapes as in `model`; further S: sequences of a batch, E: its examples, L: labels, or the choices of an example.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pretrain.labelled import SPECIALS, Ids
from pretrain.model import GPT

# Radford et al. 2018, section 4.1.
_INIT_STD = 0.02
# Rows whose logits are held at once.
_ROWS = 256


@dataclass(frozen=True, slots=True)
class Batch:
    """Sequences, and which belong together.

    Attributes:
        ids: int64 [S, T], padded with 0 behind.
        ends: int64 [S], the positions of their last ids.
        owners: int64 [S], their examples; slots: int64 [S], their places within these.
    """

    ids: Tensor
    ends: Tensor
    owners: Tensor
    slots: Tensor

    @classmethod
    def of(cls, examples: Sequence[Sequence[Ids]], device: torch.device) -> "Batch":
        rows = [row for example in examples for row in example]
        ids_ST = np.zeros((len(rows), max(map(len, rows))), np.int64)
        for out_T, row in zip(ids_ST, rows, strict=True):
            out_T[: len(row)] = row
        places = [(owner, slot) for owner, example in enumerate(examples) for slot in range(len(example))]
        owners_S, slots_S = torch.tensor(places, device=device).T
        ends_S = torch.tensor([len(row) - 1 for row in rows], device=device)
        return cls(torch.from_numpy(ids_ST).to(device), ends_S, owners_S, slots_S)


class Classifier(nn.Module):
    """A GPT with a head: of `outputs` labels; of one score; or of a choice between an example's sequences."""

    def __init__(self, gpt: GPT, outputs: int, *, choice: bool = False) -> None:
        """
        Args:
            gpt: with the three tokens in its vocabulary; see `widen`.
            outputs: labels; 1: a score, or a choice, for which each sequence has its own.
        """
        super().__init__()
        self.choice = choice
        self.gpt = gpt
        self.head = nn.Linear(gpt.config.width, outputs, device=gpt.wte.weight.device)

    @classmethod
    def create(cls, gpt: GPT, outputs: int, *, seed: int, choice: bool = False) -> "Classifier":
        """A pretrained network with new tokens and a new head, N(0, .02) and biases 0; on the CPU."""
        generator = torch.Generator().manual_seed(seed)
        model = cls(widen(gpt, generator), outputs, choice=choice)
        with torch.no_grad():
            model.head.weight.normal_(0, _INIT_STD, generator=generator)
            model.head.bias.zero_()
        return model

    def forward(self, batch: Batch, *, dropout: float = 0.0, inner: float = 0.0) -> tuple[Tensor, Tensor]:
        """(logits of the labels or choices, or the score, [E, L], final hidden states [S, T, D]).

        Args:
            dropout: on the states that the head reads; inner: within the network. Drawn from torch's generator.
        """
        hidden_STD = self.gpt.hidden(batch.ids, dropout=inner)
        states_SD = hidden_STD[torch.arange(len(batch.ends), device=hidden_STD.device), batch.ends]
        if dropout:
            states_SD = F.dropout(states_SD, dropout)
        examples = int(batch.owners[-1]) + 1
        if not self.choice:
            states_ED = states_SD.new_zeros(examples, states_SD.shape[1]).index_add(0, batch.owners, states_SD)
            logits_EL: Tensor = self.head(states_ED).float()
            return logits_EL, hidden_STD
        scores_S = self.head(states_SD)[:, 0].float()
        choices_EL = scores_S.new_full((examples, int(batch.slots.max()) + 1), -torch.inf)
        return choices_EL.index_put((batch.owners, batch.slots), scores_S), hidden_STD

    def language(self, batch: Batch, hidden_STD: Tensor) -> Tensor:
        """Mean nats of each sequence's ids after the first, the new tokens included, [S]: as the released code of GPT-1
        has it.
        """
        T = batch.ids.shape[1]
        real_ST = torch.arange(T - 1, device=hidden_STD.device) < batch.ends[:, None]
        states_ND, targets_N = hidden_STD[:, :-1][real_ST], batch.ids[:, 1:][real_ST]
        weight_VD = self.gpt.wte.weight[: self.gpt.vocabulary]
        # Logits are made again for the gradients: those of a batch would not fit.
        nats = [
            checkpoint(_nats, h_CD, weight_VD, t_C, use_reentrant=False)
            for h_CD, t_C in zip(torch.split(states_ND, _ROWS), torch.split(targets_N, _ROWS), strict=True)
        ]
        nats_ST = torch.zeros(real_ST.shape, device=hidden_STD.device).masked_scatter(real_ST, torch.cat(nats))
        return nats_ST.sum(1) / batch.ends


def _nats(hidden_CD: Tensor, weight_VD: Tensor, targets_C: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(hidden_CD, weight_VD).float(), targets_C, reduction="none")


@torch.no_grad()
def widen(gpt: GPT, generator: torch.Generator) -> GPT:
    """The same network with room for the three tokens, N(0, .02), behind its vocabulary."""
    with torch.device("meta"):
        wide = GPT(gpt.config, gpt.vocabulary + SPECIALS)
    wide.to_empty(device="cpu")
    state = dict(gpt.state_dict())
    wte_VD = torch.zeros_like(wide.wte.weight)
    wte_VD[: gpt.vocabulary] = state["wte.weight"][: gpt.vocabulary]
    wte_VD[gpt.vocabulary : wide.vocabulary].normal_(0, _INIT_STD, generator=generator)
    wide.load_state_dict(state | {"wte.weight": wte_VD})
    return wide
