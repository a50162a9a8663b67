"""Redaction: what is replaced, what is not, and that twice is once."""

import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.extract import extract_text
from curate.pii import Redaction, redact

EMAIL, IP, PHONE = "email@example.com", "192.0.2.1", "PHONE"
ALL = Redaction(phone=PHONE)


@pytest.mark.parametrize(
    ("text", "expected", "counts"),
    [
        ("write to jane.doe+x@mail.example.org now", f"write to {EMAIL} now", (1, 0, 0)),
        ("(a_b@c-d.co.uk), x@y.io.", f"({EMAIL}), {EMAIL}.", (2, 0, 0)),
        ("no mail: @handle, a@b, 5 @ 3, user@localhost", "no mail: @handle, a@b, 5 @ 3, user@localhost", (0, 0, 0)),
        ("host 93.184.216.34 answered", f"host {IP} answered", (0, 1, 0)),
        (
            "clone git@x.org:a/b, not git@x.org: logo@2x.png",
            f"clone git@x.org:a/b, not {EMAIL}: logo@2x.png",
            (1, 0, 0),
        ),
        ("10.0.0.1, 127.0.0.1, 192.168.1.1, 999.1.1.1", "10.0.0.1, 127.0.0.1, 192.168.1.1, 999.1.1.1", (0, 0, 0)),
        ("version 1.2.3.4.5 and 1.2.3", "version 1.2.3.4.5 and 1.2.3", (0, 0, 0)),
        ("at 2606:4700::1111 it is 12:30:45", f"at {IP} it is 12:30:45", (0, 1, 0)),
        ("std::vector::x and fe80::1", "std::vector::x and fe80::1", (0, 0, 0)),
        ("call +44 20 7946 0018 or (555) 123-4567", f"call {PHONE} or {PHONE}", (0, 0, 2)),
        ("in 1999-2004 we sold 1 234 567 of 12.5", "in 1999-2004 we sold 1 234 567 of 12.5", (0, 0, 0)),
        ("(+45) 4674 3012; +1 (425) 882 8080", f"{PHONE}; {PHONE}", (0, 0, 2)),
        ("<jane@x.museum>mail:joe@sub.x-y.org?", f"<{EMAIL}>mail:{EMAIL}?", (2, 0, 0)),
        ("8.8.8.8:53, 8.8.4.4/32 [2a00:1450:4001::200e]", f"{IP}:53, {IP}/32 [{IP}]", (0, 3, 0)),
        ("93.184.216.34 answered.\n93.184.216.3", f"{IP} answered.\n{IP}", (0, 2, 0)),
        # short ones, where something says what they are
        ("http://8.8.8.8/x, root@8.8.8.8 or 8.8.8.8/29", f"http://{IP}/x, root@{IP} or {IP}/29", (0, 3, 0)),
        ("Your IP: 5.6.7.8. IP-Adresse 5.6.7.8", f"Your IP: {IP}. IP-Adresse {IP}", (0, 2, 0)),
        ("IP地址：5.6.7.8，IPv4 5.6.7.8", f"IP地址：{IP}，IPv4 {IP}", (0, 2, 0)),
        ("last version by 207.69.137.21 (talk)", f"last version by {IP} (talk)", (0, 1, 0)),
        ("", "", (0, 0, 0)),
    ],
)
def test_redact(text: str, expected: str, counts: tuple[int, int, int]) -> None:
    texts, found = redact(pa.array(["before", text, "a@b.example"]), ALL)
    assert texts.to_pylist() == ["before", expected, EMAIL]
    assert tuple(found[kind].tolist()[1] for kind in ("email", "ip", "phone")) == counts
    assert found["email"].tolist()[0::2] == [0, 1]


@pytest.mark.parametrize(
    "text",
    [
        # e-mail
        "@media print, git@github, me at x dot com, a@b.c, x@-y.com, .@x.com, price 5@2.50",
        "user@127.0.0.1 and user@localhost",
        # private, shared, link-local, documentation, multicast, reserved
        "10.1.2.3 172.16.0.1 172.31.255.255 192.168.0.9 127.0.0.53 169.254.1.1 100.64.0.1 198.18.0.1",
        "192.0.2.7 198.51.100.7 203.0.113.7 224.0.0.251 239.255.255.250 240.0.0.1 255.255.255.0 0.0.0.0",
        "2001:db8::1 2002:c000:204::1 2001:0:53aa::1 fe80::1 fd12:3456::1 ::1 ff02::1",
        # versions, sections, dates, and numbers that are too large
        "version 9.2.1.2, v. 4.18.0.1, Release 6.1.2.3, section 1.3.3.1, § 3.1.2.4 and 節 1.3.3.1",
        "14.5.3.2. Managing services\n  8.9.2.1. For workstations\n8.9.2.2.Servers\n- 4.6.22.1 Errors",
        "Abschnitt 1.2.3.4, версия 1.2.3.4, článek 12.3.4.51, 第1.2.3.4节, 1.1.2.1. 예제, Git 1.8.4.1 をインストール",
        "SHIP 1.2.3.4, 1.2.3.4/1.2.3.5, 1.2.3.4: one, 1.2.3.4/2024",
        "Flash Player version 11.2.202.233, Versión: 11.2.202.233, версия 11.2.202.233, wersja 11.2.202.233",
        "バージョン 11.2.202.233, 版本：11.2.202.233, ver. 11.2.202.233",
        "1.2.3, 1.2.3.4.5, 1.2.3.4-rc1, v1.2.3.4, 256.1.1.1, 8.8.8.08x, 01.02.03.2004, 12.34.56.78901",
        "2024:05:06 at 20:15:30, 3fff:zz, 2001:db8, std::map, 3:16",
        # phone
        "1999-2004, 2024-05-06, 12-34-56, 555-1234, 1234567890, ISBN 978-0-306-40615-7, 4111 1111 1111 1111",
        "x+1234567890, 3 + 4 = 7, +5%, 555-123-45678, 0555-123-4567, 192-168-0001-1, (555) 12-34",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    texts, found = redact(pa.array([text]), ALL)
    assert texts.to_pylist() == [text]
    assert not any(number.any() for number in found.values())


@given(st.lists(st.text(alphabet="a1.@:/+- \n2éIP()", max_size=80), max_size=4))
def test_twice_is_once(texts: list[str]) -> None:
    once, _ = redact(pa.array(texts, pa.string()), ALL)
    assert redact(once, ALL)[0].equals(once)


@pytest.mark.data("html_pages")
@pytest.mark.parametrize(
    ("page", "addresses"),
    [
        ("shii.org/0246", 6),  # the history of a wiki's page
        ("guangchuangyu.github.io/0074", 2),  # a proxy's log
        ("infobloom.site/0142", 1),  # a host in a URL
        ("eunajjing.github.io/0034", 0),  # the others number sections or versions
        ("eunajjing.github.io/0087", 0),
        ("guangchuangyu.github.io/0045", 0),
        ("_ota_dating/0017", 0),
        ("1000k.github.io/0076", 0),
    ],
)
def test_numbers_of_four_parts_on_real_pages(page: str, addresses: int, data_dir: Path) -> None:
    body = (data_dir / "html_pages" / f"{page}.html").read_bytes()
    assert redact(extract_text(pa.array([body])), Redaction())[1]["ip"].tolist() == [addresses]


def test_off_is_off() -> None:
    texts = pa.array(["a@b.example 8.8.8.8"])
    same, counts = redact(texts, Redaction(email=None, ip=None))
    assert same.equals(texts)
    assert all(number.tolist() == [0] for number in counts.values())


@pytest.mark.parametrize("setting", [{"ip": "8.8.8.8"}, {"phone": "+44 20 7946 0018"}, {"email": "a@b.de, c@d.de"}])
def test_stand_ins_that_would_be_finds_are_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="it must"):
        Redaction(**setting)


@pytest.mark.parametrize(
    "text", ["a@" * 200_000, "1." * 200_000, "2001:" * 100_000, "+1 " * 100_000, "a" * 400_000 + "@"]
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    start = time.process_time()
    redact(pa.array([text]), ALL)
    assert time.process_time() - start < 2
