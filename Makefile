# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
.PHONY: help install demo demo-run check test test-fast test-demo test-emoji lint types recipes lock bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/bin/python:
	@scripts/make-venv $(PYTHON) $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes --requirement requirements.lock
	$(PIP) --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	$(PIP) --require-hashes --requirement requirements-dev.lock
	$(PIP) --no-deps --editable .
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed ## make .venv with phi3k and what it trains with

demo: install ## train a tiny Phi-3-V on a sample catalogue, then adapt it with LoRA to a changed one
	@scripts/demo $(BIN)/phi3k

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

check: lint types ## ruff, strict typing and the unit tests, in under three minutes
	$(BIN)/pytest -n 2 tests/unit

test: $(VENV)/.installed-dev ## every test, with all it needs installed first
	@scripts/install-debian-packages chromium
	$(MAKE) --no-print-directory check
	$(BIN)/pytest -n 2 tests/golden tests/faults
	$(BIN)/pytest tests/end_to_end

lock: $(VENV)/.installed-dev ## pin the newest versions that pyproject.toml allows, with hashes
	scripts/lock $(BIN)/python

clean: ## remove the environment and every run
	rm -rf $(VENV) runs
