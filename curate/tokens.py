"""Text to token ids and back: trains a byte-level BPE, loads a given tokenizer, encodes whole Arrow batches.

Whatever the tokenizer comes from, it is kept as the bytes of one tokenizer.json, and their sha256 is its fingerprint.
Ordinary text never becomes a special token, also where it spells one out. Frames and shards are `shards`' business.
"""

import base64
import hashlib
import importlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import awkward as ak
import gigatoken
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from curate import storage
from curate.errors import InputError, ModelError

END_OF_TEXT = "<|endoftext|>"
TRAIN = "train"
TIKTOKEN = "tiktoken:"

# The encodings whose .tiktoken files split text by GPT-2's pattern and hold all its merges.
_GPT2_FILES = {"gpt2.tiktoken", "r50k_base.tiktoken"}
_REMEDY = "name a tokenizer.json, a gpt2.tiktoken, or a vocab.bpe with its encoder.json beside it"

# Where engines that misread a tokenizer's settings differ: contractions, case, digits, runs of blanks, line ends,
# scripts, combining marks, emoji, controls and the special token spelt out.
_PROBE = (
    "It's THEY'LL we'd can't",
    "  two  blanks\t\ttabs\r\n\r\n\n end ",
    "1234567 3.14 x2",
    "naïve cafe\u0301 ﬁ Ångström",
    "日本語 ไทย हिन्दी עברית русский",
    "\U0001f469\u200d\U0001f680\u00a0\u3000\u2028\x00\x7f",
    f"a{END_OF_TEXT}b <s></s> [UNK]",
    "",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenization:
    """How text becomes tokens.

    Attributes:
        tokenizer: `train`, the path of a tokenizer.json, gpt2.tiktoken or vocab.bpe, or `tiktoken:` and a name.
        end_of_text: the special token between documents.
        vocab_size: of a trained tokenizer, special token included; GPT-2, section 2.2: 50,257.
        sample_bytes: of UTF-8 text to train on.
        shard_tokens: about how many tokens a shard holds; 10^8 as in llm.c's and build-nanogpt's data scripts.
    """

    __pydantic_config__ = {"extra": "forbid"}
    tokenizer: str = TRAIN
    end_of_text: str = END_OF_TEXT
    vocab_size: int = 50_257
    sample_bytes: int = 500_000_000
    shard_tokens: int = 100_000_000

    def __post_init__(self) -> None:
        if not self.tokenizer or not self.end_of_text:
            raise ValueError(f"tokenizer and end_of_text must not be empty: {self.tokenizer!r}, {self.end_of_text!r}")
        if self.vocab_size < 257:
            raise ValueError(f"vocab_size is {self.vocab_size}; 256 bytes and {self.end_of_text} need at least 257")
        if self.sample_bytes < 1 or not 1 <= self.shard_tokens < 2**31:
            raise ValueError(
                f"sample_bytes {self.sample_bytes} and shard_tokens {self.shard_tokens} must be in 1..2^31-1"
            )


class Encoder:
    """A tokenizer ready to encode batches.

    `engine` is chosen once, here: gigatoken where it reads this tokenizer and agrees with `tokenizers` on a probe,
    else `tokenizers`, some 40 times slower, with the reason in `engine_reason`. Either gives the same ids.

    Attributes:
        serialised: the tokenizer.json, byte for byte.
        fingerprint: its sha256 in hex.
        end_of_text: the id of the special token between documents.
        vocab_size: one more than the highest id.

    Raises:
        ModelError: if `serialised` is no tokenizer.json, or has no such special token.
    """

    def __init__(self, serialised: bytes, end_of_text: str = END_OF_TEXT, name: str = "tokenizer.json") -> None:
        try:
            self._full = tokenizers.Tokenizer.from_str(serialised.decode())
            config = json.loads(serialised)
            special = {str(token["content"]): int(token["id"]) for token in config["added_tokens"] if token["special"]}
        except Exception as error:  # tokenizers raises bare Exceptions
            raise ModelError(f"{name} is no readable tokenizer.json: {error}; {_REMEDY}") from error
        if end_of_text not in special:
            known = ", ".join(sorted(special)[:8]) or "none"
            raise ModelError(f"{name} has no special token {end_of_text!r} (it has {known}); set end_of_text")
        self.serialised = serialised
        self.fingerprint = hashlib.sha256(serialised).hexdigest()
        self.end_of_text = special[end_of_text]
        self.vocab_size = max(self._full.get_vocab(with_added_tokens=True).values()) + 1
        plain = _without_special(config, end_of_text)
        try:
            self._plain = tokenizers.Tokenizer.from_str(plain)
        except Exception as error:
            raise ModelError(f"{name} cannot encode without its special tokens: {error}; {_REMEDY}") from error
        matched = [str(token["content"]) for token in config["added_tokens"] if not token["special"]]
        self._giga, self.engine_reason = self._try_gigatoken(plain, pa.array([*_PROBE, *matched, "x".join(matched)]))
        self.engine = "gigatoken" if self._giga is not None else "tokenizers"

    def encode(
        self, texts: pa.Array, *, parallel: bool = False
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Token ids of each text, without end-of-text.

        Args:
            texts: a string array without nulls.
            parallel: use all cores. Ids do not depend on it.

        Returns:
            uint32[sum of lengths], all ids in a row, and int64[n], each text's count.

        Raises:
            ModelError: if the tokenizer makes end-of-text of ordinary text.
        """
        if texts.null_count:
            raise ValueError(f"{texts.null_count} of {len(texts)} texts are null; a document's text is never null")
        ids, lengths = self._by_tokenizers(texts) if self._giga is None else _by_gigatoken(self._giga, texts, parallel)
        if (ids == self.end_of_text).any():
            raise ModelError(f"the tokenizer {self.fingerprint[:12]} makes end-of-text of ordinary text; {_REMEDY}")
        return ids, lengths

    def count_tokens(self, texts: pa.Array, *, parallel: bool = False) -> npt.NDArray[np.int64]:
        """int64[n]: how many ids each text becomes, end-of-text not counted."""
        return self.encode(texts, parallel=parallel)[1]

    def decode(self, ids: npt.NDArray[Any]) -> str:
        """The text of the ids, special tokens spelt out; a cut-off character becomes U+FFFD."""
        return str(self._full.decode(ids.tolist(), skip_special_tokens=False))

    def save(self, path: str) -> None:
        """Write the tokenizer.json, atomically."""
        with storage.atomic(path) as file:
            file.write(self.serialised)

    def _by_tokenizers(self, texts: pa.Array) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        found = [each.ids for each in self._plain.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)]
        lengths = np.fromiter(map(len, found), np.int64, len(found))
        return np.fromiter((i for ids in found for i in ids), np.uint32, int(lengths.sum())), lengths

    def _try_gigatoken(self, plain: str, probe: pa.Array) -> tuple[Any, str]:
        try:
            giga = gigatoken.Tokenizer.from_json(plain)
            ours, lengths = _by_gigatoken(giga, probe, parallel=False)
        except (RuntimeError, ValueError) as error:
            return None, f"gigatoken does not read this tokenizer: {str(error).splitlines()[0][:200]}"
        expected, expected_lengths = self._by_tokenizers(probe)
        if not np.array_equal(lengths, expected_lengths) or not np.array_equal(ours, expected):
            return None, "gigatoken gives other ids than tokenizers"
        return giga, ""


def train(texts: Iterable[str], config: Tokenization) -> tokenizers.Tokenizer:
    """A byte-level BPE with GPT-2's pre-tokenisation: ids 0-255 are bytes, the last id is end-of-text.

    Reads whole texts until `config.sample_bytes` are read: feed it a keyed sample. The result depends on which texts
    it reads and not on their order. A small sample may have fewer merges than `config.vocab_size` asks for, since a
    pair must occur twice.

    Raises:
        InputError: if there is no text.
    """
    tokenizer = _byte_level(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size - 1,
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    read = 0

    def sample() -> Iterator[str]:
        nonlocal read
        for text in texts:
            yield text
            read += len(text.encode())
            if read >= config.sample_bytes:
                return

    tokenizer.train_from_iterator(sample(), trainer)
    if not read:
        raise InputError("there is no text to train a tokenizer on; check what the filters kept, or name a tokenizer")
    tokenizer.add_special_tokens([config.end_of_text])
    return tokenizer


def load(name: str, end_of_text: str = END_OF_TEXT) -> Encoder:
    """The tokenizer that `Tokenization.tokenizer` names, other than `train`.

    Raises:
        InputError: if the file cannot be read.
        ModelError: if it holds no tokenizer, or a tiktoken name is unknown or cannot be downloaded.
    """
    if name.startswith(TIKTOKEN):
        return Encoder(_from_tiktoken_name(name.removeprefix(TIKTOKEN)), end_of_text, name)
    with storage.open_input(name) as file:
        data = file.read()
    if name.endswith(".tiktoken"):
        if os.path.basename(name) not in _GPT2_FILES:
            known = " and ".join(sorted(_GPT2_FILES))
            raise ModelError(f"{name}: the file does not say how its encoding splits text; {known} are known by name")
        data = _from_ranks(_read_ranks(data, name), pattern=None, special={END_OF_TEXT: 50_256})
    elif name.endswith(".bpe"):
        data = _from_gpt2_files(data, storage.join(os.path.dirname(name), "encoder.json"), name)
    return Encoder(data, end_of_text, name)


def _by_gigatoken(giga: Any, texts: pa.Array, parallel: bool) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    result = giga.encode_batch(_awkward(texts), parallel=parallel)
    return np.asarray(ak.flatten(result), np.uint32), np.asarray(ak.num(result), np.int64)


def _awkward(texts: pa.Array) -> Any:
    """The Arrow buffers as an awkward array of strings; gigatoken wants 64-bit offsets."""
    wide = texts.cast(pa.large_string())
    _, offsets, data = wide.buffers()
    bounds = np.zeros(1, np.int64)
    if len(wide):
        bounds = np.frombuffer(offsets, np.int64)[wide.offset : wide.offset + len(wide) + 1]
    chars = np.frombuffer(data, np.uint8) if data is not None else np.zeros(0, np.uint8)
    content = ak.contents.NumpyArray(chars, parameters={"__array__": "char"})
    return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(bounds), content, parameters={"__array__": "string"}))


def _without_special(config: dict[str, Any], end_of_text: str) -> str:
    """The tokenizer.json for ordinary text: nothing matches a special token, pads, cuts or adds a frame."""
    model = dict(config["model"])
    # Out of the vocabulary too: a model that looks a whole word up would find it there.
    model["vocab"] = {token: id_ for token, id_ in model["vocab"].items() if token != end_of_text}
    if model.get("unk_token") == end_of_text:
        model["unk_token"] = None
    added = [token for token in config["added_tokens"] if not token["special"]]
    off = {"truncation": None, "padding": None, "post_processor": None}
    return json.dumps({**config, **off, "added_tokens": added, "model": model})


def _byte_level(model: Any) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _from_gpt2_files(merges: bytes, vocabulary: str, name: str) -> bytes:
    """tokenizer.json of OpenAI's vocab.bpe and encoder.json."""
    try:
        lines = merges.decode().split("\n")[1:]
        pairs = [(left, right) for left, right in (line.split(" ") for line in lines if line)]
        tokenizer = _byte_level(models.BPE(storage.read_json(vocabulary), pairs))
    except InputError:
        raise
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ModelError(f"{name} and {vocabulary} are no GPT-2 tokenizer: {error}") from error
    tokenizer.add_special_tokens([END_OF_TEXT])
    return tokenizer.to_str().encode()


def _from_tiktoken_name(name: str) -> bytes:
    try:
        tiktoken = importlib.import_module("tiktoken")
    except ImportError as error:
        raise ModelError("tiktoken is not installed: pip install 'curate-pretrain[tiktoken]'") from error
    try:
        encoding = tiktoken.get_encoding(name)
    except ValueError as error:
        known = ", ".join(tiktoken.list_encoding_names())
        raise ModelError(f"tiktoken knows no {name!r}; it knows {known}") from error
    except OSError as error:  # what requests raises is an OSError
        raise ModelError(f"tiktoken cannot download {name!r}: {type(error).__name__}; offline, {_REMEDY}") from error
    return _from_ranks(encoding._mergeable_ranks, pattern=encoding._pat_str, special=encoding._special_tokens)


def _read_ranks(data: bytes, name: str) -> dict[bytes, int]:
    try:
        pairs = (line.split(b" ") for line in data.splitlines() if line)
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except ValueError as error:
        raise ModelError(f"{name} is no .tiktoken file, lines of base64 and rank: {error}") from error
    if sorted(ranks.values()) != list(range(len(ranks))) or len(ranks) < 256:
        raise ModelError(f"{name} is damaged: its {len(ranks)} ranks are not 0, 1, 2 ... without a gap")
    return ranks


def _from_ranks(ranks: dict[bytes, int], *, pattern: str | None, special: dict[str, int]) -> bytes:
    """tokenizer.json of tiktoken's ranks; a pattern of None is GPT-2's.

    tiktoken merges the neighbours whose union ranks lowest, so the two parts of a merge are what is left of its token
    under the merges that rank below it.
    """
    spelling = dict(zip(range(256), _byte_characters(), strict=True))
    written = {token: "".join(spelling[byte] for byte in token) for token in ranks}
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = _merge(token, ranks, rank)
        if len(parts) == 2:  # a lone byte, or a token that only a whole word reaches
            merges.append((written[parts[0]], written[parts[1]]))
    vocabulary = {written[token]: rank for token, rank in ranks.items()} | special
    # tiktoken looks a whole word up before it merges.
    tokenizer = _byte_level(models.BPE(vocabulary, merges, ignore_merges=True))
    if pattern is not None:
        split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.add_special_tokens(sorted(special, key=lambda token: special[token]))
    return tokenizer.to_str().encode()


def _merge(token: bytes, ranks: dict[bytes, int], below: int) -> list[bytes]:
    parts = [token[i : i + 1] for i in range(len(token))]
    while len(parts) > 1:
        rank, at = min((ranks.get(parts[i] + parts[i + 1], below), i) for i in range(len(parts) - 1))
        if rank >= below:
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts


def _byte_characters() -> list[str]:
    """The printable character that stands for each byte (GPT-2, encoder.py: bytes_to_unicode)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
