"""What stands beside the crawl: a wiki dump, books with their small print, submissions with links."""

import bz2
import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from pydoc_data.topics import topics
from xml.sax.saxutils import escape

import zstandard

from curate.reasons import Reason
from pipelines.demo.plants import phrases, shuffled
from pipelines.demo.prose import Kind, Piece, blocks, home
from pipelines.demo.site import chapter, wikitext
from pipelines.truth import Outcome, Plant

WIKI = "https://wiki.example/wiki/"
EBOOKS = "https://www.gutenberg.org/ebooks/"
BOOK = 700_000  # characters of text, at most
COLUMNS = 72


def data_sets() -> list[Piece]:
    """The descriptions of the data sets that scikit-learn carries."""
    found = sorted(home("sklearn.datasets.descr").glob("*.rst"))
    return [Piece(path.stem, title(path.stem), tuple(blocks(path.read_text("utf-8")))) for path in found]


def title(name: str) -> str:
    """A wiki title: words, the first one capitalised."""
    words = name.replace("_", " ").replace(".", " ").strip()
    return words[0].upper() + words[1:]


def wiki(articles: Sequence[Piece]) -> tuple[dict[str, bytes], list[Plant]]:
    """The dump and its truth: each piece an article; between them redirects, talk, category and template pages."""
    titles = [title(piece.title) for piece in articles]
    pages: list[tuple[str, int, str, str]] = []  # title, namespace, redirect target, text
    truth: list[Plant] = []
    for at, (name, piece) in enumerate(zip(titles, articles, strict=True)):
        text = wikitext(Piece(piece.name, name, piece.blocks), titles[at + 1 : at + 4])
        pages.append((name, 0, "", text))
        runs = (re.split(r"[^\w ]", block.text)[0] for block in piece.blocks if block.kind is Kind.paragraph)
        lead = next((run for run in runs if len(run) > 20), "").strip()  # without markup within
        truth.append(
            Plant(
                kind="wiki: article", outcome=Outcome.kept, url=url(name), source="wikipedia", contains=lead, lacks="{{"
            )
        )
        if at % 5 == 0:
            pages.append((f"{name} (module)", 0, name, f"#REDIRECT [[{name}]]\n\n{{{{R from alternative name}}}}"))
            truth.append(_wiki_drop("wiki: redirect", f"{name} (module)", Reason.redirect))
        if at % 7 == 0:
            pages.append((f"Talk:{name}", 1, "", f"== Sources ==\nWho can add a source to [[{name}]]? ~~~~"))
            truth.append(_wiki_drop("wiki: not an article", f"Talk:{name}", Reason.not_an_article))
    for name, number in (("Category:Modules", 14), ("Template:Reflist", 10)):
        pages.append((name, number, "", "A page for [[Help:Contents|editors]]."))
        truth.append(_wiki_drop("wiki: not an article", name, Reason.not_an_article))
    spaces = {0: "", 1: "Talk", 6: "File", 10: "Template", 12: "Help", 14: "Category"}
    out = [
        '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="en">',
        "  <siteinfo>\n    <sitename>Demo Wiki</sitename>\n    <dbname>demowiki</dbname>",
        f"    <base>{WIKI}Main_Page</base>",
        "    <generator>MediaWiki 1.43.0</generator>\n    <case>first-letter</case>\n    <namespaces>",
        *(f'      <namespace key="{key}" case="first-letter">{name}</namespace>' for key, name in spaces.items()),
        "    </namespaces>\n  </siteinfo>",
    ]
    for at, (name, space, target, text) in enumerate(pages, start=1):
        redirect = f'\n    <redirect title="{escape(target, QUOTE)}" />' if target else ""
        size = len(text.encode())
        out.append(
            f"  <page>\n    <title>{escape(name)}</title>\n    <ns>{space}</ns>\n    <id>{at}</id>{redirect}\n"
            f"    <revision>\n      <id>{at + 1000}</id>\n      <timestamp>2024-05-01T00:00:00Z</timestamp>\n"
            "      <contributor>\n        <username>Demo</username>\n        <id>1</id>\n      </contributor>\n"
            "      <model>wikitext</model>\n      <format>text/x-wiki</format>\n"
            f'      <text bytes="{size}" xml:space="preserve">{escape(text)}</text>\n    </revision>\n  </page>'
        )
    data = bz2.compress("\n".join([*out, "</mediawiki>", ""]).encode())
    return {"wikipedia/demo-pages-articles.xml.bz2": data}, truth


QUOTE = {'"': "&quot;"}


def url(name: str) -> str:
    """The address of a wiki page."""
    return WIKI + name.replace(" ", "_")


def _wiki_drop(kind: str, name: str, reason: Reason) -> Plant:
    return Plant(kind=kind, outcome=Outcome.dropped, url=url(name), source="wikipedia", reasons=(reason,))


def books(
    handbook: Sequence[Piece], leaves: Sequence[Piece], notices: Sequence[Piece]
) -> tuple[dict[str, bytes], list[Plant]]:
    """Four books as Project Gutenberg would publish them, of the language's topics and of the pieces."""
    reference = (f"{name.upper()}\n\n{text.strip()}" for name, text in sorted(topics.items()))
    shelf = {
        "The Language Reference": reference,
        "A Handbook of Statistical Routines": map(chapter, handbook),
        "Leaves from the Reference Shelf": map(chapter, leaves),
        "Licences and Notices": map(chapter, notices),
    }
    files = {f"books/{1001 + at}.txt": book(name, 1001 + at, texts) for at, (name, texts) in enumerate(shelf.items())}
    truth = [
        Plant(kind="book", outcome=Outcome.kept, url=EBOOKS + str(1001 + at), source="books", lacks="Gutenberg")
        for at in range(len(shelf))
    ]
    return files, truth


def book(name: str, number: int, chapters: Iterable[str]) -> bytes:
    """The chapters, up to the length of a book, between header and licence, with CRLF line ends."""
    body, size = [], 0
    for text in chapters:
        if size + len(text) < BOOK:
            body.append(text)
            size += len(text)
    marker = name.upper()
    terms = "\n\n".join(textwrap.fill(term, COLUMNS) for term in phrases()["book_terms"])
    text = "\n".join(
        [
            f"The Project Gutenberg eBook of {name}\n",
            "This ebook is for the use of anyone anywhere at no cost and with almost no",
            "restrictions whatsoever. You may copy it, give it away or re-use it under the",
            "terms of the licence included with this ebook.\n",
            f"Title: {name}\n\nAuthor: Various\n\nRelease date: May 1, 2024 [eBook #{number}]\n\nLanguage: English\n",
            "Credits: The demonstration proofreading team\n\n",
            f"*** START OF THE PROJECT GUTENBERG EBOOK {marker} ***\n\n",
            "[Transcriber's Note: Obvious printer's errors have been corrected. Lines",
            "were wrapped again.]\n\n",
            f"{marker}\n\n\n" + "\n\n\n\n".join(body) + "\n\n\n",
            f"*** END OF THE PROJECT GUTENBERG EBOOK {marker} ***\n\n",
            "Updated editions will replace the previous one.\n",
            "START: FULL LICENSE\n\nTHE FULL PROJECT GUTENBERG LICENSE\n",
            terms + "\n",
        ]
    )
    return text.replace("\n", "\r\n").encode()


def submissions(links: Sequence[tuple[str, int]], seed: int) -> tuple[dict[str, bytes], list[Plant]]:
    """A month of submissions: the crawl's links with their votes, and what must not count as a link.

    `links` are (URL, score). A link below three votes is a drop of its own; its page is judged without it.
    """
    rows: list[dict[str, object]] = []
    truth: list[Plant] = []

    def add(link: str, score: int, drop: Reason | None = None, **other: object) -> None:
        rows.append({"url": link, "score": score, **other})
        if drop is not None:
            kind = f"submission: {drop.replace('_', ' ')}"
            truth.append(Plant(kind=kind, outcome=Outcome.dropped, url=link, source="reddit", reasons=(drop,)))

    for link, score in links:
        add(link, score, Reason.low_karma if score < 3 else None)
    for link, score in [pair for pair in links if pair[1] >= 3][:12]:
        add(link, score - 1 if score > 3 else score, Reason.repeated_link)
    for number in range(15):
        thread = f"https://www.reddit.com/r/demo/comments/s{number}/"
        add(thread, 5 + number, Reason.self_post, is_self=True, selftext="What do you think?", domain="self.demo")
        add(f"https://nowhere.example/{number}", 1, Reason.low_karma)
        add(f"https://gone.example/{number}", 40)  # liked, but not in this crawl
    for number in range(8):
        add(f"https://adult.example/{number}", 50, Reason.over_18, over_18=True)
        add(f"https://en.wikipedia.org/wiki/Demo_{number}", 30, Reason.excluded_domain)
        add(f"ftp://files.example/{number}.zip", 9, Reason.unusable_url)
    lines = []
    for at, row in enumerate(shuffled(rows, seed, "submissions")):
        name = f"d{at:05x}"
        whole = {
            "id": name,
            "title": f"Worth reading ({at})",
            "author": f"user{at % 97}",
            "subreddit": ("programming", "science", "books", "todayilearned")[at % 4],
            "created_utc": 1_714_500_000 + 60 * at,
            "permalink": f"/r/demo/comments/{name}/",
            "num_comments": at % 31,
            "is_self": False,
            "over_18": False,
            "selftext": "",
            "domain": str(row["url"]).split("/")[2],
            **row,
        }
        lines.append(json.dumps(whole, ensure_ascii=False) + "\n")
    data = zstandard.ZstdCompressor(level=10).compress("".join(lines).encode())
    return {"reddit/RS_demo.zst": data}, truth
