"""The stage runner: plans each stage, skips what is done, runs the rest on Beam, checks the sums, writes the manifest.

A run directory belongs to one recipe at a time. A stage whose fingerprint (its settings, its inputs, the stages before
it) is the same and whose outputs are all there is skipped; after a kill the tasks without a receipt are done and no
others; after a change of the recipe the stages that depend on it are built anew.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate import storage
from curate.errors import ConservationError, InputError, StaleError, UsageError
from pipelines import guard, io, receipts, tasks, web
from pipelines.attempts import Attempts, failure
from pipelines.context import Context
from pipelines.engine import Engine
from pipelines.graph import STAGES, Stage, Step
from pipelines.inputs import Identity, Listings, states
from pipelines.progress import Progress
from pipelines.recipe import Recipe, dump

DATA_VERSION = 2  # raised with every change of what a run writes; CHANGELOG, heading "data", says what changed
MANIFEST = "manifest.json"
LOCK = ".lock"
OURS = {LOCK, io.RECEIPTS, "input"}  # one of which every run directory holds; a demo builds its inputs first


@dataclass(slots=True)
class Run:
    """One run directory and the recipe that fills it."""

    root: str
    recipe: Recipe
    engine: Engine
    progress: Progress
    entries: dict[str, dict[str, Any]] = field(default_factory=dict)  # by stage, as in manifest.json
    listings: Listings = field(default_factory=Listings)

    def run(self, stages: Sequence[Stage] = STAGES) -> dict[str, Any]:
        """Run the stages in order; returns the manifest.

        Raises:
            CurateError: with everything that succeeded kept, so that the same command goes on from there.
        """
        web.install(self.recipe.fetch)
        self.listings = Listings()
        for stage in stages:
            stage.inputs(self._context(stage))  # a wrong path stops a run before it begins
        with lock(self.root):
            self.entries = self._known()
            storage.write_json(storage.join(self.root, "recipe.json"), dump(self.recipe))
            for stage in stages:
                for need in stage.needs:
                    if need not in self.entries:
                        raise UsageError(
                            f"stage {stage.name} needs {need}, which has not run in {self.root}: run it first"
                        )
                self._run_stage(stage)
                self._forget_after(stage)
                self.manifest(write=True)
        return self.manifest()

    def manifest(self, write: bool = False) -> dict[str, Any]:
        """The manifest: the recipe and, for each stage in order, its counts."""
        value = {
            "version": DATA_VERSION,
            "recipe": dump(self.recipe),
            "stages": {stage.name: self.entries[stage.name] for stage in STAGES if stage.name in self.entries},
        }
        if write:
            storage.write_json(storage.join(self.root, MANIFEST), value, sort_keys=False)  # in the order of stages
        return value

    def _known(self) -> dict[str, dict[str, Any]]:
        path = storage.join(self.root, MANIFEST)
        if not storage.exists(path):
            return {}
        known = storage.read_json(path)
        version = known.get("version") if isinstance(known, dict) else None
        if version != DATA_VERSION or "stages" not in known:
            raise StaleError(
                f"{path} has data version {version}, this program writes {DATA_VERSION}: "
                "use a new --out, or the version of the program that began it"
            )
        # A stage that was begun anew and then stopped is no longer what its entry says.
        return {name: entry for name, entry in known["stages"].items() if self._mark(name) == entry["fingerprint"]}

    def _mark(self, name: str) -> str | None:
        """The fingerprint under which the stage's receipts were begun."""
        path = io.mark_path(self.root, name)
        return str(storage.read_json(path)) if storage.exists(path) else None

    def _forget_after(self, stage: Stage) -> None:
        """Entries of later stages that were made from something else are no longer true."""
        for later in STAGES:
            entry = self.entries.get(later.name)
            if entry and stage.name in later.needs and entry["needs"].get(stage.name) != self._print(stage.name):
                del self.entries[later.name]
                self._forget_after(later)

    def _print(self, name: str) -> str:
        return str(self.entries[name]["fingerprint"]) if name in self.entries else ""

    def _context(self, stage: Stage) -> Context:
        off = frozenset(name for name, entry in self.entries.items() if entry.get("off"))
        return Context(self.root, stage.name, self.recipe, off, self.listings)

    def _run_stage(self, stage: Stage) -> None:
        context = self._context(stage)
        began = time.monotonic()
        needs = {need: self._print(need) for need in stage.needs}
        print_ = fingerprint(stage, self.recipe, needs, stage.inputs(context))
        if self._mark(stage.name) != print_:
            if self.entries.pop(stage.name, None):
                self._forget_after(stage)
                self.manifest(write=True)
            for owned in (storage.join(io.RECEIPTS, stage.name), *stage.owns):
                storage.remove(storage.join(self.root, owned))
            storage.write_json(io.mark_path(self.root, stage.name), print_)
        reason = stage.off(context)
        steps: list[dict[str, Any]] = []
        fresh = False
        if reason is None:
            for step in stage.steps:
                fresh |= self._run_step(stage, step, context)
                steps.append(total(stage, step, context))
                if reason := steps[-1].pop("off", None):
                    break
        reach = self.entries[stage.follows]["kept"] if stage.follows else 0
        counts = chain(stage, steps) if reason is None else io.Tally().as_dict() | {"read": reach, "kept": reach}
        if stage.follows and counts["read"] != reach:
            raise ConservationError(f"stage {stage.name} read {counts['read']} documents, {stage.follows} kept {reach}")
        if counts["failed"] > self.recipe.max_failed * counts["read"]:
            raise InputError(
                f"stage {stage.name}: {counts['failed']} of {counts['read']} records could not be read, a larger share "
                f"than max_failed {self.recipe.max_failed}. {self.root}/errors names each by file and offset: "
                "mend the input, or raise max_failed"
            )
        before = self.entries.get(stage.name, {})
        seconds = time.monotonic() - began if fresh or not before else before.get("seconds", 0.0)
        entry = {**counts, "seconds": round(seconds, 3), "fingerprint": print_, "needs": needs}
        if reason is not None:
            entry["off"] = reason
        self.entries[stage.name] = entry
        self.progress.stage_done(stage, entry, skipped=not fresh)

    def _run_step(self, stage: Stage, step: Step, context: Context) -> bool:
        """Whether anything had to be done."""
        folder = context.receipts(step.name)
        tidy(folder)
        done = receipts.sound(self.root, folder)
        attempts = Attempts(stage, step, context, self.engine, self.progress)
        pending = attempts.list(task for task in step.plan(context) if task.name not in done)
        if not pending.number:
            return False
        number = len(done) + pending.number
        with self.progress.step(stage, step, number, folder):
            missing = attempts.work(pending)
        if missing:
            raise failure(stage, folder, missing, number)
        tidy(folder)
        if attempts.stops:
            sweep(self.root)
        receipts.fold(folder)
        return True


def tidy(folder: str) -> None:
    """Remove what a step at work keeps beside its receipts."""
    for at_work in (tasks.folder(folder), guard.notes_folder(folder)):
        storage.remove(at_work)


def total(stage: Stage, step: Step, context: Context) -> dict[str, Any]:
    """The step's receipts, summed and checked; `off` where a task found that the stage cannot be had."""
    tally, off = io.Tally(), None
    number = 0
    for _, receipt in receipts.read(context.receipts(step.name)):
        number += 1
        tally.add(receipt)
        off = receipt["info"].get("off", off)
    counts = tally.as_dict()
    io.check(f"stage {stage.name}, step {step.name}", counts)
    if (lost := counts["extra"].get("set_aside_splits", 0)) > context.recipe.max_failed * number:
        raise InputError(
            f"stage {stage.name}: {lost} of {number} tasks were set aside, since their workers died, a larger share "
            f"than max_failed {context.recipe.max_failed}. {context.path('errors')} names each: give the workers more "
            f"memory or run fewer, remove {context.path(io.RECEIPTS, stage.name)} and run again; or raise max_failed"
        )
    return {**counts, "off": off} if off else counts


def chain(stage: Stage, steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The steps of a stage as one: what the first read, what the last kept, and all that fell between.

    Steps that count no records (a model, a plan) take no part.

    Raises:
        ConservationError: if a step did not read what the one before it kept.
    """
    counting = [counts for step, counts in zip(stage.steps, steps, strict=True) if step.counts]
    result = counting[0]
    for counts in counting[1:]:
        if counts["read"] != result["kept"]:
            io.check(f"stage {stage.name}, between its steps,", {**result, "kept": counts["read"]})
        tally = io.Tally()
        tally.add(result)
        for source, part in counts["sources"].items():
            tally.kept[source] += part["kept"] - part["read"]
            tally.failed[source] += part["failed"]
            for reason, number in part["dropped"].items():
                tally.dropped[source, reason] += number
        tally.extra.update(counts["extra"])
        result = tally.as_dict()
    io.check(f"stage {stage.name}", result)
    return result


def fingerprint(stage: Stage, recipe: Recipe, needs: dict[str, str], inputs: list[Identity]) -> str:
    """SHA-256 of everything that the stage's output depends on."""
    value = {
        "version": DATA_VERSION,
        "stage": stage.name,
        "seed": recipe.seed,
        "settings": stage.settings(recipe),
        "needs": needs,
        "inputs": states(inputs),
    }
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=dump).encode()).hexdigest()


@contextlib.contextmanager
def lock(root: str) -> Iterator[None]:
    """One run at a time in a local run directory; a killed run leaves no lock behind."""
    fs, inner = storage.store(root)
    held = {name.rstrip("/").rsplit("/", 1)[-1] for name in fs.ls(inner, detail=False)} if fs.exists(inner) else set()
    if held and not held & OURS:
        raise UsageError(f"--out {root} holds files but no run of ours: name a new or an empty folder")
    if storage.is_remote(root):
        yield
        return
    os.makedirs(root, exist_ok=True)
    with open(os.path.join(root, LOCK), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"another run is at work in {root}: wait for it, or stop it") from error
        sweep(root)
        yield


def sweep(root: str) -> None:
    """Remove half-written files that a killed run has left."""
    for folder, _, names in os.walk(root):
        for name in names:
            if storage.TEMPORARY in name:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(os.path.join(folder, name))
