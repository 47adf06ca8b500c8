# make demo   set everything up and label the embedded network, whose truth is known
# make test   set everything up and run the tests
# make check  formatting, lint, types and the import contract
# make ui     the Dagster web interface on the active study (DND_STUDY)
# make reliability   the figures of docs/reliability.md, about an hour
# make race   ratios to the references' algorithms and to bare forward passes
# make house   figures of the code: sizes, names, floors
# make docs    the documentation as a site, in site/; a link that leads nowhere fails
# make wheel   build the wheel, and label three units with it outside the project, in an empty home
# make test-lowest   tests with the lowest versions that pyproject.toml allows, in an environment of their own
# make lock   write requirements.txt anew after a change of pyproject.toml

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test check ui lock setup reliability race house docs wheel test-lowest
setup: $(READY)

$(READY): pyproject.toml requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python 3.11 or newer is needed, this is {v.major}.{v.minor}; try: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@test -e .env || printf 'DAGSTER_HOME=%s\n' "$(CURDIR)/.dnd/dagster" > .env
	@mkdir -p .dnd/dagster
	@touch $(READY)

demo: $(READY)
	$(BIN)/dnd demo

test: $(READY)
	$(BIN)/python -m pytest

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

ui: $(READY)
	$(BIN)/dnd ui

reliability: $(READY)
	$(BIN)/python -m benchmarks

race: $(READY)
	$(BIN)/python -m benchmarks race

house: $(READY)
	$(BIN)/python -m benchmarks.house

DOCS := .venv-docs

$(DOCS)/.ready: requirements-docs.txt $(READY)
	$(BIN)/uv venv --quiet --clear $(DOCS)
	$(BIN)/uv pip install --quiet --python $(DOCS)/bin/python --require-hashes -r requirements-docs.txt
	@touch $@

docs: $(DOCS)/.ready
	$(BIN)/typer dnd_assets.cli utils docs --name dnd --output $(DOCS)/commands.md
	DND_COMMANDS=$(DOCS)/commands.md NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet --clean

wheel: $(READY)
	.ci/wheel

test-lowest: $(READY)
	.ci/test-lowest

lock: $(READY)
	$(BIN)/uv pip compile pyproject.toml --group dev --extra real --generate-hashes --universal --python-version 3.11 -o requirements.txt --quiet
	$(BIN)/uv pip compile --group docs --generate-hashes --universal --python-version 3.11 -o requirements-docs.txt --quiet
