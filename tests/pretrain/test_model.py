"""The network against a forward pass written in numpy, and its loss against torch's own."""

import importlib.util
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from pretrain import export
from pretrain import model as model_module
from pretrain.model import GPT
from pretrain.presets import PRESETS, ModelConfig, num_parameters

SMALL = ModelConfig(layers=3, width=24, heads=4, context=20)
VOCABULARY = 101


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


def numpy_logits(model: GPT, tokens: np.ndarray) -> np.ndarray:
    """GPT-2's forward pass for one window, in float64, written from the paper: no batch, no fused kernels."""
    w = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
    heads, width = model.config.heads, model.config.width

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    x = w["wte.weight"][tokens] + w["wpe.weight"][: len(tokens)]
    for layer in range(model.config.layers):
        block = f"blocks.{layer}"
        q, k, v = np.split(linear(norm(x, f"{block}.norm_1"), f"{block}.attention.qkv"), 3, axis=-1)
        mixed = np.zeros_like(x)
        for head in range(heads):
            part = slice(head * width // heads, (head + 1) * width // heads)
            for t in range(len(tokens)):
                score = k[: t + 1, part] @ q[t, part] / math.sqrt(width // heads)
                chance = np.exp(score - score.max())
                mixed[t, part] = (chance / chance.sum()) @ v[: t + 1, part]
        x = x + linear(mixed, f"{block}.attention.out")
        up = linear(norm(x, f"{block}.norm_2"), f"{block}.mlp.up")
        gelu = 0.5 * up * (1 + np.tanh(math.sqrt(2 / math.pi) * (up + 0.044715 * up**3)))
        x = x + linear(gelu, f"{block}.mlp.down")
    return norm(x, "norm") @ w["wte.weight"][: model.vocabulary].T


def test_logits_equal_a_forward_pass_in_numpy() -> None:
    model, tokens = randomised(), ids(2, SMALL.context)
    logits = model(tokens).detach().numpy()
    assert logits.shape == (2, SMALL.context, VOCABULARY)
    for row in range(2):
        np.testing.assert_allclose(logits[row], numpy_logits(model, tokens[row].numpy()), atol=2e-4, rtol=1e-4)


@pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None,
    reason="transformers is not installed: parity with its GPT2LMHeadModel was NOT checked here",
)
def test_logits_equal_transformers() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model, tokens = randomised(), ids(2, SMALL.context)
    theirs = GPT2LMHeadModel(GPT2Config(**export.config(model, 0)))
    missing, unexpected = theirs.load_state_dict(export.tensors(model), strict=False)
    assert missing == ["lm_head.weight"]
    assert not unexpected
    theirs.tie_weights()
    with torch.no_grad():
        difference = (theirs.eval()(tokens).logits - model(tokens)).abs().max()
    assert difference < 1e-4


@pytest.mark.parametrize("chunk", [1, 200, 10**9])
def test_chunked_loss_and_its_gradients_equal_cross_entropy(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(model_module, "_CPU_LOGITS", chunk)
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


def test_a_later_id_changes_no_earlier_logit() -> None:
    model, tokens = randomised(), ids(1, SMALL.context)
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


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_of_a_preset_built_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        model = GPT(PRESETS[name].model, 50_257)
    assert model.num_parameters() == num_parameters(PRESETS[name].model, 50_257)


def test_gpt2_has_the_published_number_of_parameters() -> None:
    assert num_parameters(PRESETS["gpt2"].model, 50_257) == 124_439_808


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


def test_a_fresh_model_guesses_evenly() -> None:
    loss = GPT.create(SMALL, VOCABULARY, seed=1).loss(ids(8, SMALL.context + 1))
    assert loss.item() == pytest.approx(math.log(VOCABULARY), abs=0.05)


def test_it_learns_one_batch_by_heart() -> None:
    model, windows = GPT.create(SMALL, VOCABULARY, seed=1), ids(4, SMALL.context + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        loss = model.loss(windows)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.02
