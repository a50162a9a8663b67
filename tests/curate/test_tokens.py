import base64
import hashlib
import itertools
import json

import numpy as np
import pyarrow as pa
import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from curate import tokens
from curate.errors import InputError, ModelError

END = tokens.END_OF_TEXT
CORPUS = ["the quick brown fox jumps over the lazy dog", "the dog's fox can't jump", "日本語の文字 the fox"] * 5
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+"
    r"|\s++$|\s*[\r\n]|\s+(?!\S)|\s"
)
SAMPLES = ["the foxes' 12345", "", f"a{END}b", END, " \n\n\t x\u3000", "e\u0301 日本 ไทย \U0001f680", "THEY'LL we'll"]


def trained(texts=CORPUS, **settings_) -> bytes:
    config = tokens.Tokenization(**({"vocab_size": 300} | settings_))
    return tokens.train(texts, config).to_str().encode()


def edited(**changes) -> bytes:
    return json.dumps(json.loads(trained()) | changes).encode()


@pytest.fixture(scope="module", params=["gigatoken", "tokenizers"])
def encoder(request) -> tokens.Encoder:
    made = tokens.Encoder(trained())
    assert (made.engine, made.engine_reason) == ("gigatoken", "")
    if request.param == "tokenizers":
        made._giga = None
    return made


def test_training_is_deterministic_and_free_of_order():
    assert trained() == trained() == trained(CORPUS[::-1])
    assert trained() != trained(CORPUS[:1] * 5)


def test_trained_ids():
    encoder = tokens.Encoder(trained())
    assert encoder.end_of_text == encoder.vocab_size - 1
    assert encoder.vocab_size <= 300
    assert encoder.fingerprint == hashlib.sha256(trained()).hexdigest()
    ids, lengths = encoder.encode(pa.array(["\x00\xff the"]))
    assert lengths.tolist() == [4]
    assert encoder.decode(ids) == "\x00\xff the"


def test_vocabulary_reaches_its_size_where_the_text_gives_merges():
    texts = ["".join(word) for word in itertools.product("abcdef", repeat=4)] * 2
    assert tokens.Encoder(trained(texts, vocab_size=400)).vocab_size == 400


def test_sample_ends_with_the_text_that_fills_it():
    endless = itertools.cycle(CORPUS)
    read = [len(text.encode()) for text in CORPUS[:4]]
    assert trained(endless, sample_bytes=sum(read) - 1) == trained(CORPUS[:4])


@pytest.mark.parametrize("texts", [[], ["", ""]])
def test_nothing_to_train_on(texts):
    with pytest.raises(InputError, match="no text to train a tokenizer on"):
        trained(texts)


def test_engines_agree_with_the_oracle(encoder):
    plain = Tokenizer.from_str(trained().decode())
    plain.encode_special_tokens = True
    ids, lengths = encoder.encode(pa.array(SAMPLES))
    expected = [plain.encode(text).ids for text in SAMPLES]
    assert ids.dtype == np.uint32
    assert lengths.dtype == np.int64
    assert lengths.tolist() == [len(e) for e in expected]
    assert ids.tolist() == [i for e in expected for i in e]
    assert encoder.count_tokens(pa.array(SAMPLES)).tolist() == lengths.tolist()
    assert encoder.decode(ids) == "".join(SAMPLES)


def test_spelt_out_end_of_text_is_ordinary(encoder):
    for text in (END, f"a{END}", f"{END}{END}\n{END}"):
        ids, _ = encoder.encode(pa.array([text]))
        assert encoder.end_of_text not in ids
        assert encoder.decode(ids) == text


@pytest.mark.parametrize("engine", ["gigatoken", "tokenizers"])
def test_spelt_out_end_of_text_where_whole_words_are_looked_up(engine):
    """The tokenizer.json puts the special token into the vocabulary, splits nothing and looks a text up as it is."""
    config = json.loads(trained())
    config["model"]["vocab"][END] = config["added_tokens"][0]["id"]
    config["model"]["ignore_merges"] = True
    config["pre_tokenizer"]["use_regex"] = False
    made = tokens.Encoder(json.dumps(config).encode())
    if engine == "tokenizers":
        made._giga = None
    ids, _ = made.encode(pa.array([END, f"x{END}"]))
    assert made.end_of_text not in ids


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=8), cut=st.integers(0, 8)
)
def test_any_text_comes_back_and_batches_do_not_matter(texts, cut):
    encoder = ENCODER
    ids, lengths = encoder.encode(pa.array(texts, pa.string()))
    bounds = np.concatenate([[0], np.cumsum(lengths)])
    assert [encoder.decode(ids[a:b]) for a, b in itertools.pairwise(bounds)] == texts
    for kind in (pa.string(), pa.large_string()):
        whole = pa.array(["before", *texts], kind).slice(1)
        parts = [encoder.encode(whole[:cut]), encoder.encode(whole[cut:])]
        assert np.concatenate([p[0] for p in parts]).tolist() == ids.tolist()
        assert np.concatenate([p[1] for p in parts]).tolist() == lengths.tolist()
    assert encoder.encode(pa.array(texts, pa.string()), parallel=True)[0].tolist() == ids.tolist()
    slow = encoder._by_tokenizers(pa.array(texts, pa.string()))
    assert slow[0].tolist() == ids.tolist()


ENCODER = tokens.Encoder(trained())


def test_nulls_are_refused():
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        ENCODER.encode(pa.array(["a", None]))


def test_frames_padding_and_cuts_of_a_given_tokenizer_are_off():
    single = [{"SpecialToken": {"id": END, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    special = {END: {"id": END, "ids": [299], "tokens": [END]}}
    framed = {"type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special}
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    padding = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None}
    padding |= {"pad_id": 0, "pad_type_id": 0, "pad_token": "!"}
    made = tokens.Encoder(edited(post_processor=framed, truncation=cut, padding=padding))
    for giga in (made._giga, None):
        made._giga = giga
        assert made.encode(pa.array(SAMPLES))[0].tolist() == ENCODER.encode(pa.array(SAMPLES))[0].tolist()


def test_tokenizer_that_gigatoken_does_not_read_goes_to_tokenizers():
    made = tokens.Encoder(
        edited(pre_tokenizer={"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Isolated", "invert": False})
    )
    assert made.engine == "tokenizers"
    assert "gigatoken does not read this tokenizer" in made.engine_reason


def test_load_keeps_the_bytes_of_the_file(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_bytes(json.dumps(json.loads(trained()), indent=3).encode())
    made = tokens.load(str(path))
    made.save(str(tmp_path / "copy.json"))
    assert (tmp_path / "copy.json").read_bytes() == path.read_bytes()
    assert made.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("tokenizer.json", b"{", "no readable tokenizer.json"),
        ("tokenizer.json", b"{}", "no readable tokenizer.json"),
        ("tokenizer.json", b"\xff\xfe", "no readable tokenizer.json"),
        ("tokenizer.json", trained()[:-500], "no readable tokenizer.json"),
        (
            "tokenizer.json",
            edited(added_tokens=[]),
            r"no special token '<\|endoftext\|>' \(it has none\); set end_of_text",
        ),
        ("gpt2.tiktoken", b"!!!! 0\n", "is no .tiktoken file"),
        ("gpt2.tiktoken", b"IQ== 0\nIg== 2\n", "its 2 ranks are not 0, 1, 2"),
        ("cl100k_base.tiktoken", b"IQ== 0\n", "does not say how its encoding splits text"),
        ("vocab.bpe", b"#version: 0.2\na b c\n", "are no GPT-2 tokenizer"),
        ("vocab.bpe", b"#version: 0.2\nq z\n", "are no GPT-2 tokenizer"),
    ],
)
def test_damaged_files(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "encoder.json").write_text(json.dumps({"a": 0, "b": 1}))
    with pytest.raises(ModelError, match=message):
        tokens.load(str(tmp_path / name))


def test_missing_file():
    with pytest.raises(InputError, match=r"cannot read '/nowhere/tokenizer\.json': no such file"):
        tokens.load("/nowhere/tokenizer.json")


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"vocab_size": 256}, "need at least 257"),
        ({"sample_bytes": 0}, "must be in"),
        ({"shard_tokens": 2**31}, "must be in"),
        ({"tokenizer": ""}, "must not be empty"),
    ],
)
def test_config_refuses(settings_, message):
    with pytest.raises(ValueError, match=message):
        tokens.Tokenization(**settings_)


def small_encoding(pattern: str) -> tiktoken.Encoding:
    ranks = {bytes([i]): i for i in range(256)} | {b"he": 256, b"ll": 257, b"hell": 258, b"hello": 259, b" x": 260}
    # Ids with gaps, as cl100k_base has them.
    special = {END: 270, "<|fim|>": 280}
    return tiktoken.Encoding("small", pat_str=pattern, mergeable_ranks=ranks, special_tokens=special)


@pytest.mark.parametrize("pattern", [CL100K, r"\p{L}+|[^\p{L}]"])
def test_tiktoken_name(monkeypatch, pattern):
    encoding = small_encoding(pattern)
    monkeypatch.setattr(tiktoken, "get_encoding", lambda name: encoding)
    made = tokens.load("tiktoken:small")
    texts = [*SAMPLES, "hello hell'S 12345\n\n x  <|fim|>"]
    ids, lengths = made.encode(pa.array(texts))
    assert ids.tolist() == [i for text in texts for i in encoding.encode_ordinary(text)]
    assert lengths.tolist() == [len(encoding.encode_ordinary(text)) for text in texts]
    assert (made.end_of_text, made.vocab_size) == (270, 281)
    assert made.decode(np.array([259, 270, 280])) == f"hello{END}<|fim|>"


def test_tiktoken_offline_and_unknown_names(monkeypatch):
    with pytest.raises(ModelError, match=r"tiktoken knows no 'gpt5'; it knows .*gpt2"):
        tokens.load("tiktoken:gpt5")

    def offline(name):
        raise ConnectionError("no network")

    monkeypatch.setattr(tiktoken, "get_encoding", offline)
    with pytest.raises(ModelError, match=r"cannot download 'gpt2': ConnectionError; offline, name a tokenizer\.json"):
        tokens.load("tiktoken:gpt2")


@pytest.mark.data("tokenizer", "books", "langid")
def test_gpt2_as_tiktoken_has_it(data_dir):
    folder = data_dir / "tokenizer"
    ranks = {}
    for line in (folder / "gpt2.tiktoken").read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    # tiktoken_ext/openai_public.py: r50k_pat_str
    pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
    real = tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={END: 50256})
    files = [
        *sorted((data_dir / "books").glob("gutenberg/*.txt"))[::40],
        *sorted((data_dir / "langid").rglob("*.txt"))[::15],
    ]
    texts = [path.read_text("utf-8", "replace")[:30_000] for path in files] + SAMPLES
    expected = [real.encode_ordinary(text) for text in texts]
    for name in ("gpt2.tiktoken", "vocab.bpe"):
        made = tokens.load(str(folder / name))
        assert (made.vocab_size, made.end_of_text, made.engine) == (50257, 50256, "gigatoken")
        ids, lengths = made.encode(pa.array(texts))
        assert lengths.tolist() == [len(e) for e in expected]
        assert np.array_equal(ids, np.concatenate(expected))
