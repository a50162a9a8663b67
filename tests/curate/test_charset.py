"""Bytes to characters: labels, lies, damage, and the legacy-charset pages."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curate import charset, warc
from curate.charset import META_BYTES, Decoded, codec, decode, decode_all
from curate.document import Page

RUSSIAN = "Съешь же ещё этих мягких французских булок, да выпей чаю. " * 3
JAPANESE = "日本語のページです。いろはにほへと、ちりぬるを。" * 3


@pytest.mark.parametrize(
    ("body", "content_type", "name", "text"),
    [
        (b"", "", "utf-8", ""),
        ("é".encode(), "text/html; charset=iso-8859-1", "utf-8", "é"),  # valid UTF-8 beats any label
        ("é à".encode("latin-1"), "text/html; charset=ISO-8859-1", "cp1252", "é à"),
        (b"\x93quoted\x94", "text/html; charset=latin1", "cp1252", "“quoted”"),
        (RUSSIAN.encode("koi8-r"), "text/html;charset='koi8-r'", "koi8-r", RUSSIAN),
        (RUSSIAN.encode("cp1251"), "", "cp1251", RUSSIAN),  # detected
        (RUSSIAN.encode("cp1251"), "text/html; charset=utf-8", "cp1251", RUSSIAN),  # a lie
        (JAPANESE.encode("cp932"), "text/html; charset=x-sjis", "cp932", JAPANESE),
        (JAPANESE.encode("euc_jp"), "text/html; charset=EUC-JP", "euc_jp", JAPANESE),
        (JAPANESE.encode("iso2022_jp"), "text/html; charset=iso-2022-jp", "iso2022_jp_ext", JAPANESE),
        ("\ufeffabc é".encode(), "text/html; charset=koi8-r", "utf-8", "abc é"),
        ("\ufeffabc é".encode("utf-16-le"), "", "utf-16-le", "abc é"),
        ("\ufeffabc é".encode("utf-16-be"), "", "utf-16-be", "abc é"),
        ("\ufeffabc é".encode("utf-32-le"), "", "utf-32-le", "abc é"),
        ("<p>no mark</p> é".encode("utf-16-le"), "", "utf-16-le", "<p>no mark</p> é"),
        ("<p>no mark</p> é".encode("utf-32-be"), "", "utf-32-be", "<p>no mark</p> é"),
        ("<p>no mark</p> é".encode("utf-32-le"), "", "utf-32-le", "<p>no mark</p> é"),
        (b"a ~{ b \x1b[31m \x1b(", "text/html; charset=koi8-r", "utf-8", "a ~{ b \x1b[31m \x1b("),
        ("汉字，汉字。".encode("hz"), "text/html; charset=hz-gb-2312", "hz", "汉字，汉字。"),
        ("한국어".encode("iso2022_kr"), "text/html; charset=csISO2022KR", "iso2022_kr", "한국어"),
        (b"\xad\xa1" + JAPANESE.encode("euc_jp"), "text/html; charset=euc-jp", "euc_jis_2004", "①" + JAPANESE),
        (b"a\0b \xc3\xa9", "text/html; charset=utf-8", "utf-8", "a\0b é"),
    ],
)
def test_decode(body: bytes, content_type: str, name: str, text: str) -> None:
    assert decode(body, content_type).text == text
    assert decode(body, content_type).charset == name
    assert decode(body, content_type).replaced == 0


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ('<meta charset="koi8-r">', "koi8-r"),
        ("<META content='text/html; charset=koi8-r' HTTP-EQUIV=Content-Type >", "koi8-r"),
        ("<meta name=a content='>'/><meta charset = koi8-r />", "koi8-r"),
        ('<?xml version="1.0" encoding="koi8-r"?>', "koi8-r"),
        ("<meta charset=x-unknown><meta charset=koi8-r>", "koi8-r"),
        ("<meta charset=koi8-r><meta charset=cp866>", "koi8-r"),
        ("<meta charset=cp866 charset=koi8-r>", "cp866"),
        # detected
        ("<!-- <meta charset=koi8-r> -->", "cp1251"),
        ("<meta name=description content='charset=koi8-r'>", "cp1251"),
        ("<meta charset=utf-16>", "cp1251"),
        ("<metal charset=koi8-r>", "cp1251"),
        ("<meta charset='koi8-r>", "cp1251"),
        ("<p>" + "-" * META_BYTES + "<meta charset=koi8-r>", "cp1251"),
    ],
)
def test_meta_tags_count_in_markup_alone(tag: str, name: str) -> None:
    body = tag.encode() + RUSSIAN.encode("cp1251")  # koi8-r reads any bytes: a label is believed over a guess
    assert decode(body).charset == name
    assert decode(body, markup=False).text == tag + RUSSIAN


@pytest.mark.parametrize(
    ("http", "meta", "body", "name"),
    [
        ("koi8-r", "windows-1251", RUSSIAN.encode("koi8-r"), "koi8-r"),
        ("koi8-r", "windows-1251", RUSSIAN.encode("cp1251"), "cp1251"),  # the detector agrees with the meta tag
        ("koi8-r", "cp866", RUSSIAN.encode("cp1251"), "koi8-r"),  # with neither
        ("iso-8859-1", "windows-1251", RUSSIAN.encode("cp1251"), "cp1251"),
        ("iso-8859-1", "utf-8", RUSSIAN.encode("cp1251"), "cp1251"),
        ("iso-8859-1", "iso-8859-1", "déjà vu, garçon ".encode("cp1252") * 9, "cp1252"),
        ("utf-16", "utf-16", "déjà vu, garçon ".encode("cp1252") * 9, "cp1252"),  # it would have zeros
        ("windows-1250", "utf-8", "déjà vu, garçon ".encode("cp1252") * 9, "cp1250"),
    ],
)
def test_labels_that_contradict_each_other(http: str, meta: str, body: bytes, name: str) -> None:
    assert decode(f"<meta charset={meta}>".encode() + body, f"text/html; charset={http}").charset == name


def test_stray_bytes_in_utf_8_are_replaced_and_counted() -> None:
    decoded = decode("Grüße ".encode() * 30 + b"\xfc" + " für alle".encode(), "text/html; charset=latin-1")
    assert (decoded.charset, decoded.replaced) == ("utf-8", 1)
    assert decoded.text.endswith("\ufffd für alle")


def test_a_character_cut_at_the_end_is_no_damage() -> None:
    decoded = decode("漢字".encode()[:-1])
    assert (decoded.text, decoded.charset, decoded.replaced) == ("漢", "utf-8", 0)


@pytest.mark.parametrize(
    "label", ["hex", "rot13", "utf-7", "unicode_escape", "zip", "idna", "", "x-unknown", "\ud800", "\0"]
)
def test_labels_of_other_codecs_are_not_followed(label: str) -> None:
    assert codec(label) is None
    assert decode(b"abc", f"text/html; charset={label}").text == "abc"


@given(st.binary(max_size=400), st.text(max_size=20))
def test_no_bytes_are_refused(body: bytes, label: str) -> None:
    decoded = decode(body, f"text/html; charset={label}")
    decoded.text.encode()
    assert decoded.replaced == decoded.text.count("\ufffd")


def test_a_single_letter_at_the_end_is_not_taken_for_a_cut_one() -> None:
    assert decode(b"caf\xe9", "text/plain; charset=iso-8859-1", markup=False).text == "café"
    assert decode(b"caf\xe9").text == "café"


# The Encoding Standard, section 4.2 "names and labels" (encodings.json), each with a letter that its codec must write.
LABELS = """
cp1252 ansi_x3.4-1968 ascii cp1252 cp819 csisolatin1 ibm819 iso-8859-1 iso-ir-100 iso8859-1 iso88591 iso_8859-1
cp1252 iso_8859-1:1987 l1 latin1 us-ascii windows-1252 x-cp1252 x-user-defined
utf-8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 utf-8 utf8 x-unicode20utf8
cp866 866 cp866 csibm866 ibm866
iso8859-2 csisolatin2 iso-8859-2 iso-ir-101 iso8859-2 iso88592 iso_8859-2 iso_8859-2:1987 l2 latin2
iso8859-3 csisolatin3 iso-8859-3 iso-ir-109 iso8859-3 iso88593 iso_8859-3 iso_8859-3:1988 l3 latin3
iso8859-4 csisolatin4 iso-8859-4 iso-ir-110 iso8859-4 iso88594 iso_8859-4 iso_8859-4:1988 l4 latin4
iso8859-5 csisolatincyrillic cyrillic iso-8859-5 iso-ir-144 iso8859-5 iso88595 iso_8859-5 iso_8859-5:1988
iso8859-6 arabic asmo-708 csiso88596e csiso88596i csisolatinarabic ecma-114 iso-8859-6 iso-8859-6-e iso-8859-6-i
iso8859-6 iso-ir-127 iso8859-6 iso88596 iso_8859-6 iso_8859-6:1987
iso8859-7 csisolatingreek ecma-118 elot_928 greek greek8 iso-8859-7 iso-ir-126 iso8859-7 iso88597 iso_8859-7
iso8859-7 iso_8859-7:1987 sun_eu_greek
iso8859-8 csiso88598e csisolatinhebrew hebrew iso-8859-8 iso-8859-8-e iso-ir-138 iso8859-8 iso88598 iso_8859-8
iso8859-8 iso_8859-8:1988 visual csiso88598i iso-8859-8-i logical
iso8859-10 csisolatin6 iso-8859-10 iso-ir-157 iso8859-10 iso885910 l6 latin6
iso8859-13 iso-8859-13 iso8859-13 iso885913
iso8859-14 iso-8859-14 iso8859-14 iso885914
iso8859-15 csisolatin9 iso-8859-15 iso8859-15 iso885915 iso_8859-15 l9
iso8859-16 iso-8859-16
koi8-r cskoi8r koi koi8 koi8-r koi8_r
koi8-u koi8-ru koi8-u
mac-roman csmacintosh mac macintosh x-mac-roman
cp874 dos-874 iso-8859-11 iso8859-11 iso885911 tis-620 windows-874
cp1250 cp1250 windows-1250 x-cp1250
cp1251 cp1251 windows-1251 x-cp1251
cp1253 cp1253 windows-1253 x-cp1253
cp1254 cp1254 csisolatin5 iso-8859-9 iso-ir-148 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 l5 latin5 windows-1254
cp1254 x-cp1254
cp1255 cp1255 windows-1255 x-cp1255
cp1256 cp1256 windows-1256 x-cp1256
cp1257 cp1257 windows-1257 x-cp1257
cp1258 cp1258 windows-1258 x-cp1258
mac_cyrillic x-mac-cyrillic x-mac-ukrainian
gb18030 chinese csgb2312 csiso58gb231280 gb18030 gb2312 gb_2312 gb_2312-80 gbk iso-ir-58 x-gbk
big5hkscs big5 big5-hkscs cn-big5 csbig5 x-x-big5
euc_jp cseucpkdfmtjapanese euc-jp x-euc-jp
iso2022_jp_ext csiso2022jp iso-2022-jp
cp932 csshiftjis ms932 ms_kanji shift-jis shift_jis sjis windows-31j x-sjis
cp949 cseuckr csksc56011987 euc-kr iso-ir-149 korean ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 windows-949
iso2022_kr csiso2022kr iso-2022-kr
hz hz-gb-2312
None iso-2022-cn iso-2022-cn-ext replacement
utf-16-be unicodefffe utf-16be
utf-16-le csunicode iso-10646-ucs-2 ucs-2 unicode unicodefeff utf-16 utf-16le
"""


def test_every_label_of_the_standard_has_its_codec() -> None:
    rows = [line.split() for line in LABELS.split("\n") if line]
    wrong = {label: (found, name) for name, *labels in rows for label in labels if (found := str(codec(label))) != name}
    assert not wrong
    assert codec(" ISO-8859-1\t") == "cp1252"


@pytest.mark.parametrize("name", ["cp855", "mac_cyrillic", "koi8-r", "iso8859-5", "cp866"])
def test_cyrillic_without_a_label(name: str) -> None:
    assert decode(RUSSIAN.encode(name)).text == RUSSIAN


def test_johab_without_a_label() -> None:
    korean = "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. " * 4
    assert decode(korean.encode("johab")).text == korean


def test_half_a_page_of_latin_1_does_not_unmake_utf_8() -> None:
    body = "Größe „genau“ ".encode() * 10 + "Größe ".encode("latin-1") * 10
    decoded = decode(body, "text/html; charset=iso-8859-1")
    assert (decoded.charset, decoded.replaced) == ("utf-8", 20)


UNITS = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=30).map(str.encode),
    st.sampled_from(
        [b"\xef\xbb\xbf", b"\xef\xbf\xbd", b"\0", b"\x1b", b"\x1b$B", b"~{", b"~", b"\xff\xfe", b"abcdefgh" * 3]
    ),
    st.sampled_from(
        [b"\xe2\x82", b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe0\x9f\xbf"]
    ),
    st.sampled_from([RUSSIAN.encode("cp1251"), JAPANESE.encode("cp932"), "<p>é".encode("utf-16-le"), b"caf\xe9"]),
)
BODIES = st.lists(
    st.tuples(
        st.lists(UNITS, max_size=4).map(b"".join), st.sampled_from(["", "text/html; charset=koi8-r"]), st.booleans()
    ),
    max_size=8,
)


def check_all(bodies: pa.BinaryArray, types: list[str], markup: list[bool] | None = None) -> list[Decoded]:
    """The batch decoded at once, seen to be the same as page by page."""
    text, charsets, replaced = decode_all(bodies, types, markup)
    text.validate(full=True)
    assert text.type == pa.string()
    assert replaced.dtype == np.int32
    got = list(map(Decoded, text.to_pylist(), charsets, replaced.tolist()))
    assert got == [decode(*row) for row in zip(bodies.to_pylist(), types, markup or [True] * len(types), strict=True)]
    return got


# Resiliparse's detector is C on bytes that anybody may have written: a process of its own, so that a crash is seen.
MUTATE = r"""
import random
from curate.charset import SAMPLE_BYTES, _detected, codec, decode

rng = random.Random(int(sys.argv[1]))
CHARSETS = "cp1252 cp1251 koi8-r cp1255 cp1256 cp932 euc_jp iso2022_jp cp949 iso2022_kr gb18030 hz big5hkscs".split()
TEXTS = {texts!r}
SEEDS = [text.encode(name, "ignore") for text in TEXTS for name in (*CHARSETS, "utf-8", "utf-16", "johab", "cp855")]
MARKS = [b"\x1b$B", b"\x1b(J", b"\x1b$)C", b"\x0e", b"\x0f", b"~{{", b"~}}", b"\0", b"\x8e", b"\x8f", b"\xa1"]
for _ in range({times}):
    body = bytearray(rng.choice(SEEDS)[rng.randrange(40) :])
    if rng.random() < 0.2:
        body = bytearray(rng.randbytes(rng.randrange(600)) + rng.choice(MARKS) * rng.randrange(400))
    for _ in range(rng.choice((1, 3, 30))):
        at = rng.randrange(len(body) + 1)
        body[at : at + rng.randrange(3)] = rng.choice((rng.randbytes(1), rng.choice(MARKS), bytes([255]) * 50, b""))
    label = rng.choice(CHARSETS) + rng.choice(("", "\0", "x" * 300, chr(rng.randrange(0x110000))))
    _detected(bytes(body))
    codec(label)
    decode(bytes(body), rng.choice(("", f"text/html; charset={{label}}")))
for _ in range(100):
    _detected(rng.choice((rng.randbytes(SAMPLE_BYTES), rng.choice(MARKS) * (SAMPLE_BYTES // 2))))
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_mutated_bytes_neither_crash_nor_hang_the_detector(seed: int) -> None:
    texts = [
        RUSSIAN,
        JAPANESE,
        "Füße, œuvre, “naïve” – à la carte. " * 9,
        "한국어 글입니다. " * 9,
        "שלום مرحبا ไทย 汉字 " * 9,
    ]
    code = f"import sys; sys.path.append({str(Path(charset.__file__).parents[1])!r})"
    command = [sys.executable, "-c", code + MUTATE.format(texts=texts, times=25_000), str(seed)]
    assert subprocess.run(command, capture_output=True, text=True, check=False, timeout=280).stderr == ""


@settings(deadline=None)  # the kernel is compiled once
@given(BODIES, st.integers(0, 3), st.integers(0, 9), st.randoms())
@example([(b"", "", True)], 0, 0, None)
@example([(b"plain", "", True), (b"plain~", "", True), (b"{plain", "", True)], 1, 0, None)
def test_a_batch_is_its_pages(rows: list[tuple[bytes, str, bool]], cut: int, lead: int, random: object) -> None:
    if random is not None:
        random.shuffle(rows)  # type: ignore[attr-defined]
    bodies = pa.array([b"x" * lead, *(row[0] for row in rows)], pa.binary())
    if lead:  # bytes need not lie at an aligned address
        shifted = pa.py_buffer(b"y" * lead + bodies.buffers()[2].to_pybytes()).slice(lead)
        bodies = pa.BinaryArray.from_buffers(pa.binary(), len(bodies), [None, bodies.buffers()[1], shifted])
    bodies = bodies[1:]
    check_all(bodies[cut:], [row[1] for row in rows[cut:]], [row[2] for row in rows[cut:]])


def test_a_batch_of_utf_8_is_not_copied() -> None:
    bodies = pa.array(["é", "", "漢字" * 9], pa.binary())
    assert decode_all(bodies, [""] * 3)[0].buffers()[2].address == bodies.buffers()[2].address


# Folders of chardet's test pages whose name does not begin with a label of the standard.
GOLD = {"CP932": "cp932", "CP949": "cp949", "IBM855": "cp855", "Johab": "johab", "MacCyrillic": "mac_cyrillic"}
GOLD |= {
    "MacRoman": "mac_roman",
    "UTF-16": "utf-16",
    "UTF-32": "utf-32",
    "UTF-32BE": "utf-32-be",
    "UTF-32LE": "utf-32-le",
}


@pytest.mark.data("langid")
def test_legacy_charset_pages(data_dir: Path) -> None:
    """Detection alone, no header, labels blotted out, against the text that the folder's charset gives.

    Of 424 pages (EUC-TW has no codec in Python) Resiliparse's detector with its own decoder gets 310 and
    charset-normalizer 3.5.2 388. Two halves by a hash of the name must both hold.
    """
    right, total = [0, 0], [0, 0]
    for path in sorted(filter(Path.is_file, (data_dir / "langid/chardet").rglob("*"))):
        folder = path.parent.name
        labels = ["-".join(folder.split("-")[:k]) for k in (3, 2, 1)]
        name = GOLD.get(folder) or next(filter(None, map(codec, labels)), None)
        if name is None:
            continue
        body = re.sub(rb"(?i)charset|encoding", b"-", path.read_bytes())
        half = hashlib.blake2b(path.name.encode(), digest_size=1).digest()[0] & 1
        total[half] += 1
        gold = body.decode(name, "replace").strip("\ufeff\ufffd")
        right[half] += decode(body).text.strip("\ufeff\ufffd") == gold
    assert total == [210, 214]
    assert right[0] >= 208
    assert right[1] >= 212


@pytest.mark.data("warc", "html_gold", "html_pages")
def test_real_pages(data_dir: Path) -> None:
    """Every body of the archives, and one in 10 saved pages: counted, seldom replaced, the same in a batch."""
    pages = [(path.read_bytes(), "") for path in sorted(data_dir.glob("html_*/**/*.html"))[::10]]
    for path in sorted(data_dir.glob("warc/**/*")):
        if re.search(r"\.w(?:arc|et|at)(?:\.gz|\.zst)?$", path.name) and path.is_file():
            pages += [(r.body, r.content_type) for r in warc.read(str(path)) if isinstance(r, Page)]
    assert len(pages) > 2000
    got = check_all(pa.array([body for body, _ in pages], pa.binary()), [kind for _, kind in pages])
    assert all(page.replaced == page.text.count("\ufffd") for page in got)
    assert sum(page.replaced > 0 for page in got) / len(got) <= 0.01
