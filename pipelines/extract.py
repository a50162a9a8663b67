"""`curate extract`: single files through the door that pages of a run go through, to see what comes of them by hand.

It builds no graph and needs no recipe; the rules on quality are not asked.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate import extract, language, storage
from curate.cascade import Cascade
from curate.errors import InputError
from curate.extract import Extraction, Prefilter
from curate.filters.papers import Filters
from curate.language import Language
from curate.reasons import BY_CODE


def main(files: Sequence[str], how: Extraction, as_json: bool) -> int:
    """Print each file's text; the exit code is 1 if a file could not be read or broke the extractor.

    Several texts are headed by a line with the file's name; a page without text is a line on standard error. As JSON
    each page is a line, with the reason in place of the text and an error where the extractor failed.

    Args:
        files: paths, or - for standard input. A name in .txt is plain text; of all others the bytes decide.
        how: the extractor; with `cascade` pages that a recipe's defaults would surely drop for language or quality have
            no text.
        as_json: one object a line.

    Raises:
        ModelError: if there is no language model for the cascade.
    """
    prefilter = _prefilter() if how.cascade else None
    failed = False
    for number, file in enumerate(files):
        try:
            body = sys.stdin.buffer.read() if file == "-" else _read(file)
        except InputError as error:
            print(f"curate: {error}", file=sys.stderr)
            failed = True
            continue
        row = _one(file, body, how, prefilter)
        failed |= row["error"] is not None
        if as_json:
            print(json.dumps(row, ensure_ascii=False), flush=True)
            continue
        if len(files) > 1:
            print(f"{chr(10) if number else ''}==> {file} <==", flush=True)
        if row["text"]:
            print(row["text"], flush=True)
        else:
            why = f"the extractor failed: {row['error']}" if row["error"] else row["reason"]
            print(f"curate: {file} has no text: {why}", file=sys.stderr)
    return int(failed)


def _read(file: str) -> bytes:
    try:
        with storage.open_input(file) as stream:
            return stream.read()
    except OSError as error:
        raise InputError(f"cannot read {file!r}: {storage.reason(error)}") from error


def _one(file: str, body: bytes, how: Extraction, prefilter: Prefilter | None) -> dict[str, Any]:
    kind = "text/plain" if file.endswith(".txt") else ""
    table = extract.extract(pa.array([body], pa.binary()), pa.array([kind]), how, prefilter=prefilter)
    row: dict[str, Any] = table.to_pylist()[0]
    reason = BY_CODE.get(row["reason"])
    return {"file": file, "text": row.pop("text"), **row, "reason": None if reason is None else reason.value}


def _prefilter() -> Prefilter:
    """A run's, with the defaults of a recipe."""
    wanted = Language()
    cascade = Cascade(wanted, language.load(wanted), Filters())
    return lambda table, main, places: cascade.rule_out(table, main, np.zeros(len(places), np.bool_))
