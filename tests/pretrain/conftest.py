"""A small tokens/ folder, made through the project's own writer, and a preset small enough for seconds."""

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from curate import shards
from pretrain.evaluate import Score
from pretrain.presets import ModelConfig, Preset, Recipe
from pretrain.train import Step

MICRO = Preset(
    name="micro",
    model=ModelConfig(layers=2, width=32, heads=2, context=16),
    recipe=Recipe(
        batch_tokens=128,
        micro_windows=4,
        peak_rate=3e-3,
        warmup_tokens=256,
        checkpoint_tokens=512,
        held_tokens=200,
    ),
)


class Recorder:
    """A watcher that keeps what it is told, and can stop the run after a step, as a kill would."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop_after = stop_after
        self.notes: list[str] = []
        self.steps: list[Step] = []
        self.scores: list[tuple[int, dict[str, Score]]] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, tokens: int, total: int, load: float | None) -> None:
        self.notes.append(f"{tokens}/{total}")

    def step(self, step: Step) -> None:
        self.steps.append(step)
        if step.step == self.stop_after:
            raise KeyboardInterrupt

    def held(self, tokens: int, scores: dict[str, Score]) -> None:
        self.scores.append((tokens, scores))

    def end(self) -> None:
        self.notes.append("end")


def byte_tokenizer() -> Tokenizer:
    """One id for each byte, 1 to 256; end-of-text is 0."""
    vocabulary = {"<|endoftext|>": 0}
    for letter in sorted(pre_tokenizers.ByteLevel.alphabet()):
        vocabulary[letter] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def write_tokens(folder: Path, *, documents: int = 60, seed: int = 7) -> Path:
    """Two training shards and one held-out shard of made-up sentences, from two sources."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_tokenizer()
    tokenizer.save(str(folder / shards.TOKENIZER))
    draw, words = random.Random(seed), ["the", "cat", "sat", "on", "a", "mat", "und", "weiß", "nichts"]
    rows = []
    for number in range(documents):
        text = " ".join(draw.choice(words) for _ in range(draw.randint(1, 40)))
        source = "books" if number % 3 == 0 else "crawl"
        rows.append((f"{number:032x}", source, np.array(tokenizer.encode(text).ids), len(text.encode())))
    cut = documents * 5 // 6
    parts = {"train": [rows[: cut // 2], rows[cut // 2 : cut]], "held": [rows[cut:]]}
    entries = {
        split: [
            shards.write_shard(str(folder / split), f"{number:05d}", part, 0, "uint16")
            for number, part in enumerate(pieces)
        ]
        for split, pieces in parts.items()
    }
    shards.write_manifest(str(folder), entries, end_of_text=0, vocab_size=tokenizer.get_vocab_size())
    return folder


@pytest.fixture(scope="session")
def tokens_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("corpus") / "tokens")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def micro() -> Preset:
    return MICRO


@pytest.fixture
def recorder() -> type[Recorder]:
    return Recorder


@pytest.fixture
def make_tokens() -> object:
    return write_tokens
