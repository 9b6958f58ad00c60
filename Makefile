# `make demo` and `make test` do all set-up by themselves. PYTHON names the interpreter to build .venv with (3.11 to 3.13).
PYTHON ?= python3
BIN := .venv/bin
TIMED := $(PYTHON) .ci/timed.py
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo ladder test test-slow test-all lint docs docs-commands lock bench torture clean

setup: .venv/ready

# uv takes a third of pip's time; where it is not on PATH, pip brings the one of the lock first. `make UV= ...` has pip do
# everything. Both install what the lock says, by its hashes, and compile it: where PYTHONDONTWRITEBYTECODE is set, each
# process that imports torch would else take 5 s more
UV := $(or $(shell command -v uv),$(BIN)/uv)
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# an index of torch's builds without CUDA, if wanted: torch and torchvision of the lock's versions come from there
TORCH_INDEX ?=
INSTALL := $(if $(UV),$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python,$(PIP))

.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v <= (3, 13) else \
	    "Python 3.11 to 3.13 is needed, this is %d.%d; name another: make PYTHON=python3.12 ..." % v)'
	@echo "setting up .venv with $(if $(UV),uv,pip): the first time some 3 GB are downloaded, which takes minutes"
	@$(TIMED) "environment" $(PYTHON) -m venv .venv
ifeq ($(UV),$(BIN)/uv)
	@awk '/^uv==/ {on = 1} on {print} on && !/\\$$/ {exit}' requirements.lock >.venv/uv.txt
	@$(TIMED) "uv" $(PIP) --require-hashes --requirement .venv/uv.txt
endif
ifeq ($(TORCH_INDEX),)
	@$(TIMED) "packages" $(INSTALL) --require-hashes --requirement requirements.lock
else
	@awk '/^[^ ]/ {on = !/^(cuda|nvidia|torch|torchvision|triton)[-=]/} on' requirements.lock >.venv/packages.txt
	@$(TIMED) "packages" $(INSTALL) --no-deps --require-hashes --requirement .venv/packages.txt
	@$(TIMED) "torch" $(INSTALL) --no-deps --index-url $(TORCH_INDEX) $$(awk '/^torch(vision)?==/ {print $$1}' requirements.lock)
endif
	@$(TIMED) "birdcache itself" $(INSTALL) --no-deps --no-build-isolation --editable .
	@# the wheel holds birdcache/ alone; this makes the other packages of this folder importable
	@for folder in .venv/lib/python*/site-packages; do echo "$(CURDIR)" > "$$folder/checkout.pth"; done
	@touch $@

# prints how long each stage took
demo: setup
	birdcache init --demo
	@$(TIMED) "dvc repro" dvc repro
	@birdcache report

# on the data that params.yaml names; what is finished stays finished
ladder: setup
	birdcache ladder

# files share fixtures, so each file stays in one of the two processes
test: setup
	pytest -m "not slow" -n 2 --dist loadfile

# the tests that `make test` leaves out
test-slow: setup
	pytest -m slow -n 2 --dist loadfile

# every test once
test-all: test test-slow

lint: setup
	ruff check
	ruff format --check
	mypy

# the page of parameters is written from the schema first; a warning, such as a dead link, is an error
docs: setup
	python -m docs.parameters
	sphinx-build -q -W --keep-going -d build/doctrees docs build/docs
	@echo build/docs/index.html

# every command of README.md and docs/, those that take minutes too
docs-commands: setup
	BIRDCACHE_DOCS=slow pytest tests/docs/test_commands.py

# the lock holds every supported Python and platform, with hashes and without an index address. pyproject.toml repeats its
# versions, for `uv sync`; they are taken out first, since uv would keep to them. The second lock is what `birdcache kaggle`
# takes: what the wheel needs, in the same versions
lock: setup
	sed -i '/^constraint-dependencies = /,$$d' pyproject.toml
	uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
	    --fork-strategy fewest --generate-hashes --no-annotate --no-header --quiet --output-file requirements.lock
	uv pip compile pyproject.toml --constraints requirements.lock --universal --python-version 3.11 \
	    --fork-strategy fewest --generate-hashes --no-annotate --no-header --quiet \
	    --output-file birdcache/kaggle/requirements.lock
	{ echo 'constraint-dependencies = ['; sed -nE 's/^(\S+==.*\S) \\$$/    "\1",/p' requirements.lock; echo ']'; } \
	    >> pyproject.toml

bench: setup
	python -m benchmarks.preprocess
	python -m benchmarks.read
	python -m benchmarks.scale
	python -m benchmarks.upload
	python -m benchmarks.metrics
	python -m benchmarks.steps
	python -m benchmarks.listing
	python -m benchmarks.train
	python -m benchmarks.threads
	python -m benchmarks.dtype

# every trial of docs/trust.md at full size; takes an hour
torture: setup
	python -m tests.torture

# data/cache, data/stores, models and reports can be made again; recordings, the pool and DVC's cache stay
clean:
	rm -rf data/cache data/stores data/members data/ladder data/student models bundles reports build *.egg-info .mypy_cache .ruff_cache .pytest_cache
