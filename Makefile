# `make` alone lists the targets. Every target first installs into .venv what it needs: the pipeline,
# and the tools of tests and checks only for these.
SHELL := /bin/bash
export SHELL # DVC runs commands by it, and a user's own may be fish or forbid to log in
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
export DVC_NO_ANALYTICS := 1
# The pipeline and the tests start hundreds of processes: each would compile the code again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z][a-z0-9-]*:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# Checked before anything is downloaded: pip would only refuse a wrong Python at the end.
FITS = $(PYTHON) -c 'import re, sys; w = re.search("requires-python = .>=3.([0-9]+),<3.([0-9]+).", open("pyproject.toml").read()); \
  v = "%d.%d" % sys.version_info[:2]; ok = (3, int(w[1])) <= sys.version_info[:2] < (3, int(w[2])); \
  ok or sys.exit("error: Python 3.%s to 3.%d is needed, and $(PYTHON) is %s: make PYTHON=python3.%d ..." % (w[1], int(w[2]) - 1, v, int(w[2]) - 1))'
# After a checkout is moved or copied, the scripts and imports of its .venv still point to the old place.
HERE := $(shell pwd -P)
MADE := $(shell cat $(VENV)/.done 2>/dev/null)
ifneq ($(MADE),)
ifneq ($(MADE),$(HERE))
$(info .venv was created in $(MADE); creating it again here)
$(shell rm -f $(VENV)/.done)
endif
endif

# The lock only constrains: what is installed is the extra, and a torch without CUDA asks for less.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable

$(VENV)/.done: requirements.lock pyproject.toml
	@$(FITS)
	$(PYTHON) -m venv --clear $(VENV)
	$(INSTALL) ".[pipeline]"
	@pwd -P > $@

$(VENV)/.dev: $(VENV)/.done
	$(INSTALL) ".[dev]"
	@touch $@

venv: $(VENV)/.done ## create .venv for the pipeline, with the exact versions of requirements.lock

dev: $(VENV)/.dev ## add to .venv what tests and checks need

# An unpacked ZIP has no git repository, or git does not trust it.
HAS_GIT = @git rev-parse --git-dir >/dev/null 2>&1 || grep -qsE 'no_scm *= *true' .dvc/config.local || { echo \
  "error: $$(git rev-parse --git-dir 2>&1 | tr -s '\n\t' '  '); run \`git init && git add -A && git commit -m start\`, or" \
  "without experiments \`$(BIN)/python -m dvc config --local core.no_scm true\`" >&2; exit 1; }

repro: venv ## run the whole pipeline, captions to scores (10 minutes on 2 cores, 5 seconds if nothing changed)
	$(HAS_GIT)
	dvc repro
	@python -m captionseg sync || true
	@python -m stages.gate || true
	@echo "scores: reports/metrics.json    page: reports/index.html    runs: make services"

PYTEST = OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 5
test: dev ## run the tests (CPU, no network)
	$(PYTEST)

check: dev ## run what CI runs: formatting, ruff, pyright, import-linter and the tests
	ruff format --check .
	ruff check .
	pyright
	lint-imports
	$(PYTEST)

wheel-test: venv ## install the wheel into an empty environment and segment a photograph there (downloads gigabytes)
	python -m tests.soak.wheel

deps: venv ## update the code dependencies in dvc.yaml from the imports of each stage
	python -m stages.deps

gate: venv ## check thresholds, regressions against the base branch, and dvc.lock; needs no data
	python -m stages.gate $(ARGS)

flow: venv ## run the pipeline as a Prefect flow, with retries, time-outs and logs
	$(HAS_GIT)
	python -m flows.reproduce

experiment: venv ## run experiments/NAME.yaml with DVC and keep its scores; without NAME, list all (NAME=groups)
	@python -m stages.experiment $${NAME:+"$$NAME"} $${ROOT:+--root "$$ROOT"}

flickr8k: venv ## run the experiment on real captions, Flickr8k as Kaggle has it (ROOT=folder with captions.txt)
	@python -m stages.experiment flickr8k $${ROOT:+--root "$$ROOT"}

shipped: venv ## put the best model of the finished run into the package (captionseg/shipped)
	python -m captionseg.shipped

services: venv ## start Prefect and MLflow servers and workers, on http://127.0.0.1:4200 and :5000 (OPTIONS="--prefect-port 4201 ...")
	@python -m captionseg.tracking.moved_store
	@python -m flows.services start $(OPTIONS)

mlflow: services

services-status: venv ## show which services run, and where their logs are
	@python -m flows.services status

services-stop: venv ## stop the services and their runs
	@python -m flows.services stop

screenshots: services ## take docs/pictures again: a run in Prefect, recipes in MLflow, the validation page; needs Chromium
	$(BIN)/python -m pip install --quiet --disable-pip-version-check playwright
	@set -e; eval "$$(python -m flows.services env)"; set -x; python -m prefect deployment run reproduce/nightly --watch; \
	  python docs/screenshots.py --prefect "$${PREFECT_API_URL%/api}" --mlflow "$$MLFLOW_TRACKING_URI"

lock: ## update requirements.lock from pyproject.toml in a fresh environment
	@$(FITS)
	rm -rf .work/lock && $(PYTHON) -m venv .work/lock
	.work/lock/bin/python -m pip install --quiet ".[dev]"
	.work/lock/bin/python -m pip freeze --exclude captionseg > requirements.lock.new
	mv requirements.lock.new requirements.lock && rm -rf .work/lock

clean: ## delete unfinished work; data, models and reports stay
	rm -rf .work

.PHONY: help venv dev repro test check wheel-test gate flow experiment flickr8k shipped mlflow services services-status services-stop screenshots lock clean
