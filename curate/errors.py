"""The error tree. Every error that a user can mend is a CurateError and says how.

    CurateError                a failed run: exit code 1
      UsageError               wrong flag, recipe key or value: exit code 2
      InputError               an input that is missing, unreadable or damaged as a whole
      ModelError               a model or tokenizer file that does not hold what its name promises
      ConservationError        read != kept + dropped + failed: our own bug, never the data's
      StaleError               files in the run directory that do not belong together

Damage to a single record is no exception: readers yield it as a `Failed` record, which becomes a dead letter.
"""


class CurateError(Exception):
    """What is wrong, the offending value, and the remedy, in a sentence or two."""

    exit_code = 1


class UsageError(CurateError):
    """A wrong flag, recipe key or value."""

    exit_code = 2


class InputError(CurateError):
    """An input that is missing, unreadable or damaged as a whole."""


class ModelError(CurateError):
    """A model or tokenizer file that does not hold what its name promises."""


class ConservationError(CurateError):
    """A stage lost or invented records."""


class StaleError(CurateError):
    """Files in the run directory that do not belong together."""
