# `make help` lists the commands. GNU make 3.81 (macOS) is enough.
#
# Stamp files record what is installed and generated, so that a change repeats only the steps that depend on it.

SHELL := /bin/sh
ARGS ?=
SBOM ?= sbom

VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) bootstrap.py install

PACKAGES := chassis rng_svc hasher_svc worker_svc load_test webui_svc local_run
SOURCES := $(PACKAGES) $(wildcard bench) deploy docs tests bootstrap.py hatch_build.py
PROTOS := $(shell find protos -name '*.proto')
KERNEL := hasher_svc/kernel.c
SERVICES := rng hasher worker webui
# The dependency groups that the images install; rng and hasher share the first.
IMAGES := grpc-server worker load-test webui

MADE := $(VENV)/.made
RUN := $(VENV)/.run
CERTS := $(VENV)/.certs
DEV := $(VENV)/.dev
# This stamp is in generated/, so removing the folder removes the stamp, too.
PROJECT := generated/.installed

# With attestations, an image in containerd's image store gets a new digest at each build, and compose replaces
# containers although nothing has changed.
export BUILDX_NO_DEFAULT_ATTESTATIONS := 1

# The steps of an installation write to one virtual environment, so -j must not run them in parallel.
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help run test test-system coverage check format load-test bench perf soak up down images e2e e2e-kubernetes labs \
  docs findings screenshot protos certs sbom lock clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' Makefile

run: $(PROJECT) ## Run the five services on this machine; e.g. make run WORKERS=3 RNGS=2 HASHERS=2 PACE=full
	@exec $(PY) -m local_run run $(ARGS)

test: $(DEV) $(PROJECT) ## Run the tests that start no service as a process (2 minutes); ARGS="-k name" selects tests
	@$(PY) -m pytest --numprocesses=4 --dist=loadfile $(ARGS)

test-system: $(DEV) $(PROJECT) ## Run the tests of services as processes (5 minutes)
	@$(PY) -m pytest tests/system --numprocesses=4 --dist=loadfile $(ARGS)

coverage: $(DEV) $(PROJECT) ## Report the lines that make test does not cover
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest --numprocesses=4 --dist=loadfile $(ARGS)
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report

load-test: $(PROJECT) ## Measure speed and latency at many batch sizes; ARGS=--help
	@exec $(PY) -m load_test $(ARGS)

# The tests of the page run after those of containers: a starting or stopping container changes the machine's network,
# and Chromium then aborts what it is loading (ERR_NETWORK_CHANGED).
e2e: $(DEV) $(PROJECT) ## Run the tests of containers and of the page; they need Docker with compose, and Chromium (7 minutes)
	@$(PY) -m pytest tests/e2e --ignore=tests/e2e/page --timeout=600 --numprocesses=3 --dist=loadfile $(ARGS); \
	containers=$$?; $(PY) -m pytest tests/e2e/page --numprocesses=2 --dist=loadfile $(ARGS); pages=$$?; \
	case $$containers$$pages in 00|05|50) ;; 55) exit 5 ;; *) exit 1 ;; esac

labs: $(DEV) $(PROJECT) $(CERTS) ## Do the labs of docs/labs as a student would; ARGS="-k laptop" leaves containers out; CONTEXT= adds a cluster (10 minutes)
	@$(PY) -m pytest tests/labs $(ARGS)

e2e-kubernetes: $(DEV) $(PROJECT) ## Run the tests of Kubernetes on the cluster of kubectl, or of CONTEXT=, whose nodes have the images
	@CONTEXT="$(CONTEXT)" $(PY) -m pytest tests/e2e_kubernetes --timeout=600 $(ARGS)

screenshot: $(DEV) $(PROJECT) ## Take the pictures of the README, docs and labs from real runs; needs Chromium, Docker (11 minutes)
	@PYTHONPATH=tests $(PY) -m docs.screenshot docs
	@PYTHONPATH=tests $(PY) -m docs.load_test_picture docs
	@PYTHONPATH=tests $(PY) -m docs.labs.pictures $(ARGS)

check: $(DEV) $(PROJECT) ## Check format, style, API, Dockerfiles, workflows and types
	@$(VENV)/bin/ruff format --check --quiet $(SOURCES) || { echo "not formatted: make format"; exit 1; }
	@$(VENV)/bin/ruff check --quiet $(SOURCES)
	@$(VENV)/bin/buf format --diff --exit-code
	@$(VENV)/bin/buf lint
	@$(VENV)/bin/actionlint -shellcheck= -pyflakes= .github/workflows/*.yml
	@$(VENV)/bin/hadolint $(SERVICES:%=%_svc/Dockerfile) load_test/Dockerfile deploy/certs/Dockerfile
	@$(PY) -m mypy --strict --no-error-summary $(SOURCES)
	@echo "format, style, API, Dockerfiles, workflows and types are fine"

format: $(DEV) ## Format the code, and fix what can be fixed automatically
	@$(VENV)/bin/ruff format --quiet $(SOURCES)
	@$(VENV)/bin/ruff check --quiet --fix $(SOURCES)
	@$(VENV)/bin/buf format --write

bench: $(DEV) $(PROJECT) ## Compare the speed with baselines; ARGS="--against COMMIT" compares it with a commit
	@PYTHONPATH=tests exec $(PY) -m bench $(ARGS)

perf: $(DEV) $(PROJECT) ## Measure CPU, memory and waiting times, and compare them with their bounds; needs a quiet machine
	@$(PY) -m pytest tests/perf -q $(ARGS)

soak: $(DEV) $(PROJECT) ## Run all kinds of failures for 10 minutes, a page for 10 and a memory test for 5; SEED= repeats an order
	@$(PY) -m pytest tests/system/discovery tests/e2e/page -m soak --capture=no $(ARGS)
	@PYTHONPATH=tests $(PY) -m bench --parts memory --memory-seconds 300

findings: $(MADE) ## Run the scripts of findings/ on the versions that they name (6 minutes); ARGS=dns selects by name
	@$(PY) findings $(ARGS)

docs: $(PROJECT) $(DEV) ## Generate docs/configuration.md and docs/metrics.md from the code
	@$(PY) -m docs >/dev/null

up: ## Run the five services in containers; e.g. make up WORKERS=3 RNGS=2 PACE=full
	@docker compose config --format json | $(or $(PYTHON),python3) deploy/check_ports.py $$(docker compose ps --services --status running) \
	  || [ $$? = 127 ]  # without Python, the engine finds out
	@docker compose up --detach --wait
	@docker compose port webui 8000 | sed 's|.*:\(.*\)|the page is at http://localhost:\1/|'

down: ## Remove the containers; the counts are kept
	@docker compose --profile '*' down --remove-orphans

images: ## Build the images; REGISTRY= and TAG= set their names
	@docker compose build

certs: $(CERTS) ## Create a throw-away authority and a certificate for each service in certs/, or renew the certificates
	@$(PY) -m deploy.certs certs $(ARGS)

protos: $(PROJECT) ## Generate code from protos/ if they changed

sbom: $(DEV) ## List the contents of each image, without its base, as CycloneDX files in SBOM=sbom
	@mkdir -p "$(SBOM)"
	@for group in $(IMAGES); do \
	  $(PY) -W ignore -m cyclonedx_py requirements --output-reproducible --pyproject pyproject.toml \
	    --output-file "$(SBOM)/$$group.cdx.json" requirements/$$group.txt || exit 1; \
	done
	@cp webui_svc/uplot.cdx.json "$(SBOM)/page.cdx.json"
	@ls "$(SBOM)"/*.cdx.json

LOCK := $(VENV)/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-header --no-annotate --no-emit-index-url --no-emit-find-links

lock: $(DEV) ## Pin all dependencies by hash; ARGS=--upgrade takes newer versions
	@$(LOCK) $(ARGS) pyproject.toml --group dev --output-file requirements/dev.txt
	@$(LOCK) pyproject.toml --group build --constraints requirements/dev.txt --output-file requirements/run.txt
	@for group in $(IMAGES) build certs; do \
	  $(LOCK) --group $$group --constraints requirements/dev.txt --output-file requirements/$$group.txt || exit 1; \
	done
	@$(LOCK) --group chart --no-deps --output-file requirements/chart.txt

clean: ## Remove everything that was installed or generated; data/ and certs/ are kept
	@rm -rf $(VENV) generated build dist sbom hasher_svc/*.so webui_svc/static/vendor *.egg-info \
	  .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find $(wildcard $(SOURCES)) -name __pycache__ -type d -prune -exec rm -rf {} +

# This runs each time, and makes .venv anew where it was made at another path or its Python is gone. PYTHON=… names one.
$(MADE): FORCE
	@for python in $(PY) $(if $(PYTHON),"$(PYTHON)",python3 python3.14 python3.13 python3.12 python3.11); do \
	  if "$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    exec "$$python" bootstrap.py venv; \
	  fi; \
	done; \
	echo "there is no Python 3.11 or newer that can make virtual environments$(if $(PYTHON),: $(PYTHON))" >&2; \
	echo "on Debian and Ubuntu, install python3-venv; PYTHON=… names an interpreter that is not in PATH" >&2; exit 1

FORCE:

$(RUN): requirements/run.txt requirements/chart.txt $(MADE)
	@$(INSTALL) "Installing the dependencies" 15 requirements/run.txt requirements/chart.txt
	@touch $@

$(CERTS): requirements/certs.txt $(MADE)
	@$(INSTALL) "Installing what makes certificates" 5 requirements/certs.txt
	@touch $@

$(DEV): requirements/dev.txt $(RUN)
	@$(INSTALL) "Installing the development tools" 40 requirements/dev.txt
	@touch $@

$(PROJECT): pyproject.toml hatch_build.py webui_svc/uplot.cdx.json $(PROTOS) $(KERNEL) $(RUN)
	@$(PY) bootstrap.py project "Generating the API, compiling hasher's kernel" 3
	@test -e hasher_svc/libkernel.so || \
	  echo "There is no C compiler, so hasher has no kernel and will be slower ($(PY) hatch_build.py says why)"
	@touch $@
