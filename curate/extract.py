"""Page bytes to text: `blocks`, Trafilatura and Resiliparse behind one door; plain text passes as it is.

Decides what holds text at all, which page is too large, and, with a prefilter, which page a fast pass already rules
out. A page that breaks an extractor is an error of that page alone. It does not judge language or quality.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate import blocks, html, isolation, metadata
from curate.charset import decode_all
from curate.html import BlockTable
from curate.reasons import CODES, KEPT, Reason
from curate.render import render

EXTRACTORS = ("blocks", "trafilatura", "resiliparse")
WET = "wet"  # none: whoever made the archive has extracted the text already, and markup is none
FAVOURS = blocks.FAVOURS

# What `extract` returns, one row for each page.
EXTRACTED = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),  # normalised (see `tidy`); empty where there is none
        *metadata.METADATA,  # empty for plain text and for pages that were not read
        pa.field("charset", pa.string(), nullable=False),  # Python codec; empty for pages not decoded
        pa.field("replaced", pa.int32(), nullable=False),  # U+FFFD characters in the decoded page
        pa.field("reason", pa.uint8(), nullable=False),  # reasons.CODES; 0: has text, or an error
        pa.field("error", pa.string(), nullable=True),  # why the extractor failed on this page
    ]
)

# Pages are worked on a few at a time: each page of a fresh buffer of 100 MB is new memory, which costs up to half as
# much again as the work; from 1 MB to 16 MB it makes no difference.
SLICE_BYTES = 4 << 20
SLICE_PAGES = 64

# A fast look at pages before the full extractor: (their blocks, bool[blocks] of main text by the fast pass, int64[n] of
# their places in the batch) -> uint8[n], reasons.CODES or 0.
Prefilter = Callable[[BlockTable, npt.NDArray[np.bool_], npt.NDArray[np.int64]], npt.NDArray[np.uint8]]

_MARKUP = frozenset(
    {"text/html", "application/xhtml+xml", "application/xml", "text/xml", "application/vnd.wap.xhtml+xml"}
)
# Servers give these to anything: the bytes decide.
_UNDECIDED = frozenset({"", "application/octet-stream", "application/unknown", "unknown/unknown", "text", "*/*"})
_MAGIC = re.compile(
    rb"%PDF-|\x89PNG|GIF8[79]a|\xff\xd8\xff|RIFF....(?:WAVE|WEBP|AVI )|PK\x03\x04|\x1f\x8b|BZh\d|7z\xbc\xaf|Rar!"
    rb"|\xfd7zXZ|OggS|ID3|\x00\x00\x00.ftyp|wOF[F2]|\x7fELF|MZ\x90|\xca\xfe\xba\xbe|\xd0\xcf\x11\xe0|CWS|FWS|%!PS"
    rb"|\x00\x00\x01\x00",
    re.DOTALL,
)
_HTML = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|script|div|p|table|h1|a|br)[\s>/]", re.IGNORECASE)
# "Binary data bytes" of the WHATWG MIME sniffing standard, section 3.
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
SNIFFED = 2048

# For which a page has no text whatever the rules on quality are; a prefilter gives others.
REASONS = frozenset({Reason.too_large, Reason.empty_page, Reason.not_text, Reason.no_text})

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\ufeff\ud800-\udfff]")
_BLANKS_BEFORE_END = re.compile(r"[^\S\n]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """How pages become text.

    `blocks` is the default, since the gold favours it (docs/extraction.md) and it costs a tenth. `cascade` lets a fast
    pass by `blocks` rule out pages before another extractor; the pages kept are the same to within 1% (a test holds
    it).

    A page beyond `max_page_bytes` is dropped unread. The other limits are for parsers that are not ours (`blocks` takes
    linear time and memory); a page beyond them failed: `max_depth`, of elements around its text (the deepest of 10,324
    real pages is 38 deep; Resiliparse takes minutes on 100,000), `max_page_seconds`, and `max_page_memory`, in bytes
    (1,500 real pages needed no more than 16 MB). Whether a page near the limit of time, or of memory, is within it may
    depend on the machine. None switches a limit off.

    Of `favour` and `markdown` each extractor has its own: `blocks` a threshold, Trafilatura `favor_precision`,
    `favor_recall` and its Markdown, Resiliparse nothing. With `wet` text passes as ever and pages of markup are
    `not_text`: for WET files, when no page is to be extracted by us.
    """

    __pydantic_config__ = {"extra": "forbid"}

    extractor: str = "blocks"
    favour: str = "balanced"
    markdown: bool = False
    cascade: bool = True
    max_page_bytes: int | None = 10 << 20
    max_depth: int | None = html.MAX_DEPTH
    max_page_seconds: float | None = 20.0
    max_page_memory: int | None = 1 << 30

    def __post_init__(self) -> None:
        for name, known in (("extractor", (*EXTRACTORS, WET)), ("favour", FAVOURS)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be one of {', '.join(known)}")
        if self.extractor in ("resiliparse", WET) and (self.favour != "balanced" or self.markdown):
            raise ValueError(f"{self.extractor} has neither favour nor markdown: leave them out, or take blocks")
        for name in ("max_page_bytes", "max_depth", "max_page_memory", "max_page_seconds"):
            limit = getattr(self, name)
            most = 1e9 if name == "max_page_seconds" else 1e15  # within what timers and limits of memory can be set to
            if limit is not None and not 0 < limit <= most:
                raise ValueError(f"{name} is {limit}; it must be above 0 and at most {most:g}, or null for no limit")


def extract_text(
    pages: pa.BinaryArray, content_types: pa.StringArray | None = None, extractor: str = "blocks"
) -> pa.StringArray:
    """Each page's text, empty where there is none or the extractor failed on it: `extract` tells these apart.

    Args:
        pages: the bodies, null-free, of any size.
        content_types: as for `extract`.
        extractor: one of EXTRACTORS, or WET.

    Raises:
        ValueError: for an unknown extractor.
    """
    how = Extraction(extractor=extractor, max_page_bytes=None)
    return extract(pages, content_types, how, about=False).column("text")


def extract(
    pages: pa.BinaryArray,
    content_types: pa.StringArray | None = None,
    how: Extraction = Extraction(),
    *,
    urls: pa.StringArray | None = None,
    about: bool = True,
    prefilter: Prefilter | None = None,
) -> pa.RecordBatch:
    """Each page's text with what is known of it, by the schema EXTRACTED. No page's row depends on other pages.

    Args:
        pages: the bodies, null-free.
        content_types: the HTTP headers as served; None, null or empty: unknown. text/plain passes without
            normalisation: it is how our own readers and WET files bring text that is already clean.
        how: the extractor and its options. `cascade` is for whoever makes the prefilter.
        urls: where the pages were found, for `metadata.read`; None, null or empty: unknown.
        about: whether to read title, author, date, language and canonical URL, some .04 ms a page; else they are empty.
        prefilter: rules out pages of markup after a pass by `blocks`; None: every page meets the extractor.

    Raises:
        ArrowInvalid: for a batch of more than 2 GiB of text.
    """
    batches = []
    for start, stop in _slices(pc.binary_length(pages).to_pylist()):
        types = [""] * (stop - start) if content_types is None else content_types[start:stop].to_pylist()
        found = None if urls is None else urls[start:stop]
        batches.append(_extract(pages[start:stop], [kind or "" for kind in types], how, found, about, prefilter, start))
    return pa.concat_batches(batches) if batches else pa.RecordBatch.from_pylist([], EXTRACTED)


def is_plain(content_type: str) -> bool:
    """Whether the content type says text/plain."""
    return _essence(content_type) == "text/plain"


def is_text(content_type: str, head: bytes) -> bool:
    """Whether a page may hold text: its content type says markup or plain text, and its first bytes do not belie it.

    Style sheets, scripts, data, images and documents of other programs are no text here. Where the type is absent or
    says nothing, bytes that begin like markup, or without the control bytes of binary files, are text.
    """
    essence = _essence(content_type)
    marked = head.startswith((b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\x00\x00\xfe\xff"))
    if not marked and _MAGIC.match(head):
        return False
    if essence == "text/plain":
        return marked or not _BINARY.search(head)
    if essence in _UNDECIDED:
        return marked or _HTML.search(head) is not None or not _BINARY.search(head)
    if essence in ("application/xml", "text/xml"):
        return _HTML.search(head) is not None
    return essence in _MARKUP


def tidy(text: str) -> str:
    r"""Normalised text: NFC, \n line ends, no blanks at line ends, at most one blank line in a row, none at either end.

    Control characters other than \n and tab go, and so do soft hyphens, inner byte order marks and lone surrogates.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n\n")
    text = unicodedata.normalize("NFC", _CONTROLS.sub("", text))
    return _BLANK_LINES.sub("\n\n", _BLANKS_BEFORE_END.sub("", text)).strip()


def _slices(sizes: list[int]) -> Iterator[tuple[int, int]]:
    """[start, stop) of the pages that are worked on together."""
    start = total = 0
    for i, size in enumerate(sizes):
        if i > start and (total + size > SLICE_BYTES or i - start == SLICE_PAGES):
            yield start, i
            start, total = i, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


def _extract(
    pages: pa.BinaryArray,
    types: list[str],
    how: Extraction,
    urls: pa.StringArray | None,
    about: bool,
    prefilter: Prefilter | None,
    place: int,
) -> pa.RecordBatch:
    """`extract` of one slice, which begins at `place` of the batch."""
    n = len(pages)
    reason = _unread(pages, types, how)
    read = np.flatnonzero(reason == KEPT)
    is_markup = np.array([not is_plain(types[i]) for i in read.tolist()], np.bool_)
    decoded, charsets, replaced = decode_all(_take(pages, read), [types[i] for i in read.tolist()], is_markup.tolist())
    markup, plain = read[is_markup], read[~is_markup]
    characters = _without_nul(_take(decoded, np.flatnonzero(is_markup)))
    table = html.scan(characters)
    found, reason[markup], failed = _main_text(characters, table, how, prefilter, place + markup)
    errors: dict[int, str] = {int(markup[k]): error for k, error in failed.items()}

    passed = [text if text.strip() else "" for text in _take(decoded, np.flatnonzero(~is_markup)).to_pylist()]
    texts = _place(n, np.concatenate((markup, plain)), pa.concat_arrays([found, pa.array(passed, pa.string())]))
    for i in np.flatnonzero((reason == KEPT) & np.equal(pc.binary_length(texts), 0)).tolist():
        if i not in errors:
            reason[i] = CODES[Reason.no_text]
    columns = {
        "text": texts,
        "charset": _place(n, read, pa.array(charsets, pa.string())),
        "replaced": _place(n, read, pa.array(replaced)),
        "reason": pa.array(reason),
        "error": pa.array([errors.get(i) for i in range(n)], pa.string()),
    }
    if about:
        said = metadata.read(characters, table, None if urls is None else _take(urls, markup))
    for name in metadata.METADATA.names:
        values = [tidy(value) for value in said[name].to_pylist()] if about else [""] * len(markup)
        columns[name] = _place(n, markup, pa.array(values, pa.string()))
    return pa.RecordBatch.from_arrays([columns[name] for name in EXTRACTED.names], schema=EXTRACTED)


def _unread(pages: pa.BinaryArray, types: list[str], how: Extraction) -> npt.NDArray[np.uint8]:
    """uint8[n] of reasons.CODES for pages that hold no text to look at."""
    reason = np.zeros(len(pages), np.uint8)
    heads = pc.binary_slice(pages, 0, SNIFFED).to_pylist()
    for i, size in enumerate(pc.binary_length(pages).to_pylist()):
        if how.max_page_bytes is not None and size > how.max_page_bytes:
            reason[i] = CODES[Reason.too_large]
        elif not size:
            reason[i] = CODES[Reason.empty_page]
        elif not is_text(types[i], heads[i]) or (how.extractor == WET and not is_plain(types[i])):
            reason[i] = CODES[Reason.not_text]
    return reason


def _main_text(
    characters: pa.StringArray,
    table: BlockTable,
    how: Extraction,
    prefilter: Prefilter | None,
    places: npt.NDArray[np.int64],
) -> tuple[pa.StringArray, npt.NDArray[np.uint8], dict[int, str]]:
    """Texts, the prefilter's reasons, and the errors of those pages on which the extractor failed."""
    reason = np.zeros(len(characters), np.uint8)
    errors: dict[int, str] = {}
    if prefilter is not None:
        reason = prefilter(table, blocks.packaged().keep(table), places)
    if how.extractor == "blocks":
        found = render(table, blocks.packaged().keep(table, how.favour), markdown=how.markdown)
        return pc.if_else(pa.array(reason == KEPT), found, ""), reason, errors
    texts = [""] * len(characters)
    asked = []
    for k, depth in zip(np.flatnonzero(reason == KEPT).tolist(), table.depths()[reason == KEPT].tolist(), strict=True):
        if how.max_depth is not None and depth > how.max_depth:
            errors[k] = f"text is {depth} elements deep; {how.extractor} is given at most {how.max_depth} (max_depth)"
        else:
            asked.append(k)
    answers = isolation.PARSER.parse(
        [memoryview(characters[k].as_buffer()) for k in asked],
        how.extractor,
        how.favour,
        how.markdown,
        seconds=how.max_page_seconds,
        memory=how.max_page_memory,
    )
    for k, answer in zip(asked, answers, strict=True):
        if isinstance(answer, isolation.PageError):
            errors[k] = str(answer)
        else:
            texts[k] = tidy(answer)
    return pa.array(texts, pa.string()), reason, errors


def _take(values: pa.Array, where: npt.NDArray[np.int64]) -> pa.Array:
    return values if len(where) == len(values) else values.take(pa.array(where))


def _place(n: int, where: npt.NDArray[np.int64], values: pa.Array) -> pa.Array:
    """n values: values[k] at where[k], else empty or 0."""
    order = np.full(n, -1)
    order[where] = np.arange(len(where))
    return values.take(pa.array(order, mask=order < 0)).fill_null("" if pa.types.is_string(values.type) else 0)


def _without_nul(text: pa.StringArray) -> pa.StringArray:
    """NUL is no character of a document, and it ends a string in C."""
    _, offsets, data = text.buffers()
    if data is None or not data.size or not len(text):
        return text
    first, *_, last = np.frombuffer(offsets, np.int32)[text.offset : text.offset + len(text) + 1].tolist()
    if np.frombuffer(data, np.uint8)[first:last].min(initial=1) > 0:
        return text
    return pc.replace_substring(text, "\0", "")


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].partition(",")[0].strip().lower()
