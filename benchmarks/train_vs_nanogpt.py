"""Trains the same shapes with this project's loop and with nanoGPT's own model and loop, and compares speed and memory.

    python benchmarks/train_vs_nanogpt.py [--nanogpt FOLDER]

FOLDER is a checkout of nanoGPT. Each side is a process of its own, on one core and one thread; they take their steps in
turn, and the least processor time of a step counts. A step is a whole one: the batch out of a file of ids, forward,
backward, clipping, AdamW. Memory is the largest that a process had beyond what a step of a minute model had needed,
which loads all libraries. The ratio is the smallest of the shapes'. Without a checkout, the peer is the same network
with the loss over all logits at once and an optimizer that goes parameter by parameter.
"""

import argparse
import contextlib
import importlib
import io
import multiprocessing
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from _clock import one_core, report, seconds

from curate import shards
from pretrain import data, machine, optim, plan, presets
from pretrain.model import GPT

# layers, heads, width, context, vocabulary, windows, and our recipe's micro_windows: nanoGPT's README for a laptop; our
# tiny preset, with two vocabularies; a small model with GPT-2's vocabulary.
SHAPES = (
    (4, 4, 128, 64, 65, 12, 4),
    (4, 4, 128, 256, 4096, 8, 8),
    (4, 4, 128, 256, 16384, 8, 8),
    (6, 6, 384, 256, 50257, 4, 4),
)
QUICK = ((2, 2, 32, 16, 65, 4, 4),)
STEPS = 10

Shape = tuple[int, int, int, int, int, int, int]
Step = Callable[[], float]


def corpus(folder: Path, vocabulary: int) -> Path:
    """A tokens/ folder of a million random ids in two shards; the ids alone, without a tokenizer's file, are of use."""
    generator, entries = np.random.default_rng(0), []
    for number in range(2):
        documents = [
            (f"{number * 1000 + i:032x}", "random", generator.integers(1, vocabulary, 500), 2000) for i in range(1000)
        ]
        entries.append(
            shards.write_shard(str(folder / "train"), f"{number:05d}", documents, 0, shards.dtype_of(vocabulary))
        )
    (folder / shards.TOKENIZER).write_text("{}")
    shards.write_manifest(str(folder), {"train": entries}, end_of_text=0, vocab_size=vocabulary)
    return folder


def ours(shape: Shape, folder: Path) -> tuple[Step, Step]:
    """(a step, the reading of its batch alone)."""
    layers, heads, width, context, vocabulary, windows, micro = shape
    tokens = shards.open_tokens(str(folder))
    stream = data.Stream(tokens.split("train"))
    order = plan.Plan(manifest=tokens.digest, seed=0, stream=len(stream), context=context, batch=windows, samples=10**6)
    loader = data.Loader(stream, order, torch.device("cpu"))
    config = presets.ModelConfig(layers=layers, width=width, heads=heads, context=context)
    model = GPT.create(config, vocabulary, seed=0)
    recipe = presets.PRESETS["tiny"].recipe
    (optimizer,) = optim.optimizers(model, recipe)
    done = 0

    def read() -> float:
        nonlocal done
        done += windows
        return float(loader.windows(done, windows)[0, 0])

    def step() -> float:
        nonlocal done
        loss = torch.zeros(())
        for first, count in order.pieces(done, micro):
            part = model.loss(loader.windows(first, count)) * (count / windows)
            part.backward()
            loss += part.detach()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done += windows
        return loss.item()

    return step, read


def theirs(shape: Shape, folder: Path, checkout: Path) -> tuple[Step, Step]:
    """nanoGPT's model.py and optimizer, with the body of its train.py's loop and its get_batch."""
    layers, heads, width, context, vocabulary, windows, _ = shape
    sys.path.insert(0, str(checkout))
    module = importlib.import_module("model")
    with contextlib.redirect_stdout(io.StringIO()):
        model = module.GPT(
            module.GPTConfig(
                block_size=context,
                vocab_size=-(-vocabulary // 64) * 64 if vocabulary > 64 * 100 else vocabulary,
                n_layer=layers,
                n_head=heads,
                n_embd=width,
                dropout=0.0,
                bias=True,
            )
        )
        optimizer = model.configure_optimizers(0.1, 6e-4, (0.9, 0.95), "cpu")
    path, dtype = folder / "train" / "00000.bin", shards.dtype_of(vocabulary)

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        ids = np.memmap(path, dtype, "r")
        starts = torch.randint(len(ids) - context, (windows,))
        x = torch.stack([torch.from_numpy(ids[i : i + context].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(ids[i + 1 : i + 1 + context].astype(np.int64)) for i in starts])
        return x, y

    def step() -> float:
        _, loss = model(*batch())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.item())

    return step, lambda: float(batch()[0][0, 0])


def plain(shape: Shape, folder: Path) -> tuple[Step, Step]:
    """Our network, trained as is usual."""
    layers, heads, width, context, vocabulary, windows, _ = shape
    model = GPT.create(
        presets.ModelConfig(layers=layers, width=width, heads=heads, context=context), vocabulary, seed=0
    )
    optimizer = torch.optim.AdamW(model.parameters(), foreach=False)
    _, read = ours(shape, folder)

    def step() -> float:
        ids = torch.randint(0, vocabulary, (windows, context + 1))
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step, read


def serve(pipe: Connection, side: str, shape: Shape, folder: Path, checkout: Path | None) -> None:
    """A side's process: a step, or the reading of a batch, whenever it is asked for, and what it took."""
    torch.set_num_threads(1)

    def make(shape: Shape) -> tuple[Step, Step]:
        path = folder / str(shape[4])
        if side == "ours":
            return ours(shape, path)
        return theirs(shape, path, checkout) if checkout else plain(shape, path)

    with machine.switches(torch.device("cpu"), 1) if side == "ours" else contextlib.nullcontext():
        make(QUICK[0])[0]()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        step, read = make(shape)
        while (what := pipe.recv()) != "end":
            start = seconds()
            (step if what == "step" else read)()
            pipe.send((seconds() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024))


def compare(shape: Shape, checkout: Path | None, steps: int) -> float:
    """Prints a shape's figures; returns their time over ours."""
    *_, context, vocabulary, windows, _ = shape
    context_, best, memory, read = multiprocessing.get_context("spawn"), {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for each in {vocabulary, QUICK[0][4]}:
            corpus(Path(folder, str(each)), each)
        pipes, processes = {}, []
        for side in ("ours", "peer"):
            pipes[side], end = context_.Pipe()
            processes.append(context_.Process(target=serve, args=(end, side, shape, Path(folder), checkout)))
            processes[-1].start()
        for what, count, least in (("step", steps, best), ("read", 5, read)):
            for number in range(count + 1):
                for side, pipe in pipes.items():
                    pipe.send(what)
                    took, memory[side] = pipe.recv()
                    if number:  # the first allocates and warms up
                        least[side] = min(took, least.get(side, took))
        for pipe in pipes.values():
            pipe.send("end")
        for process in processes:
            process.join()
    size = windows * context
    print(
        f"{'x'.join(map(str, shape[:-1])):24} tokens/s {size / best['ours']:9,.0f} and {size / best['peer']:9,.0f}, "
        f"ratio {best['peer'] / best['ours']:.2f}; MB {memory['ours']:5.0f} and {memory['peer']:5.0f}, "
        f"ratio {memory['ours'] / max(memory['peer'], 1):.2f}; loader {best['ours'] / read['ours']:,.0f} x the model"
    )
    return best["peer"] / best["ours"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nanogpt", type=Path, metavar="FOLDER", help="a checkout of nanoGPT")
    parser.add_argument("--quick", action="store_true", help="a tiny shape: tries the script, measures nothing")
    args = parser.parse_args()
    if args.nanogpt and not (args.nanogpt / "model.py").is_file():
        parser.error(f"{args.nanogpt} holds no model.py; give a checkout of nanoGPT")
    os.environ["OMP_NUM_THREADS"] = "1"
    peer = "nanoGPT" if args.nanogpt else "the same network, plainly trained"
    print(f"layers x heads x width x context x vocabulary x windows; ours and {peer}; {one_core()}")
    shapes, steps = (QUICK, 2) if args.quick else (SHAPES, STEPS)
    report("train_vs_nanogpt", min(compare(shape, args.nanogpt, steps) for shape in shapes))


if __name__ == "__main__":
    main()
