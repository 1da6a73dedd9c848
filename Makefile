PYTHON ?= python3
VENV := .venv
DEV := $(VENV)/.installed-dev
USE := $(VENV)/.installed
ARGS ?=
STEPS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check prepare readme docs quarto clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(if $(wildcard $(DEV)),$(DEV),$(USE)) ## install, train on Breakout and play it: make demo ARGS="--minutes 5"
	$(VENV)/bin/pvg demo $(ARGS)

test: $(DEV) ## install for development and run everything CI runs
	@$(VENV)/bin/python .ci/check.py

check: $(DEV) ## all of it but the clean installation, or some: make check STEPS="layers notebooks"
	@$(VENV)/bin/python .ci/check.py $(if $(STEPS),$(STEPS),export readme layers pages lint imports blocks notebooks)

prepare: $(DEV) ## before a commit: clean and export the notebooks, make what is made from the code
	$(VENV)/bin/nbdev_export
	$(VENV)/bin/jupyter nbconvert --log-level ERROR --to notebook --execute --inplace nbs/errors.ipynb nbs/reference/commands.ipynb
	$(VENV)/bin/nbdev_clean
	@$(VENV)/bin/python -c 'from nbdev.quarto import refresh_quarto_yml; refresh_quarto_yml()'
	@$(VENV)/bin/python .ci/readme.py

readme: $(DEV) ## README.md from nbs/index.ipynb
	@$(VENV)/bin/python .ci/readme.py

docs: quarto $(DEV) ## the documentation site with its playable page, in _docs (needs Quarto and npm)
	$(VENV)/bin/python .ci/docs.py
	$(VENV)/bin/pvg export web shipped _docs/play --overwrite

quarto:
	@command -v quarto >/dev/null || { echo "The site is rendered by Quarto, which is not installed: get it from https://quarto.org/docs/get-started/"; exit 1; }

clean: ## remove the environment and everything built
	rm -rf $(VENV) .venv-wheel build dist _docs _proc *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.10 or newer, or name one: make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "pvg needs Python 3.10 or newer, this is $$("$(PYTHON)" -V 2>&1): name another, as in make PYTHON=python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { echo "This Python cannot make environments: on Debian and Ubuntu, sudo apt-get install python3-venv"; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

$(DEV): $(VENV)/bin/python settings.ini setup.py
	@echo "Installing pvg and its development tools into $(VENV): some minutes the first time (PyTorch is large)"
	@$(VENV)/bin/python -m pip install --quiet -e '.[dev]'
	@touch $@

$(USE): $(VENV)/bin/python settings.ini setup.py $(wildcard pvg/*.py pvg/*/*.py)
	@echo "Installing pvg into $(VENV): some minutes the first time (PyTorch is large)"
	@$(VENV)/bin/python -m pip install .
	@touch $@
