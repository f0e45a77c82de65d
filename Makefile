# make demo    the daemon on an embedded broker with simulated devices; Ctrl-C ends it
# make test    all tests, with their own virtual environment and, as root, their Debian packages
# make check   ruff and mypy --strict
# make docs    docs/metrics.md and config/presenced.schema.json anew from the code

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# Real servers that the tests run: package and the command that shows it is there.
TOOLS = mosquitto:mosquitto prometheus:promtool

.DEFAULT_GOAL := help
.PHONY: help demo test check docs tools clean

help:
	@sed -n 's/^# make/make/p' Makefile

demo: $(VENV)/.demo
	$(BIN)/presenced demo $(ARGS)

test: $(VENV)/.test tools
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.test
	$(BIN)/python -m presenced.settings.schema > config/presenced.schema.json
	$(BIN)/python -m presenced.metrics.reference > docs/metrics.md

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "presenced needs Python 3.11 or newer: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || $(call install,python3-venv)
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

# Without root, or without apt, the tests that need a missing tool are skipped and say so.
tools:
	@for tool in $(TOOLS); do \
	    PATH="$$PATH:/usr/sbin" command -v "$${tool#*:}" >/dev/null || $(call install,$${tool%:*}); \
	done

# RUNLEVEL=1 keeps Debian from starting a server that it has just installed.
define install
{ if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
	      apt-get install -y --no-install-recommends $(1); } >&2; \
	else echo "$(1) is not installed: apt-get install $(1)" >&2; fi; }
endef

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
