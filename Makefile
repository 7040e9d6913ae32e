# Needs Python >= 3.11 with venv, and make. `make` alone lists what there is.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: serve test lint format stress constraints help

serve: $(VENV)/.serve ## start the server (ARGS="--port 9000" gives it flags)
	@$(BIN)/parlour serve $(ARGS)

test: lint ## lint, then run the tests
	@$(BIN)/python -m pytest

lint: $(VENV)/.dev ## ruff and mypy, changing nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(VENV)/.dev ## let ruff sort imports and format
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

stress: $(VENV)/.dev ## the tests that take minutes
	@$(BIN)/python -m pytest -m stress --hypothesis-profile=stress

constraints: $(VENV)/.dev ## choose the versions in constraints.txt anew
	@$(BIN)/python -m pip install --quiet --group lock
	@{ \
		echo '# The versions that the suite runs with, for Python 3.11 and later. Written by `make constraints`.'; \
		$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 \
			--group pyproject.toml:dev pyproject.toml; \
	} > $(VENV)/constraints.txt
	@cp $(VENV)/constraints.txt constraints.txt

help: ## list these
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# A stamp file says that what it names was installed from these versions of the files it depends on.

$(VENV)/.serve: pyproject.toml constraints.txt requirements.txt | $(BIN)/python
	@echo 'Installing Parlour into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.serve
	@echo 'Installing what the tests need into $(VENV) ...'
	@$(BIN)/python -m pip install --quiet -c constraints.txt --group dev
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Parlour needs Python 3.11 or newer, and "$(PYTHON)" is not. Name one that is: make PYTHON=python3.12 ...' >&2; \
		exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || { \
		echo '"$(PYTHON)" lacks the venv module. On Debian and Ubuntu: apt install python3-venv' >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV)
