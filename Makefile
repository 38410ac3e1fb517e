# `make demo` and `make test` work on a bare machine with Python 3.11: the first call makes .venv and installs into it.
# With VENV set, that environment is used as it is. PYTHON names the interpreter of a new .venv.

ifeq ($(strip $(VENV)),)
BIN := .venv/bin
READY := .venv/.ready
else
BIN := $(VENV)/bin
READY :=
endif

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS)
JOBS ?= 2

.PHONY: demo test test-all lint types cost bench bench-check bench-memory bench-metrics metrics-vs-people check clean

demo: $(READY)  ## the paper's comparison in miniature: a table, texts before and after, an HTML report
	$(BIN)/rl4lms demo --force

test: $(READY)  ## the default tests
	$(PYTEST) -m "not slow and not gpu"

test-all: $(READY)  ## every test; those for an accelerator are skipped where there is none
	$(PYTEST)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

cost: $(READY)  ## what a reader opens to follow one training step
	$(BIN)/python scripts/reading_cost.py

bench: $(READY)  ## speed and memory of an iteration on workloads A to D, about half an hour
	$(BIN)/python benchmarks/bench.py

bench-check: $(READY)  ## workloads B and D against the ratios in benchmarks/baselines, two minutes
	$(BIN)/python benchmarks/check.py

bench-memory: $(READY)  ## 2,000 iterations of a tiny run: memory stays flat
	$(BIN)/python benchmarks/flat_rss.py

bench-metrics: $(READY)  ## speed of every metric, alone and as a reward, a quarter of an hour; RL4LMS_TEST_DATA names the data
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/metrics_speed.py

metrics-vs-people: $(READY)  ## correlations of the metrics with human judgements, some minutes; RL4LMS_TEST_DATA names the data
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/metrics_vs_people.py

check: lint types cost test

clean:
	rm -rf .venv build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# torch first and through the constraints, so that nothing else picks another one
.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
