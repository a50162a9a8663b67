"""The demo, end to end: inputs, the recipe `demo`, a tiny GPT, and the planted truth beside what was found."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from rich.markup import escape

from curate import storage
from curate.errors import CurateError, UsageError
from pipelines import demo, recipe, report, truth
from pipelines.progress import Progress

TOKENS = 300_000  # under a minute of training on one core
PROMPTS = ("", "The function returns", "Python is")


def run(start: Callable[[recipe.Recipe], Any], root: str, pretrain: bool) -> dict[str, Any]:
    """Everything that `curate demo` does; the manifest.

    Args:
        start: makes the run of a recipe in `root`.
        pretrain: whether to train the GPT on the shards.

    Raises:
        CurateError: if any part fails, or a planted record was lost.
    """
    if storage.is_remote(root):
        raise UsageError(f"the demo builds its inputs in a local folder; {root} is none")
    folder = os.path.join(root, "input")
    made = start(recipe.load("demo", [f"{key}.paths={json.dumps(path)}" for key, path in paths(folder).items()]))
    progress: Progress = made.progress
    if not os.path.exists(os.path.join(folder, "truth.json")):
        progress.say(f"building a small crawl, a wiki, books and links in {folder}")
        os.makedirs(folder, exist_ok=True)
        demo.build(folder)
    manifest: dict[str, Any] = made.run()
    report.write(root)
    if pretrain:
        train(root, progress)
    progress.say("")
    if not progress.quiet:
        report.show(root, progress.console)
    found = truth.compare(folder, root)
    if not progress.quiet:
        progress.console.print(truth.render(found))
    return manifest


def paths(folder: str) -> dict[str, str]:
    """The recipe's paths, for inputs that `demo.build` has written."""
    return {
        "sources.crawl": f"{folder}/crawl/*",
        "sources.wikipedia": f"{folder}/wikipedia/*",
        "sources.books": f"{folder}/books/*",
        "sources.reddit": f"{folder}/reddit/*",
        "decontaminate": f"{folder}/eval/*",
    }


def train(root: str, progress: Progress) -> None:
    """`pretrain train` on the shards, then a few samples; the trainer is a program of its own, since it needs torch."""
    model = os.path.join(root, "gpt")
    # One thread: with more, each waits for the others at every step, and a busy machine makes that the whole time.
    tool = [sys.executable, "-m", "pretrain.cli"]
    data = ["--data", os.path.join(root, "tokens"), "--preset", "tiny", "--tokens", str(TOKENS)]
    progress.say("")
    call([*tool, "train", "--out", model, "--threads", "1", *data])
    for seed, prompt in enumerate(PROMPTS):
        asked = ["--model", model, "--prompt", prompt, "--tokens", "80", "--seed", str(seed), "--threads", "1"]
        text = call([*tool, "sample", *asked], read=True)
        progress.say(f"[dim]sample {seed + 1}:[/] {escape(repr(text.strip()))}")


def call(command: list[str], read: bool = False) -> str:
    """Run a program; its standard output if asked for.

    Raises:
        CurateError: if it fails; it has said why on standard error.
    """
    done = subprocess.run(command, stdout=subprocess.PIPE if read else sys.stderr, text=True, check=False)
    if done.returncode:
        raise CurateError(
            f"`{' '.join(command[1:4])}` failed with exit code {done.returncode}; its message stands above"
        )
    return done.stdout if read else ""
