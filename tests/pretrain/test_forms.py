"""Each form of a benchmark file, and what is refused."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from curate.errors import InputError
from pretrain import forms
from pretrain.forms import Question


def write(path: Path, *rows: Any) -> str:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return str(path)


def choice(context: str, *choices: str, gold: int) -> Question:
    return Question(tuple((context, one) for one in choices), gold)


@pytest.mark.parametrize(
    ("row", "question"),
    [
        ({"context": "Is", "choices": ["a", "b"], "gold": 1}, choice("Is", "a", "b", gold=1)),
        ({"contexts": ["A", "B"], "completion": "c", "gold": 0}, Question((("A", "c"), ("B", "c")), 0)),
        ({"context": "A", "completion": "b"}, Question((("A", "b"),))),
        ({"context": "A", "answers": ["b", "c", "b"]}, Question((("A", "b"),), answers=("b", "c"))),
        ({"query": "Is", "choices": ["a", "b"], "gold": 0}, choice("Is", "a", "b", gold=0)),
        ({"context_options": ["A", "B"], "continuation": "c", "gold": 1}, Question((("A", "c"), ("B", "c")), 1)),
        ({"context": "A", "continuation": "b", "category": "x"}, Question((("A", "b"),))),
        ({"context": "A", "answer": "b", "aliases": ["B"]}, Question((("A", "b"),), answers=("b", "B"))),
        ({"context": "A", "answer": "4", "chain_of_thought": "2 + 2"}, Question((("A", "4"),), answers=("4",))),
        ({"text": "one two\nthree four"}, Question((("one two\nthree", "four"),))),
        ({"ctx": "A", "endings": ["b", "c"], "label": "1", "ind": 4}, choice("A", "b", "c", gold=1)),
        ({"goal": "A", "sol1": "b", "sol2": "c", "label": 0}, choice("A", "b", "c", gold=0)),
        ({"question": "Q?", "answer": "2 + 2\n#### 4"}, Question((("Q?", "4"),), answers=("4",))),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_form(tmp_path: Path, row: dict[str, Any], question: Question) -> None:
    assert forms.read(write(tmp_path / "a.jsonl", row, row)) == ([question, question], None)
    assert forms.read(write(tmp_path / "a.jsonl.gz", row))[0] == [question]


def test_story_cloze_as_released(tmp_path: Path) -> None:
    path = tmp_path / "cloze_test_val.csv"
    head = [f"InputSentence{n}" for n in range(1, 5)] + ["RandomFifthSentenceQuiz1", "RandomFifthSentenceQuiz2"]
    path.write_text(
        f"InputStoryid,{','.join(head)},AnswerRightEnding\n"
        'x,"Ann ran, fast.",2.,3.,4.,She won.,"She ""lost"".\nTwice.",2\n'
        "y,1.,2.,3.,4.,a,b,1\n"
    )
    assert forms.read(str(path))[0] == [
        choice("Ann ran, fast. 2. 3. 4.", "She won.", 'She "lost".\nTwice.', gold=1),
        choice("1. 2. 3. 4.", "a", "b", gold=0),
    ]
    for end, words in ((",a,b,3", "2 is no option"), (",a,b,1,2", r"keys InputStoryid, .*\(no name\) are none")):
        other = tmp_path / "other.csv"
        other.write_text(path.read_text().replace(",a,b,1", end))
        with pytest.raises(InputError, match=f"other.csv, row 2: {words}"):
            forms.read(str(other))


def test_piqa_as_released(tmp_path: Path) -> None:
    """Its labels are in a file beside the questions."""
    rows = [{"goal": "A", "sol1": "b", "sol2": "c"}, {"goal": "D", "sol1": "e", "sol2": "f"}]
    path = write(tmp_path / "valid.jsonl", *rows)
    with pytest.raises(InputError, match=r"valid-labels\.lst"):
        forms.read(path)
    (tmp_path / "valid-labels.lst").write_text("1\n0\n")
    assert forms.read(path)[0] == [choice("A", "b", "c", gold=1), choice("D", "e", "f", gold=0)]
    (tmp_path / "valid-labels.lst").write_text("1\n")
    with pytest.raises(InputError, match="line 2: label: Input should be a valid integer"):
        forms.read(path)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ([1], "line 2 is no JSON object"),
        ({"goal": "A", "sol1": "b", "sol3": "c"}, "line 2: keys goal, sol1, sol3 are none of a known form"),
        ({"query": "Is", "choices": ["a", "b"], "gold": 0, "more": 1}, "keys query, choices, gold, more"),
        ({"query": "Is", "choices": ["a", 2], "gold": 0}, "choices: 1: Input should be a valid string"),
        ({"query": "Is", "choices": ["a", "b"], "gold": "0"}, "gold: Input should be a valid integer"),
        ({"query": "Is", "choices": ["a", "b"], "gold": 2}, "2 is no option: there are 2"),
        ({"query": "Is", "choices": ["a", " "], "gold": 0}, "a completion is empty"),
        ({"context": "A", "answers": []}, "there is no answer"),
    ],
)
def test_refused(tmp_path: Path, row: Any, words: str) -> None:
    path = write(tmp_path / "a.jsonl", {"context": "A", "completion": "b"}, row)
    with pytest.raises(InputError) as caught:
        forms.read(path)
    assert words in str(caught.value)
    assert f"{path}, line 2" in str(caught.value)


def test_damaged_files(tmp_path: Path) -> None:
    for name, data in {"cut.jsonl.gz": gzip.compress(b"{}" * 99)[:-9], "no.jsonl": b"{", "bad.jsonl": b"\xff"}.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=name):
            forms.read(str(tmp_path / name))
    with pytest.raises(InputError, match="no such file"):
        forms.read(str(tmp_path / "none.jsonl"))
    with pytest.raises(InputError, match="holds no question"):
        forms.read(write(tmp_path / "empty.jsonl"))


def request(document: int, option: int, context: str, continuation: str, **changes: Any) -> dict[str, Any]:
    return {
        "request_type": "loglikelihood",
        "doc": {},
        "request": {"context": context, "continuation": continuation},
        "idx": option,
        "task_name": "t",
        "doc_id": document,
        "native_id": None,
        "label": 1,
    } | changes


def test_prepared_requests_are_put_together(tmp_path: Path) -> None:
    rows = [request(0, 1, "A", " c"), request(0, 0, "A", " b"), request(7, 0, "D", " x"), request(7, 1, "E", " x")]
    free = [request(1_000_000, 0, "Answer:", " b"), request(1_000_000, 1, "Answer:", " c")]
    found, context = forms.read(write(tmp_path / "a.jsonl", *rows, *free))
    assert found == [choice("A", " b", " c", gold=1), Question((("D", " x"), ("E", " x")), 1)]
    assert context == "Answer:"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([request(0, 0, "A", " b"), request(0, 2, "A", " c")], "doc_id 0 do not make up one question"),
        ([request(0, 0, "A", " b"), request(0, 1, "A", " c", label=0)], "doc_id 0 do not make up one question"),
        ([request(0, 0, "A", " b", request_type="generate")], "type 'generate' cannot be read"),
        ([request(0, 0, "A", " b"), {"text": "a b"}], "mixes requests with questions"),
        ([request(1_000_000 + i, 0, f"{i}", " b") for i in range(2)], "unconditional contexts differ"),
    ],
)
def test_prepared_requests_refused(tmp_path: Path, rows: list[Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        forms.read(write(tmp_path / "a.jsonl", *rows))


@pytest.mark.data("eval")
def test_real_files(data_dir: Path) -> None:
    """Questions of each file, as its publisher counts them; a known question of two."""
    counts = {
        "llm-foundry/language_understanding/lambada_openai.jsonl": 5153,
        "llm-foundry/language_understanding/winograd_wsc.jsonl": 273,
        "llm-foundry/language_understanding/winogrande.jsonl": 1267,
        "llm-foundry/commonsense_reasoning/piqa.jsonl": 1838,
        "piqa/valid.jsonl": 1838,
        "llm-foundry/commonsense_reasoning/siqa.jsonl": 1954,
        "llm-foundry/commonsense_reasoning/openbook_qa.jsonl": 500,
        "llm-foundry/commonsense_reasoning/copa.jsonl": 100,
        "llm-foundry/reading_comprehension/boolq.jsonl": 3270,
        "llm-foundry/world_knowledge/arc_challenge.jsonl": 1172,
        "llm-foundry/world_knowledge/triviaqa_sm_sub.jsonl": 3000,
        "lambada_test.jsonl": 5153,
        "gsm8k/test.jsonl": 1319,
        "openai_gpt3/data/two_digit_addition.jsonl": 2000,
        "olmo_requests/hellaswag__rc_5shot.jsonl.gz": 1000,
        "olmo_requests/winogrande__val_rc_5shot.jsonl.gz": 1267,
    }
    for name, count in counts.items():
        assert len(forms.read(str(data_dir / "eval" / name))[0]) == count, name
    plain = forms.read(str(data_dir / "eval/lambada_test.jsonl"))[0]
    assert plain == forms.read(str(data_dir / "eval/llm-foundry/language_understanding/lambada_openai.jsonl"))[0]
    found, context = forms.read(str(data_dir / "eval/olmo_requests/arc_challenge__test_rc_5shot.jsonl.gz"))
    assert (len(found), context) == (1172, "Answer:")
    assert found[0].options[2][1] == " Planetary days will become shorter."
