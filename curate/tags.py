"""The names that HTML gives meaning to: elements, attributes, words in class names, character references.

Compiled into hash tables for the kernel of `curate.html`. Names and content rules follow the WHATWG HTML standard
(sections 13.1.2.4 "optional tags", 13.2.6 "tree construction", 13.5 "named character references").
"""

import functools
from enum import IntEnum
from html.entities import html5
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Kind(IntEnum):
    """What an element says about all text inside it."""

    ARTICLE = 1 << 0
    MAIN = 1 << 1
    NAV = 1 << 2
    HEADER = 1 << 3
    FOOTER = 1 << 4
    ASIDE = 1 << 5
    FORM = 1 << 6
    CONTROL = 1 << 7  # labels of buttons and menus
    LIST = 1 << 8
    TABLE = 1 << 9
    PREFORMATTED = 1 << 10
    QUOTE = 1 << 11
    FIGURE = 1 << 12
    PARAGRAPH = 1 << 13
    HEADING = 1 << 14
    HIDDEN = 1 << 15  # not shown by a browser that runs scripts
    ITEM = 1 << 16


class Rule(IntEnum):
    """How the tree builder treats an element."""

    BLOCK = 1 << 0  # opens a block element: divides text
    BREAK = 1 << 1  # divides text, holds none (hr)
    RAW = 1 << 2  # content is no markup and no text
    BARRIER = 1 << 3  # end tags of other elements do not reach beyond it
    CLOSES_P = 1 << 4  # its start tag ends an open paragraph
    CELL = 1 << 5
    ROW = 1 << 6
    BOLD = 1 << 7
    ENDS = 1 << 8  # its start tag ends open elements: see _ENDS
    TABLE = 1 << 9  # part of a table: only a table is a barrier to its tags
    ALONE = 1 << 10  # a second one inside the first opens nothing


class Hint(IntEnum):
    """What authors say of an element in its class, id, role and itemprop."""

    CONTENT = 1 << 0
    COMMENT = 1 << 1
    NAV = 1 << 2
    SHARE = 1 << 3
    RELATED = 1 << 4
    SIDEBAR = 1 << 5
    FOOTER = 1 << 6
    HEADER = 1 << 7
    ADVERT = 1 << 8
    BYLINE = 1 << 9
    CAPTION = 1 << 10
    LOGIN = 1 << 11
    TAGS = 1 << 12
    TITLE = 1 << 13
    NOTICE = 1 << 14


_HINTS = {
    Hint.CONTENT: "content article post entry story text body main page copy paragraph blog news detail details",
    Hint.COMMENT: "comment comments reply replies disqus respond discussion thread feedback",
    Hint.NAV: "nav navigation navbar menu menus submenu breadcrumb breadcrumbs pagination pager pages skip toc",
    Hint.SHARE: "share sharing social facebook twitter addthis sharedaddy follow like print email",
    Hint.RELATED: "related recommended recommendations more popular trending recent latest similar teaser teasers also",
    Hint.SIDEBAR: "sidebar side widget widgets aside rail panel module complementary secondary tertiary",
    Hint.FOOTER: "footer foot bottom copyright contentinfo colophon credits legal",
    Hint.HEADER: "header head top masthead banner logo branding",
    Hint.ADVERT: "ad ads advert advertisement advertising adsense sponsor sponsored promo promotion outbrain taboola",
    Hint.BYLINE: "byline author authors date time meta published timestamp info dateline updated postmetadata",
    Hint.CAPTION: "caption credit figure gallery photo image media thumbnail video",
    Hint.LOGIN: "login signin signup register subscribe subscription newsletter search form account donate",
    Hint.TAGS: "tag tags category categories topic topics keywords label labels archive archives",
    Hint.TITLE: "title headline heading h1 subtitle kicker",
    Hint.NOTICE: "cookie cookies consent gdpr popup modal overlay dialog hidden hide warning alert disclaimer",
}

_KINDS = {
    Kind.ARTICLE: "article",
    Kind.MAIN: "main",
    Kind.NAV: "nav menu",
    Kind.HEADER: "header hgroup",
    Kind.FOOTER: "footer",
    Kind.ASIDE: "aside",
    Kind.FORM: "form fieldset",
    Kind.CONTROL: "button select option optgroup",
    Kind.LIST: "ul ol dl dir menu",
    Kind.ITEM: "li dt dd",
    Kind.TABLE: "table",
    Kind.PREFORMATTED: "pre listing",
    Kind.QUOTE: "blockquote",
    Kind.FIGURE: "figure figcaption",
    Kind.PARAGRAPH: "p",
    Kind.HEADING: "h1 h2 h3 h4 h5 h6",
    Kind.HIDDEN: "noscript template svg audio video canvas object",
}

_RULES = {
    Rule.BLOCK: "address article aside blockquote body button caption center dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup legend li listing main menu nav object ol "
    "optgroup option p pre search section select summary table tbody td template tfoot th thead tr ul noscript svg "
    "audio video canvas",
    Rule.BREAK: "hr",
    Rule.RAW: "script style iframe noembed noframes textarea xmp",
    Rule.BARRIER: "td th caption table button template object",
    Rule.CLOSES_P: "address article aside blockquote center details dialog dir div dl dd dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup hr li listing main menu nav ol p pre search section summary table ul",
    Rule.CELL: "td th",
    Rule.ROW: "tr",
    Rule.BOLD: "b strong",
    Rule.TABLE: "table caption thead tbody tfoot tr td th",
    Rule.ALONE: "body form",
}

# A start tag ends the nearest open element of these names, unless an element of the second list stands between.
_ENDS = {
    "li": ("li", "ul ol menu dir"),
    "dt": ("dt dd", "dl"),
    "dd": ("dt dd", "dl"),
    "tr": ("tr", "table"),
    "td": ("td th", "tr table"),
    "th": ("td th", "tr table"),
    "thead": ("thead tbody tfoot", "table"),
    "tbody": ("thead tbody tfoot", "table"),
    "tfoot": ("thead tbody tfoot", "table"),
    "option": ("option", "select"),
    "optgroup": ("optgroup", "select"),
    "button": ("button", ""),
    **{f"h{i}": ("h1 h2 h3 h4 h5 h6", "div section article td li") for i in range(1, 7)},
}

NAMES = (
    "",
    "title",
    "a",
    "br",
    "math",
    *sorted({name for names in _RULES.values() for name in names.split()}),
)
CODES = {name: code for code, name in enumerate(NAMES)}
TITLE, A, BR, MATH = 1, 2, 3, 4
BODY, P, SVG, TABLE = CODES["body"], CODES["p"], CODES["svg"], CODES["table"]

# Attributes that the kernel reads.
CLASS, STYLE, HIDDEN, HREF = 1, 2, 3, 4
_ATTRIBUTES = {
    "class": CLASS,
    "id": CLASS,
    "role": CLASS,
    "itemprop": CLASS,
    "style": STYLE,
    "hidden": HIDDEN,
    "href": HREF,
}

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]


# What a name is the name of: salts its hash, so that one table holds them all.
ELEMENT, ATTRIBUTE, HINT, REFERENCE = 0, 1, 2, 3


class Tables(NamedTuple):
    """All that the kernel needs to know of HTML; the first two are a hash table with linear probing."""

    keys: U64  # [power of 2] `fnv` of the name; 0 is empty
    values: U64  # index into NAMES | CLASS ... | Hint | code point of a reference, with a second one << 32
    rules: U32  # [names]
    kinds: U32  # [names]
    ends: npt.NDArray[np.bool_]  # [names, names]: a start tag of row ends an open element of column
    walls: npt.NDArray[np.bool_]  # [names, names]: ... unless one of column lies between
    windows: U32  # [32]: code points of the references &#128; to &#159;


def fnv(name: bytes, salt: int) -> int:
    """FNV-1a, 64 bits, with a salted basis: `markup.hash_name` in Python."""
    value = 0xCBF29CE484222325 ^ salt
    for byte in name:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


@functools.cache
def tables() -> Tables:
    """The tables, built at first use: a few milliseconds."""
    rules, kinds = np.zeros(len(NAMES), np.uint32), np.zeros(len(NAMES), np.uint32)
    for bits, groups in ((rules, _RULES), (kinds, _KINDS)):
        for flag, names in groups.items():
            for name in names.split():
                bits[CODES[name]] |= flag
    ends = np.zeros((len(NAMES), len(NAMES)), np.bool_)
    walls = np.zeros_like(ends)
    for name, (ended, between) in _ENDS.items():
        ends[CODES[name], [CODES[n] for n in ended.split()]] = True
        walls[CODES[name], [CODES[n] for n in between.split()]] = True
        rules[CODES[name]] |= Rule.ENDS
    entries = [(fnv(name.encode(), ELEMENT), code) for name, code in CODES.items() if name]
    entries += [(fnv(name.encode(), ATTRIBUTE), code) for name, code in _ATTRIBUTES.items()]
    entries += [(fnv(word.encode(), HINT), int(hint)) for hint, words in _HINTS.items() for word in words.split()]
    entries += [
        (fnv(name.encode(), REFERENCE), ord(points[0]) | (ord(points[1]) << 32 if len(points) > 1 else 0))
        for name, points in html5.items()
    ]
    size = 1 << (2 * len(entries)).bit_length()
    keys, values = np.zeros(size, np.uint64), np.zeros(size, np.uint64)
    for key, value in entries:
        slot = key & (size - 1)
        while keys[slot]:
            slot = (slot + 1) & (size - 1)
        keys[slot], values[slot] = key, value
    windows = [ord(bytes([b]).decode("cp1252", "ignore") or chr(b)) for b in range(0x80, 0xA0)]
    return Tables(keys, values, rules, kinds, ends, walls, np.array(windows, np.uint32))
