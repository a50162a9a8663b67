"""The recipe's paths as files: patterns expanded, each file with the name from which its ids are made."""

import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from curate import sources, storage
from curate.errors import InputError
from pipelines.recipe import Source

T = TypeVar("T")

AT_ONCE = 32  # questions to a store that is far away; `fetch` keeps to each web server's rate all the same

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


def ask(question: Callable[[str], T], paths: Sequence[str]) -> Iterator[T]:
    """The answer for each path, in their order. Of remote ones many are asked at once: an answer takes some 50 ms, so
    the 90,000 of a crawl would take more than an hour one by one."""
    if not any(map(storage.is_remote, paths)):
        yield from map(question, paths)
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for start in range(0, len(paths), 8 * AT_ONCE):  # so that an error ends it soon
            yield from pool.map(question, paths[start : start + 8 * AT_ONCE])


def states(identities: Sequence[Identity]) -> list[list[str]]:
    """Each input and what tells it from another of its name, the stores asked where that is not known."""
    unknown = [path for path, state in identities if state is None]
    told = ask(storage.state, unknown)
    return [[path, next(told) if state is None else state] for path, state in identities]


def expand(key: str, patterns: Sequence[str], belongs: Callable[[str], bool]) -> list[tuple[str, str]]:
    """(name, path) of each file that the patterns of a recipe's key name, sorted by name; of a folder those whose path
    `belongs`.

    A name is the path below the fixed part of its pattern: stable wherever the data lies. Names that two files share
    (two literal paths of one base name) are told apart by the whole path.

    Raises:
        InputError: if a path is missing or a pattern matches nothing.
    """
    found: list[tuple[str, str]] = []
    literal = [pattern for pattern in patterns if not re.search(r"[*?\[]", pattern)]
    is_there = dict(zip(literal, ask(storage.exists, literal), strict=True))
    for pattern in patterns:
        if glob := re.search(r"[*?\[]", pattern):
            fixed = pattern[: pattern.rfind("/", 0, glob.start()) + 1]
            paths = storage.glob(pattern)
        elif not storage.is_remote(pattern) and os.path.isdir(pattern):
            fixed = pattern.rstrip("/") + "/"
            paths = [path for path in storage.glob(fixed + "**") if belongs(path)]
        else:
            fixed = pattern[: pattern.rfind("/") + 1]
            paths = [pattern] if is_there[pattern] else []
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
