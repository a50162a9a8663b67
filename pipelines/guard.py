"""The one place where an exception becomes a dead letter or a failed task.

A record that breaks its rule is found by halving the block until it stands alone. A task that breaks leaves a note
with its traceback beside the receipts; the other tasks go on, and the run fails at the end of the step and says why.
"""

import errno
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from curate import storage
from curate.errors import CurateError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class FullError(CurateError):
    """There is no space left: nothing that follows can succeed, so the run stops where it is."""


T = TypeVar("T")
R = TypeVar("R")


def isolate(work: Callable[[Sequence[T]], R], block: Sequence[T]) -> Iterator[R | tuple[T, Exception]]:
    """`work` on the whole block; where it raises, on its halves, down to the single record that does it.

    Yields results in the block's order, and (record, exception) for each record that cannot be worked on. A
    CurateError passes through: it is about the run (a missing model, say), not about a record.
    """
    try:
        yield work(block)
    except CurateError:
        raise
    except Exception as error:
        if len(block) == 1:
            yield block[0], error
            return
        middle = len(block) // 2
        yield from isolate(work, block[:middle])
        yield from isolate(work, block[middle:])


def notes_folder(folder: str) -> str:
    return storage.join(folder, "failed")


def note_path(folder: str, name: str) -> str:
    return storage.join(notes_folder(folder), f"{name}.json")


def notes(folder: str) -> dict[str, dict[str, Any]]:
    """What tasks have left that were begun and not finished, by name."""
    storage.store(folder)[0].invalidate_cache()
    paths = storage.glob(note_path(folder, "*"))
    return {path.rsplit("/", 1)[-1].removesuffix(".json"): storage.read_json(path) for path in paths}


def attempt(folder: str, name: str, work: Callable[[], Any]) -> bool:
    """Run a task; if it raises, note the failure and return False, so that the others finish before the run fails.

    A note is there from the start: it tells of the task at which a worker died.

    Raises:
        FullError: if there is no space left: no other task would fare better.
    """
    path = note_path(folder, name)
    try:
        storage.write_json(path, {"error": "the worker that was at it died", "mendable": True, "died": True})
        work()
        storage.remove(path)
    except Exception as error:
        if is_full(error):
            raise FullError(full(folder, error)) from error
        storage.write_json(
            path,
            {
                "error": str(error) if isinstance(error, CurateError) else storage.reason(error),
                "mendable": isinstance(error, CurateError),
                "traceback": traceback.format_exc(),
            },
        )
        return False
    return True


def is_full(error: BaseException | None) -> bool:
    """Whether it is for want of space that something could not be written."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def full(place: str, error: BaseException) -> str:
    """What to tell whoever has to make room."""
    return (
        f"cannot write below {place}: {storage.reason(error)}. Make room and run the same command again: it does what "
        "is missing"
    )
