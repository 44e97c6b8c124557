# make demo    install NeRF-Insert in .venv and edit the bundled sample capture, end to end
# make test    install everything and run all tests
# make check   run lint and the quick tests: for every commit
# make lint    check style, types, the direction of imports, and build the documentation
# make docs    build the documentation in build/site
# make clean   remove what the others wrote, except .venv
#
# Only Python 3.10 or newer has to be there. What is already installed is used again.

VENV := .venv
BIN := $(VENV)/bin
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv)
FIT := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))
PYTHON ?= $(shell for p in python3 python python3.14 python3.13 python3.12 python3.11 python3.10; do \
	$$p -c '$(FIT)' 2>/dev/null && echo $$p && break; done)

# Bytecode is written, whatever the shell says: tests start our commands a hundred times.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

.PHONY: demo test check quick-test lint docs package clean

demo: $(VENV)/demo
	$(BIN)/nerf-insert demo --out out/demo

test: $(VENV)/ready $(VENV)/ns-export
	$(PYTEST)

check: lint quick-test

quick-test: $(VENV)/ready
	$(PYTEST) -m "not slow" --hypothesis-profile quick

lint: $(VENV)/ready package docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd build/package && ../../$(BIN)/lint-imports --no-cache ../../pyproject.toml
	$(BIN)/pyright

docs: $(VENV)/ready package
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# The package as it is installed, with app/ and kernels/src/ in place, and the examples: what the tools of lint read.
package: $(VENV)/ready
	@rm -rf build/package
	@$(BIN)/python -W ignore setup.py --quiet build_py --build-lib build/package 2>/dev/null
	@cp -r examples build/package/examples

clean:
	rm -rf out build dist *.egg-info .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# As pip does, so that Python need not compile libraries at every start where it must not write beside them.
COMPILE := --compile-bytecode

# uv installs in a minute what takes pip many, and leaves out what only other parts of nerfstudio
# use (see pyproject.toml); without uv on the PATH it is put into .venv itself.
$(VENV)/demo: EXTRAS :=
$(VENV)/ready: EXTRAS := [dev]
$(VENV)/demo $(VENV)/ready: pyproject.toml setup.py | $(BIN)/python
	@echo "Setting up $(VENV): the first time this downloads several GB (PyTorch and its CUDA libraries)."
	@if [ -n "$(UV)" ]; then uv="$(UV)"; else \
		$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; \
		$(BIN)/python -m pip install --quiet --upgrade pip && $(BIN)/python -m pip install --quiet uv; \
		uv=$(BIN)/uv; fi; \
	if [ -x "$$uv" ]; then "$$uv" pip install $(COMPILE) --python $(BIN)/python --editable '.$(EXTRAS)'; \
	else $(BIN)/python -m pip install --editable '.$(EXTRAS)'; fi
	@touch $@

# What nerfstudio's ns-export imports and nothing of ours does (1.2 GB). pip has installed it already;
# --no-config: pyproject.toml tells uv to leave it out. Where it cannot be had, one test is skipped.
$(VENV)/ns-export: $(VENV)/ready
	@uv="$(UV)"; [ -n "$$uv" ] || uv=$(BIN)/uv; if [ -x "$$uv" ]; then \
		"$$uv" pip install $(COMPILE) --quiet --no-config --python $(BIN)/python open3d pymeshlab xatlas || \
		echo "open3d, pymeshlab or xatlas cannot be had: the test of ns-export will be skipped." >&2; fi
	@touch $@

$(BIN)/python:
	@if [ -n "$(UV)" ]; then "$(UV)" venv --quiet --python "$(or $(PYTHON),3.12)" $(VENV) && exit; fi; \
	if [ -z "$(PYTHON)" ]; then \
		echo "NeRF-Insert needs Python 3.10 to 3.14, and the PATH has none. Install one, or name it:" >&2; \
		echo "    make demo PYTHON=/path/to/python3" >&2; exit 1; fi; \
	$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 && exit; rm -rf $(VENV); \
	$(PYTHON) -m venv --without-pip $(VENV) >/dev/null 2>&1 && \
		$(PYTHON) -m pip --python $(BIN)/python install --quiet pip && exit; rm -rf $(VENV); \
	echo "$(PYTHON) cannot make a virtual environment: it lacks the venv module. Install that" >&2; \
	echo "(on Debian and Ubuntu: apt install python3-venv) or uv, then try again." >&2; exit 1
