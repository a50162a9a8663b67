"""Which rules a page of a block meets: by its URL, and by its language."""

import dataclasses

import pytest

from curate.blocklist import BlockList
from curate.dedup.minhash import MinHash
from curate.document import Page
from curate.filters.c4 import C4
from curate.filters.gopher import Gopher
from curate.filters.papers import Filters
from curate.ingest import Entry, Ingest, Outcome, Rules
from curate.language import Language
from curate.reasons import Reason

ENGLISH = (
    "The river rose in the night and took the lower bridge with it, so the children of the valley walked to school "
    "over the hill. Nobody complained. Their teacher had told them that a longer road gives a longer story. By the "
    "time they arrived each of them had one to tell. She wrote the best on the board. Then they all went home again."
)
GERMAN = (
    "Der Fluss stieg in der Nacht und riss die untere Brücke mit sich, also gingen die Kinder des Tals über den Hügel "
    "zur Schule. Niemand beklagte sich. Ihr Lehrer hatte ihnen gesagt, dass ein längerer Weg eine längere Geschichte "
    "ergibt. Als sie ankamen, hatte jedes von ihnen eine zu erzählen. Sie schrieb die beste an die Tafel. Dann gingen "
    "alle wieder nach Hause und aßen zu Abend, wie es sich gehört."
)
CITED = ENGLISH + " So it is said[1] by all."
TALK = Filters(gopher=Gopher(stop_words=("der", "die", "und", "nicht")), c4=C4(min_sentences=4), fineweb=None)


def run(filters: Filters, *texts: str, settings: Ingest | None = None) -> Outcome:
    settings = settings or Ingest(language=Language(wanted=("en", "de")))
    rules = Rules.load(settings, filters, MinHash(), 0)
    pages = [Page(i, text.encode(), f"http://site{i}.example/", "", "text/plain") for i, text in enumerate(texts)]
    return rules.ingest_block([Entry(f"{i:032x}", "crawl", "a.warc", page) for i, page in enumerate(pages)])


def fates(outcome: Outcome) -> dict[int, Reason | None]:
    return {int(fate.entry.id, 16): fate.reason for fate in outcome.fates}


def test_each_language_has_its_rules() -> None:
    texts = [
        GERMAN,
        ENGLISH,
        GERMAN.replace("und", "oder").replace("ie", "i"),
        "Das ist ein kurzer deutscher Satz, aber mehr ist es nicht.",
        GERMAN + " So.\nAh.",
    ]
    english = fates(run(Filters(), *texts))
    assert english[0] == english[4] == Reason.too_few_stop_words
    assert 1 not in english
    outcome = run(Filters(languages={"de": TALK}), *texts)
    assert fates(outcome) == {2: Reason.too_few_stop_words, 3: Reason.too_few_words}
    assert outcome.documents["text"].to_pylist() == [GERMAN, ENGLISH, GERMAN + " So."]
    assert outcome.documents["url"].to_pylist() == [f"http://site{i}.example/" for i in (0, 1, 4)]
    assert outcome.counts["cut_lines_too_few_words"] == 1


def test_a_page_by_itself_and_in_its_block() -> None:
    texts = [
        GERMAN,
        ENGLISH,
        "Das ist ein kurzer deutscher Satz, aber mehr ist es nicht.",
        ENGLISH + " {",
        GERMAN,
        "The and of. " * 30,
        GERMAN + "\nAch so!",
    ]
    filters = Filters(languages={"de": TALK})
    together = run(filters, *texts)
    for i, text in enumerate(texts):
        alone = run(filters, text)
        assert fates(alone).get(0) == fates(together).get(i)
        if alone.documents.num_rows:
            row = together.documents["url"].to_pylist().index(f"http://site{i}.example/")
            assert together.documents["text"][row] == alone.documents["text"][0]
            assert together.documents["words"][row] == alone.documents["words"][0]
            assert together.signatures.slice(row, 1).equals(alone.signatures)


def test_languages_do_not_nest() -> None:
    with pytest.raises(ValueError, match="languages of its own"):
        Filters(languages={"de": dataclasses.replace(TALK, languages={"fr": TALK})})


def test_citations_go_where_it_is_asked() -> None:
    assert run(Filters(), CITED).documents["text"].to_pylist() == [CITED]
    outcome = run(Filters(c4=C4(cuts_citations=True)), CITED, ENGLISH)
    assert outcome.documents["text"].to_pylist() == [CITED.replace("[1]", ""), ENGLISH]


def test_blocked_urls_say_why() -> None:
    settings = Ingest(urls=BlockList(domains=("site0.example",), words=("site2",)))
    outcome = run(Filters(), ENGLISH, ENGLISH, ENGLISH, settings=settings)
    assert [(fate.reason, fate.detail) for fate in outcome.fates] == [
        (Reason.blocked_url, "domains: site0.example"),
        (Reason.blocked_url, "word: site2"),
    ]
    assert outcome.documents["url"].to_pylist() == ["http://site1.example/"]
