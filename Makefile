# Each target creates .venv by itself on a new machine.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo demo-detection demo-joint demo-flow reproduce-demo test check docs

demo: $(VENV)/.installed
	$(RUN) -m dff demo

demo-detection: $(VENV)/.installed
	$(RUN) -m dff demo --task detection

demo-joint: $(VENV)/.installed
	$(RUN) -m dff demo --task joint

demo-flow: $(VENV)/.installed
	$(RUN) -m dff demo-flow

# An interrupted run continues where it stopped.
reproduce-demo: $(VENV)/.installed
	$(RUN) -m dff reproduce --config reproduce_demo --flow_config demo_flow \
		--table 2 4 5 --minutes 3 --output runs/reproduce_demo

# Two processes with one thread each: on two cores faster than one process with two threads.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2

check: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# The site, in site/; a warning is an error. The variable silences a notice about MkDocs 2.
docs: $(VENV)/.docs-installed
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet

# The stamp is written last, so an interrupted installation is repeated.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

# Separate, because neither the demo nor the tests need it.
$(VENV)/.docs-installed: $(VENV)/.installed
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@
