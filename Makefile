# Each target does its own set-up: only python3 and make are needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: test check clean
.DEFAULT_GOAL := test

.venv/.ready: pyproject.toml setup.cfg constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

test: .venv/.ready
	$(BIN)/python -m pytest -q

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build dist *.egg-info
