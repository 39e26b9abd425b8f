# `make demo` and `make test` need Python 3.11 or newer and make; they set up the rest in .venv.
# VENV=FOLDER puts the environment elsewhere, PYTHON=PROGRAM chooses the Python it is made with.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test lint

VENV ?= .venv
WORKERS ?= 2
PY := $(VENV)/bin/python
# Stamps: an installation is repeated only when pyproject.toml or the Python changes.
INSTALLED := $(VENV)/.installed
INSTALLED_DEV := $(VENV)/.installed-dev

help:
	@echo "make demo   install, then drag a point of a generated car; prints where the pictures are"
	@echo "make test   install with the tools of development, then run the tests"
	@echo "make lint   ruff and pyright"

demo: $(INSTALLED)
	@$(PY) edit.py demo

# One thread a worker: small tensors gain nothing from more, and workers share the cores. Each
# keeps its files to the end (worksteal): what a file's tests share is made once. Bytecode is written
# in any case: programs that tests start would compile anew whatever they import.
test: $(INSTALLED_DEV)
	@env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(PY) -m pytest -q \
	  -n $(WORKERS) --dist worksteal --durations=10

lint: $(INSTALLED_DEV)
	@$(PY) -m ruff check .
	@$(PY) -m pyright

PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.14 python)

$(PY):
	@for python in $(PYTHONS); do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    "$$python" -c 'import ensurepip, venv' 2>/dev/null || { \
	      echo "$$python has no venv module: install it (Debian, Ubuntu: apt install python3-venv)"; \
	      exit 1; }; \
	    echo "Creating $(VENV) with $$("$$python" --version)"; \
	    exec "$$python" -m venv "$(VENV)"; \
	  fi; \
	done; \
	echo "No Python 3.11 or newer among: $(PYTHONS). Install one, or name it: make PYTHON=/path/to/python3"; \
	exit 1

# $(1): what to install. Errors of pip are shown whole; of the rest only what is being fetched.
# Then the two libraries that may not fit each other are tried; one line says so if they do not.
# That start is the long one, which compiles what every other will read: also where Python is told
# to write no bytecode.
define install
	@echo "Installing into $(VENV) (several GB the first time) ..."
	@$(PY) -m pip install --disable-pip-version-check --no-compile --progress-bar off \
	  --editable '$(1)' | while read -r verb what rest; do \
	    case "$$verb $$what" in \
	      *.metadata) ;; \
	      Downloading\ *|Processing\ *) echo "  $${what##*/} $$rest" ;; \
	      Installing\ collected) echo "  unpacking everything (a minute or two)" ;; \
	    esac; \
	  done
	@env -u PYTHONDONTWRITEBYTECODE $(PY) -c 'import sys; from framework.command_line import run; \
	  sys.exit(run(lambda: [__import__("torchvision"), __import__("framework.cli.train")]))'
endef

$(INSTALLED): pyproject.toml $(PY)
	$(call install,.)
	@touch $@

$(INSTALLED_DEV): pyproject.toml $(PY)
	$(call install,.[dev])
	@touch $(INSTALLED) $@
