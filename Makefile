# Each target sets up what it needs: `make demo` and `make test` work in a fresh clone.
PYTHON ?= python3
VENV ?= .venv
LEO = $(VENV)/bin/leo
MODEL ?= sample_models/digits
OUT ?= demo-output
PYTEST_OPTIONS ?= -n auto --dist worksteal

.PHONY: demo test test-train lint bench samples clean help

help:
	@echo "make demo     install leo in $(VENV), compress $(MODEL).onnx and print the report"
	@echo "make test     install leo with its development tools in $(VENV) and run the tests"
	@echo "make test-train  the tests of training and its documented examples (installs PyTorch)"
	@echo "make lint     ruff and mypy --strict"
	@echo "make bench    measure classification on the models of ../shared (benchmarks/README.md)"
	@echo "make samples  make the sample models again (needs scikit-learn and PyTorch)"

demo: $(VENV)/installed
	@mkdir -p $(OUT)
	$(LEO) compress $(MODEL).onnx $(OUT)/small.onnx --bounds $(MODEL).bounds.json

test: $(VENV)/installed-dev
	$(VENV)/bin/python -m pytest $(PYTEST_OPTIONS)

test-train: $(VENV)/installed-dev
	$(VENV)/bin/python -m pip install -q -e '.[dev,samples]'
	$(VENV)/bin/python -m pytest $(PYTEST_OPTIONS) tests/train tests/test_documentation.py

lint: $(VENV)/installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict leo_cli

bench: $(VENV)/installed
	$(VENV)/bin/python benchmarks/classify.py
	$(VENV)/bin/python benchmarks/against_milp.py

samples: $(VENV)/installed
	$(VENV)/bin/python -m pip install -q -e '.[samples]'
	$(VENV)/bin/python sample_models/make.py

clean:
	rm -rf $(VENV) $(OUT)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install -q -e '.[dev]'
	@touch $@ $(VENV)/installed
