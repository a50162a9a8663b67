"""The laws of the house: who may import whom, how long a module may be, what no module may do."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("curate", "classifiers", "pipelines", "pretrain")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MOST_LINES = 400

# What importing all of a package must not bring in, directly or through others.
FORBIDDEN = {
    "curate": ("apache_beam", "torch", "classifiers", "pipelines", "pretrain"),
    "classifiers": ("apache_beam", "torch", "pipelines", "pretrain"),
    "pipelines": ("torch", "pretrain"),
    "pretrain": ("apache_beam", "classifiers", "pipelines"),
}
# All that the trainer may know of the rest.
PRETRAIN_KNOWS = {"curate.shards", "curate.errors", "curate.storage", "curate.draw"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
UNSAFE_CALLS = {"eval", "exec"}
VAGUE = {"utils", "util", "helpers", "helper", "common", "base", "misc"}


def name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that the code names in its imports, wherever they stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_without_what_is_forbidden(package: str) -> None:
    """Every module of the package is imported in a process where the forbidden ones cannot be."""
    modules = [name(path) for path in MODULES if name(path).split(".")[0] == package]
    code = (
        "import importlib, sys\n"
        "class Wall:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {FORBIDDEN[package]!r}:\n"
        "            raise ImportError(f'{name} is not to be imported')\n"
        "sys.meta_path.insert(0, Wall())\n"
        f"for module in {modules!r}: importlib.import_module(module)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_module(path: Path) -> None:
    text = path.read_text("utf-8")
    tree = ast.parse(text)
    assert text.count("\n") < MOST_LINES, f"{name(path)} is too long: part it by nouns"
    assert path.stem not in VAGUE, f"{name(path)} says nothing of what it holds"
    assert not text.strip() or ast.get_docstring(tree), f"{name(path)} has no docstring"
    names = set(imported(tree))
    unsafe = {module for module in names if module.split(".")[0] in UNSAFE_MODULES}
    assert not unsafe, f"{name(path)} imports {unsafe}: unsafe to load"
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & UNSAFE_CALLS
    if name(path).split(".")[0] == "pretrain":
        curate = {module for module in names if module.split(".")[0] == "curate" and module != "curate"}
        known = {module for module in curate if any(f"{module}.".startswith(f"{one}.") for one in PRETRAIN_KNOWS)}
        assert curate == known, f"{name(path)} knows {curate - known}: the trainer meets the rest in files alone"


def test_packages_are_listed() -> None:
    """Every folder with modules is named in pyproject.toml, and none besides."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted({name(path.parent) for path in MODULES})


def test_nobody_reads_the_clock_or_a_global_generator() -> None:
    """Outputs depend on inputs and recipe alone; what a clock may be asked for is progress, and the trainer's rate."""
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            call = ast.unparse(node.func)
            if call in {"time.time", "time.time_ns", "datetime.now", "datetime.datetime.now", "datetime.utcnow"}:
                found.append(f"{name(path)}:{node.lineno} {call}")
            if call.startswith(("random.", "np.random.", "numpy.random.")):
                found.append(f"{name(path)}:{node.lineno} {call}")
            if call in {"uuid.uuid1", "uuid.uuid4"}:
                found.append(f"{name(path)}:{node.lineno} {call}")
    assert not found
