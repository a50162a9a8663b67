"""Text out of a checkpoint. The same checkpoint, prompt, seed and threads give the same text on the CPU."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer

from curate import draw
from curate.errors import ModelError
from curate.shards import TOKENIZER
from pretrain import checkpoint
from pretrain.model import GPT, Cache


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig:
    """How tokens are drawn.

    Attributes:
        tokens: most tokens to draw; an end-of-text ends the text before.
        temperature: divides the logits; 0 takes the likeliest token always.
        top_k: draw from the k likeliest (Fan, Lewis and Dauphin 2018); 40 in GPT-2's own samples. None: from all.
    """

    __pydantic_config__ = {"extra": "forbid"}
    tokens: int = 200
    temperature: float = 0.8
    top_k: int | None = 40
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.temperature < 0 or (self.top_k is not None and self.top_k < 1):
            raise ValueError(f"{self}: tokens and top_k must be at least 1, temperature at least 0")


class Sampler:
    """A checkpoint with its tokenizer, ready to write."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        """
        Raises:
            InputError, ModelError: if the folder holds no checkpoint, or a damaged one.
        """
        folder = checkpoint.resolve(folder)
        state = checkpoint.read_state(folder)
        self.model = checkpoint.load_model(folder, state).to(device)
        self.tokenizer = load_tokenizer(folder)
        self.end_of_text = state.end_of_text

    def write(self, prompt: str, config: SampleConfig) -> Iterator[str]:
        """The prompt's continuation, without the prompt, as it is drawn; an empty prompt begins a new document."""
        ids = [self.end_of_text, *self.tokenizer.encode(prompt, add_special_tokens=False).ids]
        drawn, text, shown = list[int](), "", 0
        for next_id in generate(self.model, ids, self.end_of_text, config):
            drawn.append(next_id)
            text = self.tokenizer.decode(drawn, skip_special_tokens=False)
            # A character may take several tokens: one that is not complete yet waits.
            if not text.endswith("\ufffd"):
                yield text[shown:]
                shown = len(text)
        yield text[shown:]


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a checkpoint.

    Raises:
        ModelError: if it is missing or damaged.
    """
    path = folder / TOKENIZER
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises bare Exception
        raise ModelError(f"{path} is no tokenizer: {error}") from error


@torch.inference_mode()
def generate(model: GPT, ids: list[int], end_of_text: int, config: SampleConfig) -> Iterator[int]:
    """Ids that follow `ids`, one by one, up to an end-of-text, which is left out. Each is drawn given the last
    `context` ids.

    Until the context is full, an id costs one position; from then on positions shift with each, and it costs them all.
    """
    device = model.wte.weight.device
    # Drawn on the CPU: a generator's numbers differ between devices.
    generator = torch.Generator().manual_seed(draw.key("pretrain.sample", config.seed) >> 1)
    text, cache = list(ids), Cache()
    for _ in range(config.tokens):
        if len(text) > model.config.context:
            cache = Cache()
        window_BT = torch.tensor([text[-model.config.context :][len(cache) :]], device=device)
        logits_V = model.next(window_BT, cache)[0].float().cpu()
        if config.temperature == 0:
            next_id = int(logits_V.argmax())
        else:
            top = logits_V.topk(min(config.top_k or model.vocabulary, model.vocabulary))
            chances = (top.values / config.temperature).softmax(-1)
            next_id = int(top.indices[torch.multinomial(chances, 1, generator=generator)])
        if next_id == end_of_text:
            return
        text.append(next_id)
        yield next_id
