# Two commands set everything up:  make demo  (needs python3 >= 3.11, python3-venv, make)
#                                  make test  (the same, plus what tests name when they skip)
# Both work as any user, build a virtual environment in .venv, and are quick the second time: what is
# installed is remembered in stamp files that are older than pyproject.toml only when it has changed.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Test processes at once; live tests each load their filter in a process of their own, so any number works.
JOBS   ?= 2

.PHONY: help demo test check lint types docs bench soak clean

help:
	@echo 'make demo    put a script under a policy and see every denial explained'
	@echo 'make test    everything: lint, types, room order, documentation, all tests with coverage'
	@echo 'make check   lint, types and room order only'
	@echo 'make docs    build the documentation into docs/_build/html'
	@echo 'make bench   measure start-up, compiling, reading and comparing on this machine'
	@echo 'make soak    property tests and fuzzing with new inputs: FUZZ_SECONDS a target, 900 unless told'

# --- what is installed

# Dependency groups need pip 25.1 (Debian 12 comes with 23.0), and the start script that an older pip writes imports re (6 ms).
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'Seclude needs Python 3.11 or newer; set PYTHON=/path/to/python3' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

# The package alone: nothing else is needed to use it. Editable, so that a changed source needs no reinstall.
$(VENV)/.stamp-package: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.stamp-develop: pyproject.toml $(VENV)/.stamp-package
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev
	@touch $@

# --- what is run

demo: $(VENV)/.stamp-package
	@$(BIN)/python examples/show.py

test: check docs
	$(BIN)/python -m pytest -n $(JOBS) --cov --cov-report=term:skip-covered

check: lint types

lint: $(VENV)/.stamp-develop
	$(BIN)/ruff check
	$(BIN)/ruff format --check --quiet
	$(BIN)/lint-imports
	$(BIN)/python tools/compile_presets.py --check

types: $(VENV)/.stamp-develop
	$(BIN)/mypy

docs: $(VENV)/.stamp-develop
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet --builder html docs docs/_build/html

bench: $(VENV)/.stamp-package
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/reading.py
# Without strace this says so, and fails.
	-$(BIN)/python benchmarks/trace.py
	$(BIN)/python benchmarks/judge.py
	$(BIN)/python benchmarks/confined.py
	$(BIN)/python benchmarks/notify.py
	$(BIN)/python benchmarks/stops.py
	$(BIN)/python benchmarks/files.py
	$(BIN)/python benchmarks/network.py
# Without libseccomp's Python binding these say so, and fail.
	-$(BIN)/python benchmarks/compare.py
	-$(BIN)/python benchmarks/filters.py

soak: $(VENV)/.stamp-develop
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n $(JOBS) tests/property tests/fuzz tests/live/test_model_differential.py
	HYPOTHESIS_PROFILE=soak $(BIN)/python -m pytest -n $(JOBS) -m soak tests/live

clean:
	rm -rf docs/_build docs/reference/generated .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage .coverage.*
