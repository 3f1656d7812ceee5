# Every target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test lint format type docs bench test-flask test-extensions test-applications test-servers test-database test-jobs test-autobahn test-browser test-routing test-idle test-soak test-pythons all clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

# An environment that exists already is brought up to date; one that is broken is made anew.
$(READY): pyproject.toml
	@test -x $(BIN)/python && $(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: $(READY) ## Make the virtual environment

demo: $(READY) ## Serve the example application on http://127.0.0.1:5000
	$(BIN)/carboy --app examples.brewlog run

test: $(READY) ## Run the tests (under five minutes)
	$(BIN)/python -m pytest -q

lint: $(READY) ## Check the style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Correct the style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(READY) ## Check the types (mypy, strict)
	$(BIN)/mypy

docs: $(READY) ## Build the documentation into build/docs
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	$(BIN)/sphinx-build --quiet --fail-on-warning -b html docs build/docs

bench: $(READY) ## Measure carboy beside the bare protocols and its peers (BENCH: options)
	$(BIN)/python benchmarks/run.py $(BENCH)

test-flask: $(READY) ## Run Flask's own tests, and its examples' tests, on carboy
	$(BIN)/python tests/suites/flask_suite.py
	$(BIN)/python -m pytest -q tests/suites

test-extensions: $(READY) ## Run extensions' own tests on Flask and on carboy, and use them in async views (SUITES: options)
	$(BIN)/python tests/suites/extension_suites.py $(SUITES)
	$(BIN)/python tests/suites/extensions_async.py

test-applications: $(READY) ## Compare known applications on carboy and on Flask (APPLICATIONS: names, --record)
	$(BIN)/python tests/suites/real_applications.py $(APPLICATIONS)

test-servers: $(READY) ## Run the tests on real servers, and in a browser
	$(BIN)/python -m pytest -q tests/servers

test-database: $(READY) ## Run what happens to databases under load, restarts and clients that leave, on real servers
	$(BIN)/python -m pytest -q tests/db_faults

test-jobs: $(READY) ## Run the tests of jobs on all engines, and what becomes of jobs when workers are killed, stopped, or hang
	CARBOY_JOBS_SERVERS="postgresql mariadb" $(BIN)/python -m pytest -q tests/jobs tests/jobs_faults

test-autobahn: $(READY) ## Run Autobahn's WebSocket cases on carboy and on the bare servers
	$(BIN)/python tests/suites/autobahn.py

test-routing: $(READY) ## Run Werkzeug's routing tests on our map, and compare 200,000 outcomes
	$(BIN)/python tests/suites/werkzeug_routing.py
	CARBOY_ROUTING_COMPARISONS=$${CARBOY_ROUTING_COMPARISONS:-200000} $(BIN)/python -m pytest -q -s tests/property/test_router.py

test-browser: $(READY) ## Of those, only the browser's
	$(BIN)/python -m pytest -q tests/servers/test_browser.py

test-idle: $(READY) ## Hold 10,000 WebSockets and 5,000 event streams open on one worker
	$(BIN)/python -m pytest -q tests/perf/test_idle_connections.py

test-soak: $(READY) ## Run 100,000 mixed requests and compare what each saw
	$(BIN)/python -m pytest -q tests/perf/test_isolation.py

all: lint type test docs test-flask test-extensions test-applications test-routing test-servers test-database test-jobs test-autobahn test-idle test-soak ## Everything but the benchmarks

clean: ## Remove what was made
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
