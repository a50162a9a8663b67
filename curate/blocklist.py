"""Pages that go by their URL alone: listed sites, banned words, addresses for hosts. A whole batch at a time.

The rules are RefinedWeb's (Penedo et al. 2023, arXiv 2306.01116, appendix G.1), as datatrove has them: lists in the
layout of the University of Toulouse (UT1), words of which one is enough, words of which it takes two, and parts of
words. No list is shipped. Where a URL is read one way for all, it is `url.normalise`'s.
"""

import io
import itertools
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate import compression, storage, url, urlscan
from curate.errors import InputError
from curate.scan import mix

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

KINDS = ("domains", "urls")  # files of a UT1 category; its regular expressions are not used
_ARCHIVE = re.compile(r"\.(?:tar(?:\.\w+)?|tgz)$")
_TOKEN = re.compile(r"%[0-9a-f]{2}|([0-9a-z]+)")
_TRIMMED = re.compile(r"^\*?\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockList:
    """Which pages never enter the corpus. What is empty or None is no rule.

    Args:
        domains: hosts, blocked with all hosts below them.
        lists: paths of further ones. A folder or a tar archive (also compressed) of CATEGORY/domains and CATEGORY/urls,
            as UT1 is published, whole or by category; or a file of its own, a host or host/path a line. A list of
            adult sites is one of them. A public suffix (co.uk, github.io) blocks that host alone.
        categories: which categories of `lists`, a file's being its name without endings; None: all.
        words: a URL goes for one of them. Words are runs of ASCII letters and digits, in any case.
        soft_words: it goes for `min_soft_words` different ones of them.
        subwords: it goes if it holds one anywhere.
        ip_hosts: whether pages go whose host is an IP address.
    """

    __pydantic_config__ = {"extra": "forbid"}

    domains: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    categories: tuple[str, ...] | None = None
    words: tuple[str, ...] | None = None
    soft_words: tuple[str, ...] | None = None
    min_soft_words: int = 2
    subwords: tuple[str, ...] | None = None
    ip_hosts: bool = False

    def __post_init__(self) -> None:
        for domain in self.domains:
            if not url.host(f"http://{domain}/") or "/" in domain:
                raise ValueError(f"domains has {domain!r}; it must be a host name such as example.com")
        if self.categories is not None and not self.lists:
            raise ValueError(f"categories is {self.categories} but lists is empty: name the folder they lie in")
        for name in ("words", "soft_words", "subwords"):
            for word in getattr(self, name) or ():
                if not re.fullmatch("[0-9a-z]+", word):
                    raise ValueError(f"{name} has {word!r}; give lower-case ASCII letters and digits")
        if self.min_soft_words < 1:
            raise ValueError(f"min_soft_words is {self.min_soft_words}; it must be at least 1")


class Blocker:
    """A loaded block list: 15 bytes for each listed host, so that UT1's five million take 75 MB."""

    def __init__(self, config: BlockList, names: list[str], hosts: U64, number: U16, pages: dict[str, int]):
        """
        Args:
            config: the rules.
            names: of the lists.
            hosts: hashes of the listed hosts by `_hosts`.
            number: for each the list it is of, from 1.
            pages: host/path in `url.normalise`'s spelling to its list, from 1.
        """
        self._config, self._names, self._pages = config, names, pages
        above, _ = _hosts(_bytes(page.partition("/")[0] for page in pages))
        keys, first = np.unique(hosts, return_index=True)
        values = number[first]
        values[np.isin(keys, _hosts(_bytes(url.suffixes()))[0])] |= urlscan.ALONE
        keys, values = np.append(keys, np.unique(above)), np.append(values, np.zeros(len(np.unique(above)), np.uint16))
        values[np.isin(keys, above)] |= urlscan.PAGES
        self._table = _table(keys, values)
        soft, hard = sorted(set(config.soft_words or ())), sorted(set(config.words or ()))
        numbers = [*range(len(soft)), *[urlscan.HARD] * len(hard)]
        hashes = np.array([_word_hash(word) for word in soft + hard], np.uint64)
        hashes, first = np.unique(hashes[::-1], return_index=True)  # a word in both is hard
        self._words = _table(hashes, np.array(numbers[::-1], np.int64)[first])
        self._soft = len(soft)
        self._subwords = "|".join(sorted(set(config.subwords or ())))

    def why(self, urls: pa.StringArray) -> pa.StringArray:
        """What each URL is blocked for, "LIST: example.com", "word: WORD", "words: WORD, WORD", "subword: WORD" or
        "ip host: 192.0.2.1"; null for those that are free, and for what is no http(s) URL."""
        result = np.full(len(urls), None, object)
        code = self._look(urls, odd=True)
        odd = np.flatnonzero(code == urlscan.ODD)
        plain = urls
        if len(odd):
            spelt = [url.normalise(one or "") for one in urls.take(pa.array(odd)).to_pylist()]
            code[odd] = self._look(pa.array(spelt, pa.string()), odd=False)
            plain = pc.replace_with_mask(urls, pa.array(np.isin(np.arange(len(urls)), odd)), pa.array(spelt))
        for i in np.flatnonzero(code != urlscan.FREE).tolist():
            # The kernel takes more for a URL than `normalise` does; of the few that it found, that one decides.
            one = plain[i].as_py()
            normal = url.normalise(one)
            result[i] = self._told(int(code[i]), one, normal) if normal else None
        if self._subwords:
            found = pc.match_substring_regex(plain, self._subwords, ignore_case=True).fill_null(False)
            for i in np.flatnonzero(found.to_numpy(zero_copy_only=False)).tolist():
                one = plain[i].as_py()
                if result[i] is None and url.host(one):
                    hit = re.search(self._subwords, one, re.IGNORECASE)
                    result[i] = f"subword: {hit[0].lower()}" if hit else None
        return pa.array(result, pa.string())

    def _look(self, urls: pa.StringArray, *, odd: bool, pages: bool = True) -> U8:
        data, bounds = _buffers(urls)
        code = np.empty(len(urls), np.uint8)
        stamps = np.full(self._soft, -1, np.int64)
        config = self._config
        most = config.min_soft_words if self._soft else 0
        urlscan.judge(data, bounds, *self._table, *self._words, stamps, most, config.ip_hosts, odd, pages, code)
        return code

    def _told(self, code: int, address: str, normal: str) -> str | None:
        """The detail for a URL of which the kernel says `code`; None if a closer look frees it."""
        found = [token for token in _TOKEN.findall(address.partition("://")[2].lower()) if token]
        if code == urlscan.LOOK:
            page = next((page for page in _beginnings(normal) if page in self._pages), None)
            if page is not None:
                return f"{self._names[self._pages[page] - 1]}: {page}"
            code = int(self._look(pa.array([address]), odd=False, pages=False)[0])
        if code == urlscan.HOST:
            labels = re.split("[:/?#]", normal.removeprefix("http://"))[0].split(".")
            above = [".".join(labels[i:]) for i in range(len(labels))]
            for name, key in zip(above, _hosts(_bytes(above))[0], strict=True):
                value = int(urlscan.get(*self._table, key))
                if value & urlscan.MOST_LISTS and (name == above[0] or not value & int(urlscan.ALONE)):
                    return f"{self._names[(value & urlscan.MOST_LISTS) - 1]}: {name}"
        if code == urlscan.ADDRESS:
            return f"ip host: {url.host(address)}"
        if code == urlscan.WORD:
            return f"word: {next(token for token in found if token in (self._config.words or ()))}"
        if code == urlscan.WORDS:
            soft = dict.fromkeys(token for token in found if token in (self._config.soft_words or ()))
            return f"words: {', '.join(list(soft)[: self._config.min_soft_words])}"
        return None


def load(config: BlockList) -> Blocker:
    """The block list's entries from config and files.

    Raises:
        InputError: if a list is missing, damaged or empty, or a category is in none of them.
    """
    names: list[str] = []
    hosts, numbers, pages = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint16)], dict[str, int]()
    parts, had = [("domains", "domains", "\n".join(config.domains).encode())], dict[str, None]()
    for part in itertools.chain.from_iterable(map(_read, config.lists)):
        had[part[0]] = None
        if config.categories is None or part[0] in config.categories:
            parts.append(part)
    for name, kind, data in parts:
        if name not in names:
            names.append(name)
        number = names.index(name) + 1
        if number > urlscan.MOST_LISTS:
            raise InputError(
                f"more than {urlscan.MOST_LISTS} categories in the block lists: leave some out by urls.categories"
            )
        hashes, rest = _hosts(data)
        if kind == "domains":
            spelt = [bare for line in rest if "/" not in (bare := _bare(line)) and bare]
            hashes = np.append(hashes, _hosts(_bytes(spelt))[0])
        else:
            spelt = [bare for line in rest if (bare := _bare(line))]
            pages.update((page, number) for page in spelt if "/" in page and page not in pages)
            hashes = np.append(hashes, _hosts(_bytes(page for page in spelt if "/" not in page))[0])
        hosts.append(hashes)
        numbers.append(np.full(len(hashes), number, np.uint16))
    if missing := set(config.categories or ()) - set(had):
        raise InputError(f"no category {', '.join(sorted(missing))} in the block lists, which have {', '.join(had)}")
    return Blocker(config, names, np.concatenate(hosts), np.concatenate(numbers), pages)


def _read(path: str) -> Iterator[tuple[str, str, bytes]]:
    """(category, kind, lines) of each file of a list."""
    found = 0
    for name, data in _members(path) if _ARCHIVE.search(path) else _files(path):
        *_, category, kind = ["", *name.split("/")]
        yield category, kind.partition(".")[0], data
        found += 1
    if not found:
        raise InputError(f"no block list at {path}: it must be a file, or hold CATEGORY/domains; mend urls.lists")


def _members(path: str) -> Iterator[tuple[str, bytes]]:
    """Name (CATEGORY/KIND) and bytes of an archive's lists."""
    folder = _stem(path)
    try:
        # Decompressed by our own reader: tarfile takes a gzip that breaks off for one that ends.
        with tarfile.open(fileobj=io.BytesIO(_whole(path)), mode="r:") as archive:
            for member in archive:
                name = member.name.removeprefix("./")
                if member.isfile() and name.rpartition("/")[2] in KINDS:
                    inner = archive.extractfile(member)
                    assert inner is not None  # as isfile() said
                    yield name if "/" in name else f"{folder}/{name}", inner.read()
    except tarfile.TarError as error:
        raise InputError(f"block list {path} is damaged: {storage.reason(error)}; get it again") from error


def _files(path: str) -> Iterator[tuple[str, bytes]]:
    """Likewise of a folder's lists, plain or compressed, or of one file's."""
    inside = [
        one
        for kind in KINDS
        for pattern in (kind, f"{kind}.*", f"*/{kind}", f"*/{kind}.*")
        for one in storage.glob(storage.join(path, pattern))
    ]
    for one in inside:
        yield "/".join(one.split("/")[-2:]), _whole(one)
    if not inside and storage.exists(path):
        yield f"{_stem(path)}/urls", _whole(path)


def _whole(path: str) -> bytes:
    try:
        return b"".join(compression.read(path))
    except compression.DamagedError as error:
        raise InputError(f"block list {path} is damaged: {error}; get it again") from error


def _stem(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0]


def _bare(entry: str) -> str:
    """A list's entry in `url.normalise`'s spelling without scheme; empty for a comment or what names no host."""
    entry = entry.strip()
    if not entry or entry.startswith("#"):
        return ""
    entry = entry.partition("://")[2] or entry
    return url.normalise(f"http://{_TRIMMED.sub('', entry)}").removeprefix("http://")


def _beginnings(normal: str) -> Iterator[str]:
    """The entries that would block the page beside those of its host: the host with each beginning of the path."""
    page, _, query = normal.removeprefix("http://").partition("#")[0].partition("?")
    host, *segments = page.split("/")
    for i in range(len(segments)):
        yield "/".join([host, *segments[: i + 1]])
    if query:
        yield f"{page}?{query}"


def _bytes(lines: Iterable[str]) -> bytes:
    return "\n".join(lines).encode()


def _buffers(texts: pa.StringArray) -> tuple[U8, I64]:
    """The bytes of the array, null as empty, and their offsets int64[n + 1]."""
    texts = pc.fill_null(texts, "")
    _, offsets, data = texts.buffers()
    if data is None or not data.size or not len(texts):
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    return np.frombuffer(data, np.uint8), np.frombuffer(offsets, np.int32)[
        texts.offset : texts.offset + len(texts) + 1
    ].astype(np.int64)


def _hosts(data: bytes) -> tuple[U64, list[str]]:
    """(hashes of the lines that are host names without www., the other lines)."""
    text = np.frombuffer(data + b"\n", np.uint8)
    ends = np.flatnonzero(text == 0x0A)
    starts = np.append(0, ends[:-1] + 1)
    hashes = np.empty(len(ends), np.uint64)
    urlscan.hash_hosts(text, starts, ends, hashes)
    rest = [data[starts[i] : ends[i]].decode("utf-8", "replace") for i in np.flatnonzero(hashes == 0).tolist()]
    return hashes[hashes != 0], rest


def _word_hash(word: str) -> np.uint64:
    h = urlscan.SEED
    with np.errstate(over="ignore"):
        for byte in word.encode():
            h = (h ^ np.uint64(byte)) * urlscan.MULTIPLIER
    return np.uint64(mix(h))


def _table(keys: U64, values: npt.NDArray[np.generic]) -> tuple[U64, npt.NDArray[np.generic]]:
    """An open hash table of distinct keys: (keys by slot, 0 where free; their values), two slots of three taken."""
    size = 3 * len(keys) // 2 + 1
    table = np.zeros(size, np.uint64), np.zeros(size, values.dtype)
    urlscan.fill(*table, keys, values)
    return table
