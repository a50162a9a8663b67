"""What is compared, and on what: arms of training tokens, and held-out passages that none of them holds."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from curate import draw
from curate.errors import InputError, StaleError, UsageError
from curate.shards import Ids, Tokens, open_tokens
from pretrain.evaluate import Held, documents
from pretrain.run import open_stream
from pretrain.sample import load_tokenizer

SPLIT = "held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Training data under a name.

    Attributes:
        data: a tokens/ folder; its training split is read.
        weights: of its sources, as in `TrainConfig`; None: all documents as they lie.
    """

    __pydantic_config__ = {"extra": "forbid"}
    name: str
    data: str
    weights: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        if not self.name.replace("-", "_").isidentifier():
            raise ValueError(f"{self.name!r} cannot name an arm: use letters, digits, _ and -, a letter first")


def parse(text: str) -> Arm:
    """The arm that `NAME=DIR` or `NAME=DIR,SOURCE=WEIGHT,...` describes.

    Raises:
        ValueError: if it describes none.
    """
    name, _, rest = text.partition("=")
    data, *pairs = rest.split(",")
    weights = dict[str, float]()
    for pair in pairs:
        source, _, value = pair.rpartition("=")
        try:
            weights[source] = float(value)
        except ValueError as error:
            raise ValueError(f"{pair!r} is not SOURCE=NUMBER") from error
    if not data:
        raise ValueError(f"{text!r} is not NAME=DIR, or NAME=DIR,SOURCE=WEIGHT,...")
    return Arm(name=name, data=data, weights=weights or None)


@dataclass(frozen=True, slots=True)
class Passages:
    """Held-out passages, source after source; within one in an order keyed by document id.

    Attributes:
        names: of the documents.
        held: what is scored; parallel to the names.
        digest: sha256 of names and passages.
    """

    names: list[str]
    held: Held
    digest: str

    def members(self) -> dict[str, list[int]]:
        """The places of each source's passages."""
        out: dict[str, list[int]] = {}
        for place, source in enumerate(self.held.sources):
            out.setdefault(source, []).append(place)
        return out

    def some(self, count: int) -> Held:
        """At most so many passages of each source: a curve needs no more."""
        places = [place for group in self.members().values() for place in group[:count]]
        held = self.held
        ids, sources, sizes = ([column[i] for i in places] for column in (held.ids, held.sources, held.bytes))
        return Held(ids, sources, sizes, held.end_of_text)  # type: ignore[arg-type]


def passages(folder: str, most_tokens: int) -> Passages:
    """The held-out documents of a tokens/ folder, or of a longer one a passage that is drawn by its id.

    Args:
        most_tokens: of a passage.

    Raises:
        InputError, StaleError: if the folder is damaged, or its split or a source is too small.
        UsageError: if a document must be cut, and the tokenizer does not tell how many bytes a token stands for.
    """
    tokens = open_tokens(folder)
    split = tokens.split(SPLIT)
    widths = _widths(Path(folder.removeprefix("file://")))
    rows = []
    for id_, source, size, ids in documents(split):
        if not size:
            continue
        if len(ids) > most_tokens:
            if int(widths[ids].sum()) != size:
                raise UsageError(
                    f"the tokenizer of {folder} is not one of bytes, so a part of document {id_} has no known size; "
                    f"let passages be of {len(ids)} tokens or more"
                )
            start = draw.key("pretrain.passage", id_) % (len(ids) - most_tokens + 1)
            ids = ids[start : start + most_tokens]
            size = int(widths[ids].sum())
        rows.append((source, draw.key("pretrain.held", id_), id_, size, ids))
    rows.sort(key=lambda row: row[:3])
    digest = hashlib.sha256()
    for source, _, id_, size, ids in rows:
        digest.update(f"{source}\0{id_}\0{size}\0".encode() + _content(ids))
    held = Held(
        [row[4] for row in rows], [row[0] for row in rows], [row[3] for row in rows], tokens.manifest.end_of_text
    )
    out = Passages([row[2] for row in rows], held, digest.hexdigest())
    for source, places in out.members().items():
        if len(places) < 2:
            raise InputError(f"{folder} holds out one document of {source!r}; intervals need two, and better fifty")
    if not rows:
        raise InputError(f"{folder} holds out no document with text; tokenize with a larger mix.held")
    return out


def check(arms: Sequence[Arm], folder: str) -> dict[str, Tokens]:
    """The arms' tokens by name, of the tokenizer of the held-out folder, and with none of its held-out documents.

    A document is the same if its id is, or all its tokens are. Near copies are not looked for: `curate dedup` does.

    Raises:
        UsageError: if weights do not go with an arm's sources.
        StaleError: if tokenizers differ.
        InputError: if an arm would train on a held-out document.
    """
    held = open_tokens(folder)
    names, contents = dict[str, str](), dict[bytes, str]()
    for id_, source, size, ids in documents(held.split(SPLIT)):
        if size:
            names[id_] = source
            contents[_content(ids)] = id_
    out = {}
    for arm in arms:
        tokens = open_tokens(arm.data)
        if tokens.manifest.tokenizer != held.manifest.tokenizer:
            raise StaleError(
                f"arm {arm.name} has tokenizer {tokens.manifest.tokenizer[:12]}, and {folder} has "
                f"{held.manifest.tokenizer[:12]}: tokenize both with one (tokenize.tokenizer: PATH of a tokenizer.json)"
            )
        open_stream(tokens, arm.weights)
        for id_, source, _, ids in documents(tokens.split("train")):
            if arm.weights is not None and not arm.weights[source]:
                continue
            found = id_ if id_ in names else contents.get(_content(ids))
            if found is not None:
                raise InputError(
                    f"arm {arm.name} trains on document {id_}, which {folder} holds out as {found} of "
                    f"{names[found]!r}: hold out others, or take it out of the arm"
                )
        out[arm.name] = tokens
    return out


def _content(ids: Ids) -> bytes:
    return hashlib.sha256(ids.astype("<u4").tobytes()).digest()


def _widths(folder: Path) -> npt.NDArray[np.int64]:
    """int64[vocabulary]: the bytes of each token, if it is one of bytes: a letter then stands for each (GPT-2)."""
    tokenizer = load_tokenizer(folder)
    tokens = (tokenizer.id_to_token(number) for number in range(tokenizer.get_vocab_size()))
    return np.array([len(token or "") for token in tokens], np.int64)
