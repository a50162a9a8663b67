"""The compiled looks at a page's bytes, beside plain definitions."""

import codecs
import re

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate import survey

# Bytes at the bounds of the Unicode Standard's table 3-7, and whole characters.
PIECES = [bytes([byte]) for byte in b"A<>\x80\x8f\x90\x9f\xa0\xbf\xc0\xc2\xdf\xe0\xe1\xed\xef\xbd\xf0\xf1\xf4\xf5\xff"]
BYTES = st.lists(st.sampled_from([*PIECES, *(char.encode() for char in "é漢😀\ufffd")]), max_size=12).map(b"".join)


@settings(deadline=None, max_examples=500)  # the kernel is compiled once
@given(BYTES, st.sampled_from([b"", "é".encode()[:1], "漢".encode()[:2], "😀".encode()[:3]]))
@example(b"\xed\xa0\x80", b"")
def test_damage_is_what_python_replaces(data: bytes, cut_off: bytes) -> None:
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data + b"A")
    beyond = sum(char > "\x7f" for char in text)
    found = survey.damage(np.frombuffer(data + b"A" + cut_off, np.uint8))
    assert tuple(found) == (text.count("\ufffd"), beyond)


@settings(deadline=None, max_examples=500)
@given(BYTES, st.integers(1, 20))
def test_the_sample_is_of_runs_beyond_ascii(data: bytes, room: int) -> None:
    runs = [run for run in re.findall(rb"[^<>]+", data) if not run.isascii()]
    out = np.empty(room, np.uint8)
    assert out[: survey.cut_out(np.frombuffer(data, np.uint8), out)].tobytes() == b"\n".join(runs)[:room]
