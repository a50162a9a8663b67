"""Wikitext to plain text: prose, headings and list items as plain lines.

Dropped: templates (but a few that stand for words), tables, references, files and images, categories, interlanguage
links, magic words, comments, mathematics, galleries and the like, and closing sections that hold no prose. Templates
are not expanded: what a wiki computes is missing.
"""

import re
from collections.abc import Callable, Iterator

import mwparserfromhell
from mwparserfromhell.nodes import Argument, ExternalLink, Heading, HTMLEntity, Tag, Template, Text, Wikilink

# Elements whose content is no prose.
_ELEMENTS = (
    "ce|categorytree|chem|gallery|graph|hiero|imagemap|indicator|inputbox|mapframe|maplink|math|ref|references|score|"
    "section|source|syntaxhighlight|templatedata|templatestyles|timeline"
)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_ELEMENT = re.compile(rf"<({_ELEMENTS})\b(?:[^<>]*/>|[^<>]*>.*?</\1\s*>)", re.DOTALL | re.IGNORECASE)
_DROPPED_TAGS = frozenset([*_ELEMENTS.split("|"), "table", "style", "script"])
_BRACES = re.compile(r"\{\{|\}\}")
_TABLE = re.compile(r"^[ \t:*#]*\{\||^[ \t]*\|\}(?!\})", re.MULTILINE)
_HEADING = re.compile(r"^(={1,6})[ \t]*(.+?)[ \t]*\1[ \t]*$", re.MULTILINE)
_SWITCH = re.compile(r"__[^\W\d_]+__")
_RESIDUE = re.compile(r"^[ \t]*(?:\||\{\|).*$", re.MULTILINE)  # rows of a table or template that was never closed
_QUOTES = re.compile(r"'{2,5}")
_LEFTOVER = re.compile(r"\[\[|\]\]|\{\{|\}\}")
# What a dropped template leaves behind: "(, )" and "( ; born".
_HOLLOW = re.compile(r"[ \t]*[(（][\s,;:/，；、–—-]*[)）]")
_HOLLOW_START = re.compile(r"([(（])[ \t]*(?:[,;，；、][ \t]*)+")
_SPACED = re.compile(r"(?<=[(（])[ \t]+|[ \t]+(?=[,)）]|\.(?![.\w]))")
_BLANKS = re.compile(r"[ \t\u00a0]+")
_SPACE_END = re.compile(r" *\n *")
_EMPTY_LINES = re.compile(r"\n{3,}")
_ITEM = re.compile(r"^[*#:;]+\s*")
_LINKS = re.compile(r"\[\[[^\[\]]*\]\]|\[(?:https?:)?//[^\]]*\]|https?://\S+")
_CITED = re.compile(r"\[(?:https?:)?//|https?://|\bISBN\b")
_MEDIA = re.compile(r"\.(?:jpe?g|png|svg|gif|tiff?|webp|xcf|pdf|djvu|og[gva]|oga|webm|mp[34]|wav|flac|midi?)\s*$", re.I)
# The prefixes of Wikipedia's languages: ISO 639 codes with variants, and Simple English.
_LANGUAGE = re.compile(r"(?:[a-z]{2,3}(?:-[a-z]+){0,2}|simple)$")

MAX_ITEM_WORDS = 5
"""Words that an item may have beside its links and still be no prose: "(in Italian)", "at Curlie"."""

# Templates that stand for words, by the number of the argument that holds them.
_WORDS = {
    **dict.fromkeys(("nowrap", "nobr", "small", "smaller", "big", "abbr", "ill", "interlanguage link", "tooltip"), 1),
    **dict.fromkeys(("lang", "transl", "transliteration", "script"), 2),
}
_SIGNS = {"ndash": "–", "mdash": "—", **dict.fromkeys(("snd", "spnd", "spaced ndash"), " – "), "'": "'", "nbsp": " "}

SECTIONS = (
    "References",
    "Notes",
    "Notes and references",
    "References and notes",
    "Footnotes",
    "Citations",
    "Sources",
    "Bibliography",
    "Works cited",
    "Further reading",
    "External links",
    "See also",
    "Gallery",
)
"""Sections without prose, by their English titles; for other languages see `plain`."""

FILE, CATEGORY, MEDIA = 6, 14, -2  # namespaces (mediawiki.org, Help:Namespaces)


def plain(text: str, namespaces: dict[int, str] | None = None, sections: tuple[str, ...] = SECTIONS) -> str:
    """The article's text.

    A section titled as in `sections` goes, with its subsections. In any language, sections at the end of the article
    go while they hold no prose: only list items with an external link or an ISBN, or of links to articles and at most
    `MAX_ITEM_WORDS` other words, and captions of no more words.

    Args:
        namespaces: number -> name in the wiki's language, from the dump's head.
    """
    dropped = {"file", "image", "category", "media"}
    dropped |= {name.casefold() for number in (FILE, CATEGORY, MEDIA) if (name := (namespaces or {}).get(number))}
    text = _ELEMENT.sub("", _COMMENT.sub("", text.replace("\r\n", "\n")))
    text = _nested(text, _BRACES, "{{", _template)
    text = _nested(text, _TABLE, "{|", lambda _: "")
    text = _RESIDUE.sub("", _SWITCH.sub("", text))
    found = list(_sections(text, {title.casefold() for title in sections}))
    while len(found) > 1 and _is_listing(found[-1][2]):
        found.pop()
    lines: list[str] = []
    pending: list[tuple[int, str]] = []  # headings that have no text yet
    for level, title, body in found:
        pending = [*(p for p in pending if p[0] < level), (level, title)]
        if rendered := _clean(_render(body, dropped)):
            lines += [_clean(_render(title, dropped)) for _, title in pending]
            lines.append(rendered)
            pending = []
    return "\n\n".join(line for line in lines if line)


def _nested(text: str, pattern: re.Pattern[str], opening: str, replace: Callable[[str], str]) -> str:
    """The text with each balanced pair and its content replaced, innermost first; marks without a partner go."""
    stack: list[list[str]] = [[]]
    at = 0
    for mark in pattern.finditer(text):
        stack[-1].append(text[at : mark.start()])
        at = mark.end()
        if mark[0].endswith(opening):
            stack.append([])
        elif len(stack) > 1:
            content = "".join(stack.pop())
            stack[-1].append(replace(content))
    stack[-1].append(text[at:])
    return "".join(part for parts in stack for part in parts)


def _template(content: str) -> str:
    """The words for which a template stands, mostly none."""
    name, *arguments = _split(content)
    name = name.strip().replace("_", " ").casefold()
    if name in _SIGNS:
        return _SIGNS[name]
    values = [argument for argument in arguments if not re.match(r"\s*\w+\s*=", argument)]
    if name in ("convert", "cvt") and len(values) > 1:
        return f"{values[0].strip()} {values[1].strip()}"
    number = 1 if name.startswith("lang-") else _WORDS.get(name, 0)
    return values[min(number, len(values)) - 1].strip() if number and values else ""


def _split(content: str) -> list[str]:
    """A template's name and arguments; a bar within a link separates nothing."""
    return re.split(r"\|(?![^\[\]]*\]\])", content)


def _sections(text: str, dropped: set[str]) -> Iterator[tuple[int, str, str]]:
    """(level, title, body) of each section but the dropped; the lead has level 0 and no title."""
    headings = list(_HEADING.finditer(text))
    yield 0, "", text[: headings[0].start()] if headings else text
    below = 7  # sections deeper than this level belong to a dropped one
    for heading, following in zip(headings, [*headings[1:], None], strict=False):
        level, title = len(heading[1]), _QUOTES.sub("", heading[2]).strip()
        if level > below:
            continue
        below = 7
        if title.casefold().rstrip(":") in dropped:
            below = level
            continue
        yield level, title, text[heading.end() : following.start() if following else len(text)]


def _is_listing(body: str) -> bool:
    """Whether no line is prose: each is blank, a lone link, a caption, or an item as `plain` describes them."""
    for line in body.splitlines():
        item = _ITEM.match(line)
        rest, links = _LINKS.subn(" ", line[item.end() :] if item else line)
        rest = rest.strip()
        is_caption = rest.endswith(":") or rest.startswith("'''") or (item and item[0].startswith(";"))
        if item and _CITED.search(line):
            continue
        if len(re.findall(r"\w+", rest)) > (MAX_ITEM_WORDS if (item and links) or is_caption else 0):
            return False
    return True


def _render(text: str, dropped: set[str]) -> str:
    if not any(mark in text for mark in "[<&"):
        return text
    return _nodes(mwparserfromhell.parse(text, skip_style_tags=True), dropped)


def _nodes(code: mwparserfromhell.wikicode.Wikicode, dropped: set[str]) -> str:
    return "".join(_node(node, dropped) for node in code.nodes)


def _node(node: mwparserfromhell.nodes.Node, dropped: set[str]) -> str:
    match node:
        case Text():
            return str(node.value)
        case HTMLEntity():
            return str(node.normalize())
        case Wikilink():
            return _link(node, dropped)
        case ExternalLink():
            if node.title is not None:
                return _nodes(node.title, dropped)
            return "" if node.brackets else str(node.url)
        case Heading():
            return f"\n{_nodes(node.title, dropped)}\n"
        case Tag():
            tag = str(node.tag).strip().lower()
            if tag in _DROPPED_TAGS:
                return ""
            if tag in ("br", "hr"):
                return "\n"
            inner = _nodes(node.contents, dropped) if node.contents is not None and not node.wiki_markup else ""
            return f"\n{inner}\n" if tag in ("p", "div", "blockquote", "li", "center", "poem") and inner else inner
        case Argument():
            return _nodes(node.default, dropped) if node.default is not None else ""
        case Template():
            return ""
    return ""  # a comment


def _link(node: Wikilink, dropped: set[str]) -> str:
    target = str(node.title).strip()
    prefix, colon, name = target.partition(":")
    space = prefix.strip().casefold()
    if colon and not target.startswith(":"):
        unshown = node.text is None and "\n" not in target
        if space in dropped or _MEDIA.search(name) or (unshown and _LANGUAGE.match(prefix.strip())):
            return ""
    if node.text is not None:
        return _nodes(node.text, dropped)
    return _nodes(node.title, dropped).strip().removeprefix(":").replace("_", " ")


def _clean(text: str) -> str:
    text = _LEFTOVER.sub("", _QUOTES.sub("", text))
    text = "\n".join(_ITEM.sub("", line.strip()) for line in text.split("\n"))
    text = _HOLLOW_START.sub(r"\1", _HOLLOW.sub("", text))
    text = _SPACED.sub("", text)
    text = _SPACE_END.sub("\n", _BLANKS.sub(" ", text))
    return _EMPTY_LINES.sub("\n\n", text).strip()
