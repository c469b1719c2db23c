# Everything a developer or CI does. `make run` needs Python 3.11 or later with venv, nothing else.
PYTHON ?= python3
BIN := .venv/bin
COMPILE := $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
PYTEST := pytest -n 2 --dist loadgroup $(if $(CI),-p tests.ci_plugin)
.DEFAULT_GOAL := help
.PHONY: help install run test test-slow test-all coverage check check-lock fix bench bench-large openapi lock browser clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12
install: .venv/run.stamp ## make .venv with what the server needs
run: .venv/run.stamp ## start the archive (ARGS="--port 9000 --data-dir elsewhere")
	@exec $(BIN)/fileroom serve $(ARGS)
test: .venv/dev.stamp ## the default tests (ARGS="-k name")
	$(BIN)/$(if $(CI),coverage run,python) -m $(PYTEST) $(ARGS)
test-slow: .venv/dev.stamp ## the slow tests
	$(BIN)/python -m $(PYTEST) -m slow $(ARGS)
test-all: .venv/dev.stamp ## every test, slow ones too; fails under 95 % coverage (app/dicom: 100 %)
	$(BIN)/coverage erase && $(BIN)/coverage run -m $(PYTEST) -m '' $(ARGS) && $(MAKE) -s coverage
coverage: .venv/dev.stamp
	$(BIN)/coverage combine -q && $(BIN)/coverage report --fail-under=95 && $(BIN)/coverage report --include='app/dicom/*' --fail-under=100
check: .venv/dev.stamp ## lint, format, types, import directions, lock and contract are current
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy && $(BIN)/lint-imports
	$(MAKE) -s check-lock
	$(BIN)/fileroom openapi | diff openapi.yaml -
check-lock: .venv/install.stamp
	rm -rf .venv/check && cp -r requirements .venv/check && $(MAKE) -s lock TO=.venv/check && diff -r requirements .venv/check
fix: .venv/dev.stamp ## mend what can be mended without thought
	$(BIN)/ruff check --fix && $(BIN)/ruff format
bench: .venv/dev.stamp ## measure beside another archive, into docs/benchmarks.md
	$(BIN)/python -m compileall -q app && $(BIN)/python -m benchmarks $(ARGS)
bench-large: .venv/dev.stamp ## one instance of 8 GB through 512 MB of memory, into docs/large.md (root)
	$(BIN)/python -m benchmarks.large $(ARGS)
openapi: .venv/run.stamp ## write openapi.yaml, and the tables of docs/conformance.md
	$(BIN)/fileroom openapi > openapi.yaml.new && mv openapi.yaml.new openapi.yaml && $(BIN)/python -m tests.conformance_statement
lock: TO ?= requirements
lock: .venv/install.stamp ## pin what pyproject.toml asks for, with hashes (ARGS=--upgrade)
	$(COMPILE) $(ARGS) --group install -o $(TO)/install.txt
	$(COMPILE) $(ARGS) pyproject.toml -o $(TO)/run.txt
	$(COMPILE) $(ARGS) pyproject.toml --extra dev -c $(TO)/run.txt -c $(TO)/install.txt -o $(TO)/dev.txt
	$(COMPILE) $(ARGS) --group fuzz -o $(TO)/fuzz.txt
browser: .venv/dev.stamp ## get the viewer that is tried in a browser (npm, 50 MB)
	$(BIN)/python -m tests.browser.install
clean: ## remove what was built or measured; ./data stays
	rm -rf .venv .browser .fuzz dist htmlcov .coverage* .*_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

.venv/install.stamp: requirements/install.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or later is needed: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $<
	touch $@
.venv/run.stamp: .venv/install.stamp requirements/run.txt pyproject.toml
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --compile-bytecode --require-hashes -r requirements/run.txt
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q app && touch $@
.venv/dev.stamp: .venv/run.stamp requirements/dev.txt
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --compile-bytecode --require-hashes -r requirements/dev.txt
	touch $@
include deploy/supply.mk
