# Two commands need nothing but Python >= 3.11, make and git: `make serve` and `make test`.
PYTHON ?= python3
VENV ?= .venv
PORT ?= 8500
REST_PORT ?= 8501
# Test processes side by side. Most tests wait for servers, so one more than two cores have pays.
JOBS ?= 3

PY := $(VENV)/bin/python
INSTALLED := $(VENV)/.installed

.PHONY: install serve test check unit protos protos-check clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "pyserve needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[tensorflow,test]'
	touch $@

## Serve the example models, and print calls to try.
serve: $(INSTALLED)
	$(PY) examples/serve.py --port=$(PORT) --rest_api_port=$(REST_PORT)

## Everything that must pass before a change lands.
test: check
	$(PY) -m pytest -n $(JOBS) --dist loadfile --cov --cov-report=term:skip-covered

## Style, types, and whether the generated files are fresh.
check: $(INSTALLED) protos-check
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy src

## The fast tests: no sockets, no TensorFlow.
unit: $(INSTALLED)
	$(PY) -m pytest tests/unit

protos: $(INSTALLED)
	$(PY) protos/generate.py

protos-check: $(INSTALLED)
	$(PY) protos/generate.py --check

clean:
	rm -rf $(VENV) build dist out .coverage .mypy_cache .pytest_cache .ruff_cache .hypothesis
