"""What a task needs to know: the run directory, the recipe and its stage. Travels to every worker."""

from dataclasses import dataclass, field

from curate import storage
from pipelines import io
from pipelines.inputs import Listings
from pipelines.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Context:
    """Read-only; picklable."""

    root: str
    stage: str
    recipe: Recipe
    off: frozenset[str] = frozenset()  # stages that a stated rule has switched off in this run
    listings: Listings = field(default_factory=Listings, compare=False)  # of the process that plans

    def path(self, *parts: str) -> str:
        """A path in the run directory."""
        return storage.join(self.root, *parts)

    def receipts(self, step: str) -> str:
        """The folder of the step's receipts."""
        return io.receipts_folder(self.root, self.stage, step)

    def finish(self, step: str, task: io.Task, tally: io.Tally, *outputs: str | None, **info: object) -> None:
        """Write the task's receipt: its last act."""
        io.write_receipt(self.receipts(step), task, tally, outputs, self.root, **info)
