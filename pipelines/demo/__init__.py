"""A small real corpus, built at run time from text that the installation holds, with a planted truth.

`build` writes a crawl, a wiki dump, books, submissions and a benchmark, and `truth.json`, which says of each page
and of each damaged record what should become of it (see `pipelines.truth`). The same environment gives the same bytes.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from curate import storage
from pipelines.demo import crawl, library, plants
from pipelines.demo.prose import Piece, descriptions, licences, pieces, reading
from pipelines.demo.site import Host
from pipelines.truth import Truth

LEAST = 1000  # characters of docstring that make a page
MOST = 30_000  # characters of text on a page
OVERLAP = 0.4  # of a text's shingles that may stand in texts chosen before it

# Packages whose docstrings become the pages of a host; the project needs each of them, so each is there.
PAGES = {
    crawl.HOSTS[0]: ("stdlib",),
    crawl.HOSTS[1]: ("numpy",),
    crawl.HOSTS[2]: (
        *("scipy.optimize", "scipy.signal", "scipy.interpolate", "scipy.integrate", "scipy.spatial", "scipy.special"),
        *("scipy.sparse", "scipy.ndimage", "scipy.cluster"),
    ),
    crawl.HOSTS[3]: ("sklearn",),
    crawl.HOSTS[4]: (),  # the installed packages' descriptions
}
HANDBOOK = ("scipy.stats", "scipy.linalg")
GOOD, ORDINARY = 220, 30  # pages of a host, at most


def build(folder: str, seed: int = 0) -> Truth:
    """Write the demo's inputs into the folder: crawl/, wikipedia/, books/, reddit/, eval/ and truth.json.

    Raises:
        InputError: if a package whose text is used is not installed.
    """
    seen: set[str] = set()
    good: list[tuple[Host, Piece]] = []
    ordinary: list[tuple[Host, Piece]] = []
    leaves: list[Piece] = []  # what is neither
    articles = library.data_sets()
    for host, packages in PAGES.items():
        found = [piece for package in packages for piece in pieces(package, LEAST)] if packages else descriptions()
        overviews = [piece for piece in found if packages and piece.name == piece.title]
        articles += _distinct(overviews, seen)
        rest = [piece for piece in found if piece not in overviews]
        editions = _distinct(map(reading, plants.shuffled(rest, seed, host.name)), seen)
        chosen = [piece for piece in editions if crawl.is_good(piece)][:GOOD]
        names = {piece.name for piece in chosen}
        others = [piece for piece in rest if piece.name not in names and len(piece.text) < MOST]
        good += [(host, piece) for piece in chosen]
        ordinary += [(host, piece) for piece in others[:ORDINARY]]
        distinct = {piece.name for piece in editions}
        leaves += [piece for piece in others[ORDINARY:] if piece.name in distinct]
    handbook = _distinct([piece for package in HANDBOOK for piece in pieces(package, LEAST)], seen)
    notices = _distinct(licences(), seen)
    questions = plants.phrases()["questions"]
    web = crawl.Crawl(good, ordinary, seed)
    web.plant([entry["question"] for entry in questions[: len(questions) // 2]])
    files = web.files()
    truth = list(web.plants)
    for more, told in (
        library.wiki(articles),
        library.books(handbook, leaves, notices),
        library.submissions(web.links(), seed),
    ):
        files |= more
        truth += told
    files["eval/quiz.jsonl"] = "".join(
        json.dumps({"id": f"quiz-{at}", **entry}, ensure_ascii=False) + "\n" for at, entry in enumerate(questions)
    ).encode()
    for name, data in files.items():
        with storage.atomic(str(Path(folder, name))) as file:
            file.write(data)
    whole = Truth(tuple(truth))
    whole.save(str(Path(folder, "truth.json")))
    return whole


def _distinct(found: Iterable[Piece], seen: set[str]) -> list[Piece]:
    """The pieces that say something new, in order; their shingles join the seen."""
    chosen = []
    for piece in found:
        own = plants.shingles(piece.text)
        if len(piece.prose) > LEAST // 2 and len(piece.text) < MOST and len(own & seen) <= OVERLAP * len(own):
            seen |= own
            chosen.append(piece)
    return chosen
