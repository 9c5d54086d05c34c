# Every target explains itself: `make help`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Tests wait for processes most of their time.
WORKERS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup run test test-slurm test-containers image check lint types core unit tidy members shapes diagrams sim demo bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

$(VENV)/.run: pyproject.toml tools/venv.sh
	@sh tools/venv.sh "$(PYTHON)" "$(VENV)" "."
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@sh tools/venv.sh "$(PYTHON)" "$(VENV)" ".[dev]"
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@sh tools/venv.sh "$(PYTHON)" "$(VENV)" ".[dev,bench]"
	@touch $@

setup: $(VENV)/.run ## make .venv with Batchery in it

run: setup ## start the service (options: ARGS="--port 9000")
	@exec $(BIN)/batchery serve $(ARGS)

test: $(VENV)/.dev ## install what the tests need, then all checks
	@$(MAKE) --no-print-directory check

check: lint types ## ruff, mypy --strict, and all tests: the house rules and generated code fresh among them
	@$(MAKE) --no-print-directory -j2 core unit PYTEST_ARGS="--ignore=tests/unit/core $(PYTEST_ARGS)"

lint: $(VENV)/.dev ## ruff: style and imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev ## mypy --strict
	$(BIN)/mypy

core: $(VENV)/.dev ## the tests of core, which must take every branch of it
	@$(BIN)/python -m coverage run -m pytest -q tests/unit/core >$(VENV)/core.log 2>&1 || { cat $(VENV)/core.log; exit 1; }
	$(BIN)/python -m coverage report

unit: $(VENV)/.dev ## all tests, WORKERS at a time (options: PYTEST_ARGS="-k cancel")
	$(BIN)/python -m pytest -q -n $(WORKERS) --durations=15 $(PYTEST_ARGS)

test-slurm: $(VENV)/.dev ## more than `make test` runs on a Slurm cluster of three nodes, alone, and by slurmrestd too
	BATCHERY_TEST_ENGINES=all BATCHERY_TEST_SLURM_DRIVERS=all \
	  $(BIN)/python -m pytest -q tests/conformance tests/aws tests/slurm -k slurm $(PYTEST_ARGS)

image: ## build the Dockerfile and run compose.yaml for real: Debian as root, minutes
	@tools/image try "$$(mktemp -d /var/tmp/bt-XXXXXX)"

test-containers: $(VENV)/.dev ## more than `make test` runs on Docker and on Podman, alone
	BATCHERY_TEST_ENGINES=all $(BIN)/python -m pytest -q tests/conformance tests/aws -k "docker or podman"

tidy: $(VENV)/.dev ## the house rules alone: imports, sizes, generated code fresh
	$(BIN)/python -m pytest -q tests/tidy

members: $(VENV)/.dev ## make docs/members.md anew from docs/members/*.toml
	$(BIN)/python -m tools.members

shapes: $(VENV)/.dev ## make api/shapes.py anew from the AWS service model
	$(BIN)/python tools/shapes.py

diagrams: $(VENV)/.dev ## draw the legal moves into docs/states.md
	$(BIN)/python tools/diagrams.py

sim: $(VENV)/.dev ## the simulator, for longer (SEED=7 for one seed, SEEDS=2000 for how many)
	$(BIN)/python -m tests.sim $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS))

demo: setup ## a private server and a small pipeline, shown live
	@$(BIN)/batchery demo

bench: $(VENV)/.bench ## ratios against peers and limits, each in one run
	$(BIN)/python -m tools.bench

clean: ## remove what was made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
