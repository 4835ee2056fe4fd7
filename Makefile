# Every habit of the project. `make demo` and `make test` work on a bare machine with Python 3.11 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := data/demo
# tests run in this many processes, with one torch thread each; what Python compiles is kept for all that they start
WORKERS ?= 2
PYTEST = PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS)

.PHONY: help install demo test lint types format coverage bench torture study study-guided clean
.DEFAULT_GOAL := help

help: ## list these targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

install: $(VENV)/.installed ## into .venv: what `make demo` begins with

demo: $(VENV)/.installed ## install, then the whole pipeline on faces that fertool draws itself (2 minutes)
	$(BIN)/fertool prepare synthetic --count 4000 --workspace $(DEMO)
	$(BIN)/fertool masks --workspace $(DEMO)
	$(BIN)/fertool train --model cnn --epochs 12 --lr 1e-3 --workspace $(DEMO)
	$(BIN)/fertool explain --explainer gradcam --workspace $(DEMO)
	$(BIN)/fertool score --explainer gradcam --workspace $(DEMO)
	$(BIN)/fertool report --workspace $(DEMO)
	@echo "The report: $(abspath $(DEMO))/report/index.html"

test: $(VENV)/.installed-for-tests lint ## install what tests need, check the style, run the tests
	$(PYTEST)

lint: $(VENV)/.installed-for-tests ## ruff (checks and formatting) and ty (types)
	$(BIN)/ruff check fertool tests
	$(BIN)/ruff format --check fertool tests
	@$(MAKE) --no-print-directory types

types: ## ty alone, in an environment that is there
	$(BIN)/ty check --python $(BIN)/python

format: $(VENV)/.installed-for-tests ## let ruff put right what it can
	$(BIN)/ruff check --fix fertool tests
	$(BIN)/ruff format fertool tests

coverage: $(VENV)/.installed-for-tests ## which lines of fertool the tests run
	$(PYTEST) --cov=fertool --cov-report=term-missing:skip-covered

torture: $(VENV)/.installed-for-tests ## kills, forged and mutated files, load: the full number (hours)
	@failed=0; for script in tests/torture/*.py; do $(BIN)/python $$script || failed=1; done; exit $$failed

bench: $(VENV)/.installed-for-tests ## speed, side by side with what a user would take instead
	@missed=0; for script in tests/benchmarks/bench_*.py; do $(BIN)/python $$script || missed=1; done; exit $$missed

study-guided: $(VENV)/.installed ## what attention guidance does, on a planted truth and on FER2013 (hours)
	PATH="$(abspath $(BIN)):$$PATH" sh tests/studies/guided.sh

study: $(VENV)/.installed ## the study on FER2013 (hours; STUDY=small or full, SOURCE=fer2013.zip)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[pretrained,dlib]'
	PATH="$(abspath $(BIN)):$$PATH" sh tests/studies/study.sh --dry-run
	PATH="$(abspath $(BIN)):$$PATH" sh tests/studies/study.sh

clean: ## remove the environment, caches and the demo
	rm -rf $(VENV) $(DEMO) .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find fertool tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fertool needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-for-tests: setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,dlib]'
	# without its dependencies: they would install a second cv2 over mediapipe's
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'grad-cam>=1.5' 'ttach>=0.0.3' 'quantus>=0.6'
	@touch $@ $(VENV)/.installed
