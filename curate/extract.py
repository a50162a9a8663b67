"""Page bytes to text: `blocks`, Trafilatura and Resiliparse behind one door; plain text passes as it is.

Decides what holds text at all, which page is too large, and, with a prefilter, which page a fast pass already rules
out. A page that breaks an extractor is an error of that page alone. It does not judge language or quality.
"""

import functools
import logging
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import trafilatura
from resiliparse.extract.html2text import extract_plain_text

from curate import blocks, html
from curate.charset import Decoded, decode
from curate.language import Identifier, Language, identify
from curate.reasons import CODES, KEPT, Reason

EXTRACTORS = ("blocks", "trafilatura", "resiliparse")

# What `extract` returns, one row for each page.
EXTRACTED = pa.schema(
    [
        pa.field("text", pa.string(), nullable=False),  # normalised (see `tidy`); empty where there is none
        pa.field("title", pa.string(), nullable=False),
        pa.field("charset", pa.string(), nullable=False),  # Python codec; empty for pages not decoded
        pa.field("replaced", pa.int32(), nullable=False),  # U+FFFD characters in the decoded page
        pa.field("reason", pa.uint8(), nullable=False),  # reasons.CODES; 0: has text, or an error
        pa.field("error", pa.string(), nullable=True),  # why the extractor failed on this page
    ]
)

# A fast look at pages before the full extractor: (main text by the fast pass, words in the whole page) -> uint8[n],
# reasons.CODES or 0. See `rule_out`.
Prefilter = Callable[[pa.StringArray, npt.NDArray[np.int64]], npt.NDArray[np.uint8]]

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

# The cascade's margins: see `rule_out`.
WORDS_MARGIN = 0.8
SURE = 0.8
MIN_FAST_CHARS = 200

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\ufeff\ud800-\udfff]")
_BLANKS_BEFORE_END = re.compile(r"[^\S\n]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extraction:
    """How pages become text.

    Trafilatura stays the default until `blocks` wins on every gold set (blocks.json has its scores). `cascade` lets a
    fast pass rule out pages before it; the pages kept are the same to within 1% (a test holds it). `max_page_bytes`
    (None: no limit) bounds the time that a single page can take.
    """

    __pydantic_config__ = {"extra": "forbid"}

    extractor: str = "trafilatura"
    cascade: bool = True
    max_page_bytes: int | None = 10 << 20

    def __post_init__(self) -> None:
        _known(self.extractor)
        if self.max_page_bytes is not None and self.max_page_bytes < 1:
            raise ValueError(f"max_page_bytes is {self.max_page_bytes}; it must be at least 1, or null for no limit")


def extract_text(
    pages: pa.BinaryArray, content_types: pa.StringArray | None = None, extractor: str = "trafilatura"
) -> pa.StringArray:
    """Each page's text, empty where there is none or the extractor failed on it: `extract` tells these apart."""
    return extract(pages, content_types, extractor).column("text")


def extract(
    pages: pa.BinaryArray,
    content_types: pa.StringArray | None = None,
    extractor: str = "trafilatura",
    *,
    max_page_bytes: int | None = None,
    prefilter: Prefilter | None = None,
) -> pa.RecordBatch:
    """Each page's text with what is known of it, by the schema EXTRACTED.

    Args:
        pages: the bodies, null-free.
        content_types: the HTTP headers as served; None, null or empty: unknown. text/plain passes without
            normalisation: it is how our own readers and WET files bring text that is already clean.
        extractor: one of EXTRACTORS.
        max_page_bytes: larger pages are `Reason.too_large`; None: no limit.
        prefilter: rules out pages of markup after a pass by Resiliparse; None: every page meets the extractor.

    Raises:
        ValueError: for an unknown extractor.
    """
    _known(extractor)
    n = len(pages)
    types = ["" for _ in range(n)] if content_types is None else [t or "" for t in content_types.to_pylist()]
    texts, titles = [""] * n, [""] * n
    errors: list[str | None] = [None] * n
    decoded = [Decoded("", "", 0)] * n
    reason = np.zeros(n, np.uint8)
    markup = []
    for i, (page, content_type) in enumerate(zip(pages, types, strict=True)):
        if max_page_bytes is not None and len(page.as_buffer()) > max_page_bytes:
            reason[i] = CODES[Reason.too_large]
            continue
        body = page.as_py()
        if not body:
            reason[i] = CODES[Reason.empty_page]
        elif not is_text(content_type, body[:SNIFFED]):
            reason[i] = CODES[Reason.not_text]
        elif is_plain(content_type):
            decoded[i] = decode(body, content_type, markup=False)
            texts[i] = decoded[i].text
        else:
            decoded[i] = decode(body, content_type)
            markup.append(i)

    # NUL is no character of a document, and it ends a string in C.
    characters = [decoded[i].text.replace("\0", "") for i in markup]
    table = html.scan(pa.array(characters, pa.string()))
    for i, title in zip(markup, table.titles(), strict=True):
        titles[i] = tidy(title)
    if extractor != "blocks":
        # Resiliparse takes minutes on text 100,000 elements deep; the deepest of 10,324 real pages is 38 deep.
        for i, depth in zip(markup, table.depths().tolist(), strict=True):
            if depth > html.MAX_DEPTH:
                errors[i] = f"text is {depth} elements deep; {extractor} is given at most {html.MAX_DEPTH}"
    if prefilter is not None:
        shallow = [k for k, i in enumerate(markup) if errors[i] is None]
        fast, failed = _each(_resiliparse, [characters[k] for k in shallow])
        reasons = prefilter(pa.array(fast, pa.string()), table.words()[shallow])
        for k, code, error in zip(shallow, reasons.tolist(), failed, strict=True):
            reason[markup[k]] = code if error is None else KEPT  # the extractor proper may manage
    live = [k for k, i in enumerate(markup) if reason[i] == KEPT and errors[i] is None]
    if extractor == "blocks":
        found = blocks.join(table, blocks.packaged().keep(table))
        results, failed = [tidy(found[k]) for k in live], [None] * len(live)
    else:
        results, failed = _each(_EACH[extractor], [characters[k] for k in live])
    for k, text, error in zip(live, results, failed, strict=True):
        texts[markup[k]], errors[markup[k]] = text, error
    for i in range(n):
        if reason[i] == KEPT and errors[i] is None and not texts[i].strip():
            reason[i], texts[i] = CODES[Reason.no_text], ""
    columns = [
        pa.array(texts, pa.string()),
        pa.array(titles, pa.string()),
        pa.array([d.charset for d in decoded], pa.string()),
        pa.array([d.replaced for d in decoded], pa.int32()),
        pa.array(reason, pa.uint8()),
        pa.array(errors, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=EXTRACTED)


def rule_out(
    fast: pa.StringArray,
    words: npt.NDArray[np.int64],
    *,
    wanted: Language,
    identifier: Identifier,
    min_words: int | None,
) -> npt.NDArray[np.uint8]:
    """The cascade's prefilter: uint8[n] of reasons.CODES for pages that the full path would surely drop.

    With margins, since the fast text is not the text that will be judged: a page goes if all of it, menus too, has
    fewer than `WORDS_MARGIN` x min_words words, or if its fast text has at least MIN_FAST_CHARS characters and is with
    `SURE` probability in a language that is not wanted.

    Args:
        fast: main text by the fast pass.
        words: words in the whole page, `BlockTable.words`.
        wanted, identifier: the languages that the full path keeps, and the model by which it tells.
        min_words: below which it drops a document; None: never.
    """
    reason = np.zeros(len(fast), np.uint8)
    languages, scores = identify(fast, identifier)
    if wanted.wanted is not None:
        long = np.array([len(text) >= MIN_FAST_CHARS for text in fast.to_pylist()], np.bool_)
        other = ~np.isin(np.asarray(languages.to_pylist(), dtype=np.str_), list(wanted.wanted))
        reason[long & other & (scores >= np.float32(SURE))] = CODES[Reason.language_not_wanted]
    if min_words is not None:
        reason[words < WORDS_MARGIN * min_words] = CODES[Reason.too_few_words]
    return reason


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


def _known(extractor: str) -> None:
    if extractor not in EXTRACTORS:
        raise ValueError(f"extractor is {extractor!r}; it must be one of {', '.join(EXTRACTORS)}")


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].partition(",")[0].strip().lower()


def _each(extractor: Callable[[str], str], pages: Sequence[str]) -> tuple[list[str], list[str | None]]:
    """Texts, and errors where the extractor raised."""
    texts = [""] * len(pages)
    errors: list[str | None] = [None] * len(pages)
    for i, page in enumerate(pages):
        try:
            texts[i] = tidy(extractor(page))
        except Exception as error:  # whatever a parser of hostile input may raise
            errors[i] = f"{type(error).__name__}: {error}"
    return texts, errors


def _trafilatura(page: str) -> str:
    """Trafilatura's main extractor alone: on full-text gold better than with its fallbacks, and a fifth faster."""
    _quiet()
    found = trafilatura.extract(page, fast=True, include_comments=False, with_metadata=False, deduplicate=False)
    return found or ""


@functools.cache
def _quiet() -> None:
    """Trafilatura logs a warning for every page without text; here that is `Reason.no_text`."""
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)


def _resiliparse(page: str) -> str:
    return str(extract_plain_text(page, main_content=True, alt_texts=False, comments=False))


_EACH: dict[str, Callable[[str], str]] = {"trafilatura": _trafilatura, "resiliparse": _resiliparse}
