"""The texts that benchmarks read: files and folders given as arguments, or the standard library's documentation."""

import io
import pkgutil
import pydoc
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

# Importing these opens a window or a browser, or prints.
NOT_IMPORTED = {"antigravity", "this", "idlelib", "turtledemo", "lib2to3", "test"}
CHARS = 3000  # a document, about the size of a web page's main text
LIMIT = 5000  # modules' pages are long: so many documents suffice


def load(paths: list[str]) -> list[str]:
    """The texts of the files (UTF-8; folders are searched for .txt), or without paths pages of pydoc in parts."""
    if paths:
        files = [
            file for path in map(Path, paths) for file in (sorted(path.rglob("*.txt")) if path.is_dir() else [path])
        ]
        return [text for file in files if (text := file.read_text("utf-8", "replace")).strip()]
    texts: list[str] = []
    for module in sorted(pkgutil.iter_modules(), key=lambda module: module.name):
        if module.name not in sys.stdlib_module_names or module.name in NOT_IMPORTED:
            continue
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            try:
                page = pydoc.plain(pydoc.render_doc(module.name))
            except Exception:  # a module for another platform
                continue
        lines, size = [], 0
        for line in page.split("\n"):
            lines.append(line)
            size += len(line) + 1
            if size >= CHARS:
                texts.append("\n".join(lines))
                lines, size = [], 0
        if len(texts) >= LIMIT:
            break
    return texts
