"""The texts that benchmarks read: files and folders given as arguments, or docstrings of the installed packages."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from pipelines.demo.prose import pieces

PACKAGES = ("stdlib", "numpy", "scipy", "sklearn")  # each is needed by the project, so each is there
LEAST = 300  # characters of docstring that make a text
QUICK = 100  # texts


def load(paths: Sequence[str], quick: bool = False) -> list[str]:
    """The texts of the files (UTF-8; folders are searched for .txt), or without paths docstrings read from source.

    Docstrings are parsed, not imported, so the same environment gives the same texts. `quick`: the first `QUICK`.
    """
    if paths:
        files = [
            file for path in map(Path, paths) for file in (sorted(path.rglob("*.txt")) if path.is_dir() else [path])
        ]
        texts = [text for file in files if (text := file.read_text("utf-8", "replace")).strip()]
    else:
        found = (piece.text for package in PACKAGES for piece in pieces(package, LEAST))
        texts = list(itertools.islice(found, QUICK if quick else None))
    if not texts:
        raise SystemExit(f"no text in {', '.join(paths)}: name UTF-8 files, or folders with .txt files")
    return texts[:QUICK] if quick else texts


def megabytes(texts: Sequence[str]) -> float:
    """Of UTF-8."""
    return sum(len(text.encode()) for text in texts) / 1e6
