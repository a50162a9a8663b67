"""`curate`: parse, then build, then run. Our flags are strict; what stands after `--` belongs to Beam."""

import argparse
import difflib
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from curate import storage
from curate.errors import CurateError, UsageError
from pipelines import guard

EXAMPLES = """examples:
  curate demo --out runs/demo                                  the whole way on text that this machine holds
  curate recipe gpt3 > mine.yaml                               a recipe to start from
  curate run mine.yaml --out runs/mine --dry-run               what it would do
  curate run gpt3 --set sources.crawl.paths='crawl/*.warc.gz' --out runs/crawl
  curate run mine.yaml --out gs://bucket/run -- --runner=DataflowRunner --project=P --region=R --temp_location=gs://bucket/t
  curate extract page.html --extractor blocks --json           what the text of a page is
  curate why runs/mine https://example.com/page                what became of a page, and why
"""
STAGE_COMMANDS = ("karma", "ingest", "train", "score", "dedup", "decontaminate", "mix", "tokenize")


class Parser(argparse.ArgumentParser):
    """Exits through UsageError, suggests the nearest flag or command, and never abbreviates."""

    def __init__(self, **settings: Any):
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


@dataclass(frozen=True, slots=True)
class Job:
    """A parsed command line."""

    command: str
    args: dict[str, Any]
    beam: tuple[str, ...] = ()


def parser() -> tuple[Parser, dict[str, Parser]]:
    """The command line, whole, and each command's part of it."""
    top = Parser(
        prog="curate",
        description="From web archives to tokenized shards: read, filter, deduplicate, mix, tokenize.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)

    def add(name: str, says: str) -> Parser:
        return commands.add_parser(name, help=says, description=says[0].upper() + says[1:] + ".")

    def common(command: Parser) -> None:
        command.add_argument("--out", required=True, metavar="DIR", help="the run directory: local, s3:// or gs://")
        command.add_argument("--workers", type=_positive, metavar="N", help="local processes at most (default: cores)")
        command.add_argument("--json", action="store_true", help="print the manifest as the last output")
        command.add_argument("--quiet", action="store_true", help="print errors only")

    def recipe(command: Parser, required: bool) -> None:
        command.add_argument(
            "recipe", nargs=None if required else "?", metavar="RECIPE", help="a file, or a shipped name"
        )
        command.add_argument(
            "--set",
            action="append",
            default=[],
            dest="settings",
            metavar="a.b=value",
            help="change a key of the recipe",
        )

    run = add("run", "run all stages of a recipe, or what is left of them")
    recipe(run, required=True)
    common(run)
    run.add_argument("--dry-run", action="store_true", help="print the resolved recipe and the stages, and stop")
    demo = add("demo", "build a small real crawl from what this machine holds and take it all the way")
    common(demo)
    demo.add_argument("--no-pretrain", action="store_true", help="stop at the shards")
    for name in STAGE_COMMANDS:
        stage = add(name, f"run the stage {name} alone, on what the earlier stages have left in DIR")
        recipe(stage, required=False)
        common(stage)
    page = add("extract", "print the main text of pages, to try one by hand")
    page.add_argument("files", nargs="+", metavar="FILE", help="a page: a path, or - for standard input")
    page.add_argument("--extractor", metavar="NAME", help="blocks, trafilatura, resiliparse, wet (default: a recipe's)")
    page.add_argument("--favour", metavar="WHAT", help="precision, balanced or recall (default: balanced)")
    page.add_argument("--markdown", action="store_true", help="print Markdown")
    page.add_argument(
        "--cascade",
        choices=("on", "off"),
        default="off",
        help="whether pages too short or in another language than English are ruled out first (default: off)",
    )
    page.add_argument("--json", action="store_true", help="print a line of JSON for each page")
    trainer = add("train-extractor", "train the model that tells main text from the rest of a page anew")
    trainer.add_argument("--data", required=True, metavar="DIR", help="holds html_gold and html_pages")
    trainer.add_argument("--out", required=True, metavar="DIR", help="where blocks.safetensors and blocks.json go")
    show = add("recipe", "print a shipped recipe, or list them")
    show.add_argument("name", nargs="?", metavar="NAME")
    report = add("report", "rebuild the report of a run")
    report.add_argument("dir", metavar="DIR")
    why = add("why", "tell what became of a document, and why")
    why.add_argument("dir", metavar="DIR")
    why.add_argument("what", metavar="ID-OR-URL")
    why.add_argument("--json", action="store_true", help="print JSON")
    return top, dict(commands.choices)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def parse(argv: Sequence[str]) -> Job:
    """The job that a command line asks for.

    Raises:
        UsageError: for anything that is not understood.
    """
    ours, beam = list(argv), []
    if "--" in ours:
        at = ours.index("--")
        ours, beam = ours[:at], ours[at + 1 :]
    top, commands = parser()
    _check_words(ours, commands)
    values = vars(top.parse_args(ours))
    command = values.pop("command")
    if beam and "workers" not in values:
        raise UsageError(f"curate {command} runs nothing on Beam: options after -- have no use")
    return Job(command, values, tuple(beam))


def _check_words(words: Sequence[str], commands: dict[str, Parser]) -> None:
    """Refuse an unknown command or flag with the nearest known one, before argparse asks for what is missing."""
    if not words or words[0].startswith("-"):
        return
    name = words[0]
    if name not in commands:
        near = difflib.get_close_matches(name, commands, n=1)
        hint = f"did you mean {near[0]}?" if near else f"commands: {', '.join(commands)}"
        raise UsageError(f"curate has no command {name!r}: {hint}")
    flags = [option for action in commands[name]._actions for option in action.option_strings]
    for word in words[1:]:
        flag = word.split("=")[0]
        if flag.startswith("--") and flag not in flags:
            near = difflib.get_close_matches(flag, flags, n=1)
            hint = f"did you mean {near[0]}?" if near else "options of Beam stand after --"
            raise UsageError(f"curate {name} does not know {flag!r}: {hint}")


def run(job: Job) -> int:
    """Do the job; the exit code."""
    return COMMANDS[job.command](job)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 all done, 1 a failed run, 2 wrong usage, 130 interrupted."""
    # Beam warns at import of clouds that nobody asked for; errors reach the user as exceptions.
    logging.basicConfig(level=logging.ERROR)
    try:
        return run(parse(sys.argv[1:] if argv is None else argv))
    except CurateError as error:
        print(f"curate: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if guard.is_full(error):
            print(f"curate: {guard.full('the run directory', error)}", file=sys.stderr)
            return 1
        if not isinstance(error, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("curate: stopped; the same command goes on from here", file=sys.stderr)
        return 130


# ---- the commands; what is heavy is imported where it is used, so that help and mistakes are quick


def _start(job: Job, recipe: Any) -> Any:
    from pipelines.engine import Engine, check_flags
    from pipelines.progress import Progress
    from pipelines.run import Run

    engine = Engine(check_flags(job.beam), job.args["workers"] or os.cpu_count() or 1)
    return Run(storage.absolute(job.args["out"]), recipe, engine, Progress(quiet=job.args["quiet"]))


def _end(job: Job, manifest: dict[str, Any]) -> int:
    if job.args["json"]:
        print(json.dumps(manifest, indent=1, ensure_ascii=False))
    return 0


def _run(job: Job) -> int:
    from pipelines import graph, report
    from pipelines import recipe as recipes

    recipe = recipes.load(job.args["recipe"], job.args["settings"])
    if job.args["dry_run"]:
        print(recipes.text(recipe), end="")
        print("# stages, in order:")
        for stage in graph.STAGES:
            print(f"#   {stage.name:<14} {stage.says}")
        return 0
    made = _start(job, recipe)
    try:
        manifest = made.run()
    finally:
        if made.entries:
            report.write(made.root)  # a run that failed half-way has a story too; one that was refused writes nothing
    made.progress.say("")
    if not job.args["quiet"]:
        report.show(made.root, made.progress.console)
    return _end(job, manifest)


def _stage(job: Job) -> int:
    from pipelines import graph
    from pipelines import recipe as recipes

    kept = storage.join(storage.absolute(job.args["out"]), "recipe.json")
    if job.args["recipe"]:
        recipe = recipes.load(job.args["recipe"], job.args["settings"])
    elif storage.exists(kept):
        recipe = recipes.change(storage.read_json(kept), job.args["settings"], kept)
    else:
        raise UsageError(f"{job.args['out']} has no recipe yet: curate {job.command} RECIPE --out {job.args['out']}")
    return _end(job, _start(job, recipe).run([graph.BY_NAME[job.command]]))


def _demo(job: Job) -> int:
    from pipelines.demo import run

    root = storage.absolute(job.args["out"])
    return _end(job, run.run(lambda recipe: _start(job, recipe), root, pretrain=not job.args["no_pretrain"]))


def _extract(job: Job) -> int:
    from curate.extract import Extraction
    from pipelines import extract

    given = {name: value for name in ("extractor", "favour") if (value := job.args[name]) is not None}
    try:
        how = Extraction(markdown=job.args["markdown"], cascade=job.args["cascade"] == "on", **given)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return extract.main(job.args["files"], how, job.args["json"])


def _train_extractor(job: Job) -> int:
    from pipelines import extractor

    return extractor.main(storage.absolute(job.args["data"]), storage.absolute(job.args["out"]))


def _recipe(job: Job) -> int:
    from pipelines import recipe as recipes

    if job.args["name"] is None:
        for name in recipes.shipped():
            print(name)
        return 0
    print(recipes.source(job.args["name"]), end="")
    return 0


def _report(job: Job) -> int:
    from pipelines import report

    print(report.write(storage.absolute(job.args["dir"])))
    return 0


def _why(job: Job) -> int:
    from pipelines import why

    found = why.why(storage.absolute(job.args["dir"]), job.args["what"])
    print(json.dumps(found, indent=1, ensure_ascii=False) if job.args["json"] else why.text(found))
    return 0 if found["found"] else 1


COMMANDS: dict[str, Callable[[Job], int]] = {
    "run": _run,
    "demo": _demo,
    "extract": _extract,
    "train-extractor": _train_extractor,
    "recipe": _recipe,
    "report": _report,
    "why": _why,
    **dict.fromkeys(STAGE_COMMANDS, _stage),
}

if __name__ == "__main__":
    sys.exit(main())
