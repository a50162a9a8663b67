"""Wikipedia dumps: which pages are articles, markup to text, damage, and gold abstracts."""

import bz2
import gzip
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.document import Dropped, Failed, Page, Record
from curate.sources import wikipedia, wikitext
from curate.sources.wikipedia import Wikipedia

HEAD = """<mediawiki xml:lang="de"><siteinfo><base>http://de.wikipedia.org/wiki/Wikipedia:Hauptseite</base>
<namespaces><namespace key="-2">Medium</namespace><namespace key="0" /><namespace key="1">Diskussion</namespace>
<namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace></namespaces></siteinfo>"""


def entry(title: str, text: str, ns: str = "<ns>0</ns>", extra: str = "") -> str:
    return (
        f"<page><title>{title}</title>{ns}<id>1</id>{extra}<revision><timestamp>2016-01-01T00:00:00Z</timestamp>"
        f'<comment>c</comment><text xml:space="preserve">{text}</text></revision></page>\n'
    )


PAGES = [
    entry("Ä b?", "Eins &amp; zwei."),
    entry("Diskussion:A", "x", "<ns>1</ns>"),
    entry("R", "#WEITERLEITUNG [[A]]", extra='<redirect title="A" />'),
    entry("Leer", "{{Infobox}}"),
    entry("Ende", "Drei."),
]
DUMP = (HEAD + "".join(PAGES) + "</mediawiki>").encode()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Record]]:
    def read_bytes(data: bytes, config: Wikipedia = wikipedia.DEFAULT) -> list[Record]:
        path = tmp_path / "dump.xml"
        path.write_bytes(data)
        return list(wikipedia.read(str(path), config))

    return read_bytes


def told(records: list[Record]) -> list[str]:
    return [
        r.body.decode() if isinstance(r, Page) else r.reason if isinstance(r, Dropped) else "failed" for r in records
    ]


FATES = ["Eins & zwei.", "not_an_article", "redirect", "empty_page", "Drei."]


def test_each_page_ends_in_one_place(read: Callable[..., list[Record]]) -> None:
    found = read(DUMP)
    assert told(found) == FATES
    assert found[0] == Page(
        DUMP.index(b"<page>"),
        b"Eins & zwei.",
        "https://de.wikipedia.org/wiki/%C3%84_b%3F",
        "2016-01-01T00:00:00Z",
        "text/plain",
        "Ä b?",
    )
    assert [DUMP[r.offset :][:6] for r in found] == [b"<page>"] * 5


def test_of_a_history_the_last_revision_is_taken(read: Callable[..., list[Record]]) -> None:
    history = entry("A", "old").replace("</page>", "<revision><text>new</text></revision></page>")
    assert told(read((HEAD + history + "</mediawiki>").encode())) == ["new"]


def test_dumps_without_ns_and_redirect_elements(read: Callable[..., list[Record]]) -> None:
    old = HEAD + entry("Diskussion:A", "x", "") + entry("A: b", "y", "") + entry("R", "#REDIRECT [[A]]", "")
    assert told(read((old + "</mediawiki>").encode())) == ["not_an_article", "y", "redirect"]


def test_too_long(read: Callable[..., list[Record]]) -> None:
    assert told(read(DUMP, Wikipedia(max_chars=8)))[0] == "too_large"


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        bz2.compress,
        lambda data: b"".join(bz2.compress(data[i : i + 300]) for i in range(0, len(data), 300)),
        lambda data: data.decode().encode("utf-16"),
    ],
    ids=["gzip", "bzip2", "multistream", "utf-16"],
)
def test_containers(read: Callable[..., list[Record]], pack: Callable[[bytes], bytes]) -> None:
    assert told(read(pack(DUMP))) == FATES


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ["failed"]),
        (DUMP[:-40], [*FATES[:4], "failed"]),
        (DUMP.replace(b"<page><title>Leer", b"<page><<title>Leer"), [*FATES[:3], "failed"]),
        (gzip.compress(DUMP)[:-60], None),
        (bz2.compress(DUMP[:700]) + bz2.compress(DUMP[700:])[:-9], None),
    ],
)
def test_pages_before_damage_come_through(
    read: Callable[..., list[Record]], data: bytes, expected: list[str] | None
) -> None:
    found = told(read(data))
    assert found[-1] == "failed"
    assert found.count("failed") == 1
    assert found == expected if expected else found[:-1] == FATES[: len(found) - 1]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("'''A''' and ''b'' and '''''c'''''", "A and b and c"),
        ("[[A]] [[A|b]] [[A b#c|d]]s [[:Category:X]]", "A b ds Category:X"),
        ("a [http://x.example b c] [http://x.example] http://y.example", "a b c http://y.example"),
        ("a{{t|{{u}}|[[x]]}}b {{unclosed", "ab unclosed"),
        ("a <!-- b --> c<ref>d</ref><ref name=x /> e<ref name='y'>{{cite}}</ref>.", "a c e."),
        ("a <math>x^2</math> b <gallery>\nFile:x.jpg\n</gallery>", "a b"),
        ("a\n{| class=x\n|-\n| b {{!}}\n{| \n| nested\n|}\n|}\nc", "a\n\nc"),
        ("a\n| b = c\n|-\nd", "a\n\nd"),
        ("[[File:x.jpg|thumb|a [[b]] c]]d [[Datei:y.png|e]] [[Bild:z.svg]]", "d"),
        ("a\n[[Category:X]]\n[[Kategorie:Y|z]]\n[[fr:Z]]", "a"),
        ("* a\n** [[b]]\n# c\n; d\n: e", "a\nb\nc\nd\ne"),
        ("a\n== B ==\nc\n=== D ===\ne", "a\n\nB\n\nc\n\nD\n\ne"),
        ("a\n== B ==\n=== C ===\n== D ==\ne", "a\n\nD\n\ne"),
        ("a\n== References ==\nx\n=== y ===\nz\n== B ==\nc", "a\n\nB\n\nc"),
        ("a\n== Weblinks ==\n* [http://x.example b] (englisch)\n* {{d}}\n[[Kategorie:Y]]", "a"),
        ("a\n== Siehe auch ==\n* [[b]]\n* [[c]] ff.\n== Literatur ==\n* D: E. F, G 1999, ISBN 3-1", "a"),
        (
            "a\n== B ==\n* [[c]], who did this and that in the year of d",
            "a\n\nB\n\nc, who did this and that in the year of d",
        ),
        ("__NOTOC__a &nbsp;b &lt;c", "a b <c"),
        ("W ({{zh|x}}; born 1), V ({{IPA|x}}, {{y}}) u", "W (born 1), V u"),
        ("{{lang|fr|la {{nowrap|vie}}}} {{lang-de|das}} {{convert|5|km|mi}} a{{ndash}}b", "la vie das 5 km a–b"),
        ("a<br>b <nowiki>[[c]]</nowiki> <small>d</small>", "a\nb c d"),
        ("a ASD {{x}}, b ( {{x}} c).", "a ASD, b (c)."),
    ],
)
def test_markup(markup: str, text: str) -> None:
    assert wikitext.plain(markup, {6: "Datei", 14: "Kategorie"}) == text


def test_sections_may_be_named() -> None:
    markup = "a\n== Einzelnachweise ==\nprose of a kind\n== References ==\nb"
    assert wikitext.plain(markup, sections=("Einzelnachweise",)) == "a\n\nReferences\n\nb"


def test_plain_text_stays() -> None:
    text = "A line.\n\nAnother; with (brackets), a {brace} and 5 < 6."
    assert wikitext.plain(text) == text


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text.lower()))


@pytest.mark.data("wikipedia")
def test_gold_abstracts(data_dir: Path) -> None:
    """Ratchet: the share of the words of DBpedia's gold abstracts that are in our text. May rise, not fall."""
    gold, found = 0, 0
    for path in sorted((data_dir / "wikipedia" / "dbpedia").glob("*-gold.txt")):
        wanted = words(path.read_text())
        ours = words(wikitext.plain(Path(str(path).replace("-gold.txt", ".wiki")).read_text()))
        gold += wanted.total()
        found += (wanted & ours).total()
    assert found / gold >= 0.998


@pytest.mark.data("wikipedia")
@pytest.mark.parametrize(
    ("name", "pages", "total"),
    [
        ("dumpster-dive/smallwiki-latest-pages-articles.xml", 885, 2004),
        ("gensim/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2", 106, 206),
        ("gensim/bgwiki-latest-pages-articles-shortened.xml.bz2", 1, 3),
        ("wikidump-rs/simplewiki.xml.bz2", 6, 7),
    ],
)
def test_real_dumps(data_dir: Path, name: str, pages: int, total: int) -> None:
    found = list(wikipedia.read(str(data_dir / "wikipedia" / name)))
    assert (sum(isinstance(r, Page) for r in found), len(found)) == (pages, total)
    assert not any(isinstance(r, Failed) for r in found)
    marks = sum(len(re.findall(rb"\{\{|\}\}|\[\[|\]\]|</?ref", r.body)) for r in found if isinstance(r, Page))
    assert marks <= 2


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="max_chars is 0"):
        Wikipedia(max_chars=0)
