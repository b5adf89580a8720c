# Every target sets up what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
IMAGE ?= phi3k:dev
HELM ?= helm
VENV := .venv
BIN := $(VENV)/bin
# Zensical apart: what it needs and what phi3k needs are not resolved together.
SITE_VENV := .venv-site
# One thread each, since two test processes run side by side.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest --quiet
.PHONY: help install install-dev demo lint types check test test-unit test-golden test-faults test-end-to-end test-demo \
	test-pictures test-chart test-release site image release release-packages release-image bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

$(BIN)/python:
	@scripts/make-venv $(PYTHON) $(VENV)

# What the locks pin, then phi3k itself with the build backend that they pin.
INSTALL = scripts/install-locked $(BIN)/python $(filter %.lock,$^) \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . \
	&& $(BIN)/python -m pip check

$(VENV)/.installed: requirements-build.lock requirements.lock pyproject.toml | $(BIN)/python
	$(INSTALL)
	@touch $@

$(VENV)/.installed-dev: requirements-build.lock requirements-dev.lock pyproject.toml | $(BIN)/python
	$(INSTALL)
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed ## make .venv with phi3k and what it trains with

demo: install ## train a tiny Phi-3-V on a sample catalogue, then adapt it with LoRA to a changed one
	@scripts/demo $(BIN)/phi3k

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/hadolint --failure-threshold style Dockerfile

types: $(VENV)/.installed-dev
	$(BIN)/mypy

test-unit: $(VENV)/.installed-dev
	$(PYTEST) -n 2 tests/unit

$(SITE_VENV)/.installed: requirements-docs.lock
	@scripts/make-venv $(PYTHON) $(SITE_VENV)
	scripts/install-locked $(SITE_VENV)/bin/python $< && $(SITE_VENV)/bin/python -m pip check
	@touch $@

site: $(SITE_VENV)/.installed ## build the documentation site in site/, and fail at a link that leads nowhere
	$(SITE_VENV)/bin/python scripts/site.py $(SITE_VENV)/bin/zensical site

check: lint types test-unit ## ruff, hadolint, strict typing and the unit tests, in under three minutes

install-dev: $(VENV)/.installed-dev

test: ## every test, with all it needs installed first, and the time of each stage
	@+scripts/stages install-dev lint types test-unit site test-golden test-faults test-end-to-end test-demo \
		test-pictures cluster-build test-chart test-release test-stores test-cluster

test-golden: $(VENV)/.installed-dev ## parity with the published code
	$(PYTEST) -n 2 tests/golden

test-faults: $(VENV)/.installed-dev ## kills, full disks, hostile servers
	$(PYTEST) -n 2 tests/faults

test-end-to-end: $(VENV)/.installed-dev ## the command, training, W&B, the report in a browser
	@scripts/install-debian-packages chromium
	$(PYTEST) -n 2 --ignore tests/end_to_end/test_demo.py tests/end_to_end

test-demo: $(VENV)/.installed-dev ## what `make demo` runs, with the scores it promises
	$(BIN)/pytest --quiet tests/end_to_end/test_demo.py

test-pictures: $(VENV)/.installed-dev ## fine-tune on 1,911 pictures that nobody here drew
	@command -v npm >/dev/null || scripts/install-debian-packages npm
	$(BIN)/python scripts/emoji_catalogue.py data/emoji
	$(BIN)/pytest --quiet tests/pictures

test-chart: cluster-build ## the Helm chart renders what phi3k renders
	$(PYTEST) -n 2 tests/chart

test-release: cluster-build ## what a release consists of, made and tried
	$(PYTEST) tests/release

test-stores: cluster-build ## data and models in an S3-compatible server
	$(PYTEST) tests/stores

image: ## build the trainer image with docker, podman or buildah: make image IMAGE=registry/phi3k:0.1.0
	@scripts/image --tag "$(IMAGE)"

release: release-packages ## everything of a release but the upload, in dist: make release IMAGE=registry/phi3k:0.1.0 [ARCHIVE=file]
	@$(MAKE) --no-print-directory release-image

release-packages: $(VENV)/.installed-dev ## its wheel, source distribution, chart, notes and checksums, without the image
	$(BIN)/python scripts/release.py packages dist "$(HELM)"

release-image: $(VENV)/.installed-dev ## its image, with the SBOM in dist
	PYTHON=$(BIN)/python scripts/release-image dist "$(IMAGE)" $(ARCHIVE)

bench: $(VENV)/.installed-dev ## measure parity with the published code
	$(BIN)/python bench/parity.py

lock: $(VENV)/.installed-dev ## pin the newest versions that pyproject.toml allows, of all or only: make lock PACKAGES="torch triton"
	scripts/lock $(BIN)/python $(PACKAGES)

clean: ## remove the environment, the runs and the test pictures
	rm -rf $(VENV) $(SITE_VENV) site runs data

include tools/cluster/cluster.mk
