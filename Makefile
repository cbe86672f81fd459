# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow chaos cluster check format bench tables clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/  —/'

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

install: $(VENV)/.installed ## make .venv with everything in it

demo: install ## the main job on the embedded data set: a sweep of 6 trials and its leaderboard
	$(BIN)/nightshift sweep demo --trials 6

check: install ## format, lint, types, layers, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/pytest -q -n 2 --dist loadfile -m "not integration and not slow"

test: check ## everything that CI runs: check, then the integration tests on local Ray
	$(BIN)/pytest -q -m "integration and not slow"

chaos: install ## kill a sweep twenty times, its workers every ten seconds; readers beside killed writers
	$(BIN)/pytest -q -s -m slow --timeout 3600 tests/integration tests/results

cluster: install ## several nodes on this machine, submitted jobs, every trouble of a worker group
	$(BIN)/pytest -q -s -m integration --timeout 1800 tests/integration/test_slots.py tests/integration/test_cluster.py \
	    tests/integration/test_jobs.py

test-slow: install ## the tests that take minutes each
	$(BIN)/pytest -q -m slow --timeout 3600

format: install ## rewrite the files as ruff likes them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install ## ratios to a baseline in the same run
	$(BIN)/python -m tests.benchmarks.training_loop
	$(BIN)/python -m tests.benchmarks.reading
	$(BIN)/python -m tests.benchmarks.overhead
	$(BIN)/python -m tests.benchmarks.fourier
	$(BIN)/python -m tests.benchmarks.adaptation_step
	$(BIN)/python -m tests.benchmarks.leaderboard
	$(BIN)/python -m tests.benchmarks.selection
	$(BIN)/python -m tests.benchmarks.frechet
	$(BIN)/python -m tests.benchmarks.translation

tables: install ## render the tables of the READMEs from results/published
	$(BIN)/python -m results.tables
	$(BIN)/python -m tests.readme_answers

clean: ## remove the environment and every cache (never ./runs)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
