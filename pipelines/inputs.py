"""The recipe's paths as files: patterns expanded, each file with the name from which its ids are made."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from curate import sources, storage
from curate.errors import InputError
from pipelines.recipe import Source

T = TypeVar("T")

Identity = tuple[str, str | None]
"""An input and what tells it from another of its name; None: whatever its store says of it."""


class Listings:
    """What a recipe names, listed once a run. It does not travel: a worker that asks lists anew."""

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}

    def once(self, key: Hashable, find: Callable[[], T]) -> T:
        """What `find` finds, at the first call with the key."""
        if key not in self._known:
            self._known[key] = find()
        known: T = self._known[key]
        return known

    def __reduce__(self) -> tuple[Any, ...]:
        return Listings, ()


def expand(key: str, patterns: Sequence[str], belongs: Callable[[str], bool]) -> list[tuple[str, str]]:
    """(name, path) of each file that the patterns of a recipe's key name, sorted by name; of a folder those whose path
    `belongs`.

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
            paths = [path for path in storage.glob(fixed + "**") if belongs(path)]
        else:
            fixed = pattern[: pattern.rfind("/") + 1]
            paths = [pattern] if storage.exists(pattern) else []
        if not paths:
            raise InputError(f"{key}.paths: {pattern!r} matches no file; correct it, or give [] to leave it out")
        found += [(posixpath.relpath(path, fixed) if fixed else path, path) for path in paths]
    unique = set(found)
    uses = Counter(name for name, _ in unique)
    return sorted((path if uses[name] > 1 else name, path) for name, path in unique)


def of_source(key: str, source: Source) -> list[tuple[str, str]]:
    """(name, path) of each file of a source; of a folder those whose name tells the source's format, or any."""
    wanted = {source.format, "text"} if source.format == "books" else {source.format}
    every = source.format is None

    def belongs(path: str) -> bool:
        found = sources.guess_format(path)
        return found is not None if every else found in wanted

    return expand(f"sources.{key}", source.paths, belongs)


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
