"""`curate train-extractor`: train the model of `curate.blocks` anew, and show how far it is."""

import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from classifiers import blocks
from curate import storage


def main(data: str, out: str) -> int:
    """Read the pages below `data`, train, and write blocks.safetensors and blocks.json below `out`.

    Raises:
        InputError: if there is no gold below `data`, or a file that its manifest names is missing.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:

        def told(what: str) -> Callable[[int, int], None]:
            task = progress.add_task(what, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        corpus = blocks.read(data, told("pages read by two extractors"))
        trained = blocks.train(corpus, told("forests"))
    blocks.write(trained, out)
    print(f"{storage.join(out, 'blocks.json')}: {len(corpus.sets)} pages, {len(corpus.golds)} of them with gold")
    print("To use it, put both files in place of those beside curate/blocks.py.", file=sys.stderr)
    return 0
