"""What a GPU attends with, as far as a CPU can tell: FlexAttention's mask beside ours, and its kernel, forward."""

import itertools
from typing import Any

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask, create_mask

from pretrain import model as model_module
from pretrain.model import GPT
from pretrain.presets import ModelConfig

END = 0


def documents(windows: int, length: int, seed: int) -> torch.Tensor:
    """Ids whose documents begin anywhere, at the first place and next to each other too."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 50, (windows, length), generator=generator)
    ids[torch.rand((windows, length), generator=generator) < 0.05] = END
    ids[0, 0] = END
    return ids


@pytest.mark.parametrize("length", [1, 2, 127, 128, 129, 300])
@pytest.mark.parametrize("band", [None, 1, 3, 128, 200])
@pytest.mark.parametrize("masked", [False, True])
def test_both_masks_are_one(length: int, band: int | None, masked: bool) -> None:
    """Place by place, and the blocks that are skipped hold nothing."""
    ids = documents(2, length, length)
    owners = (ids == END).cumsum(1) if masked else None
    ours = model_module._mask(0, ids, band, owners, False)
    theirs = model_module._mask(0, ids, band, owners, True)
    if ours is None:
        assert theirs is None
        return
    assert isinstance(ours, torch.Tensor)
    assert isinstance(theirs, BlockMask)
    windows = 2 if masked else 1
    made = create_mask(theirs.mask_mod, windows, 1, length, length, device="cpu")
    assert torch.equal(made, ours.expand(windows, 1, length, length))
    blocks = theirs.to_dense().repeat_interleave(128, 2).repeat_interleave(128, 3)[..., :length, :length]
    assert not (made & ~blocks.bool()).any()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # torch's compiler meets its own deprecations
def test_the_compiled_kernel_sees_what_a_mask_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of other lengths, as validation has them, compile it once more, and not each."""
    model = GPT.create(ModelConfig(layers=2, width=64, heads=4, context=256, band=32), 50, seed=1).requires_grad_(False)
    mask = model_module._mask
    torch._dynamo.reset()
    compiled = [_graphs()]
    for length in (256, 200, 130, 250):
        ids = documents(3, length, length)
        want = model.hidden(ids)
        with monkeypatch.context() as patch, torch.inference_mode():
            patch.setattr(model_module, "_mask", lambda *given: mask(*given[:-1], True))
            got = model.hidden(ids)
        compiled.append(_graphs())
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
    assert [after - before for before, after in itertools.pairwise(compiled)] == [1, 1, 0, 0]


def _graphs() -> int:
    counters: Any = torch._dynamo.utils.counters
    return int(counters["stats"]["unique_graphs"])
