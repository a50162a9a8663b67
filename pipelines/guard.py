"""The one place where an exception becomes a dead letter or a failed task.

A record that breaks its rule is found by halving the block until it stands alone. A task that breaks leaves a note
with its traceback beside the receipts; the other tasks go on, and the run fails at the end of the step and says why.
"""

import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from curate import storage
from curate.errors import CurateError

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


def note_path(folder: str, name: str) -> str:
    return storage.join(folder, "failed", f"{name}.json")


def attempt(folder: str, name: str, work: Callable[[], Any]) -> bool:
    """Run a task; if it raises, note the failure and return False, so that the others finish before the run fails."""
    try:
        work()
    except Exception as error:
        storage.write_json(
            note_path(folder, name),
            {
                "error": str(error) if isinstance(error, CurateError) else storage.reason(error),
                "mendable": isinstance(error, CurateError),
                "traceback": traceback.format_exc(),
            },
        )
        return False
    return True
