# Every command of the project. `make` alone lists them.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=

# The first interpreter new enough wins; PYTHON=/path/to/python overrides it.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

.DEFAULT_GOAL := help
.PHONY: help demo simulate gateway deploy cost cloudlike test check format bench scanner clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/run.stamp  ## the whole path on this machine, about 40 s; ARGS="--seconds 20 --faults duplicate"
	@$(PY) -m quotewatch demo $(ARGS)

simulate: $(VENV)/run.stamp  ## the simulated exchange alone; ARGS="--port 8765 --dialect advanced"
	@$(PY) -m quotewatch simulate $(ARGS)

gateway: $(VENV)/run.stamp  ## the gateway alone, configured by QUOTEWATCH_* variables
	@$(PY) -m ingest_gateway

cloudlike: $(VENV)/dev.stamp  ## the cloud on this machine: emulators, every function a server; ARGS="--kill random --seconds 300"
	@$(PY) -m tests.cloudlike $(ARGS)

deploy: $(VENV)/run.stamp  ## bring the code to the cloud: PROJECT=... REGION=...; ARGS="--dry-run"
	@$(PY) -m deploy --project "$(PROJECT)" --region "$(REGION)" $(ARGS)

cost: $(VENV)/run.stamp  ## what a month in the cloud costs; ARGS="--products 1,20,all"
	@$(PY) -m deploy.cost $(ARGS)

test: $(VENV)/dev.stamp  ## every test; ARGS="tests/market -k book"
	@$(PY) -m pytest $(ARGS)

check: $(VENV)/dev.stamp  ## ruff, mypy strict, import contracts
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: $(VENV)/dev.stamp  ## rewrite the code in the house format
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

bench: $(VENV)/bench.stamp  ## every benchmark, as ratios; ARGS="hotpath" for one
	@$(PY) -m benchmarks $(ARGS)

scanner: $(VENV)/checkov.stamp  ## install what scans terraform/ and the Dockerfile; `make test` uses it where it is

clean:  ## remove the virtual environment and local data
	rm -rf $(VENV) data

$(PY):
	@test -n "$(PYTHON)" || { echo "QuoteWatch needs Python 3.11 or newer. Install it, or name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is missing (on Debian: apt-get install python3-venv)."; exit 1; }

# A stamp stands for one installed requirements file; pip runs again only when the file is newer.
$(VENV)/run.stamp: requirements.txt | $(PY)
	@echo "Installing what runs (once) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@echo "Installing what tests and checks need (once) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# In an environment of its own: it pins what we leave open.
$(VENV)/checkov.stamp: | $(PY)
	@echo "Installing checkov (once) ..."
	@$(PY) -m venv $(VENV)/checkov
	@$(VENV)/checkov/bin/pip install --quiet --disable-pip-version-check 'checkov>=3.2,<4'
	@touch $@

$(VENV)/bench.stamp: requirements-bench.txt $(VENV)/run.stamp
	@echo "Installing what the benchmarks compare with (once) ..."
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@# The last release that reads the Exchange feed; beside the newer one, never instead of it.
	@test -d $(VENV)/cryptofeed-2.4.0 || $(PY) -m pip install --quiet --disable-pip-version-check \
		--target $(VENV)/cryptofeed-2.4.0 cryptofeed==2.4.0 \
		|| { rm -rf $(VENV)/cryptofeed-2.4.0; echo "cryptofeed 2.4.0 could not be installed: the Exchange is measured without its peer."; }
	@# It asks for an older pyarrow and pyiceberg than ours.
	@test -d $(VENV)/daft-0.7 || $(PY) -m pip install --quiet --disable-pip-version-check \
		--target $(VENV)/daft-0.7 'daft[iceberg]==0.7.26' \
		|| { rm -rf $(VENV)/daft-0.7; echo "daft could not be installed: tables are measured without it."; }
	@touch $@
