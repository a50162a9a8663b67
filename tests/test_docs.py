"""What README and docs/ say that can be checked: paths, links, commands, flags, keys, defaults, columns, reasons."""

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from curate import decontaminate, document, shards
from curate.reasons import LineReason, Reason
from curate.sources import reddit
from pipelines import cli, dedup, graph, mix, recipe
from pretrain import cli as trainer

ROOT = Path(__file__).resolve().parents[1]
FILES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in FILES}
README = PAGES["README.md"]
PACKAGES = ("curate", "classifiers", "pipelines", "pretrain")

# Section of docs/files.md -> the tables that it must give, column by column.
SCHEMAS = {
    "documents": (document.DOCUMENTS,),
    "signatures": (document.SIGNATURES,),
    "dropped": (document.DROPPED,),
    "errors": (document.ERRORS,),
    "scores": (document.SCORES,),
    "removals": (document.REMOVALS,),
    "cuts": (document.CUTS,),
    "corpus": (document.CORPUS,),
    "karma": (reddit.LINKS, reddit.URLS),
    "pairs": (dedup.PAIRS, dedup.SURVIVORS),
    "benchmarks": (decontaminate.GRAMS,),
    "matches": (decontaminate.MATCHES,),
    "counts": (mix.COUNTS,),
    "tokens/": (shards.DOCUMENTS,),
}


# ---- Markdown


def section(page: str, title: str) -> str:
    """What stands under a heading, up to the next of its level or above."""
    found = re.search(rf"^(#+) {re.escape(title)}$", page, re.MULTILINE)
    assert found, f"no heading {title!r}"
    end = re.search(rf"^#{{1,{len(found[1])}}} ", page[found.end() :], re.MULTILINE)
    return page[found.end() : found.end() + end.start() if end else len(page)]


def tables(text: str) -> Iterator[list[list[str]]]:
    r"""The rows of each table, without its head; `\|` is a bar within a cell."""
    for table in re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE):
        cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
        yield [[cell.strip().replace("\\|", "|") for cell in row] for row in cells]


def rows(text: str) -> list[list[str]]:
    return [row for table in tables(text) for row in table]


def codes(text: str) -> list[str]:
    """What stands in backticks, outside of blocks of code."""
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def blocks(page: str) -> list[str]:
    """The blocks of code, fenced or indented, continued lines joined."""
    found = re.findall(r"^```\w*\n(.*?)^```|((?:^    \S.*\n)+)", page, re.MULTILINE | re.DOTALL)
    return [re.sub(r"\\\n\s*", "", fenced or indented) for fenced, indented in found]


def commands(program: str) -> list[tuple[str, list[str]]]:
    """(page, words) of each line of a block of code that calls the program."""
    return [
        (name, shlex.split(line, comments=True))
        for name, page in PAGES.items()
        for block in blocks(page)
        for line in block.splitlines()
        if line.split()[:1] == [program]
    ]


# ---- paths and links


def test_tree_of_the_readme() -> None:
    """Each path that the tree names is there; each package and each module of the pure packages is named."""
    (tree,) = [block for block in blocks(README) if re.search(r"^curate/ ", block, re.M) and "pipelines/" in block]
    named: dict[str, str] = {}
    folder = ""
    for line in tree.splitlines():
        if top := re.match(r"(\w+)/", line):
            folder = top[1]
        assert (ROOT / folder).is_dir(), folder
        named[folder] = named.get(folder, "") + line + "\n"
        inner = found[1] if (found := re.match(r"  (\w+)/ ", line)) else ""
        for path in re.findall(r"(?<![\w*.])[\w./]+\.(?:py|yaml|toml|json)\b", line):
            assert any((ROOT / folder / part / path).exists() for part in ("", inner)), f"{folder}: {path}"
        for path in re.findall(r"(?<![\w*.])(\w+)/(?=[ *])", line.removeprefix(f"{folder}/")):
            assert (ROOT / folder / path).is_dir() or (ROOT / path).is_dir(), f"{folder}: {path}/"
    for package in PACKAGES:
        for path in (ROOT / package).iterdir():
            if path.is_dir() and (path / "__init__.py").exists():
                assert f"{path.name}/" in named[package], f"the tree leaves {package}/{path.name}/ out"
    for package in ("curate", "classifiers"):
        for path in (ROOT / package).glob("[a-z]*.py"):
            assert path.name in named[package], f"the tree leaves {package}/{path.name} out"


@pytest.mark.parametrize("name", PAGES)
def test_links(name: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", PAGES[name]):
        if "://" not in target:
            assert (ROOT / name).parent.joinpath(target).exists(), f"{name} links to {target}, which is not there"


@pytest.mark.parametrize("name", PAGES)
def test_paths_in_backticks(name: str) -> None:
    """A path of the repository that the text names is there; Parquet files lie in a run's directory."""
    for path in codes(PAGES[name]):
        if re.fullmatch(
            rf"(?:{'|'.join(PACKAGES)}|benchmarks|tests|docs)(?:/[\w-]+)*(?:/|\.\w+)", path
        ) and not path.endswith(".parquet"):
            assert (ROOT / path).exists(), f"{name} names {path}, which is not there"


# ---- commands


def test_commands_of_make() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    used = {words[1] for _, words in commands("make")}
    used |= {found.split()[1] for page in PAGES.values() for found in codes(page) if re.match(r"make \w", found)}
    assert {"demo", "test"} <= used <= targets


@pytest.mark.parametrize(("page", "words"), commands("curate"), ids=lambda value: " ".join(value)[:60])
def test_commands_of_curate(page: str, words: list[str]) -> None:
    """Each is understood, and its settings too."""
    job = cli.parse(words[1 : words.index(">") if ">" in words else None])
    if job.args.get("recipe") in recipe.shipped():
        recipe.load(job.args["recipe"], job.args["settings"])


@pytest.mark.parametrize(("page", "words"), commands("pretrain"), ids=lambda value: " ".join(value)[:60])
def test_commands_of_pretrain(page: str, words: list[str]) -> None:
    trainer.parse(words[1:])


def test_commands_of_python_and_pip() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    for page, words in commands("python") + commands(".venv/bin/python"):
        assert (ROOT / words[1]).exists(), f"{page}: {words}"
    for page, words in commands("pip"):
        for found in re.findall(r"\[(.*?)\]", " ".join(words)):
            assert set(found.split(",")) <= set(extras), f"{page}: {words}"


def test_commands_in_backticks() -> None:
    known = {program: set(known_commands(program)) for program in ("curate", "pretrain")}
    for name, page in PAGES.items():
        for found in codes(page):
            program, *words = found.split()
            if program in known and words and words[0].isalpha():
                assert words[0] in known[program], f"{name}: {found}"


def test_cheap_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that only print run one after the other in an empty folder, as a reader would."""
    monkeypatch.chdir(tmp_path)
    cheap = [words for _, words in commands("curate") if words[1] == "recipe" or "--dry-run" in words]
    assert cheap
    for words in cheap:
        call, _, into = " ".join(words).partition(" > ")
        assert cli.main(call.split()[1:]) == 0
        said = capsys.readouterr().out
        assert yaml.safe_load(said)["mix"]
        if into:
            Path(into).write_text(said, "utf-8")
    for program, module in (("curate", cli), ("pretrain", trainer)):
        for name in known_commands(program):
            with pytest.raises(SystemExit) as left:
                module.main([name, "--help"])
            assert left.value.code == 0
            assert capsys.readouterr().out.startswith(f"usage: {program} {name}")


def known_commands(program: str) -> dict[str, argparse.ArgumentParser]:
    return (cli.parser if program == "curate" else trainer._parser)()[1]


@pytest.mark.parametrize("program", ["curate", "pretrain"])
def test_every_command_and_flag(program: str) -> None:
    """docs/commands.md gives each command with its flags, all of them, and each flag with its meaning."""
    table, meanings = tables(section(PAGES["docs/commands.md"], program))
    told = {codes(row[0])[0].split()[1]: set(codes(row[2])) for row in table}
    assert told == {name: flags(parser) for name, parser in known_commands(program).items()}
    assert {codes(row[0])[0].split()[0] for row in meanings} == set.union(*told.values())


def flags(parser: argparse.ArgumentParser) -> set[str]:
    return {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}


# ---- the recipe


def leaves(value: Any, told: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """(key, default) of each key that has no keys below it, or that the page gives as a whole."""
    if isinstance(value, dict) and value and path not in told:
        for key, inner in value.items():
            yield from leaves(inner, told, f"{path}.{key}" if path else key)
    else:
        yield path, value


def test_every_key_and_default_of_the_recipe() -> None:
    """docs/recipe.md gives each key with its default; `sources.*` is each source that has no row itself."""
    told = {}
    for row in rows(PAGES["docs/recipe.md"]):
        (key,), (default,) = codes(row[0]), codes(row[1])
        assert key not in told, f"{key} is told twice"
        told[key] = yaml.safe_load(default)
        assert row[2] or ".max_" in key, f"{key} has no meaning"
        assert row[3], f"{key} has no source"
    used = set()
    for key, default in leaves(recipe.dump(recipe.load("gpt3")), told):
        general = re.sub(r"^sources\.\w+", "sources.*", key)
        row = key if key in told else general
        assert row in told, f"docs/recipe.md lacks {key}"
        assert told[row] == default, f"docs/recipe.md says that {key} is {told[row]!r}; it is {default!r}"
        used.add(row)
    assert used == set(told), f"docs/recipe.md tells of {set(told) - used}, which no recipe has"


def test_settings_named_in_the_text() -> None:
    """`a.b=value` and dotted keys in any page are keys of the recipe."""
    known = {key for key, _ in leaves(recipe.dump(recipe.load("gpt3")), {})}
    parts = {key.rsplit(".", n)[0] for key in known for n in range(6)} | known
    heads = {key.split(".")[0] for key in known}
    for name, page in PAGES.items():
        for found in codes(page):
            key = re.split(r"[=:]", found)[0].strip()
            if re.fullmatch(r"[a-z_]+(\.[a-z_0-9]+)+", key) and key.split(".")[0] in heads and "*" not in key:
                if key.endswith((".py", ".json", ".parquet", ".md", ".yaml")):
                    continue
                assert key in parts, f"{name} names {key}, which is no key"


def test_shipped_recipes_are_told_of() -> None:
    for name in recipe.shipped():
        assert f"`{name}`" in README


# ---- files, columns, reasons


@pytest.mark.parametrize("title", SCHEMAS)
def test_every_column(title: str) -> None:
    """docs/files.md gives each table's columns, in order, with their types, and says which may be null."""
    own = re.split(r"^### ", section(PAGES["docs/files.md"], title), flags=re.MULTILINE)[0]
    for table, schema in zip(tables(own), SCHEMAS[title], strict=True):
        assert [(codes(row[0])[0], row[1]) for row in table] == [(field.name, str(field.type)) for field in schema]
        for row, field in zip(table, schema, strict=True):
            assert ("null for" in row[2]) == field.nullable, f"{title}: {field.name}"


def test_every_folder_of_a_run() -> None:
    """What a stage owns is in the table of files, on a row that names the stage."""
    listed = {row[0]: row[2] for row in next(tables(PAGES["docs/files.md"]))}
    for stage in graph.STAGES:
        for owned in stage.owns:
            head = owned.split("/")[0]
            by = [who for paths, who in listed.items() if any(one.split("/")[0] == head for one in codes(paths))]
            assert any(stage.name in who or who.startswith("each stage") for who in by), f"{stage.name}: {owned}"


def test_every_reason() -> None:
    """Each reason has a row, in docs/rules.md or docs/files.md, and no row tells of another."""
    told: list[str] = []
    for title in ("Gopher (arXiv 2112.11446, appendix A.1.1, table A1)", "C4, pages"):
        told += listed(section(PAGES["docs/rules.md"], title))
    told += listed(section(PAGES["docs/rules.md"], "FineWeb (arXiv 2406.17557, section 3.5; the last from its code)"))
    told += listed(section(PAGES["docs/files.md"], "Reasons"))
    assert sorted(told) == sorted(Reason)


def test_every_line_reason() -> None:
    told = listed(section(PAGES["docs/rules.md"], "C4, lines (arXiv 1910.10683, section 2.2; the code where noted)"))
    assert sorted(told) == sorted(LineReason)


def listed(text: str) -> list[str]:
    """The reasons in the first cells; `a_5_b` ... `a_7_b` are three."""
    found = []
    for row in rows(text):
        names = codes(row[0])
        if "..." in row[0]:
            (head, first, tail), (_, last, _) = (re.split(r"(\d+)", name) for name in names)
            names = [f"{head}{n}{tail}" for n in range(int(first), int(last) + 1)]
        found += names
    return found
