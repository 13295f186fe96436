# The commands of the project; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
MODEL ?= $(shell sed -n 's/^ *registered_model: *\([^ ]*\).*/\1/p' params.yaml)
IMAGE ?= $(MODEL)
DOCKER ?= docker
PORT ?= 8080
UI_PORT ?= 5000
STAGE ?= train_scratch
# Tests run on up to four cores: TensorFlow uses several threads in each process.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadgroup

# `make experiments` shows the params that differ and the AUCs, and hides other metrics and files.
HIDDEN := (.*/|models|scratch\.|transfer\.|images|patient|counts|copies|quarantine|near_duplicates|probes|Executor)
ALWAYS := (scratch|transfer)\.(val|test)\.auc$$

# Stages call `python`, which must be the one of the environment. No library sends usage data.
export PATH := $(abspath $(VENV))/bin:$(PATH)
export MLFLOW_TRACKING_URI ?= sqlite:///mlflow.db
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true
export ORT_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup setup-dev setup-team setup-search setup-scale setup-bench repro test test-slow test-long test-model mutants faults bench check docs audit format ui experiments compare explain score serve register repair promote search rollback image sbom lock licences clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## install the locked requirements into .venv

setup-dev: $(VENV)/.installed-dev ## also install what check and test need

setup-team: $(VENV)/.installed-team ## also install DVC remotes over SSH and on S3, and log-ins to MLflow

setup-search: $(VENV)/.installed-search ## also install Optuna

setup-scale: $(VENV)/.installed-scale ## also install Ray, and PySpark for the test of spark_udf

setup-bench: $(VENV)/.installed-bench ## also install the alternatives that bench compares with

repro: $(VENV)/.installed ## run the pipeline, as far as something changed
	@dvc repro
	@python -S stages/summary.py

test: $(VENV)/.installed-dev ## run the tests
	@python -m pytest $(PARALLEL)

test-slow: $(VENV)/.installed-dev ## run the slow tests, which `make test` leaves out
	@python -m pytest $(PARALLEL) -m "slow and not long"

test-long: $(VENV)/.installed-team $(VENV)/.installed-scale ## run the longest tests, which CI leaves out: servers of a team, Spark, whole how-tos
	@python -m pytest $(PARALLEL) -m long

test-model: $(VENV)/.installed ## check the champion's behaviour: invariance, direction, minimum function
	@pneumonia behaviour

mutants: $(VENV)/.installed-dev ## insert bugs one at a time, and see whether tests fail; one bug: make mutants ONLY=label-flip
	@python -m tests.mutants --parallel="$(PARALLEL)" $(if $(ONLY),--only $(ONLY)) $(if $(FRESH),--fresh)

bench: $(VENV)/.installed-bench ## measure against common alternatives; half an hour or more on idle cores
	@python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(TURNS),--turns $(TURNS))

faults: $(VENV)/.installed-dev ## cause faults, and see what the pipeline does; one kind: make faults ONLY=disk
	@python -m tests.faults $(if $(ONLY),--only '$(ONLY)')

check: $(VENV)/.installed-dev ## lint, check formats, imports between the rooms and types, look for insecure code
	@ruff check .
	@ruff format --check .
	@lint-imports --no-cache --no-logo
	@mypy
	@bandit --quiet --configfile pyproject.toml --recursive src stages benchmarks

docs: $(VENV)/.installed-dev ## build the documentation; a warning is an error
	@python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env docs build/docs
	@echo "build/docs/index.html"

audit: $(VENV)/.installed-dev ## look for known vulnerabilities in the locked packages (needs the network)
	@python .ci/audit.py

format: $(VENV)/.installed-dev ## format the code
	@ruff check --fix .
	@ruff format .

ui: $(VENV)/.installed ## compare runs in the MLflow UI
	@echo "http://127.0.0.1:$(UI_PORT)"
	@mlflow ui --port $(UI_PORT)

experiments: $(VENV)/.installed ## list the experiments in a table
	@dvc exp show --only-changed --drop '$(HIDDEN)' --keep '$(ALWAYS)'

compare: $(VENV)/.installed ## compare two revisions or experiments: make compare A=main B=my-exp
	@pneumonia compare $(or $(A),HEAD) $(B)

search: $(VENV)/.installed-search ## search for better params: make search STAGE=train_transfer
	@dvc repro visualize
	@pneumonia search $(STAGE) $(if $(TRIALS),--trials $(TRIALS))

explain: $(VENV)/.installed ## write heat maps of images: make explain FILES="a.png b.dcm"
	@pneumonia explain $(FILES)

score: $(VENV)/.installed ## score many images: make score INPUT=images OUTPUT=scores
	@test -n "$(INPUT)" -a -n "$(OUTPUT)" || { echo "give input and output: make score INPUT=images OUTPUT=scores" >&2; exit 1; }
	@pneumonia score "$(INPUT)" --output "$(OUTPUT)" $(if $(RAY),--ray $(RAY))

serve: $(VENV)/.installed ## serve the champion: REST, and a page in the browser
	@echo "http://127.0.0.1:$(PORT)"
	@pneumonia serve --model models:/$(MODEL)@champion --port $(PORT)

register: $(VENV)/.installed ## register the model again, for example in an empty MLflow store
	@dvc repro --single-item --force register

repair: $(VENV)/.installed ## move damaged outputs away, so that `make repro` makes them again
	@pneumonia repair

promote: $(VENV)/.installed ## make a version the champion: make promote VERSION=2
	@test -n "$(VERSION)" || { echo "give a version: make promote VERSION=2" >&2; exit 1; }
	@pneumonia promote "$(VERSION)"

rollback: $(VENV)/.installed ## make the previous champion champion again
	@pneumonia rollback

image: $(VENV)/.installed ## build the Docker image of the champion
	@rm -rf build/model
	@mlflow artifacts download -u models:/$(MODEL)@champion -d build/model >/dev/null
	@$(DOCKER) build -t $(IMAGE) \
		--build-arg NAME=$(MODEL) \
		--build-arg VERSION=$$(sed -n "s/^model_version: *'\{0,1\}\([^']*\)'\{0,1\}$$/\1/p" build/model/registered_model_meta) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null) .
	@echo "docker run --rm -p $(PORT):8080 $(IMAGE)"

sbom: $(VENV)/.installed-dev ## list the contents of the image (CycloneDX), after `make image`
	@python .ci/sbom.py $(IMAGE) --docker $(DOCKER)

lock: ## lock the newest compatible versions, with hashes (needs uv)
	@for kind in "" -dev -serve -team -search -ray -spark -bench; do \
		uv pip compile --universal --python-version 3.11 --fork-strategy fewest --upgrade \
			--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
			--custom-compile-command "make lock" --quiet \
			requirements$$kind.in -o requirements$$kind.txt; \
	done

licences: $(VENV)/.installed-dev ## list the licences of the locked packages, in an environment with all of them
	@rm -rf build/all
	@$(PYTHON) -m venv build/all
	@for lock in requirements*.txt; do \
		build/all/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $$lock; \
	done
	@python .ci/licences.py build/all/bin/python

clean: ## remove the environment and all outputs of the pipeline
	@rm -rf $(VENV) build data/prepared models reports search mlflow.db* mlruns .dvc/tmp .dvc/cache

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit((3, 11) > v or v > (3, 13))' || \
		{ echo "$(PYTHON) is not Python 3.11 to 3.13; choose another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing the environment; this takes a few minutes, once"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The tests and the type checker need Optuna, too.
$(VENV)/.installed-dev: $(VENV)/.installed-search requirements-dev.txt
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(VENV)/.installed-team: $(VENV)/.installed requirements-team.txt
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-team.txt
	@touch $@

$(VENV)/.installed-search: $(VENV)/.installed requirements-search.txt
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-search.txt
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed requirements-bench.txt
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-bench.txt
	@touch $@

$(VENV)/.installed-scale: $(VENV)/.installed-dev requirements-ray.txt requirements-spark.txt
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-ray.txt -r requirements-spark.txt
	@touch $@
