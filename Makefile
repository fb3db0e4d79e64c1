# Every target sets up what it needs; a second set-up takes less than a second.
# `make check` needs no root. The others need it once, for Debian packages, and the lab needs it always.

BIN := .venv/bin
PROTOS := $(wildcard nf/control/v1/*.proto)
PROTOC := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m grpc_tools.protoc -I. $(PROTOS)
# Many tests wait for deadlines of half a second to ten: one more of them than there are processors.
WORKERS := $(shell expr $$(nproc) + 1)
LOCK := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet

.PHONY: help setup demo test check bench soak image image-test image-test-all image-test-cuts fmt proto lock clean

help:
	@echo 'make demo    the whole job in a network of namespaces, step by step (root; KEEP=1 leaves it running)'
	@echo 'make test    unit, property and live tests; ARGS="-k name" goes to pytest'
	@echo 'make check   format, lint, types, imports, generated code, unit tests (no root)'
	@echo 'make bench   the speed targets; ONLY=name runs one'
	@echo 'make soak    the tests that take long'
	@echo 'make image ROLE=pop       the image of a role into build/images; KEYS=DIR signs it, VERSION=, KERNEL=cloud'
	@echo 'make image-test           a PoP image in qemu: boots, enrols, serves, is upgraded, falls back (root)'
	@echo 'make image-test-all       the same, and every role boots and installs; image-test-cuts: 20 power cuts (1 h)'
	@echo 'make setup   Debian packages and .venv    make fmt     format and sort imports'
	@echo 'make proto   generated code of *.proto    make lock    newer versions into requirements*.lock'
	@echo 'make clean   remove .venv, caches, build'

setup:
	@sh lab/setup.sh

demo:
	@sh lab/setup.sh lab
	@$(BIN)/python -m lab.scenarios.demo

# Live tests run side by side too, each worker in namespaces of its own: they wait most of their time, but they run real
# daemons and count packets: no more of them than there are processors. The reference network of tests/interop keeps
# two processors busy by itself: it comes after them.
# What failed is tried once more, alone: beside another, a machine of two processors can starve what counts packets. Both
# results are printed.
LIVE := (root or daemon) and not soak and not image
SIDE_BY_SIDE := --dist loadfile --tx '$(shell nproc)*popen//python=tests/support/isolated $(BIN)/python'
ONCE_MORE := { echo 'what failed, once more and alone:'; $(BIN)/pytest -m "$(LIVE)" --last-failed --last-failed-no-failures none; }

test: setup
ifeq ($(strip $(ARGS)),)
	$(BIN)/pytest -q -m "not root and not daemon and not soak and not image" -n $(WORKERS) --dist worksteal
	$(BIN)/pytest -m "$(LIVE)" --ignore tests/interop $(SIDE_BY_SIDE) || $(ONCE_MORE)
	$(BIN)/pytest -m "$(LIVE)" tests/interop || $(ONCE_MORE)
else
	$(BIN)/pytest -m "not soak and not image" $(ARGS)
endif

check:
	@sh lab/setup.sh python
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@rm -rf build/proto && mkdir -p build/proto
	@$(PROTOC) --python_out=build/proto --grpc_python_out=build/proto --mypy_out=quiet:build/proto --mypy_grpc_out=quiet:build/proto
	@for made in build/proto/nf/control/v1/*; do \
		cmp -s "$$made" "nf/control/v1/$${made##*/}" || { echo "nf/control/v1/$${made##*/} is out of date: make proto"; exit 1; }; \
	done
	$(BIN)/pytest -q -m "not root and not daemon and not soak and not image" -n $(WORKERS) --dist worksteal $(ARGS)

bench: setup
	@$(BIN)/python -m tests.bench $(ONLY)

soak: setup
	$(BIN)/pytest -m "soak and not image" $(ARGS)

# Without KEYS: signing material for trying things, made once. What customers get is signed with an organisation's own.
ROLE := pop
KERNEL := production
KEYS := build/keys
image:
	@sh lab/setup.sh image
	@test -f $(KEYS)/policy.json || $(BIN)/nf image keys init $(KEYS)
	$(BIN)/nf image build --role $(ROLE) --kernel $(KERNEL) --keys $(KEYS) $(if $(VERSION),--version $(VERSION))

image-test:
	@sh lab/setup.sh image
	$(BIN)/pytest -x -o faulthandler_timeout=0 -m image tests/lab/machine tests/image/test_appliance.py $(ARGS)

image-test-all:
	@sh lab/setup.sh image
	$(BIN)/pytest -x -o faulthandler_timeout=0 -m image tests/lab/machine tests/image/test_appliance.py tests/image/test_roles.py tests/image/test_installer.py $(ARGS)

image-test-cuts:
	@sh lab/setup.sh image
	$(BIN)/pytest -x -o faulthandler_timeout=0 tests/image/test_power_cuts.py $(ARGS)

fmt:
	@sh lab/setup.sh python
	$(BIN)/ruff check --select I --fix --quiet
	$(BIN)/ruff format

proto:
	@sh lab/setup.sh python
	$(PROTOC) --python_out=. --grpc_python_out=. --mypy_out=quiet:. --mypy_grpc_out=quiet:.

lock:
	@command -v uv >/dev/null || test -x $(BIN)/uv || { echo 'make lock needs uv: pipx install uv'; exit 1; }
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip compile pyproject.toml --upgrade $(LOCK) -o requirements.lock
	PATH="$$PATH:$(CURDIR)/$(BIN)" uv pip compile pyproject.toml --upgrade --extra dev -c requirements.lock $(LOCK) -o requirements-dev.lock

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
