"""The networks of GPT-1, GPT-2 and GPT-3, and their loss. It knows nothing of data, optimizers or files.

Tensor names end in their shape:

    B  windows of a batch          D  width of the model      V  vocabulary, padded
    T  positions of a window       H  heads                   N  B * T rows
    F  feed-forward width, 4 D     K  width of a head, D / H  C  rows of a chunk

The vocabulary is padded inside to a multiple of 64, so that the head's matrix product is aligned. The padding is zero,
takes no part in the softmax, gets no gradient and is never seen outside: logits have the tokenizer's own vocabulary.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention
from torch.utils.checkpoint import checkpoint

from pretrain.linear import Linear, product
from pretrain.presets import ModelConfig

VOCABULARY_MULTIPLE = 64
NORM_EPSILON = 1e-5
# Standard deviations: for all of GPT-1 (Radford et al. 2018, section 4.1), and of the released GPT-2's positions.
_INIT_STD = 0.02
_POSITION_STD = 0.01
# Logits that are held at once: few, for the cache, and since glibc has a block above 32 MiB filled anew each time; but
# no fewer than some rows, since each chunk passes over the whole head: 128 are faster than 512. A GPU wants more.
_LOGITS = 2_097_152
_CPU_ROWS = 128
_GPU_ROWS = 4096
# Columns of the logits whose part of the head's gradient is made at once, in a block that the next one reuses.
_COLUMNS = 8192

# What attention may see beyond the causal rule; None: the causal rule alone.
Mask = Tensor | BlockMask | None


class Cache:
    """Keys and values of the positions read so far, [B, H, T, K] each, layer by layer; it begins empty."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return self._pairs[0][0].shape[2] if self._pairs else 0

    def extend(self, layer: int, k_BHTK: Tensor, v_BHTK: Tensor) -> tuple[Tensor, Tensor]:
        """Take up a layer's new positions; returns all of them."""
        if layer in self._pairs:
            before_k, before_v = self._pairs[layer]
            k_BHTK, v_BHTK = torch.cat([before_k, k_BHTK], 2), torch.cat([before_v, v_BHTK], 2)
        self._pairs[layer] = k_BHTK, v_BHTK
        return k_BHTK, v_BHTK


class Attention(nn.Module):
    """Causal self-attention."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.heads, self.layer = config.heads, layer
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)

    def forward(self, x_BTD: Tensor, mask: Mask, dropout: float, cache: Cache | None) -> Tensor:
        B, T, D = x_BTD.shape
        qkv_BT3HK = self.qkv(x_BTD).view(B, T, 3, self.heads, D // self.heads)
        q_BHTK, k_BHTK, v_BHTK = (each_BTHK.transpose(1, 2) for each_BTHK in qkv_BT3HK.unbind(2))
        if cache is not None:
            k_BHTK, v_BHTK = cache.extend(self.layer, k_BHTK, v_BHTK)
        if isinstance(mask, BlockMask):
            y_BHTK = _flex()(q_BHTK, k_BHTK, v_BHTK, block_mask=mask)
        else:
            # Without a mask a single new position sees all that the cache holds.
            causal = mask is None and k_BHTK.shape[2] == T
            y_BHTK = F.scaled_dot_product_attention(
                q_BHTK, k_BHTK, v_BHTK, attn_mask=mask, dropout_p=dropout, is_causal=causal
            )
        out_BTD: Tensor = self.out(y_BHTK.transpose(1, 2).reshape(B, T, D))
        return out_BTD


class FeedForward(nn.Module):
    """Two layers with a GELU between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = Linear(config.width, 4 * config.width)
        self.down = Linear(4 * config.width, config.width)

    def forward(self, x_BTD: Tensor) -> Tensor:
        out_BTD: Tensor = self.down(self.up(x_BTD), gelu=True)
        return out_BTD


class Block(nn.Module):
    """Attention and feed-forward, each added to its input, and normed before (pre) or after the addition (post)."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.pre = config.norm == "pre"
        self.norm_1 = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.attention = Attention(config, layer)
        self.norm_2 = nn.LayerNorm(config.width, eps=NORM_EPSILON)
        self.mlp = FeedForward(config)

    def forward(self, x_BTD: Tensor, mask: Mask = None, dropout: float = 0.0, cache: Cache | None = None) -> Tensor:
        if self.pre:
            x_BTD = x_BTD + _drop(self.attention(self.norm_1(x_BTD), mask, dropout, cache), dropout)
            return x_BTD + _drop(self.mlp(self.norm_2(x_BTD)), dropout)
        x_BTD = self.norm_1(x_BTD + _drop(self.attention(x_BTD, mask, dropout, cache), dropout))
        out_BTD: Tensor = self.norm_2(x_BTD + _drop(self.mlp(x_BTD), dropout))
        return out_BTD


class GPT(nn.Module):
    """Learned positions, blocks, a final norm where blocks norm before, and the head tied to the embedding.

    Built on the meta device it costs nothing; `create` gives one with weights.
    """

    def __init__(self, config: ModelConfig, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = vocabulary
        padded = -(-vocabulary // VOCABULARY_MULTIPLE) * VOCABULARY_MULTIPLE
        self.wte = nn.Embedding(padded, config.width)
        self.wpe = nn.Embedding(config.context, config.width)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPSILON) if config.norm == "pre" else nn.Identity()

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
        residual_std, position_std = _INIT_STD, _INIT_STD
        if self.config.norm == "pre":
            # GPT-2, section 2.3: layers that feed the residual stream are scaled by 1 / sqrt(number of such layers).
            residual_std, position_std = _INIT_STD / (2 * self.config.layers) ** 0.5, _POSITION_STD
        for name, parameter in self.named_parameters():
            if name == "wte.weight":
                parameter[: self.vocabulary].normal_(0, _INIT_STD, generator=generator)
                parameter[self.vocabulary :].zero_()
            elif name == "wpe.weight":
                parameter.normal_(0, position_std, generator=generator)
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

    def flops(self) -> float:
        """Floating-point operations to train on one token: 6 a weight of a matrix product, and 12 a width, layer and
        position attended to, as PaLM counts them (Chowdhery et al. 2022, appendix B), but of a band only what it holds.
        """
        config = self.config
        weights = sum(parameter.numel() for parameter in self.parameters()) - self.wpe.weight.numel()
        attended = sum(min(band or config.context, config.context) for band in config.bands)
        return 6.0 * weights + 12.0 * config.width * attended

    def hidden(
        self,
        ids_BT: Tensor,
        *,
        cache: Cache | None = None,
        end_of_text: int | None = None,
        dropout: float = 0.0,
        recompute: bool = False,
    ) -> Tensor:
        """The final hidden states, [B, T, D], of int ids [B, T] with T at most the context.

        Args:
            cache: holds the positions before `ids_BT`, and takes these up.
            end_of_text: with it no position attends across one: each begins a document. None, as GPT-3 did: documents
                of a window see those before them.
            dropout: drawn from torch's own generator of the device; `loss` seeds it.
            recompute: keep only the blocks' inputs for the backward pass, and run each block again there.

        Raises:
            ValueError: if both a cache and an end-of-text are given.
        """
        if cache is not None and end_of_text is not None:
            raise ValueError("a cache holds one document; give it without end_of_text")
        T, first = ids_BT.shape[1], 0 if cache is None else len(cache)
        positions_T = torch.arange(first, first + T, device=ids_BT.device)
        x_BTD: Tensor = _drop(self.wte(ids_BT) + self.wpe(positions_T), dropout)
        documents_BT = None if end_of_text is None else (ids_BT == end_of_text).cumsum(1)
        # FlexAttention knows no dropout, on the CPU no backward pass, and on a GPU no heads narrower than 16.
        wide = self.config.width // self.config.heads >= 16
        flex = ids_BT.device.type == "cuda" and not dropout and cache is None and wide
        masks = {band: _mask(first, ids_BT, band, documents_BT, flex) for band in set(self.config.bands)}
        for block, band in zip(self.blocks, self.config.bands, strict=True):
            arguments = (x_BTD, masks[band], dropout, cache)
            x_BTD = checkpoint(block, *arguments, use_reentrant=False) if recompute else block(*arguments)
        out_BTD: Tensor = self.norm(x_BTD)
        return out_BTD

    def forward(self, ids_BT: Tensor) -> Tensor:
        """Logits of the next token at every position, [B, T, vocabulary]."""
        return F.linear(self.hidden(ids_BT), self.wte.weight[: self.vocabulary])

    def next(self, ids_BT: Tensor, cache: Cache) -> Tensor:
        """Logits of the token after these ids, which follow those of the cache, and are taken up: [B, vocabulary]."""
        return F.linear(self.hidden(ids_BT, cache=cache)[:, -1], self.wte.weight[: self.vocabulary])

    def loss(
        self,
        windows_BT: Tensor,
        *,
        seed: int | None = None,
        end_of_text: int | None = None,
        recompute: bool = False,
    ) -> Tensor:
        """Mean nats of tokens 1.. of each int64 window given those before them; a scalar to call backward on.

        The logits exist a chunk of rows at a time, so memory does not grow with windows x vocabulary.

        Args:
            seed: of the dropout, below 2^63: the same seed drops the same. None: nothing is dropped.
            end_of_text, recompute: as for `hidden`.
        """
        rate = 0.0 if seed is None else self.config.dropout
        with _seeded(windows_BT.device, seed) if seed is not None and rate else contextlib.nullcontext():
            hidden_BTD = self.hidden(windows_BT[:, :-1], end_of_text=end_of_text, dropout=rate, recompute=recompute)
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
            F.cross_entropy(_logits(h_CD, self.wte.weight, self.vocabulary), t_C, reduction="none")
            for h_CD, t_C in _chunks(hidden_ND, targets_N, self.vocabulary)
        ]
        return torch.cat(chunks).view(windows_BT.shape[0], -1)


def _drop(x_BTD: Tensor, rate: float) -> Tensor:
    return F.dropout(x_BTD, rate) if rate else x_BTD


@contextlib.contextmanager
def _seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Torch's generator of the device begins at the seed, and afterwards stands where it stood."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if cuda else []):
        (torch.cuda.default_generators[device.index] if cuda else torch.default_generator).manual_seed(seed)
        yield


@functools.cache
def _flex() -> Callable[..., Tensor]:
    # Compiled, it skips the blocks that a mask leaves out; without, it makes all T x T scores.
    return torch.compile(flex_attention)


def _mask(first: int, ids_BT: Tensor, band: int | None, documents_BT: Tensor | None, flex: bool) -> Mask:
    """The mask of a layer, for queries `first`, ... and keys 0, ...; None where the causal rule says all."""
    B, T = ids_BT.shape
    total = first + T
    if (band is None or band >= total) and documents_BT is None and (first == 0 or T == 1):
        return None

    def allowed(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        ahead = first + q - k
        out = ahead >= 0
        if band is not None:
            out = out & (ahead < band)
        if documents_BT is not None:
            out = out & (documents_BT[b, q] == documents_BT[b, k])
        return out

    device, batch = ids_BT.device, None if documents_BT is None else B
    if flex:
        return create_block_mask(allowed, batch, None, T, total, device=device)
    b_B111, q_T1, k_T = (torch.arange(size, device=device) for size in (batch or 1, T, total))
    return allowed(b_B111[:, None, None, None], k_T, q_T1[:, None], k_T)


def _chunks(hidden_ND: Tensor, targets_N: Tensor, vocabulary: int) -> list[tuple[Tensor, Tensor]]:
    rows = max(_CPU_ROWS if hidden_ND.device.type == "cpu" else _GPU_ROWS, _LOGITS // vocabulary)
    return list(zip(torch.split(hidden_ND, rows), torch.split(targets_N, rows), strict=True))


def _logits(hidden_CD: Tensor, weight_VD: Tensor, vocabulary: int) -> Tensor:
    logits_CV = product(hidden_CD, weight_VD).float()
    logits_CV[:, vocabulary:] = -torch.inf
    return logits_CV


class _ChunkedLoss(torch.autograd.Function):
    """Mean cross-entropy of a linear head, whose gradients are made in the forward pass, chunk by chunk.

    The softmax of a chunk is used while it is at hand, for the loss and for both gradients; the backward pass only
    scales them. Equal to cross_entropy(hidden @ weight.T) up to rounding, in a V-th of the memory.
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, vocabulary: int) -> Tensor:
        # Under autocast the products take bfloat16; the softmax, the sums and the gradient of the weight do not.
        grad_hidden_ND = torch.empty_like(hidden_ND)
        grad_weight_DV = weight_VD.new_zeros(weight_VD.T.shape)
        total, done = hidden_ND.new_zeros((), dtype=torch.float32), 0
        for h_CD, t_C in _chunks(hidden_ND, targets_N, vocabulary):
            t_C1 = t_C[:, None]
            grad_CV = _logits(h_CD, weight_VD, vocabulary)
            # In place; the logarithm is that of the greatest probability alone, which is never too small for one.
            total += (grad_CV.amax(-1, keepdim=True) - grad_CV.gather(1, t_C1)).sum()
            torch.softmax(grad_CV, -1, out=grad_CV)
            total -= grad_CV.amax(-1).log_().sum()
            grad_CV.scatter_add_(1, t_C1, grad_CV.new_full(t_C1.shape, -1.0))
            grad_hidden_ND[done : done + len(t_C)] = product(grad_CV, weight_VD.T)
            parts = (torch.split(each, _COLUMNS, 1) for each in (grad_weight_DV, grad_CV))
            for sum_DV, part_CV in zip(*parts, strict=True):
                sum_DV += product(h_CD.T, part_CV.contiguous().T)
            del grad_CV  # before the next chunk has its own
            done += len(t_C)
        # Kept out of autograd's hands, since the backward pass, of which there is one, changes them in place.
        ctx.gradients, ctx.rows = (grad_hidden_ND, grad_weight_DV), done
        return total / done

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        (grad_hidden_ND, grad_weight_DV), ctx.gradients = ctx.gradients, None
        scale = grad_outputs[0] / ctx.rows
        return grad_hidden_ND.mul_(scale), grad_weight_DV.mul_(scale).T.contiguous(), None, None
