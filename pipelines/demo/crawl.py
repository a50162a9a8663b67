"""The crawl: good pages on their hosts, everything that is planted among them, and the archives that hold both."""

import zlib
from dataclasses import dataclass, field, replace

from curate.errors import InputError
from curate.reasons import Reason
from pipelines.demo import archive, plants
from pipelines.demo.archive import Answer, Archive, Damage
from pipelines.demo.plants import phrases
from pipelines.demo.prose import Piece, alphabetic
from pipelines.demo.site import Host, address, page, plain_page, slug
from pipelines.truth import Outcome, Plant

HOSTS = (
    Host("library.example", "The Library Reader", 0),
    Host("arrays.example", "Array Notes", 1),
    Host("science.test", "Routines for Science", 2),
    Host("learning.test", "Learning from Data", 0),
    Host("packages.example", "Package News", 1),
)
MIRROR = Host("mirror.test", "A Mirror", 2)
SHOP = Host("bargains.example", "Bargains Every Day", 1)
SPAM = Host("cheap-deals.test", "Cheap Deals", 0)
WORLD = Host("world.example", "Letters from Everywhere", 0)
ARCHIVES = 3  # WARC files, besides the WET file
WET_PAGES = 40

# Any of the text rules may be the first to see what is wrong with a page.
RULES = tuple(list(Reason)[list(Reason).index(Reason.no_text) : list(Reason).index(Reason.low_quality)])
FOREIGN = (Reason.language_not_wanted, Reason.language_uncertain)


def is_good(piece: Piece) -> bool:
    """Whether the published rules for English web text should all pass the piece.

    Stricter than they are: running text prevails, and no character or word stands in it that a rule looks for.
    """
    text = piece.text.lower()
    lines, words = text.split("\n"), text.split()
    ended = sum(line.rstrip().endswith((".", "!", "?", '"')) for line in lines)
    brief = sum(len(line) <= 30 for line in lines)
    runs = [" ".join(words[at : at + 5]) for at in range(len(words) - 4)]
    return (
        len(piece.prose.split()) >= 110
        and not any(mark in text for mark in ("{", "}", "lorem ipsum", "javascript", "#", "...", "…"))
        and alphabetic(text) >= 0.83
        and ended >= 0.25 * len(lines)
        and brief <= 0.5 * len(lines)
        and len(set(runs)) >= 0.9 * len(runs)
        and len(set(lines)) == len(lines)
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer on its way into an archive, with what should become of it."""

    answer: Answer
    plant: Plant
    damage: Damage | None = None


@dataclass(slots=True)
class Crawl:
    """The crawl's pages. Each method plants one family and takes the good pages that it needs from the stock."""

    good: list[tuple[Host, Piece]]  # readers' editions, distinct
    ordinary: list[tuple[Host, Piece]]  # pages that no one vouches for
    seed: int
    entries: list[Entry] = field(default_factory=list)
    plants: list[Plant] = field(default_factory=list)  # of what has been written
    karma: list[str] = field(default_factory=list)  # pages that were linked, with votes enough
    unloved: list[str] = field(default_factory=list)  # pages that were linked, with too few
    _stock: list[tuple[Host, Piece]] = field(default_factory=list)
    _labels: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._stock = plants.shuffled(self.good, self.seed, "stock")
        for host, piece in self.good:
            self._labels.setdefault(host.name, []).append((host.url(address(piece)), piece.title))

    def plant(self, questions: list[str]) -> None:
        """All families. `questions` leak into good pages, one a page."""
        self._exact_duplicates()
        self._near_duplicates()
        self._similar()
        self._spam()
        self._hollow()
        self._foreign()
        self._advertisements()
        self._leaks(questions)
        self._charsets()
        self._transports()
        self._refusals()
        self._damaged()

    def _take(self, least: int = 0) -> tuple[Host, Piece]:
        """The next good piece of at least `least` words of prose."""
        for at, (_, piece) in enumerate(self._stock):
            if len(piece.prose.split()) >= least:
                return self._stock.pop(at)
        raise InputError(
            f"the packages installed here hold too few texts of {least} words for the demo: reinstall them"
        )

    def _html(self, host: Host, piece: Piece, head: str = "") -> str:
        labels = plants.shuffled(self._labels.get(host.name, []), self.seed, host.name, piece.name)[:12]
        return page(piece, host, labels, head)

    def _answer(self, host: Host, piece: Piece) -> Answer:
        return Answer(url=host.url(address(piece)), body=self._html(host, piece).encode())

    def _add(
        self,
        kind: str,
        outcome: Outcome,
        answer: Answer,
        damage: Damage | None = None,
        *,
        reasons: tuple[str, ...] = (),
        cluster: tuple[str, str] = ("", ""),  # its name, and the URL that must survive
        linked: bool = False,  # whether a submission with votes enough links to it
        **told: str,
    ) -> None:
        name, survivor = cluster
        self.karma += [answer.url] if linked else []
        source = "webtext" if linked else "crawl"
        plant = Plant(kind=kind, outcome=outcome, url=answer.url, source=source, reasons=reasons)
        plant = replace(plant, cluster=name, survivor=survivor)
        self.entries.append(Entry(answer, replace(plant, **told), damage))  # type: ignore[arg-type]

    # The quality model judges what nobody linked. So most of what later stages should find is linked.

    def _exact_duplicates(self) -> None:
        for number in range(20):
            host, piece = self._take()
            copies = {MIRROR.url(f"copy-{copy}/{address(piece)}"): piece for copy in range(1 + number % 3)}
            self._cluster(f"exact-{number}", "exact duplicate", host, piece, copies, all_linked=number < 10)

    def _near_duplicates(self) -> None:
        """Revisions with 2 to 4% of the words replaced; together they stay within 0.8 of each other."""
        for number in range(30):
            host, piece = self._take(300)
            copies = {
                MIRROR.url(f"revision-{copy}/{address(piece)}"): plants.edited(
                    piece, 0.02 + 0.01 * copy, self.seed, "near", number, copy
                )
                for copy in range(2 + number % 2)
            }
            self._cluster(f"near-{number}", "near duplicate", host, piece, copies, all_linked=number < 18)

    def _cluster(
        self, name: str, kind: str, host: Host, piece: Piece, copies: dict[str, Piece], *, all_linked: bool
    ) -> None:
        """A page and its copies. Where not all of them are linked the original is, and must be what survives."""
        original = self._answer(host, piece)
        cluster = name, "" if all_linked else original.url
        self._add(kind, Outcome.duplicate, original, cluster=cluster, linked=True)
        for url, copy in copies.items():
            answer = Answer(url=url, body=self._html(host, copy).encode())
            self._add(kind, Outcome.duplicate, answer, cluster=cluster, linked=all_linked)

    def _similar(self) -> None:
        """Pages that share the first half of their texts: too different to remove."""
        for _ in range(12):
            (host, piece), (_, other) = self._take(300), self._take()
            url = MIRROR.url(f"quoted/{address(piece)}")
            quoting = plants.half_and_half(piece, other)
            for answer in (self._answer(host, piece), Answer(url=url, body=self._html(host, quoting).encode())):
                self._add("similar, no duplicate", Outcome.kept, answer, linked=True)

    def _spam(self) -> None:
        for number in range(15):
            for kind, body in (
                ("spam: keywords", page(plants.stuffed(number, self.seed), SPAM)),
                ("spam: repeated phrases", page(plants.shouted(number), SPAM)),
                ("spam: links", plants.link_farm(number, self.seed)),
            ):
                answer = Answer(url=SPAM.url(f"{slug(kind)}-{number}"), body=body.encode())
                self._add(kind, Outcome.dropped, answer, reasons=RULES)
        for _ in range(8):
            host, piece = self._take()
            spoilt = plants.with_paragraph(piece, phrases()["lorem"], len(piece.blocks) // 2)
            self._add("lorem ipsum", Outcome.dropped, self._answer(host, spoilt), reasons=(Reason.lorem_ipsum,))

    def _hollow(self) -> None:
        """Pages without an article: a log-in form, a notice."""
        for number in range(40):
            host = HOSTS[number % len(HOSTS)]
            answer = Answer(url=host.url(f"login/{number}"), body=plants.hollow(host, number).encode())
            self._add("boilerplate only", Outcome.dropped, answer, reasons=(*RULES, *FOREIGN))
            answer = Answer(url=host.url(f"notice/{number}"), body=page(plants.short(number), host).encode())
            self._add("too short", Outcome.dropped, answer, reasons=(*RULES, *FOREIGN))

    def _foreign(self) -> None:
        for code in phrases()["languages"]:
            for number in range(6):
                body = page(plants.foreign(code, number, self.seed), WORLD).encode()
                answer = Answer(url=WORLD.url(f"{code}/{number}"), body=body)
                self._add("other language", Outcome.dropped, answer, reasons=FOREIGN)

    def _advertisements(self) -> None:
        """What no rule sees: each sentence is fluent, the text has no sense. The quality model's part."""
        for number in range(160):
            body = page(plants.advertisement(number, self.seed), SHOP).encode()
            answer = Answer(url=SHOP.url(f"offer-{number}"), body=body)
            self._add("advertisement", Outcome.dropped, answer, reasons=(*RULES, Reason.low_quality))

    def _leaks(self, questions: list[str]) -> None:
        for number, question in enumerate(questions):
            host, piece = self._take(300)
            quoted = plants.question_paragraph(question, number)
            leaked = plants.with_paragraph(piece, quoted, len(piece.blocks) // 2)
            self._add("benchmark leak", Outcome.cut, self._answer(host, leaked), linked=True, lacks=question)

    def _charsets(self) -> None:
        """Names with accents, sent in charsets that the header hides or misstates; they must come through unharmed."""
        html, latin, windows = "text/html", "iso-8859-1", "windows-1252"
        meta = '<meta charset="utf-8">'
        quotes = phrases()["quotes"]
        for accents in phrases()["accents"]:
            for kind, text, charset, content_type, head in (
                ("latin-1, unsaid", accents, latin, html, ""),
                ("latin-1, said", accents, latin, f"{html}; charset={latin}", ""),
                ("utf-8, unsaid", accents, "utf-8", html, ""),
                ("utf-8, said to be latin-1", accents, "utf-8", f"{html}; charset={latin}", meta),
                ("windows-1252, unsaid", quotes, windows, html, ""),
                ("utf-16 with mark", accents, "utf-16", html, ""),
            ):
                host, piece = self._take(200)
                body = self._html(host, plants.with_paragraph(piece, text, 1), head).encode(
                    charset, "xmlcharrefreplace"
                )
                answer = Answer(url=host.url(address(piece)), body=body, content_type=content_type)
                self._add(f"charset: {kind}", Outcome.kept, answer, linked=True, contains=text)

    def _transports(self) -> None:
        """Bodies as some crawlers store them: still compressed, still in chunks, with a length that is wrong."""
        for _ in range(3):
            for kind, headers in (
                ("gzip", {"Content-Encoding": "gzip"}),
                ("chunked", {"Transfer-Encoding": "chunked"}),
                ("wrong length", {"Content-Length": "17"}),
            ):
                answer = self._answer(*self._take())
                body = answer.body
                if kind == "gzip":
                    body = archive.gzip_member(body)
                elif kind == "chunked":
                    cuts = range(0, len(body), 4000)
                    body = b"".join(b"%x\r\n%b\r\n" % (len(body[at : at + 4000]), body[at : at + 4000]) for at in cuts)
                    body += b"0\r\n\r\n"
                response = replace(answer, body=body, headers=headers)
                self._add(f"transport: {kind}", Outcome.kept, response, linked=True)

    def _refusals(self) -> None:
        """Answers without a page."""
        lost = (
            b"<html><head><title>Not found</title></head><body><h1>Not found</h1><p>Nothing is here.</p></body></html>"
        )
        png = b"\x89PNG\r\n\x1a\n" + zlib.compress(bytes(4096))
        for kind, count, reason, status, content_type, body in (
            ("not found", 8, Reason.not_success, "404 Not Found", "text/html", lost),
            ("moved", 5, Reason.not_success, "301 Moved Permanently", "text/html", lost),
            ("server error", 2, Reason.not_success, "503 Service Unavailable", "text/html", lost),
            ("image", 6, Reason.not_text, "200 OK", "image/png", png),
            ("empty page", 3, Reason.empty_page, "200 OK", "text/html", b""),
        ):
            for number in range(count):
                host = HOSTS[number % len(HOSTS)]
                headers = {"Location": host.url("")} if kind == "moved" else {}
                url = host.url(f"{slug(kind)}/{number}")
                answer = Answer(url=url, body=body, status=status, content_type=content_type, headers=headers)
                self._add(kind, Outcome.dropped, answer, reasons=(reason,))

    def _damaged(self) -> None:
        for kind, damage in (
            ("corrupt member", archive.corrupt),
            ("bad record header", archive.bad_version),
            ("corrupt member", archive.corrupt),
            ("bad record header", archive.bad_version),
            ("wrong record length", archive.too_long),
        ):
            self._add(f"damage: {kind}", Outcome.error, self._answer(*self._take()), damage)

    def _rest(self) -> None:
        """The stock that is left, two pages of three linked, and the pages that no one vouches for."""
        for number, (host, piece) in enumerate(self._stock):
            answer = self._answer(host, piece)
            linked = number % 3 > 0
            self.unloved += [answer.url] if not linked and number % 2 == 0 else []
            self._add("linked page" if linked else "good page", Outcome.kept, answer, linked=linked)
        for host, piece in self.ordinary:
            self._add("ordinary page", Outcome.anywhere, self._answer(host, piece))

    def files(self) -> dict[str, bytes]:
        """The archives by name, the last one damaged; `plants` then says what should become of each record."""
        wet = [self._take() for _ in range(WET_PAGES)]
        last = Entry(
            self._answer(*self._take()), Plant(kind="damage: cut off", outcome=Outcome.error), archive.truncate
        )
        self._rest()
        whole = plants.shuffled([entry for entry in self.entries if not entry.damage], self.seed, "order")
        parts = [whole[at::ARCHIVES] for at in range(ARCHIVES)]
        hurt = parts[-1] + [entry for entry in self.entries if entry.damage]
        parts[-1] = [*plants.shuffled(hurt, self.seed, "order"), last]
        files = dict(self._warc(f"demo-{at:05}.warc.gz", part) for at, part in enumerate(parts))
        name, data = self._wet("demo-00000.warc.wet.gz", wet)
        return {f"crawl/{name}": data for name, data in [*files.items(), (name, data)]}

    def _warc(self, name: str, entries: list[Entry]) -> tuple[str, bytes]:
        file = Archive(name)
        file.info("http://bibnum.bnf.fr/WARC/WARC_ISO_28500_version1_latestdraft.pdf")
        for entry in entries:
            start, stop = file.page(entry.answer, entry.damage)
            place = {"file": name, "start": start, "stop": stop, "url": ""} if entry.damage else {}
            self.plants.append(replace(entry.plant, **place))  # type: ignore[arg-type]
        return name, file.data

    def _wet(self, name: str, pages: list[tuple[Host, Piece]]) -> tuple[str, bytes]:
        file = Archive(name)
        file.info("http://bibnum.bnf.fr/WARC/WARC_ISO_28500_version1_latestdraft.pdf")
        for host, piece in pages:
            url = host.url(f"text/{address(piece)}")
            headers = {"WARC-Target-URI": url, "Content-Type": "text/plain"}
            file.record("conversion", plain_page(piece, host).encode(), headers)
            self.plants.append(Plant(kind="page in WET", outcome=Outcome.kept, url=url))
        return name, file.data

    def links(self) -> list[tuple[str, int]]:
        """(URL, votes) of each page of the crawl that someone submitted; three votes are enough."""
        liked = [(url, 3 + len(url) % 40) for url in self.karma]
        return liked + [(url, number % 3) for number, url in enumerate(self.unloved)]
