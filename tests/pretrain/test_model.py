"""The network against a forward pass written in numpy, and its loss against torch's own."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from pretrain import model as model_module
from pretrain.linear import Linear
from pretrain.model import GPT, Cache
from pretrain.presets import ModelConfig

SMALL = ModelConfig(layers=3, width=24, heads=4, context=20)
POST = replace(SMALL, norm="post")
BANDED = replace(SMALL, band=6)
LOCAL_FIRST = replace(SMALL, band=1, dense_first=False)
NETWORKS = pytest.mark.parametrize("config", [SMALL, POST, BANDED, LOCAL_FIRST], ids=["pre", "post", "banded", "local"])
VOCABULARY = 101
END = 7  # stands in for end-of-text


def randomised(config: ModelConfig = SMALL, vocabulary: int = VOCABULARY, scale: float = 0.3) -> GPT:
    """A model whose every tensor is far from its start, biases and norms too; the padding stays zero."""
    model = GPT.create(config, vocabulary, seed=3)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
        model.wte.weight[vocabulary:] = 0
    return model


def ids(rows: int, columns: int, vocabulary: int = VOCABULARY, seed: int = 5) -> torch.Tensor:
    return torch.randint(0, vocabulary, (rows, columns), generator=torch.Generator().manual_seed(seed))


def numpy_logits(model: GPT, tokens: np.ndarray, end_of_text: int | None = None) -> np.ndarray:
    """The forward pass for one window, in float64, written from the papers: no batch, no mask, no fused kernels."""
    w = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    heads, width, pre = model.config.heads, model.config.width, model.config.norm == "pre"
    begins = [0] * len(tokens)  # of the document that each position belongs to
    for t in range(len(tokens)):
        begins[t] = t if tokens[t] == end_of_text else begins[t - 1] if t else 0

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def attention(x: np.ndarray, block: str, band: int) -> np.ndarray:
        q, k, v = np.split(linear(x, f"{block}.attention.qkv"), 3, axis=-1)
        mixed = np.zeros_like(x)
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            for t in range(len(tokens)):
                seen = slice(max(0, t + 1 - band, begins[t]), t + 1)
                score = k[seen, part] @ q[t, part] / math.sqrt(width // heads)
                chance = np.exp(score - score.max())
                mixed[t, part] = (chance / chance.sum()) @ v[seen, part]
        return linear(mixed, f"{block}.attention.out")

    def feed_forward(x: np.ndarray, block: str) -> np.ndarray:
        up = linear(x, f"{block}.mlp.up")
        gelu = 0.5 * up * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
        return linear(gelu, f"{block}.mlp.down")

    x = w["wte.weight"][tokens] + w["wpe.weight"][: len(tokens)]
    for layer in range(model.config.layers):
        block = f"blocks.{layer}"
        dense = model.config.band is None or (layer % 2 == 0) == model.config.dense_first
        band = len(tokens) if dense else model.config.band
        if pre:
            x = x + attention(norm(x, f"{block}.norm_1"), block, band)
            x = x + feed_forward(norm(x, f"{block}.norm_2"), block)
        else:
            x = norm(x + attention(x, block, band), f"{block}.norm_1")
            x = norm(x + feed_forward(x, block), f"{block}.norm_2")
    return (norm(x, "norm") if pre else x) @ w["wte.weight"][: model.vocabulary].T


@NETWORKS
def test_logits_equal_a_forward_pass_in_numpy(config: ModelConfig) -> None:
    model, tokens = randomised(config), ids(2, SMALL.context)
    logits = model(tokens).detach().numpy()
    assert logits.shape == (2, SMALL.context, VOCABULARY)
    for row in range(2):
        np.testing.assert_allclose(logits[row], numpy_logits(model, tokens[row].numpy()), atol=2e-4, rtol=1e-4)


def with_documents() -> torch.Tensor:
    """Two windows: one begins with an end-of-text and ends with one, one has them side by side."""
    tokens = ids(2, SMALL.context)
    tokens[tokens == END] = END + 1
    for row, columns in enumerate([(0, 5, 13, 19), (3, 4)]):
        tokens[row, list(columns)] = END
    return tokens


@NETWORKS
def test_with_an_end_of_text_documents_do_not_see_each_other(config: ModelConfig) -> None:
    model, tokens = randomised(config), with_documents()
    hidden = model.hidden(tokens, end_of_text=END)
    logits = F.linear(hidden, model.wte.weight[:VOCABULARY]).detach().numpy()
    for row in range(2):
        np.testing.assert_allclose(logits[row], numpy_logits(model, tokens[row].numpy(), END), atol=2e-4, rtol=1e-4)
    if config is not LOCAL_FIRST:
        assert not torch.allclose(hidden, model.hidden(tokens), atol=1e-2)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("end_of_text", [None, END])
def test_flex_attention_sees_what_a_mask_sees(monkeypatch: pytest.MonkeyPatch, end_of_text: int | None) -> None:
    """On the CPU, forward and not compiled, which is all that FlexAttention can do there."""
    flex = torch.nn.attention.flex_attention
    model, tokens = randomised(replace(BANDED, context=150, width=64)).requires_grad_(False), ids(2, 150)
    want = model.hidden(tokens, end_of_text=end_of_text)
    calls = []

    def recorded(q: torch.Tensor, *rest: Any, **given: Any) -> Any:
        calls.append(q.shape)
        return flex.flex_attention(q, *rest, **given)

    mask = model_module._mask
    monkeypatch.setattr(model_module, "_mask", lambda *given: mask(*given[:-1], True))
    monkeypatch.setattr(model_module, "_flex", lambda: recorded)
    got = model.hidden(tokens, end_of_text=end_of_text)
    assert len(calls) == (1 if end_of_text is None else 3)
    torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)


@NETWORKS
@pytest.mark.parametrize("pieces", [[1] * 20, [5, 1, 8, 6], [20]])
def test_a_cache_changes_nothing(config: ModelConfig, pieces: list[int]) -> None:
    model, tokens, cache, done = randomised(config), ids(2, SMALL.context), Cache(), 0
    want = model(tokens)
    for size in pieces:
        logits = model.next(tokens[:, done : done + size], cache)
        done += size
        assert len(cache) == done
        torch.testing.assert_close(logits, want[:, done - 1], atol=2e-4, rtol=1e-4)


def test_a_cache_with_documents_is_refused() -> None:
    with pytest.raises(ValueError, match="one document"):
        randomised().hidden(ids(1, 3), cache=Cache(), end_of_text=END)


@pytest.mark.parametrize("gelu", [False, True])
def test_linear_and_its_gradients_equal_torchs(gelu: bool) -> None:
    """From far below the GELU's bend to far above it; what torch computes is in float64."""
    generator = torch.Generator().manual_seed(1)
    layer = Linear(48, 40)
    x_BTD = 4 * torch.randn(3, 11, 48, generator=generator)
    x_BTD[0, 0, :6] = torch.tensor([-30.0, -9.0, -0.0, 1e-6, 9.0, 30.0])
    x_BTD.requires_grad_()
    grad_BTF = torch.randn(3, 11, 40, generator=generator)
    got = layer(x_BTD, gelu)
    assert type(got.grad_fn).__name__ == "_LinearFunctionBackward", "on this machine oneDNN computes"
    want_x, *want_parameters = (t.detach().double().requires_grad_() for t in (x_BTD, layer.weight, layer.bias))
    want = F.linear(F.gelu(want_x, approximate="tanh") if gelu else want_x, *want_parameters)
    torch.testing.assert_close(got.double(), want, atol=2e-5, rtol=1e-5)
    got.backward(grad_BTF)
    want.backward(grad_BTF.double())
    for mine, other in ((x_BTD, want_x), *zip(layer.parameters(), want_parameters, strict=True)):
        torch.testing.assert_close(mine.grad.double(), other.grad, atol=2e-5, rtol=1e-5)


def test_what_onednn_does_not_take_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision, one row, a torch without oneDNN: the same numbers."""
    layer, x_ND = Linear(16, 8), torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    whole = layer(x_ND, gelu=True)
    torch.testing.assert_close(layer(x_ND[:1], gelu=True), whole[:1])
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x_ND, gelu=True).dtype == torch.bfloat16
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    again = layer(x_ND, gelu=True)
    assert type(again.grad_fn).__name__ == "AddmmBackward0"
    torch.testing.assert_close(again, whole)


@pytest.mark.parametrize(("rows", "columns"), [(1, 10**9), (7, 50), (10**9, 128)])
def test_chunked_loss_and_its_gradients_equal_cross_entropy(
    monkeypatch: pytest.MonkeyPatch, rows: int, columns: int
) -> None:
    monkeypatch.setattr(model_module, "_CPU_ROWS", rows)
    monkeypatch.setattr(model_module, "_COLUMNS", columns)
    monkeypatch.setattr(model_module, "_LOGITS", 0)
    ours, theirs, windows = randomised(), randomised(), ids(3, SMALL.context + 1)
    loss = ours.loss(windows)
    want = F.cross_entropy(theirs(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
    torch.testing.assert_close(loss, want, atol=1e-6, rtol=1e-6)
    (loss * 0.7).backward()
    (want * 0.7).backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-5, rtol=1e-4, msg=name)
    each = F.cross_entropy(theirs(windows[:, :-1]).transpose(1, 2), windows[:, 1:], reduction="none")
    torch.testing.assert_close(ours.nats(windows), each, atol=1e-5, rtol=1e-5)


def test_loss_under_autocast_is_near_the_exact_one() -> None:
    model, windows = GPT.create(SMALL, VOCABULARY, seed=1), ids(3, SMALL.context + 1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(windows)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in model.parameters())
    torch.testing.assert_close(loss, model.loss(windows), atol=2e-2, rtol=0)


@NETWORKS
def test_blocks_run_again_give_the_same_gradients(config: ModelConfig) -> None:
    """With what was dropped before."""
    ours, theirs = (randomised(replace(config, dropout=0.2)) for _ in range(2))
    windows = with_documents()
    for model, recompute in ((ours, True), (theirs, False)):
        model.loss(windows, seed=3, end_of_text=END, recompute=recompute).backward()
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.equal(mine.grad, other.grad), name


def test_a_loss_is_exact_where_a_target_has_next_to_no_probability() -> None:
    model, windows = randomised(scale=3.0), ids(2, SMALL.context + 1)
    loss = model.loss(windows)
    assert loss.item() > 150, "exp(-loss) is 0 in float32"
    logits = model(windows[:, :-1]).double()
    torch.testing.assert_close(
        loss.double(), F.cross_entropy(logits.transpose(1, 2), windows[:, 1:]), atol=0, rtol=1e-6
    )


def test_dropout_is_drawn_from_the_seed_alone() -> None:
    model, windows = randomised(replace(POST, dropout=0.3)), ids(3, SMALL.context + 1)
    state = torch.get_rng_state()
    dropped = model.loss(windows, seed=5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(model.loss(windows, seed=5), dropped)
    assert not torch.equal(model.loss(windows, seed=6), dropped)
    whole = model.loss(windows)
    assert torch.equal(whole, randomised(POST).loss(windows, seed=5))
    assert not torch.equal(whole, dropped)


def test_dropout_falls_on_embeddings_attention_and_both_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    drop, attend = F.dropout, F.scaled_dot_product_attention
    monkeypatch.setattr(F, "dropout", lambda x, p: rates.append(p) or drop(x, p))
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: rates.append(-k["dropout_p"]) or attend(*a, **k)
    )
    GPT.create(replace(POST, dropout=0.1), VOCABULARY, seed=1).loss(ids(1, 9), seed=1)
    assert rates == [0.1, *[-0.1, 0.1, 0.1] * SMALL.layers]


@NETWORKS
def test_a_later_id_changes_no_earlier_logit(config: ModelConfig) -> None:
    model, tokens = randomised(config), ids(1, SMALL.context)
    changed = tokens.clone()
    changed[0, 10:] = (changed[0, 10:] + 1) % VOCABULARY
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :10], after[:, :10], atol=0, rtol=0)
    assert not torch.equal(before[:, 10], after[:, 10])


def test_padding_is_zero_learns_nothing_and_changes_nothing() -> None:
    padded = GPT.create(SMALL, VOCABULARY, seed=1)
    assert padded.wte.num_embeddings == 128
    padded.loss(ids(2, SMALL.context + 1)).backward()
    assert padded.wte.weight.grad is not None
    assert not padded.wte.weight[VOCABULARY:].any()
    assert not padded.wte.weight.grad[VOCABULARY:].any()
    assert torch.equal(padded.wte.weight[:100], GPT.create(SMALL, 100, seed=1).wte.weight[:100])


def test_weights_start_as_gpt2_does() -> None:
    model = GPT.create(ModelConfig(layers=8, width=256, heads=4, context=512), 2000, seed=1)
    stds = {name: tensor[: model.vocabulary].std().item() for name, tensor in model.named_parameters()}
    assert stds["wte.weight"] == pytest.approx(0.02, rel=0.02)
    assert stds["wpe.weight"] == pytest.approx(0.01, rel=0.02)
    assert stds["blocks.3.attention.qkv.weight"] == pytest.approx(0.02, rel=0.02)
    assert stds["blocks.3.attention.out.weight"] == pytest.approx(0.02 / 4, rel=0.02)
    assert stds["blocks.3.mlp.down.weight"] == pytest.approx(0.02 / 4, rel=0.02)
    assert model.norm.weight.eq(1).all()
    assert not model.blocks[0].mlp.up.bias.any()


def test_weights_start_as_gpt1_does() -> None:
    config = ModelConfig(layers=8, width=256, heads=4, context=512, norm="post")
    for name, tensor in GPT.create(config, 2048, seed=1).named_parameters():
        if tensor.dim() == 2:
            assert tensor.std().item() == pytest.approx(0.02, rel=0.02), name
        else:
            assert tensor.eq(1 if "norm" in name and name.endswith("weight") else 0).all(), name


def test_a_fresh_model_guesses_evenly() -> None:
    loss = GPT.create(SMALL, VOCABULARY, seed=1).loss(ids(8, SMALL.context + 1))
    assert loss.item() == pytest.approx(math.log(VOCABULARY), abs=0.05)


@NETWORKS
def test_it_learns_one_batch_by_heart(config: ModelConfig) -> None:
    model, windows = GPT.create(config, VOCABULARY, seed=1), ids(4, SMALL.context + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.loss(windows)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02


# Losses of twenty steps, measured with torch 2.15 on a CPU; the tolerance is for other versions' rounding.
GOLDEN_CURVES = {
    "gpt1": [
        4.60952,
        4.60748,
        4.61375,
        4.61836,
        4.37059,
        4.43172,
        4.45863,
        4.47808,
        4.24532,
        4.31715,
        4.33288,
        4.34659,
        4.13406,
        4.20161,
        4.20264,
        4.21655,
        4.01863,
        4.08165,
        4.06573,
        4.08767,
    ],
    "gpt3": [
        4.6043,
        4.60975,
        4.61486,
        4.63016,
        4.50803,
        4.45644,
        4.47887,
        4.50354,
        4.33514,
        4.34918,
        4.37353,
        4.39355,
        4.22035,
        4.22863,
        4.24917,
        4.28369,
        4.10374,
        4.09572,
        4.14117,
        4.1412,
    ],
}


@pytest.mark.parametrize(("name", "config"), [("gpt1", POST), ("gpt3", BANDED)])
def test_golden_losses_of_twenty_steps(name: str, config: ModelConfig) -> None:
    model, windows, losses = GPT.create(config, VOCABULARY, seed=1), ids(20, SMALL.context + 1), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for step in range(20):
        optimizer.zero_grad()
        loss = model.loss(windows[step % 4 * 5 :][:5])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx(GOLDEN_CURVES[name], abs=1e-3)
