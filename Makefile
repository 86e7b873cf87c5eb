# `make` alone lists the targets. Every target makes .venv first when it is not there.
SHELL := /bin/bash
export SHELL # DVC runs commands by it, and a user's own may be fish or forbid to log in
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
export DVC_NO_ANALYTICS := 1

.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

# Before anything is downloaded: pip would refuse a Python that this is not for, after all the rest.
FITS = $(PYTHON) -c 'import re, sys; w = re.search("requires-python = .>=3.([0-9]+),<3.([0-9]+).", open("pyproject.toml").read()); \
  v = "%d.%d" % sys.version_info[:2]; ok = (3, int(w[1])) <= sys.version_info[:2] < (3, int(w[2])); \
  ok or sys.exit("error: Python 3.%s to 3.%d is needed, and $(PYTHON) is %s: make PYTHON=python3.%d ..." % (w[1], int(w[2]) - 1, v, int(w[2]) - 1))'
# One that was moved or copied with its checkout leads to where it was made: its scripts, and the code that it imports.
HERE := $(shell pwd -P)
MADE := $(shell cat $(VENV)/.done 2>/dev/null)
ifneq ($(MADE),)
ifneq ($(MADE),$(HERE))
$(info .venv was made in $(MADE), and is made anew here)
$(shell rm -f $(VENV)/.done)
endif
endif

$(VENV)/.done: requirements.lock pyproject.toml
	@$(FITS)
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@pwd -P > $@

venv: $(VENV)/.done ## .venv with the exact versions of requirements.lock

# A folder of a ZIP has no git, or git does not trust it.
HAS_GIT = @git rev-parse --git-dir >/dev/null 2>&1 || grep -qsE 'no_scm *= *true' .dvc/config.local || { echo \
  "error: $$(git rev-parse --git-dir 2>&1 | tr -s '\n\t' '  '); \`git init && git add -A && git commit -m start\`, or to do" \
  "without experiments \`$(BIN)/python -m dvc config --local core.no_scm true\`" >&2; exit 1; }

repro: venv ## the whole pipeline, captions to scores (10 minutes on 2 cores, 5 seconds when nothing changed)
	$(HAS_GIT)
	dvc repro
	@python -m captionseg sync || true
	@python -m stages.gate || true
	@echo "scores: reports/metrics.json    page: reports/index.html    runs: make services"

PYTEST = OMP_NUM_THREADS=1 python -m pytest -n auto --maxprocesses 5
test: venv ## the tests: CPU, no network
	$(PYTEST)

check: venv ## format, ruff, pyright, import-linter and the tests: what CI runs
	ruff format --check .
	ruff check .
	pyright
	lint-imports
	$(PYTEST)

deps: venv ## dvc.yaml's deps of code, from what each stage imports
	python -m stages.deps

gate: venv ## thresholds, no regression against the base branch, dvc.lock of this code; fails on a miss; needs no data
	python -m stages.gate $(ARGS)

flow: venv ## the same DAG as a Prefect flow: retries, time-outs, logs
	$(HAS_GIT)
	python -m flows.reproduce

KEEP = @python -m stages.keep
groups: venv ## the group models beside the recipes of params.yaml, as an experiment of DVC
	dvc exp run -S 'curate.rules=[nouns,entities,caption_retrieval,cocu,cocu_calibrated]' \
	  $(foreach rule,nouns cocu cocu_calibrated,-S '+recipes.$(rule)-groupvit={curation:$(rule),archive:$(rule),model:groupvit}') \
	  $(foreach rule,entities cocu,-S '+recipes.$(rule)-ovsegmentor={curation:$(rule),archive:$(rule),model:ovsegmentor}') \
	  -S '+evaluate.also={nouns-groupvit:[groupvit],cocu-groupvit:[groupvit],cocu_calibrated-groupvit:[groupvit]}'
	$(KEEP) groups --about "Models that group pixels (GroupViT, OVSegmentor), with and without curated concepts."

PAMR = refine:{method:pamr}
SHORT = training:{epochs:2,texts:2,precision:auto}
WEIGHTS = feature_weight:1.0,image_weight:0.0,smooth_features:0.0,smooth_masks:0.0
frozen: venv ## models on the frozen encoder (MaskCLIP, TCL, CoDe) beside the recipes of params.yaml, as an experiment of DVC
	dvc exp run -S 'curate.rules=[nouns,captions,caption_retrieval,cocu,cocu_calibrated]' \
	  -S '+recipes.none-maskclip={curation:captions,archive:captions,model:maskclip,training:{seeds:[0]},$(PAMR)}' \
	  -S '+recipes.captions-tcl={curation:captions,archive:captions,model:tcl,settings:{$(WEIGHTS)},$(SHORT),$(PAMR)}' \
	  -S '+recipes.cocu-code={curation:cocu,archive:cocu,model:code,settings:{tcl:{$(WEIGHTS)},highlight_weight:0.1,nouns:3},training:{epochs:2,texts:3,precision:auto},$(PAMR)}' \
	  -S '+recipes.nouns-code={curation:nouns,archive:nouns,model:code,settings:{tcl:{$(WEIGHTS)},highlight_weight:0.1},$(SHORT),$(PAMR)}' \
	  -S '+evaluate.also={captions-tcl:[tcl]}'
	$(KEEP) frozen --about "Models on the frozen encoder: MaskCLIP, TCL, CoDe."

USE = logit_scale:10,dropout:0.5
segments: venv ## model of segments (USE), on phrases of captions and with curated concepts too, as an experiment of DVC
	dvc exp run -S segment_text.curation=cocu \
	  -S '+recipes.segments-use={curation:cocu,archive:cocu,model:use,settings:{$(USE),kinds:[phrase,expression]}}' \
	  -S '+recipes.cocu-use={curation:cocu,archive:cocu,model:use,settings:{$(USE)}}' \
	  -S '+recipes.cocu_masks-use={curation:cocu,archive:cocu,model:use,settings:{$(USE)},masks:{maker:hierarchy}}' \
	  -S '+evaluate.also={segments-use:[use],cocu-use:[use]}'
	$(KEEP) segments --about "USE, the model of segments, on phrases of captions and with curated concepts too."

ablation: venv ## CoCu's Table 3 in five rows, each a part of CoCu more than the last, as an experiment of DVC
	dvc exp run -S 'curate.rules=[nouns,caption_retrieval,cocu,cocu_calibrated,cocu_naive,cocu_ranked]' \
	  -S '+curate.variants={cocu_naive:{rule:cocu,ranking:a,clusters:0},cocu_ranked:{rule:cocu,clusters:0}}' \
	  -S '+recipes.caption_retrieval-mil={curation:caption_retrieval,archive:caption_retrieval}' \
	  -S '+about.caption_retrieval-mil="Table 3, row 1: concepts of the captions that fit the picture best."' \
	  -S '+recipes.cocu_naive-mil={curation:cocu_naive,archive:cocu_naive}' \
	  -S '+about.cocu_naive-mil="Table 3, row 2: concepts of similar pictures, ranked by relevance alone."' \
	  -S '+recipes.cocu_ranked-mil={curation:cocu_ranked,archive:cocu_ranked}' \
	  -S '+about.cocu_ranked-mil="Table 3, row 3: ranked by Eq. 6 to 8, sampled without clusters."'
	$(KEEP) ablation --about "The parts of CoCu one by one: rows of its Table 3." \
	  --recipes nouns-mil caption_retrieval-mil cocu_naive-mil cocu_ranked-mil cocu-mil

services: venv ## Prefect and MLflow servers and workers, on http://127.0.0.1:4200 and :5000 (OPTIONS="--prefect-port 4201 ...")
	@python -m captionseg.tracking.places
	@python -m flows.services start $(OPTIONS)

mlflow: services

services-status: venv ## which of them run, and where their logs are
	@python -m flows.services status

services-stop: venv ## end them and what they run
	@python -m flows.services stop

screenshots: services ## docs/pictures anew: a run in Prefect, recipes in MLflow, the validation page; needs a Chromium
	$(BIN)/python -m pip install --quiet --disable-pip-version-check playwright
	@set -e; eval "$$(python -m flows.services env)"; set -x; python -m prefect deployment run reproduce/nightly --watch; \
	  python docs/screenshots.py --prefect "$${PREFECT_API_URL%/api}" --mlflow "$$MLFLOW_TRACKING_URI"

lock: ## requirements.lock anew, from pyproject.toml in a fresh environment
	@$(FITS)
	rm -rf .work/lock && $(PYTHON) -m venv .work/lock
	.work/lock/bin/python -m pip install --quiet ".[dev]"
	.work/lock/bin/python -m pip freeze --exclude captionseg > requirements.lock.new
	mv requirements.lock.new requirements.lock && rm -rf .work/lock

clean: ## forget unfinished work, keep data, models and reports
	rm -rf .work

.PHONY: help venv repro test check gate flow groups frozen segments ablation mlflow services services-status services-stop screenshots lock clean
