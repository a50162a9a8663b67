"""The frozen tables against the interpreter's Unicode data, where it is of the same version."""

import unicodedata

import numpy as np
import pytest

from curate import unicode

TABLES = unicode.tables()

frozen = pytest.mark.skipif(unicodedata.unidata_version != unicode.VERSION, reason="the tables are of another version")


@frozen
def test_the_shipped_tables_are_those_of_unicode():
    assert all(np.array_equal(a, b) for a, b in zip(unicode.build(), TABLES, strict=True))


@frozen
def test_classes_agree_with_the_interpreter():
    c = np.arange(0x110000)
    classes = TABLES.classes[TABLES.class_index[c >> 8].astype(int) * 256 + (c & 255)]
    folded = c + TABLES.fold[TABLES.fold_index[c >> 8].astype(int) * 256 + (c & 255)]
    chars = list(map(chr, c))
    white = np.array([char.isspace() for char in chars])
    white[0x1C:0x20] = False
    assert np.array_equal(classes & unicode.LETTER != 0, [char.isalpha() for char in chars])
    assert np.array_equal(classes & unicode.WORD != 0, [unicodedata.category(char)[0] in "LNM" for char in chars])
    assert np.array_equal(classes & unicode.WHITE != 0, white)
    assert np.flatnonzero(classes & unicode.SOLO).min() >= 0x800  # what `bounds` builds on
    assert np.array_equal(classes[folded] & unicode.WORD, classes & unicode.WORD)
    assert np.array_equal(folded[folded], folded)


def test_another_unicode_version_is_refused(monkeypatch):
    monkeypatch.setattr(unicodedata, "unidata_version", "99.0.0")
    with pytest.raises(RuntimeError, match=r"99\.0\.0"):
        unicode.build()
