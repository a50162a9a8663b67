"""The GPT-2 network, and its loss. It knows nothing of data, optimizers or files.

Tensor names end in their shape:

    B  windows of a batch          D  width of the model      V  vocabulary, padded
    T  positions of a window       H  heads                   N  B * T rows
    F  feed-forward width, 4 D     K  width of a head, D / H  C  rows of a chunk

The vocabulary is padded inside to a multiple of 64, so that the head's matrix product is aligned. The padding is zero,
takes no part in the softmax, gets no gradient and is never seen outside: logits have the tokenizer's own vocabulary.
"""

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pretrain.presets import ModelConfig

VOCABULARY_MULTIPLE = 64
NORM_EPSILON = 1e-5
# Standard deviations of the released GPT-2: embeddings and matrices .02, positions .01.
_INIT_STD = 0.02
_POSITION_STD = 0.01
# Logits held at once, in elements: 4 MiB in float32, which stays in the cache; on a GPU 1 GiB keeps it busy.
_CPU_LOGITS = 2**20
_GPU_LOGITS = 2**28


class Attention(nn.Module):
    """Causal self-attention over all earlier positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        B, T, D = x_BTD.shape
        qkv_3BHTK = self.qkv(x_BTD).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        q_BHTK, k_BHTK, v_BHTK = qkv_3BHTK.unbind(0)
        y_BHTK = F.scaled_dot_product_attention(q_BHTK, k_BHTK, v_BHTK, is_causal=True)
        out_BTD: Tensor = self.out(y_BHTK.transpose(1, 2).reshape(B, T, D))
        return out_BTD


class FeedForward(nn.Module):
    """Two layers with the tanh approximation of GELU between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, 4 * config.width)
        self.down = nn.Linear(4 * config.width, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = self.down(F.gelu(self.up(x_BTD), approximate="tanh"))
        return out_BTD


class Block(nn.Module):
    """Attention and feed-forward, each normed before and added after (GPT-2's pre-norm)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.attention = Attention(config)
        self.norm_2 = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.mlp = FeedForward(config)

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.attention(self.norm_1(x_BTD))
        out_BTD: Tensor = x_BTD + self.mlp(self.norm_2(x_BTD))
        return out_BTD


class GPT(nn.Module):
    """GPT-2: learned positions, pre-norm blocks, a final norm, the head tied to the embedding.

    Built on the meta device it costs nothing; `create` gives one with weights.
    """

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        padded = -(-vocabulary // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        self.wte = nn.Embedding(padded, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPSILON)

    @classmethod
    def create(cls, config: ModelConfig, vocabulary: int, *, seed: int) -> "GPT":
        """A model on the CPU with fresh weights, float32; the same seed gives the same bits whatever the padding."""
        with torch.device("meta"):
            model = cls(config, vocabulary)
        model.to_empty(device="cpu")
        model._initialise(torch.Generator().manual_seed(seed))
        return model

    @torch.no_grad()
    def _initialise(self, generator: torch.Generator) -> None:
        # GPT-2, section 2.3: layers that feed the residual stream are scaled by 1 / sqrt(number of such layers).
        residual_std = _INIT_STD / (2 * self.config.layers) ** 0.5
        for name, parameter in self.named_parameters():
            if name == "wte.weight":
                parameter[: self.vocabulary].normal_(0, _INIT_STD, generator=generator)
                parameter[self.vocabulary :].zero_()
            elif name == "wpe.weight":
                parameter.normal_(0, _POSITION_STD, generator=generator)
            elif name.endswith(("out.weight", "down.weight")):
                parameter.normal_(0, residual_std, generator=generator)
            elif parameter.dim() == 2:
                parameter.normal_(0, _INIT_STD, generator=generator)
            else:
                parameter.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)

    def num_parameters(self) -> int:
        """Parameters without the vocabulary's padding; the tied head counts once."""
        padding = self.wte.num_embeddings - self.vocabulary
        return sum(parameter.numel() for parameter in self.parameters()) - padding * self.config.width

    def hidden(self, ids_BT: Tensor) -> Tensor:
        """The final hidden states, [B, T, D], of int ids [B, T] with T at most the context."""
        positions_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
        x_BTD: Tensor = self.wte(ids_BT) + self.wpe(positions_T)
        for block in self.blocks:
            x_BTD = block(x_BTD)
        x_BTD = self.norm(x_BTD)
        return x_BTD

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits of the next token at every position, [B, T, vocabulary]."""
        return F.linear(self.hidden(ids_BT), self.wte.weight[: self.vocabulary])

    def loss(self, windows_BT: Tensor) -> Tensor:
        """Mean nats of tokens 1.. of each int64 window given those before them; a scalar to call backward on.

        The logits exist a chunk of rows at a time, so memory does not grow with windows x vocabulary.
        """
        hidden_BTD = self.hidden(windows_BT[:, :-1])
        loss: Tensor = _ChunkedLoss.apply(
            hidden_BTD.flatten(0, 1), self.wte.weight, windows_BT[:, 1:].flatten(), self.vocabulary
        )
        return loss

    @torch.no_grad()
    def nats(self, windows_BT: Tensor) -> Tensor:
        """Nats of each of the tokens 1.. of each int64 window, float32 [B, T - 1]."""
        hidden_ND = self.hidden(windows_BT[:, :-1]).flatten(0, 1)
        targets_N = windows_BT[:, 1:].flatten()
        chunks = [
            -_log_probabilities(h_CD, self.wte.weight, self.vocabulary).gather(1, t_C[:, None])[:, 0]
            for h_CD, t_C in _chunks(hidden_ND, targets_N, self.wte.num_embeddings)
        ]
        return torch.cat(chunks).view(windows_BT.shape[0], -1)


def _chunks(hidden_ND: Tensor, targets_N: Tensor, padded: int) -> list[tuple[Tensor, Tensor]]:
    rows = max(1, (_CPU_LOGITS if hidden_ND.device.type == "cpu" else _GPU_LOGITS) // padded)
    return list(zip(torch.split(hidden_ND, rows), torch.split(targets_N, rows), strict=True))


def _log_probabilities(hidden_CD: Tensor, weight_VD: Tensor, vocabulary: int) -> Tensor:
    logits_CV = F.linear(hidden_CD, weight_VD).float()
    logits_CV[:, vocabulary:] = -torch.inf
    return logits_CV.log_softmax(-1)


class _ChunkedLoss(torch.autograd.Function):
    """Mean cross-entropy of a linear head, whose gradients are made in the forward pass, chunk by chunk.

    The softmax of a chunk is used while it is at hand, for the loss and for both gradients; the backward pass only
    scales them. Equal to cross_entropy(hidden @ weight.T) up to rounding, in a V-th of the memory.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, vocabulary: int) -> Tensor:
        # Under autocast the matrix products take bfloat16; the softmax, the sums and the gradient of the weight do not.
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_weight_VD = torch.zeros_like(weight_VD)
        total, done = hidden_ND.new_zeros((), dtype=torch.float32), 0
        for h_CD, t_C in _chunks(hidden_ND, targets_N, weight_VD.shape[0]):
            log_p_CV = _log_probabilities(h_CD, weight_VD, vocabulary)
            total -= log_p_CV.gather(1, t_C[:, None]).sum()
            grad_CV = log_p_CV.exp_()
            grad_CV.scatter_add_(1, t_C[:, None], grad_CV.new_full((len(t_C), 1), -1.0))
            grad_hidden_ND[done : done + len(t_C)] = grad_CV @ weight_VD
            grad_weight_VD += grad_CV.T @ h_CD
            done += len(t_C)
        ctx.save_for_backward(grad_hidden_ND.div_(done), grad_weight_VD.div_(done))
        return total / done

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        grad_hidden_ND, grad_weight_VD = ctx.saved_tensors
        return grad_hidden_ND * grad_outputs[0], grad_weight_VD * grad_outputs[0], None, None
