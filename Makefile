# Two commands are enough: make demo, make test. Everything they need goes into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VERSION := $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' rapidfailover/__init__.py)
COMMIT = $(shell git rev-parse --short HEAD 2>/dev/null)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-all lint types check coverage soak bench bench-quick mutate docs vendor clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

demo: $(VENV)/.installed  ## watch the failover work, over real HTTP on this machine
	$(BIN)/python -m rapidfailover demo

test: $(VENV)/.installed-test  ## the test suite
	$(BIN)/python -m pytest -q -n 4

test-fast: $(VENV)/.installed-test  ## the tests that are not marked slow, in under half a minute
	$(BIN)/python -m pytest -q -n 4 -m "not slow"

test-all:  ## the suite on every interpreter found from 3.8 to 3.15, and on the oldest requests and urllib3
	@PYTHON=$(PYTHON) sh tests/all_versions.sh

lint: $(VENV)/.installed-check  ## flake8 and isort
	$(BIN)/flake8 rapidfailover tests setup.py
	$(BIN)/isort --check --diff rapidfailover tests setup.py

types: $(VENV)/.installed-check  ## mypy --strict, and pyright on what the public names promise
	$(BIN)/mypy
	$(BIN)/basedpyright -p tests/pyrightconfig.json --pythonpath $(BIN)/python

check: lint types coverage  ## lint, types, tests with branch coverage

coverage: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n 4 --cov

soak: $(VENV)/.installed-test  ## a fault campaign over sockets, 2 minutes; SECONDS=, SEED=, THREADS=
	$(BIN)/python -W error::ResourceWarning tests/soak.py $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED)) $(if $(THREADS),--threads $(THREADS))

bench: $(VENV)/.installed-bench  ## cost and availability against what a user would pick instead; 3 minutes, writes tests/benchmarks/results.md
	$(BIN)/python tests/benchmarks/run.py

bench-quick: $(VENV)/.installed-bench  ## the same in under a minute, writes nothing
	$(BIN)/python tests/benchmarks/run.py --quick

mutate: $(VENV)/.installed-test  ## mutation testing of what decides; survivors and why they live: tests/mutants.md
	$(BIN)/python -m pip install -q mutmut
	$(BIN)/mutmut run && $(BIN)/mutmut results

docs: $(VENV)/.installed-docs  ## the pages of docs/ as HTML, in build/docs
	$(BIN)/mkdocs build --strict --quiet

vendor:  ## copy the package into your own tree: make vendor DEST=path/to/yours/failover
	@test -n "$(DEST)" || { echo "usage: make vendor DEST=path/to/yours/failover"; exit 2; }
	@test ! -e "$(DEST)" || test -e "$(DEST)/VENDORED" || { echo "$(DEST) is there and is no copy of ours"; exit 1; }
	@mkdir -p "$(DEST)" && rm -f "$(DEST)"/*.py
	@cp rapidfailover/*.py rapidfailover/py.typed LICENSE "$(DEST)"
	@commit="$(COMMIT)"; echo "rapidfailover $(VERSION)$${commit:+ (commit $$commit)}, copied by 'make vendor'. Change it upstream and copy it again." > "$(DEST)/VENDORED"
	@cat "$(DEST)/VENDORED"

clean:  ## remove what the other commands made
	rm -rf $(VENV) .venv-* mutants build dist *.egg-info .coverage .pytest_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 has no venv here (Debian: apt install python3-venv)"; exit 1; }

$(VENV)/.installed: $(BIN)/python setup.cfg setup.py
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/.installed-test: $(BIN)/python setup.cfg setup.py
	$(BIN)/python -m pip install -q -e '.[test]'
	touch $@

$(VENV)/.installed-bench: $(BIN)/python setup.cfg setup.py
	$(BIN)/python -m pip install -q -e '.[bench]'
	touch $@

$(VENV)/.installed-docs: $(BIN)/python setup.cfg setup.py
	$(BIN)/python -m pip install -q -e '.[docs]'
	touch $@

$(VENV)/.installed-check: $(BIN)/python setup.cfg setup.py
	$(BIN)/python -m pip install -q -e '.[check]'
	touch $@
