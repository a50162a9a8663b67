"""The names that HTML gives meaning to: elements, attributes, words in class names, character references.

Compiled into hash tables for the kernel of `curate.html`. Names and content rules follow the WHATWG HTML standard
(sections 13.1.2.4 "optional tags", 13.2.6 "tree construction", 13.5 "named character references").
"""

import functools
from collections import defaultdict
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
    IMAGE = 1 << 11
    INPUT = 1 << 12


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
    AUTHOR = 1 << 15
    DATE = 1 << 16
    SUMMARY = 1 << 17
    SEARCH = 1 << 18
    COOKIE = 1 << 19
    TOC = 1 << 20
    CODE = 1 << 21
    FORUM = 1 << 22
    PRODUCT = 1 << 23
    LISTING = 1 << 24
    ACTION = 1 << 25
    MEDIA = 1 << 26
    PAGER = 1 << 27
    NOTES = 1 << 28
    CONTROL = 1 << 29


class Meta(IntEnum):
    """What a page says of itself outside its text; each is a span of raw bytes, references not yet resolved."""

    LANGUAGE = 1  # <html lang> or xml:lang
    CANONICAL = 2  # <link rel=canonical href>
    URL = 3  # og:url
    TITLE = 4  # og:title, twitter:title and their like
    DESCRIPTION = 5  # og:description, <meta name=description>
    SITE = 6  # og:site_name
    AUTHOR = 7  # in an attribute: <meta name=author>, article:author, dc.creator, itemprop=author with content
    PUBLISHED = 8  # an attribute or, of itemprop=datePublished without one, the element's content
    MODIFIED = 9  # the same for the date of the last change
    TIME = 10  # <time datetime> that says nothing else
    BYLINE = 11  # content of an element with rel=author or itemprop=author: markup
    JSON = 12  # content of <script type=application/ld+json>


# Frequent words of real pages, in English and in the languages that follow it on the web. A word may be of two groups.
_HINTS = {
    Hint.CONTENT: "content article post entry story text body main page copy paragraph blog news detail details "
    "hentry status prose inhalt artikel contenu contenido contenuto conteudo texto texte",
    Hint.COMMENT: "comment comments reply replies disqus respond discussion thread feedback commentlist commenter "
    "commentform dsq trackbacks kommentar kommentare commentaire commentaires comentario comentarios commenti "
    "reacties",
    Hint.NAV: "nav navigation navbar menu menus submenu breadcrumb breadcrumbs pagination pager pages skip toc subnav "
    "topnav skiplinks dropdown sitemap blogroll linkcat menuitem",
    Hint.SHARE: "share sharing social facebook twitter addthis sharedaddy follow like print email fb tweet pinterest "
    "reddit digg delicious stumbleupon tumblr linkedin gplus whatsapp teilen partager compartir condividi",
    Hint.RELATED: "related recommended recommendations more popular trending recent latest similar teaser teasers "
    "also featured ticker stories videos aehnlich relacionados correlati",
    Hint.SIDEBAR: "sidebar side widget widgets aside rail panel module complementary secondary tertiary textwidget "
    "widgettitle xoxo typelist seitenleiste lateral",
    Hint.FOOTER: "footer foot bottom copyright contentinfo colophon credits legal footers powered rodape pie fuss",
    Hint.HEADER: "header head top masthead banner logo branding mast hat kopf cabecera",
    Hint.ADVERT: "ad ads advert advertisement advertising adsense sponsor sponsored promo promotion outbrain taboola "
    "promos advertise anzeige werbung publicidad publicite reklama partner",
    Hint.BYLINE: "byline author authors date time meta published timestamp info dateline updated postmetadata "
    "commentmetadata metadata posted creds attribution",
    Hint.CAPTION: "caption credit figure gallery photo image media thumbnail video legende bildunterschrift",
    Hint.LOGIN: "login signin signup register subscribe subscription newsletter search form account donate logout "
    "auth captcha checkbox anmelden",
    Hint.TAGS: "tag tags category categories topic topics keywords label labels archive archives taxonomy tagcloud "
    "kategorie etiquetas rubrik rubrique",
    Hint.TITLE: "title headline heading h1 subtitle kicker titel titre titulo titolo subhead hed",
    Hint.NOTICE: "cookie cookies consent gdpr popup modal overlay dialog hidden hide warning alert disclaimer notice "
    "error errors tooltip toast noscript loading placeholder truncated paywall sr offscreen",
    Hint.AUTHOR: "author authors byline vcard fn bio profile avatar contributor writer autor autoren auteur autore "
    "redaktion user username",
    Hint.DATE: "date time published timestamp dateline updated datetime pubdate datepublished datum fecha calendar "
    "day month year",
    Hint.SUMMARY: "summary excerpt standfirst dek lead lede intro abstract description desc subtitle tagline chapeau "
    "vorspann ingress preview",
    Hint.SEARCH: "search searchform searchbox cse suche recherche buscar busca ricerca zoeken",
    Hint.COOKIE: "cookie cookies consent gdpr ccpa privacy onetrust datenschutz",
    Hint.TOC: "toc contents inhaltsverzeichnis sommaire indice",
    Hint.CODE: "code highlight highlighter hljs codehilite syntax syntaxhighlighter pre snippet gist prettyprint "
    "listing",
    Hint.FORUM: "forum forums thread threads message messages msg answer answers question questions postbody "
    "viewtopic topic bbcode board quote",
    Hint.PRODUCT: "product products price prices cart shop store buy basket checkout sku offer offers review reviews "
    "rating",
    Hint.LISTING: "list listing archive archives feed feeds hfeed grid item items card cards tile tiles loop posts "
    "articles entries headlines results collection",
    Hint.ACTION: "button buttons btn cta readmore more action actions download submit permalink edit print continue",
    Hint.MEDIA: "video videos audio player embed embedded gallery slideshow slider slide carousel lightbox youtube "
    "podcast",
    Hint.PAGER: "pagination pager paging next prev previous older newer pages pagenav pagelinks",
    Hint.NOTES: "footnote footnotes reference references reflist citation citations bibliography endnote endnotes "
    "notes sources",
    Hint.CONTROL: "tools tool toolbar toolbox tab tabs toggle dropdown selected select filter sort options option "
    "count counter stats icon icons controls control switch settings collapsed expand close input field",
}

# A property's names in <meta name>, property, itemprop, rel and type.
_META = {
    Meta.CANONICAL: "canonical",
    Meta.URL: "og:url twitter:url",
    Meta.TITLE: "og:title twitter:title title dc.title dcterms.title citation_title sailthru.title parsely-title "
    "headline",
    Meta.DESCRIPTION: "og:description description twitter:description dc.description sailthru.description",
    Meta.SITE: "og:site_name application-name",
    Meta.AUTHOR: "author article:author article.author og:author og:article:author dc.creator dc:creator "
    "dcterms.creator dc.contributor creator citation_author sailthru.author parsely-author byl byline authors "
    "article:author_name schema:author",
    Meta.PUBLISHED: "article:published_time article.published og:published_time og:article:published_time "
    "datepublished dc.date dc:date dcterms.date dc.date.issued dc.date.created dcterms.created dcterms.issued "
    "pubdate date publishdate publish-date publish_date publication_date published published_time publishtime "
    "sailthru.date parsely-pub-date citation_date citation_publication_date citation_online_date datecreated created "
    "article:published article_date_original originalpublicationdate release_date ptime pdate displaydate "
    "cxenseparse:recs:publishtime schema:datepublished",
    Meta.MODIFIED: "article:modified_time og:modified_time og:updated_time datemodified dcterms.modified "
    "dc.date.modified last-modified lastmod modified revised utime schema:datemodified",
    Meta.JSON: "application/ld+json",
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
    Rule.IMAGE: "img picture video iframe figure",
    Rule.INPUT: "input textarea select button",
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

# Elements without content that nothing else is said of.
_VOID = "area base basefont bgsound col embed frame keygen param source track wbr"

NAMES = (
    "",
    "title",
    "a",
    "br",
    "html",
    "link",
    "meta",
    "span",
    "time",
    *_VOID.split(),
    *sorted({name for names in _RULES.values() for name in names.split()}),
)
CODES = {name: code for code, name in enumerate(NAMES)}
TITLE, A, BR, HTML, LINK, META, SPAN, TIME = range(1, 9)
BODY, LI, OL, P, SCRIPT, SVG, TABLE = (CODES[name] for name in ("body", "li", "ol", "p", "script", "svg", "table"))

# Attributes that the kernel reads.
(CLASS, STYLE, HIDDEN, HREF, ITEMPROP, PROPERTY, NAME, CONTENT, DATETIME, LANG, START) = range(1, 12)
_ATTRIBUTES = {
    "class": CLASS,
    "id": CLASS,
    "role": CLASS,
    "itemprop": ITEMPROP,
    "style": STYLE,
    "hidden": HIDDEN,
    "href": HREF,
    "property": PROPERTY,
    "rel": PROPERTY,
    "type": PROPERTY,
    "name": NAME,
    "content": CONTENT,
    "datetime": DATETIME,
    "lang": LANG,
    "xml:lang": LANG,
    "start": START,
    "value": START,
}

LONGEST_ATTRIBUTE = max(map(len, _ATTRIBUTES))

# Elements other than blocks whose start tags are read, and the attribute that holds what they say of the page; 0 is
# any without a code.
_READ = {0: CONTENT, A: CONTENT, HTML: LANG, LINK: HREF, META: CONTENT, SPAN: CONTENT, TIME: DATETIME, SCRIPT: CONTENT}

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
U64 = npt.NDArray[np.uint64]


# What a name is the name of: salts its hash, so that one table holds them all.
ELEMENT, ATTRIBUTE, HINT, REFERENCE, PROPERTY_NAME = range(5)


class Tables(NamedTuple):
    """All that the kernel needs to know of HTML; the first two are a hash table with linear probing."""

    keys: U64  # [power of 2] `fnv` of the name; 0 is empty
    values: U64  # index into NAMES | CLASS ... | Hint | code point of a reference, with a second one << 32 | Meta
    rules: U32  # [names]
    kinds: U32  # [names]
    read: U8  # [names]: attribute that holds what the element says of the page; 0: its tags are not read
    ends: npt.NDArray[np.bool_]  # [names, names]: a start tag of row ends an open element of column
    walls: npt.NDArray[np.bool_]  # [names, names]: ... unless one of column lies between
    windows: U32  # [32]: code points of the references &#128; to &#159;


def fnv(name: bytes, salt: int) -> int:
    """FNV-1a, 64 bits, with a salted basis: `markup.hash_name` in Python."""
    value = 0xCBF29CE484222325 ^ salt << 8  # beyond the first byte, or "<cd" would be the class word "ad"
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
    read = np.where(rules & Rule.BLOCK != 0, CONTENT, 0).astype(np.uint8)
    for code, attribute in _READ.items():
        read[code] = attribute
    ends = np.zeros((len(NAMES), len(NAMES)), np.bool_)
    walls = np.zeros_like(ends)
    for name, (ended, between) in _ENDS.items():
        ends[CODES[name], [CODES[n] for n in ended.split()]] = True
        walls[CODES[name], [CODES[n] for n in between.split()]] = True
        rules[CODES[name]] |= Rule.ENDS
    entries = [(fnv(name.encode(), ELEMENT), code) for name, code in CODES.items() if name]
    entries += [(fnv(name.encode(), ATTRIBUTE), code) for name, code in _ATTRIBUTES.items()]
    hints: dict[str, int] = defaultdict(int)
    for hint, words in _HINTS.items():
        for word in words.split():
            hints[word] |= hint
    entries += [(fnv(word.encode(), HINT), bits) for word, bits in hints.items()]
    entries += [(fnv(n.encode(), PROPERTY_NAME), int(meta)) for meta, names in _META.items() for n in names.split()]
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
    return Tables(keys, values, rules, kinds, read, ends, walls, np.array(windows, np.uint32))
