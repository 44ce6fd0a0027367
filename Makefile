# Interns. `make demo` shows the main job end to end; `make test` passes the tests.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
export PYTHONUNBUFFERED = 1
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.DEFAULT_GOAL := help
.PHONY: help setup demo test run check proof bench lock clean

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 13) else f"Interns needs Python 3.11 or 3.12, this is {v[0]}.{v[1]}. Try: make PYTHON=python3.11 setup")'
	@echo "Setting up .venv. llama.cpp is compiled once, about 7 to 15 minutes on 2 cores; pip keeps the result."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt pip setuptools wheel
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet --constraint constraints.txt torch==2.13.0
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
	@echo "Ready."

setup: .venv/ready ## make .venv with everything pinned

demo: setup ## the main job, end to end, without a terminal or network
	@$(BIN)/python examples/demo.py

# Two processes, each of which computes with one thread: a test mostly keeps one core busy.
test: setup ## the tests, on two cores
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

run: setup ## open the terminal interface
	@$(BIN)/interns

check: setup ## format, lint, types, layers, docs, tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python docs/check.py
	@$(MAKE) --no-print-directory test

proof: setup ## BANKING77, all 77 intents (INTERNS_DATASETS names the folder of data sets)
	@$(BIN)/python benchmarks/proof_banking77.py

bench: setup ## measure and print the tables of docs/benchmarks.md (TOOLS=DIR: llama.cpp's own tools too)
	@for each in client_start daemon engine overhead many_interns switch; do $(BIN)/python benchmarks/$$each.py || exit 1; done
	@$(if $(TOOLS),for base in large starter; do $(BIN)/python benchmarks/peers.py "$(TOOLS)" --base $$base || exit 1; done,\
	  echo "Left out: llama.cpp's own tools. benchmarks/peers.py says how to build them; then: make bench TOOLS=DIR")

lock: ## write constraints.txt from .venv
	@{ echo '# Every version that Interns is tested with. Made with `make lock`.'; \
	   $(BIN)/python -m pip freeze --exclude-editable | sed -E 's/\+cpu$$//; s/ @ .*//' ; } > constraints.txt

clean: ## remove the demo's office and caches (not .venv)
	@rm -rf .demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
