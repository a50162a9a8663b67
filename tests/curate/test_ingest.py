"""A block of pages to documents: what the columns hold."""

from curate import ingest
from curate.dedup.minhash import MinHash
from curate.document import DOCUMENTS, Page
from curate.ingest import Entry, Ingest, Rules

STORY = "This is a sentence of the story, long enough to be taken for prose by anyone who reads it. " * 9
MARKUP = (
    '<html lang="en-GB"><head><title>A tale | example.com</title><meta name=author content="A. Writer">'
    '<meta property="article:published_time" content="2020-01-02T03:04:05Z"><link rel=canonical href="/tale">'
    f"</head><body><h1>A tale</h1><p>{STORY}</p></body></html>"
)


def documents(*pages: Page) -> list[dict[str, object]]:
    rules = Rules.load(Ingest(), None, MinHash(), 0)
    outcome = rules.ingest_block([Entry(f"{i:032x}", "crawl", "a.warc", page) for i, page in enumerate(pages)])
    assert outcome.fates == []
    assert outcome.documents.schema == DOCUMENTS
    rows: list[dict[str, object]] = outcome.documents.to_pylist()
    return rows


def test_what_a_page_says_of_itself() -> None:
    (row,) = documents(Page(7, MARKUP.encode(), "https://example.com/t?x=1", "2024-05-06T00:00:00Z", "text/html"))
    assert (row["title"], row["author"]) == ("A tale", "A. Writer")
    assert (row["date"], row["published"]) == ("2024-05-06T00:00:00Z", "2020-01-02T03:04:05+00:00")
    assert (row["language"], row["declared_language"]) == ("en", "en-GB")
    assert row["canonical_url"] == "https://example.com/tale"


def test_what_the_source_knows_goes_first() -> None:
    book = Page(0, STORY.encode(), "", "", "text/plain", "A book", "N. N.")
    markup = Page(1, MARKUP.encode(), "", "", "text/html", "Another")
    plain, page = documents(book, markup)
    assert (plain["title"], plain["author"], plain["published"], plain["canonical_url"]) == ("A book", "N. N.", "", "")
    assert (page["title"], page["author"]) == ("Another", "A. Writer")


def test_columns_are_named() -> None:
    assert set(ingest.EXTRACTED_AS) <= set(DOCUMENTS.names)
