# make demo     sets up everything, adapts two styles, writes demo/demo.png
# make space    sets up everything, serves the Gradio app on this machine
# make browser  serves the page that computes in the visitor's own browser (needs Node.js)
# make test     sets up everything, runs linter, type checker and tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

.PHONY: demo space browser test lint clean

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/.%: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet -e '.[$*]'
	touch $@

demo: $(VENV)/.ready
	$(BIN)/metastyle demo -o demo/demo.png

space: $(VENV)/.app
	$(BIN)/metastyle space

browser: $(VENV)/.export
	$(BIN)/metastyle space --browser

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

clean:
	rm -rf $(VENV) build dist *.egg-info demo space/browser/site space/browser/node_modules
