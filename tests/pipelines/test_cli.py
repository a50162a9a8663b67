"""The command line: parsing by equality, refusals with a suggestion, exit codes. No pipeline runs here."""

import pytest

from curate.errors import UsageError
from pipelines.cli import Job, main, parse, parser

RUN = {"recipe": "gpt3", "settings": [], "out": "x", "workers": None, "json": False, "quiet": False, "dry_run": False}


@pytest.mark.parametrize(
    ("line", "job"),
    [
        ("run gpt3 --out x", Job("run", RUN)),
        ("run gpt3 --out x --set a.b=1 --set c=[2]", Job("run", {**RUN, "settings": ["a.b=1", "c=[2]"]})),
        (
            "run gpt3 --out x --workers 2 --json -- --runner=X",
            Job("run", {**RUN, "workers": 2, "json": True}, ("--runner=X",)),
        ),
        ("recipe", Job("recipe", {"name": None})),
        ("report d", Job("report", {"dir": "d"})),
        ("why d u --json", Job("why", {"dir": "d", "what": "u", "json": True})),
    ],
)
def test_parse(line: str, job: Job) -> None:
    assert parse(line.split()) == job


def test_set_of_flags_is_closed() -> None:
    _, commands = parser()
    flags = {
        name: sorted(o for a in command._actions for o in a.option_strings if o.startswith("--"))
        for name, command in commands.items()
    }
    stage = ["--help", "--json", "--out", "--quiet", "--set", "--workers"]
    assert flags == {
        "run": ["--dry-run", "--help", "--json", "--out", "--quiet", "--set", "--workers"],
        "demo": ["--help", "--json", "--no-pretrain", "--out", "--quiet", "--workers"],
        **dict.fromkeys(("karma", "ingest", "train", "score", "dedup", "decontaminate", "mix", "tokenize"), stage),
        "extract": ["--cascade", "--extractor", "--favour", "--help", "--json", "--markdown"],
        "train-extractor": ["--data", "--help", "--out"],
        "recipe": ["--help"],
        "report": ["--help"],
        "why": ["--help", "--json"],
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run gpt3 --out x --dryrun", "did you mean --dry-run?"),
        ("run gpt3 --out x --runner=X", "options of Beam stand after --"),
        ("run gpt3", "--out"),
        ("rnu gpt3 --out x", "did you mean run?"),
        ("run gpt3 --out x --workers 0", "'0' is no positive number"),
        ("why d u -- --runner=X", "have no use"),
        ("run gpt3 --ou x", "did you mean --out?"),
    ],
)
def test_refused(line: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(line.split())
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("run gtp3 --out {tmp}/x", "did you mean gpt3?"),
        ("run gpt3 --set seeed=1 --out {tmp}/x", "seeed: no such key; did you mean seed?"),
        ("run gpt3 --set dedup.min_similarity=2 --out {tmp}/x", "less than or equal to 1 (it is 2)"),
        ("run gpt3 --set sources.crawl.paths --out {tmp}/x", "not of the form a.b=value"),
        ("run gpt3 --out {tmp}/x -- --runnr=SparkRunner", "Beam has no option --runnr: did you mean --runner?"),
        ("report {tmp}", "holds no manifest.json"),
        ("why {tmp} http://a.example/", "holds no run"),
        ("score --out {tmp}/x", "has no recipe yet"),
    ],
)
def test_wrong_usage_exits_2(line: str, words: str, tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.format(tmp=tmp_path).split()) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "x").exists()


def test_dry_run_prints_the_recipe_and_the_stages(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "gpt3", "--set", "seed=7", "--out", str(tmp_path / "x"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "seed: 7\n" in said
    assert [line.split()[1] for line in said.split("# stages, in order:\n")[1].splitlines()] == [
        "karma", "ingest", "train", "score", "dedup", "decontaminate", "mix", "tokenize",
    ]  # fmt: skip
    assert not (tmp_path / "x").exists()


def test_missing_input_exits_1(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        [
            "run",
            "gpt3",
            "--set",
            f"sources.crawl.paths={tmp_path}/none.warc.gz",
            "--out",
            str(tmp_path / "x"),
            "--quiet",
        ]
    )
    said = capsys.readouterr()
    assert code == 1
    assert "none.warc.gz' matches no file" in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "x").exists()
