# Everything runs from .venv (or VENV=...), made on first use and brought up to date when the dependencies change.
# Options go in ARGS: make study ARGS="--preset smoke", make test ARGS="tests/test_metrics.py".

PYTHON ?= python3
ARGS ?=

VENV ?= .venv
CONSTRAINTS ?= constraints.txt
# Test files are shared out to so many processes, each on one thread; 0: all in this one.
WORKERS ?= 2
RUN := $(VENV)/bin/python -m
PIP := $(RUN) pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
READY := $(VENV)/.ready
SITE_READY := $(VENV)/.site-ready

# Without bytecode files every start would compile torch again: 6 s of CPU instead of 2.
unexport PYTHONDONTWRITEBYTECODE
# Another project's modules must not get in front of ours.
unexport PYTHONPATH

.PHONY: help study test slow fuzz mutants lint format tables numbers docs bench gpu clean

help:
	@echo "make study    run the paper's study on the embedded digits and say where its report is"
	@echo "make test     run the test suite, but for what is slow"
	@echo "make slow     run the tests that are marked slow"
	@echo "make fuzz     20,000 damaged or odd files and settings: each is read right, or refused"
	@echo "make mutants  450 small changes to the core files: says which of them no test notices"
	@echo "make lint     ruff and mypy, as CI runs them"
	@echo "make format   let ruff mend what it can"
	@echo "make tables   write schemas and tables of the documentation anew, from the records"
	@echo "make docs     build the site into build/site, its tutorials run; a warning or a broken link fails"
	@echo "make numbers  make the numbers of the documentation anew from kept results, and say which are stale"
	@echo "make bench    measure speed against the goals; prints ratios"
	@echo "make gpu      on a machine with a GPU, in 8 minutes: the CUDA tests and how fast it is, in one JSON"
	@echo "make clean    remove .venv and caches; runs/ stays"

study: $(READY)
	@$(RUN) recondoor study $(ARGS)

test: $(READY)
	$(RUN) pytest -m "not slow" --numprocesses $(WORKERS) --dist loadfile $(ARGS)

slow: $(READY)
	$(RUN) pytest -m slow --numprocesses $(WORKERS) --dist load $(ARGS)

fuzz: $(READY)
	@PYTHONPATH=tests $(RUN) fuzzing $(ARGS)

mutants: $(READY)
	@PYTHONPATH=tests $(RUN) mutants $(ARGS)

lint: $(READY)
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) mypy

format: $(READY)
	$(RUN) ruff check --fix
	$(RUN) ruff format

tables: $(READY)
	@$(VENV)/bin/python docs/generate_tables.py

docs: $(SITE_READY)
	rm -rf docs/tutorials/work
	$(RUN) sphinx -c docs --builder html --fail-on-warning --keep-going --fresh-env --quiet $(ARGS) . build/site
	@echo "the site: build/site/index.html"

numbers: $(READY)
	@$(VENV)/bin/python docs/generate_numbers.py

bench: $(READY)
	@for file in benchmarks/[!_]*.py; do \
		echo "== $$file"; $(VENV)/bin/python "$$file" $(ARGS) || exit 1; \
	done

# Its machine may have PyTorch and no way to other packages: PYTHON is used as it is there.
gpu:
	@$(PYTHON) scripts/gpu.py $(ARGS)

clean:
	rm -rf $(VENV) .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

PYTHON_IS_RECENT = $(shell ($(PYTHON) -c 'import sys; print(sys.version_info >= (3, 11))') 2>/dev/null)

$(READY): pyproject.toml $(CONSTRAINTS)
	$(if $(filter True,$(PYTHON_IS_RECENT)),,$(error recondoor needs Python 3.11 or newer, which \
	'$(PYTHON)' is not; install one and name it, for example: make PYTHON=python3.12 $(MAKECMDGOALS)))
	@echo "Setting up $(VENV) from $(CONSTRAINTS), once; PyTorch is large, so this takes minutes ..."
	@$(RUN) pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(PIP) hatchling
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@
	@echo "$(VENV) is ready."

# Sphinx and what runs notebooks, which nothing else needs.
$(SITE_READY): $(READY)
	@$(PIP) --no-build-isolation --editable '.[docs]'
	@touch $@
