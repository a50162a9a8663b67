"""Real text that every installation holds: docstrings read from source files, package descriptions, language topics.

Nothing is imported to be read: modules are parsed, so that no import has an effect and no text depends on the process.
Text is cut into blocks (headings, paragraphs, items, code), which pages, articles and books render in their
own ways. Inline markup is kept in two Markdown forms, `code` and [label](address); every other is taken off.
"""

import ast
import importlib.metadata
import importlib.util
import inspect
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from curate.errors import InputError

SIDE_ROOMS = frozenset(
    {"test", "tests", "_test", "conftest", "idlelib", "lib2to3", "turtledemo", "ensurepip", "distutils"}
)
SIDE_ROOMS |= {"site-packages", "encodings", "antigravity", "this", "pydoc_data", "externals", "_vendor"}
SIDE_ROOMS |= {"array_api_compat", "array_api_extra"}


class Kind(StrEnum):
    """What a block is."""

    heading = "heading"
    paragraph = "paragraph"
    item = "item"
    code = "code"


@dataclass(frozen=True, slots=True)
class Block:
    kind: Kind
    text: str


@dataclass(frozen=True)
class Piece:
    """A text with a title; `name` is its dotted name or its package's."""

    name: str
    title: str
    blocks: tuple[Block, ...]

    @cached_property
    def text(self) -> str:
        """All that a reader sees, a line for each block."""
        return "\n".join(block.text if block.kind is Kind.code else plain(block.text) for block in self.blocks)

    @cached_property
    def prose(self) -> str:
        """The running text: paragraphs and items, one a line."""
        return "\n".join(plain(block.text) for block in self.blocks if block.kind in (Kind.paragraph, Kind.item))


def reading(piece: Piece) -> Piece:
    """The piece as a reader's edition: running text alone, nothing twice.

    Examples, signatures and the types of parameters are left out, and so is any block in which marks are as dense as
    in a formula: Gopher's alphabetic rule, held against words and marks as datatrove does, takes most reference
    documentation otherwise.
    """
    kept: dict[str, Block] = {}
    for block in piece.blocks:
        text = SIGNATURE.sub("", TYPES.sub(r"\1: ", block.text))
        if block.kind is not Kind.code and text not in kept and alphabetic(plain(text)) >= 0.78:
            kept[text] = Block(block.kind, text)
    return Piece(piece.name, piece.title, tuple(kept.values()))


def alphabetic(text: str) -> float:
    """The share of words with a letter among words and marks of punctuation."""
    pieces = re.findall(r"\w+|[^\w\s]", text)
    return sum(any(map(str.isalpha, piece)) for piece in pieces) / max(1, len(pieces))


TYPES = re.compile(r"^([\w*, `]{1,40}?) : .*?\. (?=[A-Z])")
SIGNATURE = re.compile(r"(?<=\w)\((?:self|cls)\b.*\)$")


def plain(text: str) -> str:
    """The text without its inline markup."""
    return LINK.sub(r"\1", CODE_SPAN.sub(r"\1", text))


CODE_SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[([^\]]+)\]\(([^()\s]+)\)")

INLINE = [
    (re.compile(r"!\[[^\]]*\]\([^)]*\)|\[!\[[^\]]*\]\([^)]*\)\]\([^)]*\)|<!--.*?-->"), ""),  # images, badges
    (re.compile(r":math:`[^`]*`"), "(formula)"),
    (re.compile(r"`([^`<>]+?)\s*<(https?://[^`<>]+)>`_{1,2}"), r"[\1](\2)"),
    (re.compile(r":(?:ref|doc|term):`([^`<>]+?)(?:\s*<[^`<>]*>)?`"), r"\1"),
    (re.compile(r":(?:\w+:)?\w+:`~?([^`<>]+?)(?:\s*<[^`<>]*>)?`"), r"`\1`"),
    (re.compile(r"``([^`]+)``"), r"`\1`"),
    (re.compile(r"`([^`]+)`_{1,2}"), r"\1"),
    (re.compile(r"</?[a-zA-Z][^<>]*>"), ""),
    (re.compile(r"\s?\[[\w#*]+\]_"), ""),
    (re.compile(r"\|([\w ]+)\|"), r"\1"),
    (re.compile(r"(\*\*|__|\*)(?=\S)([^*_]+?)(?<=\S)\1"), r"\2"),
]
MARKS = frozenset("`*_<|[!:")  # without one of these there is no markup
UNDERLINE = re.compile(r"([=\-~^\"'*+#_.:])\1{2,}$")
BULLET = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.)])\s+(?=\S)")
TERM = re.compile(r"[\w*,`. ]{1,60} : \S|`{0,2}[\w.*]+`{0,2}$")
CHOICES = re.compile(r"\{([^{}]*)\}")  # a parameter's values
# A directive whose body is text; the body of any other is a picture, a formula or an index entry.
TEXT_DIRECTIVE = re.compile(
    r"\.\. (note|warning|seealso|tip|important|deprecated|versionadded|versionchanged)::\s*(.*)"
)
VERSIONS = {
    "deprecated": "Deprecated since version {}.",
    "versionadded": "New in version {}.",
    "versionchanged": "Changed in version {}.",
}
CODE_DIRECTIVE = re.compile(r"\.\. (code|code-block|sourcecode|doctest|testcode|parsed-literal)::")


def inline(text: str) -> str:
    """One line of prose with its markup reduced to `code` and [label](address)."""
    if not MARKS.isdisjoint(text):
        for pattern, replacement in INLINE:
            text = pattern.sub(replacement, text)
    return " ".join(text.split())


def blocks(text: str) -> list[Block]:
    """The blocks of a docstring, reStructuredText or Markdown text; tables, pictures and formulas are left out."""
    return list(_blocks(text.expandtabs(4).splitlines()))


def _blocks(lines: list[str]) -> Iterator[Block]:
    at = 0
    while at < len(lines):
        line = lines[at].rstrip()
        bare, indent = line.strip(), len(line) - len(line.lstrip())
        after = lines[at + 1].strip() if at + 1 < len(lines) else ""
        stop = at + 1
        if not bare or UNDERLINE.match(bare) or bare.startswith(("|", "+--", "+==", "__ ", ".. _", "[![")):
            pass
        elif fence := re.match(r"(`{3,}|~{3,})", bare):
            while stop < len(lines) and not lines[stop].strip().startswith(fence[1]):
                stop += 1
            yield Block(Kind.code, inspect.cleandoc("\n".join(lines[at + 1 : stop])))
            stop += 1
        elif heading := re.match(r"#{1,6} (.+?)#*$", bare):
            yield Block(Kind.heading, inline(heading[1]))
        elif UNDERLINE.match(after) and len(after) + 2 >= len(bare) and len(bare) < 90:
            yield Block(Kind.heading, inline(bare))
            stop = at + 2
        elif bare.startswith(">>>"):
            while stop < len(lines) and lines[stop].strip():
                stop += 1
            yield Block(Kind.code, inspect.cleandoc("\n".join(["", *lines[at:stop]])))
        elif bare.startswith(".. "):
            stop = _indented(lines, at + 1, indent)
            if note := TEXT_DIRECTIVE.match(bare):
                first = VERSIONS.get(note[1], "{}").format(note[2].rstrip("."))
                yield from _blocks(inspect.cleandoc("\n".join([first, *lines[at + 1 : stop]])).splitlines())
            elif CODE_DIRECTIVE.match(bare):
                body = [row for row in lines[at + 1 : stop] if not re.match(r"\s*:\w+:", row)]
                yield Block(Kind.code, inspect.cleandoc("\n".join(["", *body])))
            elif reference := re.match(r"\.\. \[\S+\] ?(.*)", bare):
                yield Block(Kind.item, inline(" ".join([reference[1], *lines[at + 1 : stop]])))
        elif TERM.match(bare) and indent < _depth(lines, at + 1):
            term = CHOICES.sub(lambda found: " or ".join(found[1].split(", ")), inline(bare))
            stop = _indented(lines, at + 1, indent)
            inner = list(_blocks(inspect.cleandoc("\n".join(["", *lines[at + 1 : stop]])).splitlines()))
            if inner and inner[0].kind is Kind.paragraph:  # a definition runs on from what it defines
                term = f"{term}. {inner.pop(0).text}"
            yield Block(Kind.item, term)
            yield from inner
        else:
            bullet = BULLET.match(bare)
            while stop < len(lines) and _continues(lines[stop], indent, bullet is not None):
                stop += 1
            joined = inline(" ".join(row.strip() for row in lines[at:stop])[bullet.end() if bullet else 0 :])
            literal = joined.endswith("::")
            if joined:
                yield Block(Kind.item if bullet else Kind.paragraph, joined.removesuffix(":") if literal else joined)
            if literal and stop < len(lines):
                end = _indented(lines, stop, indent)
                if end > stop:
                    yield Block(Kind.code, inspect.cleandoc("\n".join(["", *lines[stop:end]])))
                stop = end
        at = stop


def _depth(lines: list[str], at: int) -> int:
    return len(lines[at]) - len(lines[at].lstrip()) if at < len(lines) and lines[at].strip() else -1


def _indented(lines: list[str], at: int, indent: int) -> int:
    """The end of the run of lines, from `at`, that are blank or deeper than `indent`."""
    while at < len(lines) and (not lines[at].strip() or _depth(lines, at) > indent):
        at += 1
    return at


def _continues(line: str, indent: int, in_item: bool) -> bool:
    bare = line.strip()
    depth = len(line) - len(line.lstrip())
    if not bare or UNDERLINE.match(bare) or bare.startswith((">>>", ".. ", "```", "#", "|")):
        return False
    return depth > indent if in_item else depth == indent and not BULLET.match(bare)


def pieces(package: str, least: int) -> Iterator[Piece]:
    """A piece for each long docstring of a package's modules, public functions and classes, in file order.

    `package` is a dotted name; `stdlib` names the standard library's pure modules. A class carries the docstrings of
    its public methods. Docstrings of fewer than `least` characters in all are left out, and so are files of which less
    than a fifth is docstrings.

    Raises:
        InputError: if the package is not installed.
    """
    for path, module in _modules(package):
        source = path.read_text(encoding="utf-8", errors="replace")
        # Parsing is the slow part: not for a file without a text that is long, or that is code almost throughout.
        if sum(map(len, QUOTED.findall(source))) < max(least, len(source) // 5):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # invalid escapes in others' code
                tree = ast.parse(source)
        except SyntaxError:  # a template, or a test of the parser
            continue
        overview = ast.get_docstring(tree) or ""
        if len(overview) >= least:
            yield Piece(module, module, tuple(blocks(overview)))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                parts = list(_docstrings(node))
                if sum(len(text) for _, text in parts) >= least:
                    yield Piece(f"{module}.{node.name}", f"{node.name} in {module}", tuple(_join(parts)))


QUOTED = re.compile(r'"""(.*?)"""', re.DOTALL)


def _docstrings(node: ast.FunctionDef | ast.ClassDef) -> Iterator[tuple[str, str]]:
    """(heading, docstring) of the definition and its public methods; templates that code fills in are left out."""
    members = [child for child in node.body if isinstance(child, ast.FunctionDef) and not child.name.startswith("_")]
    for member in [node, *(members if isinstance(node, ast.ClassDef) else [])]:
        text = ast.get_docstring(member)
        if text and "%(" not in text and "%s" not in text:
            yield f"{member.name}({ast.unparse(member.args)})" if isinstance(member, ast.FunctionDef) else "", text


def _join(parts: list[tuple[str, str]]) -> Iterator[Block]:
    for place, (heading, text) in enumerate(parts):
        if place:
            yield Block(Kind.heading, heading)
        yield from blocks(text)


def _modules(package: str) -> Iterator[tuple[Path, str]]:
    prefix = [] if package == "stdlib" else package.split(".")
    root = home(package) if prefix else Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        parts = [*prefix, *path.relative_to(root).with_suffix("").parts]
        if not SIDE_ROOMS.intersection(parts) and (prefix or parts[0] in sys.stdlib_module_names):
            yield path, ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def home(package: str) -> Path:
    """The folder of an installed package, by its dotted name; nothing is imported.

    Raises:
        InputError: if it is not installed.
    """
    top, *inner = package.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the demo takes text from the package {top!r}, which is not installed: install it")
    return Path(spec.submodule_search_locations[0], *inner)


def _distributions() -> list[tuple[str, importlib.metadata.Distribution]]:
    """The distributions in the environment's own folders, whatever else sys.path names; by name, each once."""
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    found = {one.name: one for one in importlib.metadata.distributions(path=folders)}
    return [(name, found[name]) for name in sorted(found, key=str.lower) if name != OWN]


OWN = "curate-pretrain"  # its own description would be no news


def descriptions() -> list[Piece]:
    """The long descriptions of the installed distributions, by name."""
    found = []
    for name, distribution in _distributions():
        about = distribution.metadata  # parsed at each access
        text = str(about.json.get("description", ""))
        found.append(Piece(name, f"{name} {about['Version']}", tuple(blocks(text))))
    return found


def licences() -> list[Piece]:
    """The licence files of the installed distributions, by name, their paragraphs joined."""
    found = []
    for name, distribution in _distributions():
        info = Path(str(distribution.locate_file(""))).glob(f"{name.replace('-', '_')}-*.dist-info")
        for path in sorted(file for folder in info for file in folder.rglob("*") if _is_licence(file)):
            parts = path.read_text(encoding="utf-8", errors="replace").split("\n\n")
            paragraphs = (Block(Kind.paragraph, " ".join(part.split())) for part in parts if part.strip())
            found.append(Piece(name, f"The licence of {name}", tuple(paragraphs)))
    return found


def _is_licence(path: Path) -> bool:
    return re.match(r"(?i)(licen[cs]e|copying|notice)[\w.-]*$", path.name) is not None and path.is_file()
