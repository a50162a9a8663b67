"""Pieces of text as web pages, plain text, wikitext and book chapters.

A page carries what real pages carry around their text: menus, side bars, a cookie notice, share links, a footer. Hosts
differ in their templates, and a template is the same on all pages of its host.
"""

import html
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.demo.prose import CODE_SPAN, LINK, Block, Kind, Piece, plain


@dataclass(frozen=True, slots=True)
class Host:
    """A web site: its host name, the name on its pages, and the template (0, 1 or 2) they share."""

    name: str
    title: str
    template: int

    def url(self, path: str) -> str:
        return f"https://{self.name}/{path}"


MENU = ("Home", "Documentation", "Articles", "Downloads", "Community", "About us", "Contact", "Sign in")
SHARE = ("Share on social media", "Send by e-mail", "Print this page", "Save for later")
COOKIES = (
    "We use cookies to make this site work and to measure how it is used. By continuing you accept our cookie policy.",
    "This website stores cookies on your computer. Accept all. Reject all. Manage preferences.",
    "Your privacy matters to us. We and our partners store information on your device. Read our privacy policy.",
)
FOOTERS = (
    "All rights reserved. Terms of use. Privacy policy. Cookie policy. Imprint. Accessibility. Site map.",
    "Powered by a very small engine. Terms of service apply. Report a problem with this page.",
    "Subscribe to our newsletter. Follow us. Legal notice. Advertise with us. Careers. Press.",
)


def page(piece: Piece, host: Host, links: Sequence[tuple[str, str]] = (), head: str = "") -> str:
    """The page of the piece on the host; `links` are (address, label) for the side bar, `head` goes into <head>."""
    menu = "".join(f'<li><a href="/{label.lower().replace(" ", "-")}">{label}</a></li>' for label in MENU)
    side = "".join(f'<li><a href="{html.escape(url)}">{html.escape(label)}</a></li>' for url, label in links)
    share = "".join(f'<a class="share" href="#{at}">{label}</a> ' for at, label in enumerate(SHARE))
    title, body = html.escape(piece.title), hypertext(piece.blocks)
    cookies, footer = COOKIES[host.template], FOOTERS[host.template]
    top = (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}\n<title>{title} | {host.title}</title>\n'
        '<meta name="viewport" content="width=device-width">\n<link rel="stylesheet" href="/site.css">\n'
        "<script>window.site = window.site || []; site.push(['page', 'view']);</script>\n</head>\n"
    )
    if host.template == 0:
        return (
            f'{top}<body>\n<div id="cookie-banner" class="cookie-consent"><p>{cookies}</p></div>\n'
            f'<header class="site-header"><nav><ul>{menu}</ul></nav></header>\n'
            f'<main><article>\n<h1>{title}</h1>\n<div class="share-bar">{share}</div>\n{body}\n</article></main>\n'
            f'<aside class="sidebar"><h3>Related pages</h3><ul>{side}</ul></aside>\n'
            f'<footer class="site-footer"><p>© 2024 {host.title}. {footer}</p></footer>\n</body>\n</html>\n'
        )
    if host.template == 1:
        return (
            f'{top}<body class="wide">\n<div class="navbar"><ul>{menu}</ul></div>\n<div class="container">\n'
            f'<div class="sidebar" role="navigation"><h4>On this site</h4><ul>{side}</ul></div>\n'
            f'<div class="content post-content" id="content">\n<h1 class="entry-title">{title}</h1>\n{body}\n</div>\n'
            f'</div>\n<div class="footer" id="footer"><p>{share}</p><p>{host.title}. {footer}</p></div>\n'
            f'<div class="gdpr-notice"><p>{cookies}</p></div>\n</body>\n</html>\n'
        )
    return (
        f'{top}<body>\n<table class="layout"><tr><td colspan="2" class="banner"><b>{host.title}</b> '
        f'<ul class="nav">{menu}</ul></td></tr>\n<tr><td class="left"><div class="nav"><ul>{side}</ul></div></td>\n'
        f'<td class="main"><h1>{title}</h1>\n<div class="article-body">\n{body}\n</div></td></tr>\n'
        f'<tr><td colspan="2" class="footer"><div class="footer">{footer} {share}</div></td></tr></table>\n'
        f'<div class="cookie-notice">{cookies}</div>\n</body>\n</html>\n'
    )


def hypertext(blocks: Sequence[Block]) -> str:
    """The blocks as HTML, runs of items in one list."""
    out: list[str] = []
    for at, block in enumerate(blocks):
        text = _anchors(html.escape(block.text, quote=False))
        before = blocks[at - 1].kind if at else None
        after = blocks[at + 1].kind if at + 1 < len(blocks) else None
        if block.kind is Kind.heading:
            out.append(f"<h2>{text}</h2>")
        elif block.kind is Kind.code:
            out.append(f"<pre><code>{html.escape(block.text, quote=False)}</code></pre>")
        elif block.kind is Kind.item:
            out.append(("" if before is Kind.item else "<ul>\n") + f"<li>{text}</li>")
            if after is not Kind.item:
                out.append("</ul>")
        else:
            out.append(f"<p>{text}</p>")
    return "\n".join(out)


def _anchors(text: str) -> str:
    return CODE_SPAN.sub(r"<code>\1</code>", LINK.sub(r'<a href="\2">\1</a>', text))


def plain_page(piece: Piece, host: Host) -> str:
    """The page as Common Crawl's WET files hold it: all visible text, menus and footer too, a line for each element."""
    lines = [*MENU, piece.title, *(plain(block.text) for block in piece.blocks)]
    return "\n".join([*lines, f"© 2024 {host.title}. {FOOTERS[host.template]}", *SHARE])


def wikitext(piece: Piece, see_also: Sequence[str]) -> str:
    """The piece as a wiki article: an infobox, a table, references, links, categories."""
    lead = next((plain(block.text) for block in piece.blocks if block.kind is Kind.paragraph), "")
    out = [
        "{{Short description|Article of a demonstration wiki}}",
        f"{{{{Infobox software\n| name = {piece.title}\n| module = {{{{code|{piece.name}}}}}\n| licence = Free\n}}}}",
        "[[File:Diagram.svg|thumb|right|A diagram of the [[module]]]]",
    ]
    for at, block in enumerate(piece.blocks):
        text = LINK.sub(r"[\2 \1]", CODE_SPAN.sub(r"<code>\1</code>", block.text.replace("<", "&lt;")))
        if block.kind is Kind.heading:
            out.append(f"== {text} ==")
        elif block.kind is Kind.code:
            out.append(f'<syntaxhighlight lang="python">\n{block.text}\n</syntaxhighlight>')
        elif block.kind is Kind.item:
            out.append(f"* {text}")
        else:
            note = f'<ref name="r{at}">{{{{cite web |title={piece.title} |year=2024}}}}</ref>' if at % 4 == 0 else ""
            out.append(f"{text.replace(lead[:40], chr(39) * 3 + lead[:40] + chr(39) * 3) if at == 0 else text}{note}\n")
    out.append('{| class="wikitable"\n! Name !! Value\n|-\n| Module || ' + piece.name + "\n|}")
    out += ["== See also ==", *(f"* [[{title}]]" for title in see_also), "== References ==", "{{reflist}}"]
    return "\n".join([*out, "[[Category:Software]]", f"[[Category:Modules|{piece.title}]]"])


def chapter(piece: Piece) -> str:
    """The piece as a chapter of a plain-text book, wrapped at 72 columns."""
    out = [piece.title.upper(), ""]
    for block in piece.blocks:
        if block.kind is Kind.code:
            out += [textwrap.indent(block.text, "    "), ""]
        else:
            out += [textwrap.fill(plain(block.text), 72, break_long_words=False, break_on_hyphens=False), ""]
    return "\n".join(out)


def slug(text: str) -> str:
    """The text as a part of an address."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def address(piece: Piece) -> str:
    """The part of a page's address that names the piece; case tells a class from a function."""
    return f"{piece.name}.html"
