"""Bytes to characters: labels, lies, damage, and the legacy-charset pages."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.charset import codec, decode

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
        (JAPANESE.encode("iso2022_jp"), "text/html; charset=iso-2022-jp", "iso2022_jp", JAPANESE),
        ("\ufeffabc é".encode(), "text/html; charset=koi8-r", "utf-8", "abc é"),
        ("\ufeffabc é".encode("utf-16-le"), "", "utf-16-le", "abc é"),
        ("\ufeffabc é".encode("utf-16-be"), "", "utf-16-be", "abc é"),
        ("\ufeffabc é".encode("utf-32-le"), "", "utf-32-le", "abc é"),
        ("<p>no mark</p> é".encode("utf-16-le"), "", "utf-16-le", "<p>no mark</p> é"),
        (b"a\0b \xc3\xa9", "text/html; charset=utf-8", "utf-8", "a\0b é"),
    ],
)
def test_decode(body: bytes, content_type: str, name: str, text: str) -> None:
    assert decode(body, content_type).text == text
    assert decode(body, content_type).charset == name
    assert decode(body, content_type).replaced == 0


@pytest.mark.parametrize("tag", ['<meta charset="koi8-r">', "<META http-equiv=x content='text/html; charset=koi8-r'>"])
def test_meta_tags_count_in_markup_alone(tag: str) -> None:
    body = tag.encode() + RUSSIAN.encode("cp1251")  # koi8-r reads any bytes: a label is believed over a guess
    assert decode(body).charset == "koi8-r"
    assert decode(body, markup=False).text == tag + RUSSIAN


def test_stray_bytes_in_utf_8_are_replaced_and_counted() -> None:
    decoded = decode("Grüße ".encode() * 30 + b"\xfc" + " für alle".encode(), "text/html; charset=latin-1")
    assert (decoded.charset, decoded.replaced) == ("utf-8", 1)
    assert decoded.text.endswith("\ufffd für alle")


def test_a_character_cut_at_the_end_is_no_damage() -> None:
    decoded = decode("漢字".encode()[:-1])
    assert (decoded.text, decoded.charset, decoded.replaced) == ("漢", "utf-8", 0)


@pytest.mark.parametrize("label", ["hex", "rot13", "utf-7", "unicode_escape", "zip", "idna", "", "x-unknown"])
def test_labels_of_other_codecs_are_not_followed(label: str) -> None:
    assert codec(label) is None
    assert decode(b"abc", f"text/html; charset={label}").text == "abc"


@given(st.binary(max_size=400), st.text(max_size=20))
def test_no_bytes_are_refused(body: bytes, label: str) -> None:
    decoded = decode(body, f"text/html; charset={label}")
    decoded.text.encode()
    assert decoded.replaced == decoded.text.count("\ufffd")


@pytest.mark.data("langid")
def test_legacy_charset_pages(data_dir: Path) -> None:
    """Detection alone, no header, against the charset that each folder is named for."""
    same = total = 0
    for path in sorted((data_dir / "langid/chardet").rglob("*")):
        parts = path.parent.name.lower().split("-")
        names = [codec("-".join(parts[:k])) for k in range(len(parts), 0, -1)]
        name = next((name for name in names if name), None)
        if path.is_file() and name and path.parent.name not in ("MacCyrillic", "UTF-16"):
            body = path.read_bytes()
            total += 1
            same += decode(body).text.lstrip("\ufeff") == body.decode(name, "replace").lstrip("\ufeff")
    assert total > 300
    assert same / total >= 0.94


def test_a_single_letter_at_the_end_is_not_taken_for_a_cut_one() -> None:
    assert decode(b"caf\xe9", "text/plain; charset=iso-8859-1", markup=False).text == "café"
    assert decode(b"caf\xe9").text == "café"
