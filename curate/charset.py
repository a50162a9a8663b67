"""Page bytes to characters: byte order mark, HTTP header, meta tag, detection. No page is lost to its encoding.

What cannot be decoded becomes U+FFFD and is counted. This module does not read HTML beyond the meta tag that names a
charset, and does not normalise text.
"""

import codecs
import re
from dataclasses import dataclass

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

# Bytes searched for a meta charset. The WHATWG prescan reads 1,024; real pages put scripts before their meta tag.
META_BYTES = 8192
# A labelled or guessed charset is believed when at most one in 20 of its non-ASCII characters failed to decode: a
# UTF-8 page with a few stray Latin-1 bytes (a pasted comment, a cut at the crawler's size limit) stays UTF-8.
MAX_DAMAGE = 1 / 20

BOMS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Wider Python codecs than the names Resiliparse gives for a WHATWG label: browsers decode the superset.
SUPERSETS = {
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "iso8859-11": "cp874",
    "ascii": "cp1252",
}
# Labels without a WHATWG decoder that old pages carry all the same.
OLD = {"hz-gb-2312": "hz", "iso-2022-kr": "iso2022_kr", "x-mac-cyrillic": "mac_cyrillic"}

_HTTP = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,]+)", re.IGNORECASE)
_META = re.compile(
    rb"<(?:meta\b[^>]{0,512}?charset|\?xml\b[^>]{0,512}?encoding)\s*=\s*[\"']?\s*([\w:.-]+)", re.IGNORECASE
)
# Encodings in which a page of pure ASCII bytes means something else: escapes (ISO-2022, HZ) and NULs (UTF-16).
_STATEFUL = re.compile(rb"\x1b[$(]|~\{|\x00")


@dataclass(frozen=True, slots=True)
class Decoded:
    """Characters without a byte order mark, the Python codec that gave them, and how many places it replaced."""

    text: str
    charset: str
    replaced: int


def decode(body: bytes, content_type: str = "", markup: bool = True) -> Decoded:
    """The body's characters.

    A byte order mark decides. Else bytes that are valid UTF-8 are UTF-8 whatever a label says, since other encodings
    hardly ever look so by chance; then the HTTP label, the meta tag's, the detector's guess and windows-1252 are tried
    in turn, the first with at most `MAX_DAMAGE` wins, and if none has, the one with the least damage.

    Args:
        body: the page as stored, after transfer and content encodings.
        content_type: the HTTP header's value, or empty.
        markup: whether to look for a meta tag; False for plain text.
    """
    for bom, name in BOMS:
        if body.startswith(bom):
            return _replace(body[len(bom) :], name)
    if not _STATEFUL.search(body):
        try:
            text = body.decode()
            return Decoded(text, "utf-8", text.count("\ufffd"))
        except UnicodeDecodeError:
            pass  # then a label or a guess decides
    tried = []
    for name in _candidates(body, content_type, markup):
        decoded = _replace(body, name)
        if _damage(decoded) <= MAX_DAMAGE:
            return decoded
        tried.append(decoded)
    return min(tried, key=_damage)


def codec(label: str) -> str | None:
    """The Python codec for a charset label as pages write it, or None for one that names no text encoding."""
    label = label.strip().lower()
    name = OLD.get(label) or map_encoding_to_html5(label, False)
    return SUPERSETS.get(name, name) if name else None


def _candidates(body: bytes, content_type: str, markup: bool) -> list[str]:
    """Codecs to try, most trusted first, without repeats."""
    labels = [m[1] for m in _HTTP.finditer(content_type)]
    if markup and (meta := _META.search(body[:META_BYTES])):
        # A meta tag that was read as ASCII cannot be UTF-16, whatever it says (WHATWG, "prescan").
        label = meta[1].decode("ascii", "replace")
        labels.append("utf-8" if label.lower().startswith("utf-16") else label)
    labels.append(detect_encoding(body) or "")
    names = [name for label in labels if (name := codec(label))]
    # Stateless UTF-8 goes first: a page that is UTF-8 but for a few bytes is that, not its label's single-byte set.
    first = _utf16(body[:META_BYTES]) if _STATEFUL.search(body) else ["utf-8"]
    return list(dict.fromkeys([*first, *names, "utf-8", "cp1252"]))


def _utf16(head: bytes) -> list[str]:
    """UTF-16 without a byte order mark: in the ASCII that all markup holds, every other byte is NUL."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) * 5 < len(head) or min(even, odd) * 10 > max(even, odd):
        return []
    return ["utf-16-be" if even > odd else "utf-16-le"]


def _replace(body: bytes, name: str) -> Decoded:
    """Decode with every undecodable place replaced; a character cut off at the very end is left out, not replaced."""
    text = codecs.getincrementaldecoder(name)("replace").decode(body)
    return Decoded(text, name, text.count("\ufffd"))


def _damage(decoded: Decoded) -> float:
    """The replaced share of the characters beyond ASCII; all of it where none came out, since that proves nothing: a
    single Latin-1 letter at the end of a page passes for a cut-off character of UTF-8."""
    beyond = len(decoded.text) - len(decoded.text.encode("ascii", "ignore"))
    return decoded.replaced / beyond if beyond else 1.0
