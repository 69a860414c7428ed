# The commands of Concord. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help env repro test ui sync lint lock

# Many images forbid .pyc files; then every process compiles thousands of modules anew.
export PYTHONDONTWRITEBYTECODE :=
# `make env PYTHON=python3.12` chooses the interpreter.
export PYTHON
export PORT
export PATH := $(CURDIR)/.venv/bin:$(PATH)

help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 8

env: ## .venv with the locked packages, and the libraries FFCV is compiled against
	@.ci/environment

repro: env ## the whole study: `dvc repro`, then the claims table (ARGS=... goes to dvc)
	@python -m pipeline check
	@git rev-parse --is-inside-work-tree >/dev/null 2>&1 || dvc config --local core.no_scm true
	@dvc repro $(ARGS)
	@python -m pipeline show

test: env ## all tests (ARGS=... goes to pytest)
	@.ci/browser
	@python -m pytest $(ARGS)

ui: env ## MLflow on 127.0.0.1 (PORT=5000), with a link to each study
	@python -m pipeline ui

sync: env ## send to MLflow what could not be sent when it was tracked
	@python -m pipeline sync

lint: env ## style and format, checked
	@ruff check
	@ruff format --check

lock: env ## renew requirements.lock from pyproject.toml
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" --quiet -o requirements.lock
