# skerry: what each target does is said by `make help`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
EXTRAS ?= dev
# Two spinning thread pools on a busy machine cost ten times the work: one thread a process.
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1

.PHONY: help setup demo check test web web-check web-test wheel wheel-any vectors test-arm64 test-sanitized test-all coverage bench bench-models bench-setup export-setup docs typing proto lock clean

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.ready ## make .venv with everything that the demo, the tests and the checks need

$(VENV)/.ready: pyproject.toml constraints.txt setup.py strategies/_selection.c strategies/_inner.c device/training/_head.c device/models/_cnn.c device/models/_cnn_pass.h security/privacy/mechanisms/_inversion.c
	$(PYTHON) -c 'import sys; sys.exit("skerry needs Python 3.11 or newer, this is " + sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip setuptools wheel
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

demo: setup ## fine-tune int8 EfficientNet-Lite0 on fourteen writers' digits under differential privacy
	$(BIN)/skerry demo

check: setup typing web-check ## lint, types, import rules; of device/web too where there is node
	$(BIN)/ruff check .
	$(BIN)/mypy
	PYTHONPATH=.typing $(BIN)/lint-imports

typing: # mypy does not follow the editable install's import hook: show it the packages as a tree of links
	@rm -rf .typing && mkdir -p .typing/skerry
	@for f in core/*; do ln -s ../../$$f .typing/skerry/; done
	@for d in server device strategies security; do ln -s ../../$$d .typing/skerry/$$d; done

# One process more than cores, since tests of servers mostly wait, and five at most; a file's tests stay together,
# because they share what is expensive to make. Files are taken as tests/conftest.py orders them, the longest first:
# by itself xdist keeps files of few tests for the end, where one that starts servers has other processes wait for it.
PARALLEL := -n $(shell $(PYTHON) -c 'import os; print(min(5, 1 + (os.cpu_count() or 1)))') --dist loadfile --no-loadscope-reorder

# The browser's device. Who works on the rest needs no node; continuous integration does.
WEB := device/web
NO_NODE := $(shell $(WEB)/no-node.sh)
ifeq ($(NO_NODE),)
$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	cd $(WEB) && npm ci --no-progress
	touch $@

web-check: $(WEB)/node_modules/.package-lock.json
	cd $(WEB) && npm run --silent check

web-test: $(WEB)/node_modules/.package-lock.json
	cd $(WEB) && npm test --silent

web: web-check web-test ## check, test and build the browser's device (needs node)
	cd $(WEB) && npm run --silent build
else
web-check web-test:
	@echo 'the browser device in $(WEB) is neither checked nor tested: $(NO_NODE)' >&2
	@test -z "$(CI)"

web:
	@echo 'the browser device cannot be built: $(NO_NODE)' >&2; exit 1
endif

wheel: setup web ## the package with the browser's page built into it, in dist/
	rm -rf build # what an earlier build left there would be taken along
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .

wheel-any: setup web ## the same for any processor, without the compiled part: for a Raspberry Pi
	rm -rf build
	SKERRY_PURE=1 $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist .

vectors: setup typing ## write tests/conformance/*.json anew from our own code
	PYTHONPATH=.typing $(BIN)/python -m tests.conformance.make_vectors

test: setup typing web-test ## the test suite without the long matrices; of device/web too where there is node
	$(BIN)/pytest -m 'not slow' $(PARALLEL)

test-all: setup typing web-test ## the whole test suite
	$(BIN)/pytest $(PARALLEL)

# Exit code 75 of root.sh: it cannot be done on this machine, and said why in one line.
test-arm64: setup ## an agent on an emulated aarch64 in federations with others (root, apt, x86_64; a phone too after make web)
	@tests/arm64/root.sh $(BIN)/python $(BIN)/pytest tests/arm64 tests/scenarios/test_mixed_fleet.py || { code=$$?; test $$code = 75 && exit 0; exit $$code; }

# Built aside, and found before what is installed. Leaks are not looked for: Python itself keeps memory to its end.
SANITIZED := build/sanitized
test-sanitized: setup ## tests of the compiled parts, built with gcc's address and undefined-behaviour sanitizers
	@rm -rf $(SANITIZED) && mkdir -p $(SANITIZED)
	CC=gcc CFLAGS="-g -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
	  $(BIN)/python -W ignore setup.py -q build --build-lib $(SANITIZED)/lib --build-temp $(SANITIZED)/temp 2>$(SANITIZED)/log || { cat $(SANITIZED)/log; exit 1; }
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$(SANITIZED)/lib CI=1 $(BIN)/pytest -q --capture=sys \
	  tests/properties/test_kernel_buffers.py tests/device/test_head_rows.py tests/device/test_cnn.py tests/security/test_inversion.py tests/strategies/test_selection.py tests/strategies/test_inner.py

coverage: setup ## branch coverage of security/ and strategies/, at least 90 %
	$(BIN)/pytest -q -m 'not slow and not engine' $(PARALLEL) --cov=skerry.security --cov=skerry.strategies --cov-branch --cov-fail-under=90

bench: setup ## run every benchmark that makes claims (NAME=main_job for one); JSON on stdout, progress on stderr
	@set -e; for name in $(or $(NAME),$(basename $(notdir $(filter-out benchmarks/_% benchmarks/zoo_table.py,$(wildcard benchmarks/*.py))))); do \
	  $(BIN)/python benchmarks/$$name.py; done

bench-models: setup ## the claims of the benchmark `models`, then every network of the zoo into the table of docs/models.md
	$(BIN)/python benchmarks/models.py
	$(BIN)/python benchmarks/zoo_table.py --write > /dev/null

bench-setup: setup ## make .venv-bench with the peers that benchmarks compare with
	test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r benchmarks/requirements-peers.txt
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --ignore-requires-python -r benchmarks/requirements-peers-bare.txt

export-setup: setup ## make .venv-export with ExecuTorch (1.5 GB), for `skerry model export` and the benchmark `models`
	test -x .venv-export/bin/python || $(PYTHON) -m venv .venv-export
	.venv-export/bin/python -m pip install --quiet --disable-pip-version-check -e '.[export]'

# mkdocs-material says at each start that a successor exists: ADR 78 is where that is weighed.
docs: setup typing ## the documentation site in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

proto: setup typing ## rebuild the generated code of device/service/device.proto
	$(BIN)/python -m grpc_tools.protoc -I .typing --python_out=.typing --pyi_out=.typing --grpc_python_out=.typing \
	  skerry/device/service/device.proto

lock: setup ## write constraints.txt from what is installed in .venv
	{ echo '# The exact set that continuous integration uses. Written by `make lock`.'; \
	  $(BIN)/python -m pip freeze --all --exclude-editable | grep -viE '^(skerry|torch)([ =@]|$$)'; \
	  echo 'torch==2.13.0; platform_machine == "x86_64"'; echo 'torch==2.9.1; platform_machine == "aarch64"'; \
	} | LC_ALL=C sort -f > constraints.txt

clean: ## remove caches and build products; runs/ stays
	rm -rf .typing .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info strategies/_*.so $(VENV)/.ready server/gateway/web-page
