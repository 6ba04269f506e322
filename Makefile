# `make help` lists the targets. Everything installs into .venv; nothing needs a GPU or an account.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# nproc alone would answer OMP_NUM_THREADS where that is set.
CORES := $(shell env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc 2>/dev/null || echo 2)
JOBS ?= $(shell echo $$(( $(CORES) < 8 ? $(CORES) : 8 )))

EXPERIMENT ?= demo
SWEEP ?= $(EXPERIMENT)
ADVANTAGES ?= raw_kl,full_kl,gndpo,trust_region,decomposed
SEEDS ?= 0,1,2
OVERRIDES ?=
OUT ?= runs/bench

# One thread per job when the jobs fill the cores: two jobs with two threads each crawl on two cores.
THREADS := $(shell echo $$(( $(CORES) > $(JOBS) ? $(CORES) / $(JOBS) : 1 )))
LIMIT_THREADS := OMP_NUM_THREADS=$(THREADS) OMP_WAIT_POLICY=passive
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# A Python counts when it runs, is in range and can make environments (pyenv shims and bare Debian
# pythons fail that).
USABLE := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
find_python = $(shell for p in python3.12 python3.11 python3.13 python3 python; do \
  $$p -c '$(USABLE)' >/dev/null 2>&1 && { echo $$p; break; }; done)

.PHONY: help setup demo test test-slow test-dist test-vllm test-browser lint format sweep methods \
  bench docs clean always

help:  ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14
	@echo
	@echo "Variables: TORCH PYTHON EXPERIMENT SWEEP ADVANTAGES SEEDS OVERRIDES JOBS, e.g."
	@echo "  make sweep EXPERIMENT=stress ADVANTAGES=raw_kl,gndpo SEEDS=0,1 OVERRIDES='steps=100'"

# Asking for a torch by name repeats the installation; otherwise the stamp decides.
ifneq ($(origin TORCH),file)
$(STAMP): always
endif

$(STAMP): pyproject.toml constraints.txt
	@python="$(or $(PYTHON),$(find_python))"; \
	if ! $${python:-false} -c '$(USABLE)' 2>/dev/null; then \
	  echo "No usable Python (got '$(PYTHON)'): install 3.11, 3.12 or 3.13 with its venv module" \
	    "or name one with 'make setup PYTHON=/path/to/python3.12'." >&2; exit 1; fi; \
	$(BIN)/python -c '$(USABLE)' 2>/dev/null || $$python -m venv --clear $(VENV)
	@echo "Installing $(TORCH), then the rest, into $(VENV) (minutes the first time)"
	@$(BIN)/python -m pip install --progress-bar on $(TORCH)
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $@

setup: $(STAMP)  ## Create .venv and install torch, then the rest under constraints.txt

demo: setup  ## Train the models, sweep five strategies over three seeds, print table and figures
	@$(BIN)/gndpo-pretrain
	@$(MAKE) sweep EXPERIMENT=demo

test: lint  ## Lint, types and the fast tests
	@$(LIMIT_THREADS) $(BIN)/pytest -q -n $(JOBS) --dist loadfile

test-slow: setup  ## The tests that take minutes: every family and preset end to end
	@$(LIMIT_THREADS) $(BIN)/pytest -q -n $(JOBS) --dist loadfile -m slow

test-dist: setup  ## Two and three processes against one, for every strategy (minutes)
	@OMP_NUM_THREADS=1 $(BIN)/pytest -q -m dist tests/dist

# vLLM pins other versions than ours: an environment of its own.
test-vllm: setup  ## Rollouts and teachers of a real vLLM, on the processor (minutes)
	@VLLM_ENV=.venv-vllm PYTHON=$(BIN)/python bash tests/real_vllm/environment.sh
	@GNDPO_VLLM_PYTHON=$$PWD/.venv-vllm/bin/python $(BIN)/pytest -q -m vllm tests/real_vllm

test-browser: setup  ## The page of gndpo-report in a headless Chromium, which must be on the path
	@$(BIN)/pytest -q -m browser tests/browser

lint: setup  ## Check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: setup  ## Rewrite the code in the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# The report is written even when a job failed: it names the job and the reason. Its token view
# shows one run's answers as its student began.
sweep: setup  ## Run EXPERIMENT for every one of ADVANTAGES and SEEDS, then report
	@status=0; $(LIMIT_THREADS) $(BIN)/gndpo-train -m experiment=$(EXPERIMENT) sweep=$(SWEEP) \
	  advantage=$(ADVANTAGES) seed=$(SEEDS) hydra/launcher=joblib hydra.launcher.n_jobs=$(JOBS) \
	  $(OVERRIDES) || status=$$?; first=$$(ls -d runs/$(SWEEP)/*/.hydra | head -n 1); \
	$(BIN)/gndpo-inspect run="$${first%/.hydra}" checkpoint=base || status=$$?; \
	$(BIN)/gndpo-report runs/$(SWEEP) --html; exit $$status

# Strategies share every setting; methods differ in more than that: writers, teachers, contexts.
methods: setup  ## Every strategy and every method of conf/experiment/methods, one table
	@status=0; for what in strategies:advantage='glob(*)' methods:experiment='glob(methods/*)'; do \
	  $(LIMIT_THREADS) $(BIN)/gndpo-train -m "$${what#*:}" budget=survey sweep=$${what%%:*} \
	  seed=$(SEEDS) hydra/launcher=joblib hydra.launcher.n_jobs=$(JOBS) $(OVERRIDES) || status=$$?; \
	done; $(BIN)/gndpo-report runs/strategies runs/methods --out runs/methods/report --html; exit $$status

bench: setup  ## Our step beside TRL's: tables and figures in OUT (half an hour on two cores)
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[bench]'
	@$(BIN)/python -m benchmarks.compare --out $(OUT)
	@$(BIN)/python -m benchmarks.tables $(OUT)
	@$(BIN)/python -m benchmarks.growth --out $(OUT)

docs: setup  ## Build the documentation into site/, strictly
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

clean:  ## Remove .venv, caches and builds; runs/ stays
	@rm -rf $(VENV) .venv-vllm build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
