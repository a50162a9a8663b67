"""The command `pretrain`: parse, then run. Strict: an unknown flag or name is refused with the nearest known one.

Results go to standard output, progress and errors to standard error. Exit code 0: the whole job is done; 1: a failed
run; 2: wrong usage. No torch until a command needs it.
"""

import argparse
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import NoReturn

from curate import storage
from curate.errors import CurateError, UsageError
from pretrain import presets


class _Parser(argparse.ArgumentParser):
    """argparse that raises instead of exiting."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    try:
        args = parse(sys.argv[1:] if argv is None else argv)
        return int(args.run(args))
    except CurateError as error:
        print(f"pretrain: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # who reads has enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end
        return 1
    except OSError as error:  # a full disk, a folder without permission
        print(f"pretrain: {storage.reason(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pretrain: stopped; train, finetune and compare go on from the newest checkpoint", file=sys.stderr)
        return 130


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments, with the function to call as `run`.

    Raises:
        UsageError: if they are wrong.
    """
    parser, commands = _parser()
    if argv and not argv[0].startswith("-") and argv[0] not in commands:
        raise UsageError(f"no command {argv[0]!r}; {presets.nearest(argv[0], commands)}")
    args, rest = parser.parse_known_args(argv)
    if rest:
        known = [flag for action in commands[args.command]._actions for flag in action.option_strings]
        hint = presets.nearest(rest[0].partition("=")[0], known)
        raise UsageError(f"unknown argument {rest[0]!r} for `pretrain {args.command}`; {hint}")
    return args


def _parser() -> tuple[_Parser, dict[str, argparse.ArgumentParser]]:
    parser = _Parser(prog="pretrain", description="Train a GPT on token shards.", allow_abbrev=False)
    sub = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    train = sub.add_parser("train", help="train a model; the same command resumes", allow_abbrev=False)
    train.add_argument("--data", required=True, metavar="DIR", help="the tokens/ folder of a curated corpus")
    train.add_argument("--preset", required=True, help=f"one of {', '.join(presets.PRESETS)}")
    train.add_argument("--out", required=True, metavar="DIR", help="checkpoints and metrics go here")
    train.add_argument("--tokens", type=_count, metavar="N", help="tokens to train on (default: one epoch)")
    train.add_argument("--seed", type=_integer, default=0, metavar="S", help="of weights and order (default: 0)")
    train.add_argument("--weight", action="append", type=_weight, metavar="SOURCE=W", help="how often a source is read")
    train.add_argument("--init", metavar="CHECKPOINT", help="begin with its weights")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the preset, changed")
    train.add_argument("--document-mask", action="store_true", help="attend to no document but one's own")
    train.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto", help="default: auto")
    train.add_argument("--recompute", action="store_true", help="less memory: run blocks again for their gradients")
    train.add_argument("--compile", action="store_true", help="compile the blocks")
    train.add_argument("--sharding", choices=("ddp", "fsdp"), default="ddp", help="under torchrun (default: ddp)")
    train.add_argument("--checkpoint-tokens", type=_count, metavar="N", help="tokens between checkpoints")
    train.add_argument("--eval-tokens", type=_count, metavar="N", help="tokens between validations (default: a fifth)")
    train.add_argument("--keep", type=_count, default=2, metavar="K", help="newest checkpoints that stay (default: 2)")
    train.add_argument("--tensorboard", action="store_true", help="write event files, too")
    train.add_argument("--wandb", metavar="PROJECT", help="write to Weights & Biases, too")
    _machine(train)
    train.add_argument("--json", action="store_true", help="print the summary as JSON")
    train.set_defaults(run=_train)

    sample = sub.add_parser("sample", help="write text", allow_abbrev=False)
    sample.add_argument("--model", required=True, metavar="DIR", help="the --out of a run, or one of its checkpoints")
    sample.add_argument("--prompt", default="", help="the beginning of the text (default: a new document)")
    sample.add_argument("--tokens", type=_count, default=200, metavar="N", help="most tokens to draw (default: 200)")
    sample.add_argument("--seed", type=_integer, default=0, metavar="S")
    sample.add_argument("--temperature", type=_temperature, default=0.8, metavar="T", help="default: 0.8; 0: greedy")
    sample.add_argument("--top-k", type=_count, default=40, metavar="K", help="draw from the K likeliest (default: 40)")
    _machine(sample)
    sample.set_defaults(run=_sample)

    evaluate = sub.add_parser("evaluate", help="bits per byte by source, and benchmarks", allow_abbrev=False)
    evaluate.add_argument("--model", required=True, metavar="DIR", help="the --out of a run, or one of its checkpoints")
    evaluate.add_argument("--data", metavar="DIR", help="the tokens/ folder; same tokenizer")
    evaluate.add_argument("--tasks", nargs="+", default=[], metavar="FILE", help="tasks (.yaml) or questions (.jsonl)")
    evaluate.add_argument("--shots", type=_integer, metavar="K", help="examples of a prompt (default: the task's)")
    evaluate.add_argument("--questions", type=_count, metavar="N", help="questions of a task (default: all)")
    evaluate.add_argument(
        "--seed", type=_integer, default=0, metavar="S", help="of examples and questions (default: 0)"
    )
    _machine(evaluate)
    evaluate.add_argument("--json", action="store_true", help="print the scores as JSON")
    evaluate.set_defaults(run=_later("trials", "run_evaluate"))

    finetune = sub.add_parser("finetune", help="train on a labelled set as GPT-1 did", allow_abbrev=False)
    finetune.add_argument("checkpoint", metavar="CHECKPOINT", help="the --out of a run, or one of its checkpoints")
    finetune.add_argument(
        "--task", required=True, choices=("classification", "entailment", "similarity", "score", "choice")
    )
    finetune.add_argument("--train", required=True, metavar="FILE", help="labelled examples, JSON lines")
    finetune.add_argument("--held", metavar="FILE", help="more of them, to measure")
    finetune.add_argument("--out", required=True, metavar="DIR", help="the fine-tuned model goes here")
    finetune.add_argument("--epochs", type=_count, metavar="N", help="default: 3")
    finetune.add_argument("--batch", type=_count, metavar="N", help="examples of a step (default: 32)")
    finetune.add_argument("--micro", type=_count, metavar="N", help="examples of a forward pass (default: 8)")
    finetune.add_argument("--rate", type=_temperature, metavar="R", help="peak learning rate (default: 6.25e-5)")
    finetune.add_argument("--seed", type=_integer, metavar="S", help="of weights, order and dropout (default: 0)")
    _machine(finetune)
    finetune.add_argument("--json", action="store_true", help="print the accuracy as JSON")
    finetune.set_defaults(run=_later("trials", "run_finetune"))

    predict = sub.add_parser("predict", help="label texts with a fine-tuned model", allow_abbrev=False)
    predict.add_argument("folder", metavar="FOLDER", help="the --out of `pretrain finetune`")
    predict.add_argument("file", metavar="FILE", help="examples, with labels or without")
    _machine(predict)
    predict.set_defaults(run=_later("trials", "run_predict"))

    compare = sub.add_parser("compare", help="which training data is better, with its noise", allow_abbrev=False)
    compare.add_argument(
        "--arm", required=True, action="append", metavar="NAME=DIR[,SOURCE=WEIGHT...]",
        help="a tokens/ folder, or a mixture of its sources; two or more, the first is the control",
    )  # fmt: skip
    compare.add_argument("--held", required=True, metavar="DIR", help="a tokens/ folder that holds documents out")
    compare.add_argument("--out", required=True, metavar="DIR", help="runs, result.json and report.html go here")
    compare.add_argument("--preset", default="tiny", help="the model (default: tiny)")
    compare.add_argument("--tokens", type=_count, metavar="N", help="of each run (default: one epoch of the smallest)")
    compare.add_argument("--seeds", type=_count, default=5, metavar="K", help="runs of each arm (default: 5)")
    compare.add_argument("--sizes", type=_count, default=1, metavar="K", help="models of the ladder (default: 1)")
    compare.add_argument("--passage-tokens", type=_count, default=1024, metavar="N", help="default: 1024")
    _machine(compare)
    compare.add_argument("--json", action="store_true", help="print the result as JSON")
    compare.set_defaults(run=_later("verdict", "run_compare"))

    report = sub.add_parser("report", help="build the report page of a run or comparison again", allow_abbrev=False)
    report.add_argument("out", metavar="DIR", help="the --out of `train` or `compare`")
    report.set_defaults(run=_later("verdict", "run_report"))

    export = sub.add_parser("export", help="write a folder that transformers loads", allow_abbrev=False)
    export.add_argument("checkpoint", metavar="CHECKPOINT", help="the --out of a run, or one of its checkpoints")
    export.add_argument("out", metavar="OUT", help="a new folder")
    export.add_argument("--format", choices=presets.FORMATS, help="default: the first that can hold the model")
    export.set_defaults(run=_export)

    importer = sub.add_parser("import", help="make a checkpoint of a transformers folder", allow_abbrev=False)
    importer.add_argument("folder", metavar="FOLDER", help="config.json, model.safetensors and tokenizer.json")
    importer.add_argument("out", metavar="OUT", help="a new folder")
    importer.add_argument("--end-of-text", metavar="TOKEN", help="what parts documents (default: config.json's)")
    importer.set_defaults(run=_import)

    listing = sub.add_parser("presets", help="list the presets", allow_abbrev=False)
    listing.set_defaults(run=_presets)
    return parser, dict(sub.choices)


def _machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--threads", type=_count, metavar="N", help="CPU threads (default: torch's choice)")


def _count(text: str) -> int:
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number") from error


def _weight(text: str) -> tuple[str, float]:
    source, _, value = text.rpartition("=")
    try:
        return source, float(value)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not SOURCE=NUMBER") from error


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and infinity")
    return value


def _need_torch() -> None:
    if importlib.util.find_spec("torch") is None:
        raise CurateError("this command needs PyTorch; install it with: pip install 'curate-pretrain[train]'")


def _train(args: argparse.Namespace) -> int:
    mask = ["document_mask=true"] if args.document_mask else []
    preset = presets.amend(presets.find(args.preset), args.set + mask)
    _need_torch()
    from pretrain import report, world
    from pretrain.progress import Display
    from pretrain.report import Journal
    from pretrain.run import TrainConfig
    from pretrain.train import Trainer
    from pretrain.trials import print_scores

    display = Journal(Display())
    config = TrainConfig(
        data=args.data,
        out=args.out,
        preset=preset,
        tokens=args.tokens,
        seed=args.seed,
        weights=dict(args.weight) if args.weight else None,
        init=args.init,
        device=args.device,
        threads=args.threads,
        precision=args.precision,
        recompute=args.recompute,
        compile=args.compile,
        sharding=args.sharding,
        checkpoint_tokens=args.checkpoint_tokens,
        eval_tokens=args.eval_tokens,
        keep=args.keep,
        tensorboard=args.tensorboard,
        wandb=args.wandb,
    )
    with world.join(args.device) as place:
        try:
            trainer = Trainer(config, display, place)
            display.follow(trainer)
            summary = trainer.run()
        finally:
            display.end()
    if not place.leads:
        return 0
    page = report.write(trainer.out)
    if args.json:
        print(json.dumps(asdict(summary), sort_keys=True))
        return 0
    if not summary.trained:
        print(f"{summary.out} is done: nothing left to train")
    print(
        f"{summary.preset}: {summary.parameters:,} parameters, {summary.tokens:,} tokens "
        f"({summary.epochs:.2f} epochs), {summary.steps:,} steps, loss {summary.loss:.4f}"
    )
    if summary.skipped:
        print(f"{summary.skipped:,} updates skipped: see metrics.jsonl")
    for name, each in summary.mixture.items():
        print(f"{name}: {each['share']:.2%} of the run, {each['epochs']:.2f} epochs")
    if summary.trained:
        print(
            f"{summary.trained:,} tokens in {summary.seconds:.1f} s: {summary.trained / summary.seconds:,.0f} a second"
        )
    print_scores(summary.held)
    print(f"report  {page}")
    return 0


def _sample(args: argparse.Namespace) -> int:
    _need_torch()
    from pretrain import checkpoint, machine
    from pretrain.sample import SampleConfig, Sampler

    device = machine.find_device(args.device)
    config = SampleConfig(tokens=args.tokens, temperature=args.temperature, top_k=args.top_k, seed=args.seed)
    with machine.switches(device, args.threads):
        sampler = Sampler(checkpoint.local(args.model, "--model"), device)
        print(args.prompt, end="", flush=True)
        for piece in sampler.write(args.prompt, config):
            print(piece, end="", flush=True)
    print()
    return 0


def _later(module: str, name: str) -> Callable[[argparse.Namespace], int]:
    """A function of another module, which is imported when it is called."""

    def run(args: argparse.Namespace) -> int:
        _need_torch()
        return int(getattr(importlib.import_module(f"pretrain.{module}"), name)(args))

    return run


def _export(args: argparse.Namespace) -> int:
    _need_torch()
    from pretrain import checkpoint, export

    source, out = checkpoint.local(args.checkpoint, "CHECKPOINT"), checkpoint.local(args.out, "OUT")
    folder, kind = export.export(source, out, args.format)
    print(f"{folder} written to {args.out} as {kind}")
    return 0


def _import(args: argparse.Namespace) -> int:
    _need_torch()
    from pretrain import checkpoint, importer

    source, out = checkpoint.local(args.folder, "FOLDER"), checkpoint.local(args.out, "OUT")
    state = importer.convert(source, out, end_of_text=args.end_of_text)
    count = presets.num_parameters(state.preset.model, state.vocabulary)
    print(f"{args.folder} written to {args.out}: {count:,} parameters, vocabulary {state.vocabulary:,}")
    return 0


def _presets(args: argparse.Namespace) -> int:
    print(
        f"{'name':12}{'layers':>7}{'d_model':>8}{'heads':>6}{'d_head':>7}{'context':>8}{'vocabulary':>11}"
        f"{'batch':>10}{'rate':>8}{'printed':>9}{'built':>16}"
    )
    for name, preset in presets.PRESETS.items():
        model, recipe, printed = preset.model, preset.recipe, presets.PRINTED.get(name)
        vocabulary = f"{printed.vocabulary:,}" if printed else "-"
        count = presets.num_parameters(model, printed.vocabulary if printed else 0)
        print(
            f"{name:12}{model.layers:7}{model.width:8}{model.heads:6}{model.width // model.heads:7}{model.context:8}"
            f"{vocabulary:>11}{recipe.batch_tokens:10,}{recipe.peak_rate:8.1e}"
            f"{f'{printed.parameters:,}M' if printed else '-':>9}{count:16,}"
        )
    print("\nbatch: in tokens; printed, built: parameters in the paper and here, without those of the vocabulary where")
    print("it is not given; of GPT-3 those of the paper's appendix D\n")
    for name, printed in presets.PRINTED.items():
        if printed.remark:
            print(f"{name:12}{printed.name}: {printed.remark}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
