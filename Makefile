# Each target does its own set-up: only python3 and make are needed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: test check demo docs benchmarks clean
.DEFAULT_GOAL := test

.venv/.torch: constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	touch $@

.venv/.ready: .venv/.torch pyproject.toml setup.cfg
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test]'
	touch $@

.venv/.demo: .venv/.torch pyproject.toml setup.cfg
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

.venv/.docs: .venv/.torch pyproject.toml setup.cfg
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

.venv/.bench: .venv/.torch pyproject.toml setup.cfg
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[bench]'
	touch $@

test: .venv/.ready
	$(BIN)/python -m pytest -q

demo: .venv/.demo
	$(BIN)/python -m geowarp demo

docs: .venv/.docs
	$(BIN)/sphinx-build -W -q docs docs/build

benchmarks: .venv/.bench
	$(BIN)/python benchmarks/optimizer_step.py
	$(BIN)/python benchmarks/maths.py
	$(BIN)/python benchmarks/accuracy
	$(BIN)/python benchmarks/bdh.py
	$(BIN)/python benchmarks/bdh_quality.py
	$(BIN)/python benchmarks/set_classification.py
	$(BIN)/python benchmarks/multiview_clustering.py
	$(BIN)/python benchmarks/attention.py
	$(BIN)/python benchmarks/warped_attention.py
	$(BIN)/python benchmarks/warped_geodesics.py
	test -z "$$GEOWARP_WORD_VECTORS" || $(BIN)/python benchmarks/fairness.py
	test -z "$$GEOWARP_MINILM" || $(BIN)/python benchmarks/fair_transformer.py

check: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples

clean:
	rm -rf .venv build dist docs/build *.egg-info
