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

# What depends most on other packages' versions: loading and saving, families, sampler, signals, command line.
CORE = tests/unit/models/test_family_check.py tests/unit/models/test_saved_models.py tests/unit/runs/test_display.py \
	tests/properties/test_logprob_parity.py tests/faults/test_signals.py tests/cli/test_cli.py
PIP = -m pip install --quiet --disable-pip-version-check
# One torch is tested, that of constraints.txt, which is also the oldest allowed: each further one is gigabytes of CUDA on
# Linux, so not even `newest` takes another unless asked: `make test-newest NEWEST_TORCH=torch` takes what pip takes.
NEWEST_TORCH ?= $(shell grep '^torch==' constraints.txt)

DOORS = lm-eval trl verifiers

.PHONY: test-newest test-floor core-newest core-floor test-doors $(addprefix test-door-,$(DOORS))
.PHONY: demo test test-all lint types cost bench bench-check bench-memory bench-peers bench-metrics metrics-vs-people check clean

demo: $(READY)  ## the paper's comparison in miniature: a table, texts before and after, an HTML report
	$(BIN)/rl4lms demo --force

test: $(READY)  ## the default tests
	$(PYTEST) -m "not slow and not gpu"

test-all: $(READY)  ## every test; those for an accelerator are skipped where there is none
	$(PYTEST)

# Not tests/net: the runs there are recorded with the versions of constraints.txt, and others round otherwise.
test-newest: .venv-newest/.ready  ## the default tests with the newest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n $(JOBS) -m "not slow and not gpu" --ignore tests/net

test-floor: .venv-floor/.ready  ## the default tests with the oldest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 .venv-floor/bin/python -m pytest -n $(JOBS) -m "not slow and not gpu" --ignore tests/net

core-newest: .venv-newest/.ready  ## the part of them that .ci/run runs
	OMP_NUM_THREADS=1 .venv-newest/bin/python -m pytest -n $(JOBS) -m "not slow and not gpu" $(CORE)

core-floor: .venv-floor/.ready  ## the part of them that .ci/run runs
	OMP_NUM_THREADS=1 .venv-floor/bin/python -m pytest -n $(JOBS) -m "not slow and not gpu" $(CORE)

test-doors: $(addprefix test-door-,$(DOORS))  ## the doors to other libraries, each in an environment with the newest of its library

$(addprefix test-door-,$(DOORS)): test-door-%: .venv-doors-%/.ready
	OMP_NUM_THREADS=1 .venv-doors-$*/bin/python -m pytest -m doors tests/doors/test_$(subst -,_,$*)*.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

cost: $(READY)  ## what a reader opens to follow one training step
	$(BIN)/python scripts/reading_cost.py

bench: $(READY)  ## speed and memory of an iteration on workloads A to D, about half an hour
	$(BIN)/python benchmarks/bench.py

bench-check: $(READY)  ## workloads B and D against the ratios in benchmarks/baselines, five minutes; three times that where a ratio is to be measured again
	$(BIN)/python benchmarks/check.py

bench-memory: $(READY)  ## 2,000 iterations of a tiny run: memory stays flat
	$(BIN)/python benchmarks/flat_rss.py

bench-peers: $(READY) .venv-peers-trl/.ready .venv-peers-trl-ppo/.ready  ## an iteration beside TRL's, each in an environment of its own, an hour
	$(BIN)/python benchmarks/peers/compare.py --trl .venv-peers-trl/bin/python --trl-ppo .venv-peers-trl-ppo/bin/python

bench-metrics: $(READY)  ## speed of every metric, alone and as a reward, a quarter of an hour; RL4LMS_TEST_DATA names the data
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/metrics_speed.py

metrics-vs-people: $(READY)  ## correlations of the metrics with human judgements, some minutes; RL4LMS_TEST_DATA names the data
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/metrics_vs_people.py

check: lint types cost test

clean:
	rm -rf .venv .venv-newest .venv-floor .venv-doors-* .venv-peers-* build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# torch first and through the constraints, so that nothing else picks another one
.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@

# Nothing else is pinned: what is newest on the day it is made. `make clean` before a later day.
.venv-newest/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python $(PIP) "$(NEWEST_TORCH)"
	.venv-newest/bin/python $(PIP) -e ".[dev]"
	@touch $@

.venv-floor/.ready: pyproject.toml scripts/floor.py
	$(PYTHON) -m venv --clear .venv-floor
	.venv-floor/bin/python $(PIP) packaging
	.venv-floor/bin/python scripts/floor.py > .venv-floor/constraints.txt
	.venv-floor/bin/python $(PIP) -c .venv-floor/constraints.txt torch
	.venv-floor/bin/python $(PIP) -c .venv-floor/constraints.txt -e ".[dev]"
	@touch $@

# Constraints where the other library allows them: what it pins otherwise stays in its own environment.
DOOR_lm-eval = lm_eval[hf]
DOOR_trl = trl
DOOR_verifiers = verifiers
# The last TRL with PPO that docs/from-trl.md is compared with: its source is read, and never imported.
WHEEL_trl = trl==0.24.0
.venv-doors-%/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv --clear .venv-doors-$*
	.venv-doors-$*/bin/python $(PIP) -c constraints.txt torch
	.venv-doors-$*/bin/python $(PIP) -c constraints.txt -e ".[grue]" pytest pytest-timeout hypothesis "$(DOOR_$*)"
	$(if $(WHEEL_$*),.venv-doors-$*/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --dest .venv-doors-$* $(WHEEL_$*))
	@touch $@

# Everything is pinned: what is compared with does not move.
.venv-peers-%/.ready: benchmarks/peers/%.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	$(PYTHON) -m venv --clear .venv-peers-$*
	.venv-peers-$*/bin/python $(PIP) -c benchmarks/peers/$*.txt torch
	.venv-peers-$*/bin/python $(PIP) -r benchmarks/peers/$*.txt
	@touch $@
