"""The recipe: one YAML file that says everything about a run. Strict: an unknown key is refused with a suggestion.

Settings live beside what they set (`curate.filters.gopher.Quality`, say); this module composes them, reads YAML and
`--set a.b=value`, and turns mistakes into sentences.
"""

import dataclasses
import difflib
import importlib.resources
import os
from collections.abc import Iterable
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from classifiers.quality import Quality
from curate import storage
from curate.decontaminate import Decontamination
from curate.dedup.minhash import MinHash
from curate.errors import UsageError
from curate.filters.gopher import Gopher
from curate.filters.papers import Filters
from curate.ingest import Ingest
from curate.mix import Mixture
from curate.sources import Formats
from curate.sources.reddit import Karma
from curate.tokens import Tokenization
from pipelines.fetch import Fetch


class Strict(BaseModel):
    """Immutable; refuses keys that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Paths(Strict):
    """Where files are: a path, a glob, a folder, or a list of them; local, https, s3 or gs."""

    paths: tuple[str, ...] = ()

    @field_validator("paths", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value or []


class Source(Paths):
    """Files of texts."""

    format: str | None = None  # warc, wet, wikipedia, books, parquet, jsonl, text; None: by the file's name
    filter: bool = False  # whether URL, language and quality rules apply
    reader: Formats = Formats()  # settings of each format


class Crawl(Source):
    """Common Crawl archives, WARC or WET: by paths, by the crawl's name, or by an index of its pages."""

    filter: bool = True
    name: str | None = Field(default=None, pattern=r"^CC-MAIN-20\d\d-\d\d$")
    kind: str = Field(default="warc", pattern="^(warc|wet)$")
    files: str | None = Field(default=None, pattern=r"^\d{1,9}(-\d{1,9})?(,\d{1,9}(-\d{1,9})?)*$")
    sample: int | None = Field(default=None, ge=1)
    index: tuple[str, ...] = ()
    pages: tuple[str, ...] = ()
    page_lists: tuple[str, ...] = ()

    @field_validator("files", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        """YAML reads a lone 7 as a number."""
        return str(value) if isinstance(value, int) else value

    @field_validator("index", "pages", "page_lists", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value or []

    @model_validator(mode="after")
    def _one_way(self) -> "Crawl":
        given = [key for key in ("paths", "name", "index") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are given: the crawl is named by one of them")
        needs = {"kind": "name", "files": "name", "sample": "name", "pages": "index", "page_lists": "index"}
        for key, need in needs.items():
            if getattr(self, key) != type(self).model_fields[key].default and need not in given:
                raise ValueError(f"{key} is given without {need}, of which it tells more")
        for first, last in self.ranges():
            if first > last:
                raise ValueError(f"files has {first}-{last}: give the smaller number first")
        return self

    def ranges(self) -> list[tuple[int, int]]:
        """First and last number of each range of `files`."""
        pairs = [part.split("-") for part in (self.files or "").split(",") if part]
        return [(int(pair[0]), int(pair[-1])) for pair in pairs]


class Wikipedia(Source):
    """Wikipedia's pages-articles dumps."""

    format: str | None = "wikipedia"


class Books(Source):
    """Project Gutenberg's text files: their names tell no format."""

    format: str | None = "books"


class Reddit(Paths):
    """Submissions whose links, at enough karma, make a crawl page a positive example and a page of `webtext`."""

    karma: Karma = Karma()
    match: str = Field(default="url", pattern="^(url|host)$")  # host: any page of a liked page's host counts


class Sources(Strict):
    """`others` names further sources: Parquet, JSONL or text files, each a source of its own."""

    crawl: Crawl = Crawl()
    reddit: Reddit = Reddit()
    wikipedia: Wikipedia = Wikipedia()
    books: Books = Books()
    others: dict[str, Source] = {}

    def texts(self) -> dict[str, Source]:
        """The sources of text by name, in the order of their ingestion."""
        return {"crawl": self.crawl, "wikipedia": self.wikipedia, "books": self.books, **self.others}

    @field_validator("others")
    @classmethod
    def _names(cls, value: dict[str, Source]) -> dict[str, Source]:
        for name in value:
            if not name.isidentifier() or name in ("crawl", "webtext", "reddit", "wikipedia", "books"):
                raise ValueError(f"{name!r} cannot name a source: use letters, digits and _, and no name of ours")
        return value


class Dedup(Strict):
    """Exact copies, and near copies by MinHash LSH whose shingles are then compared."""

    minhash: MinHash = MinHash()
    min_similarity: float = Field(default=0.75, ge=0, le=1)  # exact Jaccard of two documents' shingle sets
    priority: tuple[str, ...] = ("wikipedia", "books", "webtext", "crawl")  # of equal texts the first source's stays


class Benchmarks(Paths):
    """Evaluation sets whose text must not be trained on."""

    rules: Decontamination = Decontamination()


class Recipe(Strict):
    """Everything that a run's output depends on; `fetch` alone changes none."""

    seed: int = Field(default=0, ge=0)
    partitions: int = Field(default=16, ge=1, le=65_536)  # of every exchange between workers
    max_failed: float = Field(default=0.5, ge=0, le=1)  # share of a stage's records that may be dead letters
    fetch: Fetch = Fetch()
    sources: Sources = Sources()
    ingest: Ingest = Ingest()
    filters: Filters = Filters()
    quality: Quality | None = Quality()
    dedup: Dedup = Dedup()
    decontaminate: Benchmarks = Benchmarks()
    mix: Mixture = Mixture()
    tokenize: Tokenization = Tokenization()

    @model_validator(mode="after")
    def _stop_words(self) -> "Recipe":
        """Gopher's stop words are English: they would drop every text in another language."""
        gopher = self.filters.gopher
        if gopher is None or gopher.min_stop_words is None or gopher.stop_words != Gopher().stop_words:
            return self
        for code in self.ingest.language.wanted or ():
            if code not in ("en", "eng_Latn") and code not in self.filters.languages:
                raise ValueError(
                    f"ingest.language.wanted has {code}, whose texts Gopher's English stop words would drop: give "
                    f"filters.languages.{code}, or set filters.gopher.min_stop_words to null"
                )
        return self


def load(name: str, settings: Iterable[str] = ()) -> Recipe:
    """The recipe in a file, or the shipped one of that name, with `a.b=value` settings applied on top.

    Raises:
        UsageError: naming the key, the value and the remedy.
    """
    value = yaml.safe_load(source(name)) or {}
    if not isinstance(value, dict):
        raise UsageError(f"{name} is no recipe: it holds a {type(value).__name__}, not keys and values")
    return change(value, settings, name)


def change(value: dict[str, Any], settings: Iterable[str], name: str) -> Recipe:
    """A resolved recipe with settings applied on top."""
    for setting in settings:
        _set(value, setting)
    return validate(value, name)


def source(name: str) -> str:
    """The text of a recipe, by path or by name.

    Raises:
        UsageError: if there is neither such a file nor such a shipped recipe.
    """
    if name in shipped():
        return importlib.resources.files("pipelines.recipes").joinpath(f"{name}.yaml").read_text("utf-8")
    if storage.is_remote(name) or os.path.isfile(name):
        with storage.open_input(name) as file:
            return file.read().decode()
    near = difflib.get_close_matches(name, shipped(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"shipped recipes: {', '.join(shipped())}"
    raise UsageError(f"there is no recipe {name!r}: no such file, and none of that name is shipped; {hint}")


def shipped() -> list[str]:
    """Names of the recipes in the package."""
    files = importlib.resources.files("pipelines.recipes").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def validate(value: dict[str, Any], name: str) -> Recipe:
    """The recipe, checked.

    Raises:
        UsageError: with a line for each mistake.
    """
    try:
        return Recipe.model_validate(value)
    except ValidationError as error:
        lines = [f"recipe {name} cannot be used:"]
        for one in error.errors():
            lines.append(f"  {_sentence(one)}")
        raise UsageError("\n".join(lines)) from error


def dump(recipe: Any) -> Any:
    """Settings as plain JSON values; what a fingerprint is taken of."""
    return TypeAdapter(type(recipe)).dump_python(recipe, mode="json")


def text(recipe: Recipe) -> str:
    """The resolved recipe as YAML."""
    return yaml.safe_dump(dump(recipe), sort_keys=False, allow_unicode=True)


def _set(value: dict[str, Any], setting: str) -> None:
    key, equals, raw = setting.partition("=")
    if not equals or not key:
        raise UsageError(f"--set {setting!r} is not of the form a.b=value")
    try:
        new = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {key}: {raw!r} is no YAML value: {error}") from error
    *path, last = key.split(".")
    for part in path:
        if not isinstance(value.get(part), dict):
            value[part] = {}
        value = value[part]
    value[last] = new


def _sentence(error: Any) -> str:
    where = [str(part) for part in error["loc"]]
    key = ".".join(where)
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = _known(where[:-1])
        near = difflib.get_close_matches(where[-1], known, n=1)
        return f"{key}: no such key" + (f"; did you mean {near[0]}?" if near else f"; known: {', '.join(known)}")
    said = error["msg"].removeprefix("Value error, ")
    return f"{key}: {said} (it is {error['input']!r})" if key else said


def _known(path: list[str]) -> list[str]:
    """The keys that may stand at a place of the recipe."""
    value: Any = Recipe()
    for part in path:
        if isinstance(value, dict):
            value = Filters() if path[0] == "filters" else Source()
            continue
        value = getattr(value, part, None)
    if isinstance(value, BaseModel):
        return list(type(value).model_fields)
    return [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
