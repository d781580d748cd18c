# `make demo`, `make test`, `make check` and `make bench` set up everything they need in .venv on their first call.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: help demo test test-fast abuse check bench docs docs-reference format clean

help:
	@echo "make demo    align the miniature model, from prompts to report (about five minutes)"
	@echo "make test-fast  run what is quick: the tests not marked slow (75 s on two cores)"
	@echo "make test    run all tests (JOBS=2 at a time)"
	@echo "make abuse   try many broken and hostile inputs, kills included, and count how each ends (about eleven minutes)"
	@echo "make check   lint, format and type checks: what pre-commit and CI run"
	@echo "make bench   measure what we claim (needs real clips: CLIPS=folder)"
	@echo "make docs-reference  write the pages of docs/reference that are made from the code"
	@echo "make docs    build the documentation into site/, every link checked"
	@echo "make format  let ruff mend what it can"

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 10) <= sys.version_info < (3, 14) else "Python 3.10 to 3.13 is needed; set PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)
	$(BIN)/videogpa demo

JOBS ?= 2
# Files in their order: by default those with few tests come last, which are the slow ones, and one of the two cores idles.
PARALLEL = --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder
test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) --durations=20 --durations-min=10

# What to run while working: all but the tests marked `slow`.
test-fast: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PARALLEL) -m "not slow"

# The tests of broken and hostile inputs with a hundred generated inputs each; `make test` generates a few.
abuse: $(READY)
	OMP_NUM_THREADS=1 ABUSE_TABLE=benchmarks/results/abuse.md $(BIN)/python -m pytest --numprocesses $(JOBS) --dist worksteal tests/abuse

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

CLIPS ?= ../shared/clips
bench: $(READY)
	$(BIN)/python benchmarks/render.py
	$(BIN)/python benchmarks/critic.py --height 84 --width 140
	$(BIN)/python benchmarks/separation.py --real $(CLIPS)/realestate --generated $(CLIPS)/cogvid $(CLIPS)/wan
	$(BIN)/python benchmarks/damage.py --clips $(CLIPS)/realestate
	$(BIN)/python benchmarks/score.py $(CLIPS)/cogvid/100.mp4 $(CLIPS)/realestate/10.mp4

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-reference: $(READY)
	$(BIN)/python -m docs.generate

clean:
	rm -rf .venv runs scores site .mypy_cache .ruff_cache .pytest_cache
