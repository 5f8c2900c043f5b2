# make demo: the digits recipe, from training to a verified Akida model; make test: the tests.
# Both set up what they need in .venv/ below this folder, and environments of stages where all clones of a user share
# them: $RECAST_HOME, else ~/.cache/recast.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
SHELL = /bin/sh
VENV = .venv/bin/python
# what the stages' processes are told must not leak in from an activated environment
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
# hundreds of commands of the tests would each compile Recast anew: a quarter of what `recast check` takes
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-slow check docs clean

help:
	@echo "make demo       train, recast and verify the digits recipe"
	@echo "make test       run the tests"
	@echo "make setup      only install Recast into .venv"
	@echo "make test-slow  run the tests that take minutes"
	@echo "make check      lint, types, imports, and that dvc.yaml and the docs match the code"
	@echo "make docs       build the documentation as a site, into build/docs/html"
	@echo "make clean      delete .venv, .recast and artifacts (environments and DVC's cache stay)"

setup: .venv/installed-recast

demo: setup
	./recast run digits

test: .venv/installed-dev
	$(VENV) tests/run.py -m "not slow"

test-slow: .venv/installed-dev
	$(VENV) tests/run.py -m slow

check: .venv/installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache
	./recast sync --check
	$(VENV) docs/draw_house.py --check

docs: .venv/installed-recast
	$(VENV) docs/site/build.py

clean:
	rm -rf .venv .recast artifacts build/docs

.venv/bin/uv: envs/recast.txt
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null || \
	    { echo "Recast needs Python 3.11, and '$(PYTHON)' is not it; name one with: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	@[ ! -L .venv ] || { echo "Recast sets up no .venv that is a link: it would replace what $$(readlink .venv) holds" >&2; \
	    echo "remove the link (rm .venv) and run make again" >&2; exit 2; }
	@echo "setting up .venv (once)"
	"$(PYTHON)" -m venv --clear .venv
	$(VENV) -m pip install --quiet --disable-pip-version-check --no-deps $$(grep -E '^(uv|filelock)==' envs/recast.txt)

.venv/installed-recast: .venv/bin/uv envs/recast.txt pyproject.toml
	$(VENV) envs/install.py recast
	@touch $@

.venv/installed-dev: .venv/installed-recast envs/dev.txt
	$(VENV) envs/install.py dev
	@touch $@
