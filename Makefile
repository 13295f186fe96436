# What a newcomer types. `make` alone lists the targets.
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
# Tests on up to four cores; TensorFlow in each has threads of its own.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadgroup

# Of the table of experiments: params that differ and the AUCs, none of the other metrics and files.
HIDDEN := (.*/|scratch\.|transfer\.|images|patient|counts|copies|quarantine|near_duplicates|probes|Executor)
ALWAYS := (scratch|transfer)\.(val|test)\.auc$$

# Stages call `python`: the environment's comes first. Nothing calls home.
export PATH := $(abspath $(VENV))/bin:$(PATH)
export MLFLOW_TRACKING_URI ?= sqlite:///mlflow.db
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true
export ORT_DISABLE_TELEMETRY := 1
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: help setup setup-dev setup-team setup-search setup-scale setup-bench repro test test-slow test-long test-model mutants faults bench check docs audit format ui queue experiments compare explain score serve register repair promote search rollback image sbom lock licences clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make .venv from the locked requirements

setup-dev: $(VENV)/.installed-dev ## the same, with what check and test need

setup-team: $(VENV)/.installed-team ## the same, with DVC remotes over SSH and on S3, and log-ins to MLflow

setup-search: $(VENV)/.installed-search ## the same, with Optuna

setup-scale: $(VENV)/.installed-scale ## the same, with Ray, and PySpark for the test of spark_udf

setup-bench: $(VENV)/.installed-bench ## the same, with what bench compares with

repro: $(VENV)/.installed ## run the pipeline; only what changed since the last time
	@dvc repro
	@python -S stages/summary.py

test: $(VENV)/.installed-dev ## run the tests
	@python -m pytest $(PARALLEL)

test-slow: $(VENV)/.installed-dev ## run the tests that `make test` has no room for
	@python -m pytest $(PARALLEL) -m "slow and not long"

test-long: $(VENV)/.installed-team $(VENV)/.installed-scale ## and those that CI has no time for: servers of a team, Spark, whole walks
	@python -m pytest $(PARALLEL) -m long

test-model: $(VENV)/.installed ## check what the champion does: invariance, direction, minimum function
	@pneumonia behaviour

mutants: $(VENV)/.installed-dev ## seed bugs, one at a time: do the tests catch them? one: make mutants ONLY=label-flip
	@python -m tests.mutants --parallel="$(PARALLEL)" $(if $(ONLY),--only $(ONLY)) $(if $(FRESH),--fresh)

bench: $(VENV)/.installed-bench ## measure side by side with what one would use instead; half an hour or more on idle cores
	@python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(TURNS),--turns $(TURNS))

faults: $(VENV)/.installed-dev ## break things on purpose, and look how the pipeline takes it: make faults ONLY=disk
	@python -m tests.faults $(if $(ONLY),--only '$(ONLY)')

check: $(VENV)/.installed-dev ## lint, type-check, look for insecure code
	@ruff check .
	@ruff format --check .
	@mypy
	@bandit --quiet --configfile pyproject.toml --recursive src stages benchmarks

docs: $(VENV)/.installed-dev ## build the documentation's site; a warning fails it
	@python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env docs build/docs
	@echo "build/docs/index.html"

audit: $(VENV)/.installed-dev ## look for known vulnerabilities in what is locked (asks the web)
	@python .ci/audit.py

format: $(VENV)/.installed-dev ## rewrite the code in the project's format
	@ruff check --fix .
	@ruff format .

ui: $(VENV)/.installed ## compare runs in the MLflow UI
	@echo "http://127.0.0.1:$(UI_PORT)"
	@mlflow ui --port $(UI_PORT)

experiments: $(VENV)/.installed ## the experiments in a table
	@dvc exp show --only-changed --drop '$(HIDDEN)' --keep '$(ALWAYS)'

compare: $(VENV)/.installed ## two revisions or experiments side by side: make compare A=main B=my-exp
	@pneumonia compare $(or $(A),HEAD) $(B)

search: $(VENV)/.installed-search ## look for better params: make search STAGE=train_transfer
	@dvc repro visualize
	@pneumonia search $(STAGE) $(if $(TRIALS),--trials $(TRIALS))

queue: $(VENV)/.installed ## run the queued experiments: make queue JOBS=2
	@pneumonia queue --jobs $(or $(JOBS),1)

explain: $(VENV)/.installed ## heat maps of images: make explain FILES="a.png b.dcm"
	@pneumonia explain $(FILES)

score: $(VENV)/.installed ## score many images: make score INPUT=images OUTPUT=scores
	@test -n "$(INPUT)" -a -n "$(OUTPUT)" || { echo "say what and where to: make score INPUT=images OUTPUT=scores" >&2; exit 1; }
	@pneumonia score "$(INPUT)" --output "$(OUTPUT)" $(if $(RAY),--ray $(RAY))

serve: $(VENV)/.installed ## serve the champion: REST, and a page for people
	@echo "http://127.0.0.1:$(PORT)"
	@python -m pneumonia.server.app --model models:/$(MODEL)@champion --port $(PORT)

register: $(VENV)/.installed ## fill an empty MLflow store from cached outputs
	@dvc repro --single-item --force evaluate gradcam_report

repair: $(VENV)/.installed ## put damaged outputs aside, for `make repro` to make anew
	@pneumonia repair

promote: $(VENV)/.installed ## make a version the champion: make promote VERSION=2
	@test -n "$(VERSION)" || { echo "say which version: make promote VERSION=2" >&2; exit 1; }
	@python -m pneumonia.registry.champion promote "$(VERSION)"

rollback: $(VENV)/.installed ## make the champion before this one the champion again
	@python -m pneumonia.registry.champion rollback

image: $(VENV)/.installed ## build the Docker image of the champion
	@rm -rf build/model
	@mlflow artifacts download -u models:/$(MODEL)@champion -d build/model >/dev/null
	@$(DOCKER) build -t $(IMAGE) \
		--build-arg NAME=$(MODEL) \
		--build-arg VERSION=$$(sed -n "s/^model_version: *'\{0,1\}\([^']*\)'\{0,1\}$$/\1/p" build/model/registered_model_meta) \
		--build-arg REVISION=$$(git rev-parse HEAD 2>/dev/null) .
	@echo "docker run --rm -p $(PORT):8080 $(IMAGE)"

sbom: $(VENV)/.installed-dev ## list what is in the image (CycloneDX), after `make image`
	@python .ci/sbom.py $(IMAGE) --docker $(DOCKER)

lock: ## pin the newest versions that fit, with hashes (needs uv)
	@for kind in "" -dev -serve -team -search -ray -spark -bench; do \
		uv pip compile --universal --python-version 3.11 --fork-strategy fewest --upgrade \
			--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate \
			--custom-compile-command "make lock" --quiet \
			requirements$$kind.in -o requirements$$kind.txt; \
	done

licences: $(VENV)/.installed-dev ## list the licences of what is locked, in an environment that has all of it
	@rm -rf build/all
	@$(PYTHON) -m venv build/all
	@for lock in requirements*.txt; do \
		build/all/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $$lock; \
	done
	@python .ci/licences.py build/all/bin/python

clean: ## remove the environment and everything the pipeline wrote
	@rm -rf $(VENV) build data/prepared models reports search mlflow.db* mlruns .dvc/tmp .dvc/cache

$(VENV)/.installed: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit((3, 11) > v or v > (3, 13))' || \
		{ echo "$(PYTHON) is not Python 3.11 to 3.13; name one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "installing the environment: once, a few minutes"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The tests and the type checker look at the search, too.
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
