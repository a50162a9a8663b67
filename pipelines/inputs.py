"""The recipe's paths as files: patterns expanded, each file with the name from which its ids are made."""

import os
import posixpath
import re
from collections.abc import Sequence

from curate import sources, storage
from curate.errors import InputError
from pipelines.recipe import Source


def expand(key: str, patterns: Sequence[str], form: str | None = None) -> list[tuple[str, str]]:
    """(name, path) of each file that the patterns of a recipe's key name, sorted by name.

    A name is the path below the fixed part of its pattern: stable wherever the data lies. Names that two files share
    (two literal paths of one base name) are told apart by the whole path.

    Raises:
        InputError: if a path is missing or a pattern matches nothing.
    """
    found: list[tuple[str, str]] = []
    for pattern in patterns:
        if glob := re.search(r"[*?\[]", pattern):
            fixed = pattern[: pattern.rfind("/", 0, glob.start()) + 1]
            paths = storage.glob(pattern)
        elif not storage.is_remote(pattern) and os.path.isdir(pattern):
            fixed = pattern.rstrip("/") + "/"
            paths = [path for path in storage.glob(fixed + "**") if sources.guess_format(path, form)]
        else:
            fixed = pattern[: pattern.rfind("/") + 1]
            paths = [pattern] if storage.exists(pattern) else []
        if not paths:
            raise InputError(f"{key}.paths: {pattern!r} matches no file; correct it, or give [] to leave it out")
        found += [(posixpath.relpath(path, fixed) if fixed else path, path) for path in paths]
    unique = sorted(set(found))
    shared = {name for i, (name, _) in enumerate(unique) if name in {n for n, _ in unique[:i]}}
    return sorted((path if name in shared else name, path) for name, path in unique)


def of_source(key: str, source: Source) -> list[tuple[str, str]]:
    """(name, path) of each file of a source."""
    return expand(f"sources.{key}", source.paths, source.format)


def format_of(path: str, source: Source) -> str:
    """The format in which a file is read.

    Raises:
        InputError: if neither the recipe nor the file's name tells.
    """
    found = sources.guess_format(path, source.format)
    if found is None:
        known = ", ".join(sources.FORMATS)
        raise InputError(f"{path}: its name tells no format; set the source's format to one of {known}")
    return found
