"""What the commands evaluate, finetune and predict do, and how they print it."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from curate.errors import UsageError
from pretrain import checkpoint, labelled, machine, tasks
from pretrain.benchmark import Bench, Result
from pretrain.evaluate import evaluate
from pretrain.finetune import FinetuneConfig, Finetuned, finetune
from pretrain.progress import Display, ticks
from pretrain.sample import Sampler
from pretrain.train import score_table


def run_evaluate(args: argparse.Namespace) -> int:
    """Bits per byte on --data, then each of --tasks, a row as soon as it is known."""
    if args.data is None and not args.tasks:
        raise UsageError("nothing to evaluate on: give --data, --tasks or both")
    if (args.shots or 0) < 0:
        raise UsageError(f"--shots {args.shots} is below 0")
    device, folder = machine.find_device(args.device), checkpoint.local(args.model, "--model")
    loaded = [tasks.load(path, shots=args.shots) for path in args.tasks]
    names = [task.name for task in loaded]
    if len(set(names)) < len(names):
        raise UsageError(f"--tasks: two have the name {max(names, key=names.count)!r}; set `name` in one's file")
    out: dict[str, Any] = {}
    with machine.switches(device, args.threads):
        if args.data is not None:
            out["held"] = score_table(evaluate(folder, args.data, device))
            if not args.json:
                print_scores(out["held"])
        if loaded:
            bench = Bench(Sampler(folder, device))
            width = max(map(len, names)) + 2
            if not args.json:
                print(
                    f"{'task':{width}}{'kind':12}{'questions':>9}{'shots':>8}  {'metric':14}{'value':>10}{'error':>9}"
                )
            out["tasks"] = {}
            for task in loaded:
                with ticks(task.name) as tick:
                    result = bench.run(task, limit=args.questions, seed=args.seed, tick=tick)
                out["tasks"][task.name] = asdict(result)
                if not args.json:
                    _print_result(result, width)
    if args.json:
        print(json.dumps(out, sort_keys=True))
    return 0


def print_scores(table: dict[str, dict[str, float]]) -> None:
    """Bits per byte, source by source."""
    if not table:
        print("no held-out documents")
        return
    print(f"{'held-out':16}{'documents':>10}{'bytes':>14}{'bits per byte':>15}")
    for name, score in table.items():
        print(f"{name:16}{score['documents']:10,}{score['bytes']:14,}{score['bits_per_byte']:15.4f}")


def _print_result(result: Result, width: int) -> None:
    head = f"{result.task:{width}}{result.kind:12}{result.questions:9,}{result.mean_shots:8.1f}  "
    for name, one in result.metrics.items():
        if not name.startswith("accuracy_"):
            error = "-" if one.error is None else _figure(one.error)
            print(f"{head:{width + 31}}{name:12}{_figure(one.value):>11}{error:>11}", flush=True)
            head = ""
    if result.cut:
        print(f"{'':{width}}prompts that did not fit the window and lost their beginnings: {result.cut:,}")


def _figure(value: float) -> str:
    return f"{value:.4f}" if value < 10_000 else f"{value:.4g}"


def run_finetune(args: argparse.Namespace) -> int:
    """A run, or the rest of one; prints how well the held-out set is answered."""
    device, display = machine.find_device(args.device), Display()
    source, out = checkpoint.local(args.checkpoint, "CHECKPOINT"), checkpoint.local(args.out, "--out")
    given = {name: getattr(args, name) for name in ("epochs", "batch", "micro", "rate", "seed")}
    try:
        config = FinetuneConfig(task=args.task, **{name: value for name, value in given.items() if value is not None})
    except ValueError as error:
        raise UsageError(str(error)) from error
    with machine.switches(device, args.threads), ticks("finetune") as tick:
        found = finetune(source, args.train, args.held, out, config, device, display.note, tick)
    if args.json:
        print(json.dumps(None if found is None else asdict(found), sort_keys=True))
    elif found is not None:
        print(f"held-out: {found}")
    else:
        print(f"{out} written; label texts with: pretrain predict {out} FILE")
    return 0


def run_predict(args: argparse.Namespace) -> int:
    """A line of JSON an example; how well they are answered to standard error, where all labels are given."""
    device = machine.find_device(args.device)
    with machine.switches(device, args.threads):
        model = Finetuned(checkpoint.local(args.folder, "FOLDER"), device)
        task = model.progress.config.task
        examples = labelled.read(args.file, task, labels=False)
        answers = model.predict(examples)
    for row in answers:
        named = {"label": max(row, key=row.__getitem__), "chances": row}
        print(json.dumps(row if task == "score" else named, ensure_ascii=False))
    labels = [example.label for example in examples]
    if task == "score" and None not in labels:
        found = [row["score"] for row in answers]
        Display().note(str(labelled.correlation(found, [float(label) for label in labels if label is not None])))
    elif all(label in row for label, row in zip(labels, answers, strict=True)):
        gold = [list(row).index(str(label)) for label, row in zip(labels, answers, strict=True)]
        chances = [list(row.values()) for row in answers]
        Display().note(str(labelled.accuracy(chances, gold, choice=task == "choice")))
    return 0
