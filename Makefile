# One command for each thing one does here; `make` alone lists them.

PORT ?= 8080
EMULATOR_PORT ?= 8888
PYTHON ?= python3
# The oldest Python that the client supports, by version or path.
OLDEST ?= 3.9
JOBS ?= 3
VENV := .venv
BIN := $(VENV)/bin
# What the tests of single modules need beside the service itself.
LOWEST_TOOLS := pytest pytest-asyncio pytest-timeout pytest-xdist hypothesis trustme jsonschema-rs pyyaml
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.DEFAULT_GOAL := help
.PHONY: help run quick test lint types unit lowest image-test kube-test release-check sbom format bench simulate fuzz soak docs requirements clean

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: $(VENV)/.run ## start Redis, emulator, ingress, worker and a live page (PORT=8080 EMULATOR_PORT=8888)
	@exec $(BIN)/fanout dev --port $(PORT) --emulator-port $(EMULATOR_PORT) --die-with-parent

quick: lint types ## lint, types and the quick tests of single modules, for every change: within a minute on two cores
	@PYTHONDONTWRITEBYTECODE= REDIS_KINDS=valkey QUICK_EXAMPLES=1 $(BIN)/pytest --quiet --dist worksteal \
	  --numprocesses $$((1 + $$(getconf _NPROCESSORS_ONLN))) -p no:schemathesis -m "not process and not slow and not lengthy" \
	  tests/fanout tests/workers tests/service tests/test_*.py $(ARGS)

test: lint types unit ## everything CI runs: lint, types, tests

lint: $(VENV)/.test ## ruff, rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/.test ## mypy --strict
	@$(BIN)/mypy

unit: $(VENV)/.test ## the tests alone, side by side (ARGS="-k lanes" hands arguments to pytest, JOBS=0 is one by one)
	@$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

format: $(VENV)/.test ## rewrite the code in the house format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.bench ## performance against floors and peers of the same run (QUICK=1 for a short one, ARGS="--only R1")
	@$(BIN)/python -m bench $(if $(QUICK),--quick) --compare bench/baseline.json $(ARGS)

simulate: $(VENV)/.test ## the deterministic simulation with SEEDS=n seeds; tells what they met
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),10000)

fuzz: $(VENV)/.test ## the parsers under a coverage-guided fuzzer, SECONDS=n for each (ARGS="batch answer" chooses)
	@$(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60) $(ARGS)

soak: $(VENV)/.test ## MINUTES=n of load with random troubles against real processes, and a verdict (ARGS="--seed 7")
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10) $(ARGS)

docs: $(VENV)/.test ## write settings and verdicts into README and chart, the dashboard and what the chart renders
	@$(BIN)/python -m tests.documents
	@$(BIN)/python -m tests.helm.golden_files

lowest: $(VENV)/.test ## the tests of single modules with the lowest versions that pyproject.toml allows
	@rm -rf .venv-lowest .venv-client && $(BIN)/uv venv --quiet --python $(BIN)/python .venv-lowest
	@$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct -r pyproject.toml --extra dev --extra otel --extra entra --extra jwt
	@$(BIN)/uv pip install --quiet --python .venv-lowest/bin/python $(LOWEST_TOOLS)
	@REDIS_KINDS=valkey QUICK_EXAMPLES=1 .venv-lowest/bin/python -m pytest --quiet -p no:cacheprovider -W ignore::DeprecationWarning \
	  --numprocesses $$(getconf _NPROCESSORS_ONLN) --dist worksteal -m "not process and not slow" tests/fanout tests/workers tests/service tests/emulator $(ARGS)
	@if $(BIN)/uv venv --quiet --no-python-downloads --python $(OLDEST) .venv-client 2>/dev/null; then \
	  $(BIN)/uv pip install --quiet --python .venv-client/bin/python --resolution lowest-direct ./client && \
	  TEST_CLIENT_PYTHON=$(CURDIR)/.venv-client/bin/python $(BIN)/pytest --quiet -p no:cacheprovider tests/client/test_oldest.py; \
	else echo "No Python 3.9 here: the client is not tried with it."; fi

image-test: $(VENV)/.test ## build the image, run it, and run the chart's pods of it, as root; needs buildah, podman, runc and mmdebstrap (BASE=an image that is there)
	@$(BIN)/python -m tests.image $(BASE)

kube-test: $(VENV)/.test ## install, upgrade, roll back and remove the chart in a real API server; needs etcd (KUBE_APISERVER=a binary, else it is compiled once, as root)
	@$(BIN)/python -m tests.kube

release-check: $(VENV)/.test ## build packages and chart into dist/ and check their versions and contents; publishes nothing
	@$(BIN)/python -m tests.release

sbom: $(VENV)/.test ## write sbom.json (FILE=another), the parts of the image's environment, as CycloneDX
	@$(BIN)/cyclonedx-py requirements requirements.txt --pyproject pyproject.toml --output-reproducible --of JSON -o $(or $(FILE),sbom.json)

requirements: $(VENV)/.test ## renew the pinned requirements
	@for set in "--extra jwt:requirements.txt" "--extra jwt --extra otel:requirements-otel.txt" "--extra jwt --extra entra:requirements-entra.txt" "--extra jwt --extra dev:requirements-run.txt" "--extra jwt --extra dev --extra otel --extra entra --group test:requirements-test.txt" "--extra jwt --extra dev --extra otel --extra entra --group test --group bench:requirements-bench.txt"; do \
	  $(BIN)/uv pip compile pyproject.toml $${set%%:*} --universal --python-version 3.11 --generate-hashes --upgrade -q \
	    --no-header --no-annotate --no-emit-index-url --no-emit-find-links -o $${set##*:} || exit 1; \
	done

clean: ## remove the virtual environment and caches
	@rm -rf $(VENV) .venv-lowest .venv-client .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "Python's venv module is missing: apt-get install python3-venv, then again." >&2; exit 1; }

$(VENV)/.run: requirements-run.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) (once, about half a minute) ..."
	@$(call install,requirements-run.txt)
	@touch $@

$(VENV)/.test: requirements-test.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the test tools into $(VENV) (once, about half a minute) ..."
	@$(call install,requirements-test.txt)
	@touch $@ $(VENV)/.run

$(VENV)/.bench: requirements-bench.txt pyproject.toml | $(VENV)/bin/python
	@echo "Installing the benchmarks' peers into $(VENV) (once) ..."
	@$(call install,requirements-bench.txt)
	@touch $@ $(VENV)/.test $(VENV)/.run

# uv takes a third of the time of pip. It is one of the pinned requirements of the tests; `make run` does without it.
define install
{ sed -n '/^uv==/,/[^\\]$$/p' $(1) > $(VENV)/uv.txt; \
  if [ -s $(VENV)/uv.txt ]; then \
    $(PIP) install --require-hashes -r $(VENV)/uv.txt && \
    $(BIN)/uv pip install -q --python $(BIN)/python --require-hashes -r $(1) && \
    $(BIN)/uv pip install -q --python $(BIN)/python --no-deps --editable . ; \
  else $(PIP) install --require-hashes -r $(1) && $(PIP) install --no-deps --editable . ; fi ; } || { \
  echo "Installing failed, see above. Where a package has no wheel for this machine it is compiled: that needs a C" \
    "compiler and Python's headers (apt-get install build-essential python3-dev)." >&2; exit 1; }
endef
