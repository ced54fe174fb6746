# Every target sets up what it needs in .venv, once.
#
#   make demo       train, distil, evaluate and score on embedded pictures
#   make test       linter, type checker and the quick tests
#   make test-all   the same with the slow tests
#   make lint       linter and type checker alone
#   make bench      measure speed; writes a table to standard output (the input
#                   pipeline, which needs data sets: scripts/benchmark_data.py)
#   make parity     compare with PyTorch, timm, scipy and NumPy; prints a table
#   make clean      remove .venv, caches and what `make demo` wrote
#
# PYTHON names the interpreter (3.11 or newer); JOBS the test processes.

PYTHON ?= python3
JOBS ?= 2
OUT ?= demo

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check
DEMO_READY := $(VENV)/.ready-demo
DEV_READY := $(VENV)/.ready-dev
PARITY_READY := $(VENV)/.ready-parity

export TF_CPP_MIN_LOG_LEVEL ?= 3

.DELETE_ON_ERROR:
.PHONY: demo test test-all lint bench parity clean

demo: $(DEMO_READY)
	$(BIN)/ganiqa demo --out $(OUT)

test: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -q --durations=20 -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -q

lint: $(DEV_READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(DEV_READY)
	$(BIN)/python scripts/benchmark.py

parity: $(PARITY_READY)
	$(BIN)/python scripts/parity.py

clean:
	rm -rf $(VENV) .ruff_cache .pytest_cache .hypothesis .cache build dist demo

$(BIN)/python:
	@command -v "$(PYTHON)" >/dev/null || { \
	  echo "No $(PYTHON) here; name a Python 3.11 or newer: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$("$(PYTHON)" -V 2>&1); this project needs Python 3.11" \
	    "or newer: make PYTHON=python3.12" >&2; \
	  exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(DEMO_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV): about 1.5 minutes and 2 GB, once."
	$(INSTALL) -e '.[demo]' -c constraints.txt
	@touch $@

$(DEV_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) with the development tools, once."
	$(INSTALL) -e '.[dev]' -c constraints.txt
	@touch $@ $(DEMO_READY)

$(PARITY_READY): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing PyTorch and timm into $(VENV), once."
	$(INSTALL) -e '.[parity]' -c constraints.txt
	@touch $@
