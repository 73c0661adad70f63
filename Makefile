# Every target makes what it needs: `make test` on a fresh checkout builds .venv first.
# The environment is rebuilt when pyproject.toml or constraints.txt change in content, not in time stamp.

PYTHON ?= python3
JOBS ?= 2
BUILD ?= build

BIN := .venv/bin
STAMP := .venv/.asrtune-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
# Small models on few cores: one thread a process, else two test workers fight over the cores.
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1
comma := ,
# glibc gives large tensors back to the kernel after every use; keeping them makes training several times faster (docs/log.md).
# jemalloc (Debian: libjemalloc2) with huge pages is used where it is installed: another 2.4 times.
JEMALLOC ?= $(firstword $(wildcard /usr/lib/*/libjemalloc.so.2))
KEEP_MEMORY := $(if $(JEMALLOC),LD_PRELOAD=$(JEMALLOC) MALLOC_CONF=dirty_decay_ms:-1$(comma)muzzy_decay_ms:-1$(comma)thp:always$(comma)narenas:1) \
  MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 MALLOC_TOP_PAD_=268435456
SET_FOLDER := asrcore/embedded/sets

.DEFAULT_GOAL := help
.PHONY: help setup quickstart test check-slow storm bench study lint types fmt docs base-data sets base clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the pinned dependencies and this checkout, editable

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "asrtune needs Python 3.11 or later; name one: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 4; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,export,dask,language]'
	@rm -f .venv/.asrtune-* && touch $@

quickstart: $(STAMP) ## the whole loop on the embedded base and synthetic speech, minutes on a laptop
	$(BIN)/asrtune quickstart

test: lint types ## what CI runs: lint, types, all tests but the slow ones
	$(ONE_THREAD) $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

check-slow: $(STAMP) ## tests that run a whole stage end to end (minutes each)
	$(ONE_THREAD) $(BIN)/python -m pytest -m slow

storm: $(STAMP) ## 360 trials of jobs killed at random moments, full disks, jumping clocks, 20 of them real trainings; half an hour
	$(ONE_THREAD) $(BIN)/python -m pytest -m "" -n $(JOBS) --dist loadfile tests/jobs/test_train_storm.py tests/jobs/test_kill_storm.py

bench: $(STAMP) ## all benches beside what people use instead, half an hour, into bench/results.md; never part of test
	$(BIN)/python -m bench

study: $(STAMP) .venv/.synth ## surfaces, replay, alpha, terms, accents, a new locale: 17 small fine-tunes on synthetic speech, 40 minutes; goes on after a stop
	$(BIN)/python bench/study.py

lint: $(STAMP) ## ruff
	$(BIN)/ruff check

types: $(STAMP) ## pyright, strict
	$(BIN)/pyright --pythonpath $(BIN)/python

fmt: $(STAMP) ## apply ruff's safe fixes and the formatter
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(STAMP) ## regenerate the generated pages (tests fail when they are stale)
	$(BIN)/python docs/reference/build_errors.py
	$(BIN)/python docs/reference/build_traps.py
	$(BIN)/python docs/reference/build_sizes.py
	$(BIN)/python -m asrtune.registry --write
	$(BIN)/python -m asrtune.manifests --write

base-data: $(STAMP) .venv/.synth ## synthetic speech to pre-train the embedded base, about 4 GB in build/pretrain
	$(BIN)/python -m asrcore.embedded.sets pretrain $(BUILD)/pretrain

sets: $(STAMP) .venv/.synth ## re-make the synthetic sets that ship in the package
	$(BIN)/python -m asrcore.embedded.sets ship $(SET_FOLDER)

base: $(STAMP) ## pre-train asrcore/embedded/base.nemo from nothing; needs base-data, 85 minutes whatever the machine
	$(KEEP_MEMORY) $(BIN)/python -m asrcore.model.pretrain_embedded $(BUILD)/pretrain asrcore/embedded/base.nemo

.venv/.synth: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,export,dask,language,synth]'
	@touch $@

clean: ## remove the environment, caches and build outputs; keeps .asrtune (your runs)
	rm -rf .venv $(BUILD) dist .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
