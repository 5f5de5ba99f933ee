# `make` lists the commands. You need Python 3.10 to 3.13 (with venv and pip) and make. The commands install everything
# inside this folder, from the versions pinned in requirements/. pip and uv keep downloads in their usual caches.

# Another Python: PYTHON=python3.12 or a path.
PYTHON ?=
# The Airflow release, which must have a file in requirements/.
AIRFLOW ?= 3.3
VENV ?= .venv
# VERBOSE=1 shows what uv prints.
VERBOSE ?=
# More arguments for pytest: make test ARGS='-k retry -x'
ARGS ?=
# How many tests `make test` runs at the same time. Most tests wait for clocks and sockets, so four suit two cores. For
# a debugger: make test WORKERS=0 ARGS='-k retry --pdb'
WORKERS ?= 4
# The other provider in `make benchmark-waiting`.
COMPARED_WAITING := apache-airflow-providers-airbyte==6.2.0
# The other programs in `make benchmark-export`. Their environment has no Airflow, because dlt loads Airflow if it can.
COMPARED_EXPORT := 'dlt[filesystem,parquet]==1.31.0' pandas requests

PY := $(VENV)/bin/python
TOOLS := .venv-tools/index-url
# uv does not read pip.conf. This file holds the index that pip.conf names, if any.
UV = UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$(cat $(TOOLS))}" .venv-tools/bin/uv
LOCK := $(wildcard requirements/airflow-$(AIRFLOW).txt requirements/$(AIRFLOW).txt)
PYTHONS := $(shell sed -n 's/^\# python: //p' $(LOCK) /dev/null)
RANGE := >=$(firstword $(PYTHONS)),<=$(lastword $(PYTHONS)).99
# This file marks an environment as complete. Its name contains the Airflow and the Python. Without PYTHON=, make uses
# an existing environment with any Python.
READY := $(firstword $(if $(PYTHON),,$(wildcard $(VENV)/ready-$(AIRFLOW)-*)) $(VENV)/ready-$(AIRFLOW)-$(notdir $(PYTHON)))

# Do not let an active virtual environment change these commands.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH
# Some containers set this. Airflow takes three times as long to import if Python compiles it each time.
unexport PYTHONDONTWRITEBYTECODE
export VERBOSE
# uv uses the interpreters of this machine, and pip's certificates and index.
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
# uv looks for interpreters on the PATH. pyenv and Homebrew put some of them elsewhere.
ELSEWHERE := $(wildcard $(or $(PYENV_ROOT),$(HOME)/.pyenv)/versions/3.1*/bin /opt/homebrew/opt/python@3.1*/bin \
	/usr/local/opt/python@3.1*/bin)
EMPTY :=
export PATH := $(PATH)$(subst $(EMPTY) :,:,$(ELSEWHERE:%=:%))

QUIET := $(if $(filter-out 0,$(VERBOSE)),,-q)

.DEFAULT_GOAL := help
.PHONY: help setup demo ui test kills reference lint format types build matrix check benchmark-waiting benchmark-export \
	benchmark-rate-limit lock clean

help: ## print this list
	@echo "Start with: make setup && make test. To see the provider at work: make demo"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-27s %s\n' "$$name" "$$text"; done
	@echo
	@echo "  PYTHON=python3.12  another interpreter     AIRFLOW=2.11 VENV=.venv-2.11  another Airflow"
	@echo "  VERBOSE=1          show what uv prints      ARGS='-k sync -x'             arguments for pytest"

setup: $(VENV)/ready ## create .venv with Airflow, this package and its tools, if it does not exist yet

$(READY): $(LOCK) | $(TOOLS)
	@[ -n "$(LOCK)" ] || { echo "error: There is no file in requirements/ for Airflow $(AIRFLOW)." >&2; exit 1; }
	@echo "[1/3] Creating $(VENV) ..."
	@$(UV) venv $(QUIET) --clear --python "$(or $(PYTHON),$(RANGE))" "$(VENV)"
	@version=$$("$(PY)" -c 'import sys; print("%d.%d" % sys.version_info[:2])') && \
	case " $(PYTHONS) " in *" $$version "*) ;; *) rm -rf "$(VENV)"; echo "error: Airflow $(AIRFLOW) runs on Python" \
		"$(PYTHONS), and PYTHON=$(PYTHON) is Python $$version." >&2; exit 1;; esac
	@echo "[2/3] Installing Airflow and its tools from $(LOCK) (the first time, 140 MB to download) ..."
	@$(UV) pip install $(QUIET) --python "$(PY)" --no-deps -r "$(LOCK)"
	@touch "$@"

$(VENV)/ready: $(READY) pyproject.toml airflow_provider_banksync/__init__.py
	@echo "[3/3] Installing this package, for editing ..."
	@$(UV) pip install $(QUIET) --python "$(PY)" --no-deps --no-build-isolation -e .
	@$(UV) pip check $(QUIET) --python "$(PY)" || { echo "error: $(LOCK) no longer fits pyproject.toml. Run make lock." >&2; exit 1; }
	@touch "$@"

$(TOOLS): requirements/tools.txt
	@for python in "$(PYTHON)" python3 python3.13 python3.12 python3.11 python3.10; do \
		command -v "$$python" >/dev/null && "$$python" -m venv --clear .venv-tools && break; done >&2 || \
	{ echo "error: No Python with venv was found. Install one (Debian, Ubuntu: sudo apt install python3 python3-venv;" \
		"macOS: brew install python@3.11), or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@.venv-tools/bin/python -m pip install -qq --disable-pip-version-check -r requirements/tools.txt
	@.venv-tools/bin/python -m pip config get global.index-url >"$@" 2>/dev/null || true

demo: setup ## sync and export a family of sample clients with a real Airflow, on this machine
	@"$(PY)" -m demo

ui: setup ## the same as demo, with Airflow's web UI
	@"$(PY)" -m demo --ui

test: setup ## run every test except tests/kill on the newest Airflow; without ARGS, also measure the coverage
	@"$(PY)" -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(or $(ARGS),--cov --ignore=tests/kill)

kills: setup ## run tests/kill: more than 50 kills of workers and exports, and of a triggerer during 100 waits; seven minutes
	@BANKSYNC_KILLS=50 BANKSYNC_WAITS=100 "$(PY)" -m pytest tests/kill --tb=short $(ARGS)

lint: setup ## check the code: ruff (rules and format), import-linter (which module may import which)
	@"$(PY)" -m ruff check .
	@"$(PY)" -m ruff format --check .
	@"$(VENV)/bin/lint-imports" --no-cache

format: setup ## format the code with ruff, and fix what ruff can fix
	@"$(PY)" -m ruff check --fix .
	@"$(PY)" -m ruff format .

# mypy reads common.compat.sdk as airflow.sdk, which Airflow 2.11 does not have. So on 2.11, it does not know the base
# classes of the operators.
types: setup ## check the types: mypy --strict, on the newest and the oldest Airflow
	@$(MAKE) --no-print-directory setup VENV=.venv-2.11 AIRFLOW=2.11 PYTHON=
	@status=0; \
	echo "Airflow $(AIRFLOW):"; "$(PY)" -m mypy --strict --cache-dir .mypy_cache/$(AIRFLOW) || status=1; \
	echo "Airflow 2.11:"; \
	.venv-2.11/bin/python -m mypy --strict --cache-dir .mypy_cache/2.11 --allow-subclassing-any || status=1; \
	exit $$status

build: setup ## build wheel and sdist in dist/, then check the wheel in a clean environment
	@$(UV) build $(QUIET) --clear --python "$(PY)" --build-constraints "$(LOCK)"
	@$(UV) venv $(QUIET) --clear --python "$(PY)" .venv-wheel
	@$(UV) pip install $(QUIET) --python .venv-wheel/bin/python --constraints "$(LOCK)" dist/*.whl
	@.venv-wheel/bin/python -I scripts/check_wheel.py

matrix: setup ## run the tests whose result can differ, on every supported Airflow and several Pythons
	@"$(PY)" scripts/matrix.py $(ARGS)

check: ## run everything that CI runs
	@.ci/run

benchmark-waiting: ## measure waits in a triggerer, compared with Airbyte's provider: five minutes
	@$(MAKE) --no-print-directory setup VENV=.venv-benchmark
	@$(UV) pip install $(QUIET) --python .venv-benchmark/bin/python --constraints "$(LOCK)" $(COMPARED_WAITING)
	@.venv-benchmark/bin/python benchmarks/waiting.py $(ARGS)

benchmark-export: ## export a million transactions, compared with dlt and a plain script: half an hour, 2 GB
	@$(MAKE) --no-print-directory setup VENV=.venv-benchmark
	@[ -x .venv-benchmark-dlt/bin/python ] || $(UV) venv $(QUIET) --python .venv-benchmark/bin/python .venv-benchmark-dlt
	@$(UV) pip install $(QUIET) --python .venv-benchmark-dlt/bin/python $(COMPARED_EXPORT)
	@.venv-benchmark/bin/python benchmarks/export.py $(ARGS)

benchmark-rate-limit: ## measure the use of a key's rate limit, compared with a plain script: ten minutes
	@$(MAKE) --no-print-directory setup VENV=.venv-benchmark
	@.venv-benchmark/bin/python benchmarks/rate_limit.py $(ARGS)

lock: $(TOOLS) ## resolve requirements/ after a change of pyproject.toml; ARGS=--upgrade updates every pin
	@$(UV) run $(QUIET) --no-project --python '>=3.11' scripts/lock.py $(ARGS)

reference: setup ## write docs/reference.md from the docstrings
	@"$(PY)" -W ignore -m scripts.reference

clean: ## remove everything that these commands created
	rm -rf .venv .venv-* .demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
