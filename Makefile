# make demo and make test are the only two commands needed: each sets up what it needs.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell command -v python3.11 || command -v python3)
WORKERS ?= 3
STAMP := $(VENV)/.installed

.PHONY: help setup demo test check format bench bench-running bench-scaled bench-peers clean requirements

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(STAMP): pyproject.toml requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Surehook needs Python 3.11 or newer; found $$($(PYTHON) --version). Set PYTHON=/path/to/python3.11."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Python's venv module is missing. On Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)

setup: $(STAMP) ## Make .venv with everything the other targets use

demo: setup ## Run the main path with real input; PROFILE=scaled: PostgreSQL, Redis, many processes; KEEP=1 leaves it running
	$(BIN)/python -m examples.demo $(if $(PROFILE),--profile $(PROFILE)) $(if $(KEEP),--keep)

test: setup ## Run every test, WORKERS at a time; most of them wait for other processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile

check: setup ## Format, lint, types, layers, size budget
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/architecture

format: setup ## Let ruff mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Measure ingest, processing and publishing beside their floors
	$(BIN)/python -m bench

bench-running: setup ## Measure latencies, the pipeline, growth; FULL=1 with 1,000,000 events, MINUTES=30 for memory
	$(BIN)/python -m bench running $(if $(FULL),--full) $(if $(MINUTES),--minutes $(MINUTES))

bench-scaled: setup ## Measure PostgreSQL, Redis and many processes; FULL=1 behind 5,000,000 finished events
	$(BIN)/python -m bench scaled $(if $(FULL),--full)

bench-peers: setup ## Measure other tools on the same work, installed privately; ONLY=NAME for one of them
	$(BIN)/python -m bench peers $(if $(ONLY),--only $(ONLY))

requirements: setup ## Renew the hashed requirements from pyproject.toml
	$(BIN)/python -m requirements.compile

clean: ## Remove what the targets made
	rm -rf $(VENV) bench/peers/.venv bench/peers/programs/node_modules .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
