# Two commands are enough: make demo, make test. Everything they need goes into .venv.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check clean

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

demo: $(VENV)/.installed  ## watch the failover work, over real HTTP on this machine
	$(BIN)/python -m rapidfailover demo

test: $(VENV)/.installed-test  ## the test suite, with branch coverage
	$(BIN)/python -m pytest -q --cov

lint: $(VENV)/.installed-check  ## flake8 and isort
	$(BIN)/flake8 rapidfailover tests setup.py
	$(BIN)/isort --check --diff rapidfailover tests setup.py

types: $(VENV)/.installed-check  ## mypy --strict
	$(BIN)/mypy

check: lint types test  ## lint, types, tests

clean:  ## remove what the other commands made
	rm -rf $(VENV) build dist *.egg-info .coverage .pytest_cache .mypy_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 has no venv here (Debian: apt install python3-venv)"; exit 1; }

$(VENV)/.installed: $(BIN)/python setup.cfg setup.py
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/.installed-test: $(BIN)/python setup.cfg setup.py
	$(BIN)/python -m pip install -q -e '.[test]'
	touch $@

$(VENV)/.installed-check: $(BIN)/python setup.cfg setup.py
	$(BIN)/python -m pip install -q -e '.[check]'
	touch $@
