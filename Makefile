# Everything a newcomer needs: `make` says what there is. Nothing but Python 3.10 to 3.13 (with venv) and make has to be
# installed, and nothing outside this folder is written to.

# Which Python; empty: scripts/find-python chooses. Which Airflow line; one with a file in requirements/.
PYTHON ?=
AIRFLOW ?= 3.3
VENV ?= .venv
# VERBOSE=1 shows what the programs underneath print.
VERBOSE ?=
# More arguments for pytest: make test ARGS='-k retry -x'
ARGS ?=
# How many tests `make test` runs side by side, which on two cores is three times as fast as one: they wait for clocks
# and sockets more than they compute. 0 for a debugger: make test WORKERS=0 ARGS='-k retry --pdb'
WORKERS ?= 4
# What `make benchmark-waiting` measures ours beside.
MEASURED_BESIDE := apache-airflow-providers-airbyte==6.2.0
# And `make benchmark-export`; in an environment without Airflow, as dlt loads Airflow where it finds it.
EXPORTED_BESIDE := 'dlt[filesystem,parquet]==1.31.0' pandas requests

export VERBOSE

PY := $(VENV)/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo ui test kills lint format types build matrix check benchmark-waiting benchmark-export \
	benchmark-budget lock clean

help: ## print this
	@echo "make setup && make test, or straight away: make demo"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-24s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  PYTHON=python3.12  another interpreter     AIRFLOW=2.11 VENV=.venv-2.11  another Airflow"
	@echo "  VERBOSE=1          all that is printed      ARGS='-k sync -x'             arguments for pytest"

setup: ## make .venv: Airflow, this package and its tools; instant when it is there
	@if [ -n "$(PYTHON)" ]; then py=$$(scripts/find-python --check "$(PYTHON)") || exit 1; \
	elif [ -x "$(PY)" ] && "$(PY)" -c '' 2>/dev/null; then py="$(PY)"; \
	else py=$$(scripts/find-python) || exit 1; fi; \
	"$$py" scripts/setup_venv.py "$(VENV)" --airflow "$(AIRFLOW)"

demo: setup ## a family of client workspaces, synced and exported by a real Airflow, on this machine alone
	@"$(PY)" -m demo

ui: setup ## the same, with Airflow's web UI to click through
	@"$(PY)" -m demo --ui

test: setup ## every test, on the newest Airflow
	@"$(PY)" -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

kills: setup ## kill a real Airflow's workers, and exports, more than 50 times, its triggerer amid 100 waits; minutes
	@BANKSYNC_KILLS=50 BANKSYNC_WAITS=100 "$(PY)" -m pytest tests/kill $(ARGS)

lint: setup ## ruff: rules and format
	@"$(PY)" -m ruff check .
	@"$(PY)" -m ruff format --check .

format: setup ## ruff: put the format right, and what it can of the rules
	@"$(PY)" -m ruff check --fix .
	@"$(PY)" -m ruff format .

types: setup ## mypy --strict, against the newest and the oldest Airflow
	@"$(PY)" scripts/check_types.py

build: setup ## wheel and sdist, then the wheel in a clean environment, where Airflow must list it
	@"$(PY)" scripts/package.py

matrix: setup ## the tests, but for the slow ones, on every supported Airflow and several Pythons
	@"$(PY)" scripts/matrix.py $(ARGS)

check: ## all of the above, as CI does it, with a table at the end
	@.ci/run

benchmark-waiting: ## what waits do to a triggerer, ours and Airbyte's, in an environment of its own: five minutes
	@$(MAKE) --no-print-directory setup VENV=.venv-benchmark
	@.venv-benchmark/bin/python -m pip install -qq -c "requirements/airflow-$(AIRFLOW).txt" $(MEASURED_BESIDE)
	@.venv-benchmark/bin/python benchmarks/waiting.py $(ARGS)

benchmark-export: ## a million transactions to files, beside dlt and a plain script; half an hour, and 2 GB of disk
	@$(MAKE) --no-print-directory setup VENV=.venv-benchmark
	@[ -x .venv-benchmark-dlt/bin/python ] || .venv-benchmark/bin/python -m venv .venv-benchmark-dlt
	@.venv-benchmark-dlt/bin/python -m pip install -qq $(EXPORTED_BESIDE)
	@.venv-benchmark/bin/python benchmarks/export.py $(ARGS)

benchmark-budget: ## how much of a key's requests an export uses, beside a script that obeys 429s: ten minutes
	@$(MAKE) --no-print-directory setup VENV=.venv-benchmark
	@.venv-benchmark/bin/python benchmarks/budget.py $(ARGS)

lock: ## resolve requirements/ anew, to the newest versions
	@py=$$(scripts/find-python 3.11 3.12 3.13) && "$$py" scripts/lock.py

clean: ## remove everything that these commands have made
	rm -rf .venv .venv-* .demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
