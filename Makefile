# october: `make reproduce` and `make test` are all a bare machine needs (Python 3.11 to 3.13, git, make).
PYTHON ?= python3
PAPER ?=
SIZE ?= small
NAME ?=
WORKERS ?= 2
TORCH_INDEX ?=

BIN := .venv/bin
INSTALLED := .venv/.installed
DATA := .venv/.data

.DEFAULT_GOAL := help
.PHONY: help setup reproduce report test lint types pytest benchmarks clean

help:  ## Show this list
	@echo "Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1@\2/p' Makefile | awk -F@ '{printf "%-18s %s\n", $$1, $$2}'
	@echo "Variables:"
	@echo "  PAPER=recomp       reproduce: every table of one paper (default: each paper's headline table)"
	@echo "  SIZE=full          reproduce: tiny, small (default) or full"
	@echo "  NAME=ridge         benchmarks: one of them (default: all)"
	@echo "  WORKERS=4          test: processes that share the tests (default: 2), each with some 5 GiB of memory"
	@echo "  TORCH_INDEX=URL    where pip finds torch, say the CPU-only index named on pytorch.org"
	@echo "  PYTHON=python3.12  the interpreter of the virtual environment"

$(INSTALLED): pyproject.toml setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "october needs Python 3.11 to 3.13; choose one with PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || { echo "Creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "Installing the pinned packages (a few minutes the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(DATA): $(INSTALLED) src/data/offline.py src/data/offline.yaml
	@$(BIN)/october-offline
	@touch $@

setup: $(INSTALLED) $(DATA)  ## Create .venv, install the pinned packages, fetch the offline weights and data

reproduce: setup  ## Run each paper's headline table, then print the summary and the report's path
	@$(BIN)/python -m october.reproduce --size $(SIZE) $(if $(PAPER),--paper $(PAPER))

report: setup  ## Write report/index.html and the Markdown tables from results/ and outputs/
	@$(BIN)/october-report

test: setup lint types pytest  ## Lint, types and tests

lint: $(INSTALLED)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports
	@$(BIN)/october-report --check

types: $(INSTALLED)
	@$(BIN)/mypy

pytest: setup  # files in their order: by number of tests the notebooks, few and slow, would come last, on one process
	@OMP_NUM_THREADS=1 $(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

benchmarks: setup  ## Measure ours against peers, side by side, into results/benchmarks/
	@for file in $(if $(NAME),benchmarks/$(NAME).py,benchmarks/*.py); do $(BIN)/python $$file || exit 1; done

clean:  ## Remove the virtual environment and caches (outputs/ and results/ stay)
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
