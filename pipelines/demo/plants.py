"""Pages made to be found: duplicates, spam, other languages, strange charsets, leaks. All draws are keyed.

The functions return pieces or pages, never files; what each should come to is said where they are planted.
"""

import itertools
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

import yaml

from curate import draw
from pipelines.demo.prose import Block, Kind, Piece, plain
from pipelines.demo.site import MENU, Host


@cache
def phrases() -> dict[str, Any]:
    """The sentences of phrases.yaml."""
    loaded: dict[str, Any] = yaml.safe_load(resources.files(__package__).joinpath("phrases.yaml").read_text("utf-8"))
    return loaded


def choose(options: Sequence[Any], *key: str | int) -> Any:
    """One of the options, drawn by the key."""
    return options[draw.key("demo", *key) % len(options)]


def shuffled(options: Sequence[Any], *key: str | int) -> list[Any]:
    """The options in an order drawn by the key."""
    order = sorted(range(len(options)), key=lambda at: (draw.key("demo", *key, at), at))
    return [options[at] for at in order]


def paragraphs(title: str, texts: Sequence[str]) -> Piece:
    return Piece(title, title, tuple(Block(Kind.paragraph, text) for text in texts))


def foreign(code: str, number: int, seed: int) -> Piece:
    """A page in the language, of all its paragraphs in a drawn order."""
    texts = shuffled(phrases()["languages"][code], seed, "foreign", code, number)
    return paragraphs(texts[0].split(",")[0][:40], texts)


def advertisement(number: int, seed: int) -> Piece:
    """A page of fluent sentences without sense: patterns, and what fills them, are drawn."""
    words = phrases()
    texts = []
    for at in range(6 + draw.key("demo", seed, "ad", number) % 4):
        patterns = shuffled(words["ads"], seed, "ad", number, at)[:5]
        filled = [
            _fill(pattern, words["ad_slots"], (seed, "ad", number, at, which)) for which, pattern in enumerate(patterns)
        ]
        texts.append(" ".join(sentence[0].upper() + sentence[1:] for sentence in filled))
    title = _fill("The {praise} {thing} by {brand}", words["ad_slots"], (seed, "ad", number, "title"))
    return paragraphs(title, texts)


def _fill(pattern: str, slots: dict[str, list[str]], key: tuple[str | int, ...]) -> str:
    out = []
    for at, part in enumerate(pattern.split("{")):
        name, closed, rest = part.partition("}")
        out.append(choose(slots[name], *key, at) + rest if closed else part)
    return "".join(out)


def stuffed(number: int, seed: int) -> Piece:
    """Keywords in drawn orders, without a sentence."""
    words = phrases()["stuffing"]
    texts = [" ".join(choose(words, seed, "stuffed", number, line, at) for at in range(30)) for line in range(12)]
    return paragraphs(f"{words[number % len(words)]} {number}", texts)


def shouted(number: int) -> Piece:
    """One sentence, over and over, told apart by a number."""
    line = phrases()["shouts"][number % len(phrases()["shouts"])]
    return paragraphs(f"Special offer {number}", [f"{line} Offer {at}." for at in range(30 + number)])


def link_farm(number: int, seed: int) -> str:
    """A page that is nothing but links."""
    words = phrases()["stuffing"]
    names = [choose(words, seed, "farm", number, at) + f" {at}" for at in range(200)]
    links = "\n".join(f'<a href="https://farm-{at}.test/">{name}</a> |' for at, name in enumerate(names))
    return f"<html><head><title>Links {number}</title></head><body><h1>Best links</h1>\n{links}\n</body></html>"


def hollow(host: Host, number: int) -> str:
    """A page of the host's furniture around an empty middle: a log-in form."""
    menu = "".join(f"<li><a href='/{at}'>{label}</a></li>" for at, label in enumerate(MENU))
    return (
        f"<html><head><title>Sign in | {host.title}</title></head><body><nav><ul>{menu}</ul></nav>\n<main>"
        f"<form action='/login?next={number}'><label>Name <input name='name'></label><label>Password <input name='key'>"
        f"</label><button>Sign in</button></form></main>\n<footer>{host.title}. Terms of use. Privacy policy.</footer>"
        "</body></html>"
    )


def short(number: int) -> Piece:
    texts = phrases()["short"]
    return paragraphs(f"Notice {number}", [texts[number % len(texts)]])


def with_paragraph(piece: Piece, text: str, place: int) -> Piece:
    """The piece with one more paragraph before its block `place`."""
    inserted = (*piece.blocks[:place], Block(Kind.paragraph, text), *piece.blocks[place:])
    return Piece(piece.name, piece.title, inserted)


def edited(piece: Piece, share: float, *key: str | int) -> Piece:
    """A revision of the piece: about `share` of its words replaced, in runs of ten, as an editor rewrites phrases.

    The new words are other words of the same text, so that its vocabulary stays.
    """
    vocabulary = plain(" ".join(block.text for block in piece.blocks if block.kind is Kind.paragraph)).split()
    prose = [
        at for at, block in enumerate(piece.blocks) if block.kind is Kind.paragraph and len(block.text.split()) > 24
    ]
    wanted = max(1, round(share * len(piece.prose.split()) / 10))
    new = list(piece.blocks)
    for run, at in enumerate(itertools.islice(itertools.cycle(shuffled(prose, *key, "where")), wanted)):
        words = new[at].text.split()
        start = draw.key("demo", *key, run) % (len(words) - 12)
        words[start : start + 10] = [choose(vocabulary, *key, run, place) for place in range(10)]
        new[at] = Block(Kind.paragraph, " ".join(words))
    return Piece(piece.name, piece.title, tuple(new))


def half_and_half(piece: Piece, other: Piece) -> Piece:
    """The first half of the piece's text, then all of the other's: at most half of its shingles are the piece's."""
    size, first = 0, []
    for block in piece.blocks:
        if size < len(piece.text) // 2:
            first.append(block)
            size += len(block.text)
    both = dict.fromkeys([*first[:-1], *other.blocks])  # no heading twice
    return Piece(other.name, f"{piece.title}, and {other.title}", tuple(both))


def shingles(text: str) -> set[str]:
    """The text's shingles of five words, to tell how alike two texts are."""
    words = text.lower().split()
    return {" ".join(words[at : at + 5]) for at in range(max(1, len(words) - 4))}


def question_paragraph(question: str, number: int) -> str:
    """A benchmark question as a forum or a study guide quotes it, word for word."""
    frames = (
        "A question that came up in the last meeting was this one. {} Nobody knew the answer at once.",
        "From the reading group's exercises: {} We come back to it below.",
        "The quiz at the end of the chapter asks: {} Think about it before you read on.",
    )
    return frames[number % len(frames)].format(question)
