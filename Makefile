# genfast: one command per wish. demo, test, bench, lint and format need python3 (3.10 or newer), a C++
# compiler and make; they set up the rest in .venv: pinned packages (constraints.txt) and the library.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Bytecode is made at first import, and only of what is imported: that saves half a minute.
PIP := $(PY) -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt
# What the compiled library is made of. Folders are listed too: they change when a file comes or goes.
SOURCES := CMakeLists.txt setup.py pyproject.toml genfast/_version.py $(shell find csrc)
# The developer's environment holds all that the demo's does.
DEMO_ENV := $(VENV)/$(if $(wildcard $(VENV)/has-dev),has-dev,has-demo)

# Objects stay here between builds, so that a change compiles only what it touches.
export GENFAST_BUILD_DIR ?= $(CURDIR)/build/cmake

# Packages are installed, and files checked, while the library is compiled.
MAKEFLAGS += --jobs=2

.PHONY: help demo test bench lint format clean gpu
help:
	@echo 'make demo    train on real digits, sample with every sampler, measure; pictures in out/'
	@echo 'make test    everything that a machine without a GPU can prove'
	@echo 'make bench   the benchmark suite (BENCH="--suite sampler_step --quick")'
	@echo 'make lint    ruff, clang-format and mypy, changing nothing'
	@echo 'make format  ruff and clang-format, changing files'
	@echo 'make gpu     build, test and measure on a GPU machine, with the python3 it has'
	@echo 'make clean   remove what make built; out/ and runs/ stay'

demo: $(DEMO_ENV)
	$(PY) -m genfast.demo --out out

bench: $(DEMO_ENV)
	$(PY) -m genfast bench $(BENCH)

# Threads that spin while they wait for each other crawl on a machine that is busy with anything else.
test: export OMP_WAIT_POLICY ?= passive
test: lint $(VENV)/has-dev
	$(PY) -m pytest --numprocesses=2 --dist=worksteal -p no:benchmark --durations=15 $(TESTS)

lint: $(VENV)/has-packages
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	find csrc -name '*.h' -o -name '*.cuh' -o -name '*.cpp' -o -name '*.cu' | xargs $(VENV)/bin/clang-format --dry-run -Werror
	$(VENV)/bin/mypy

format: $(VENV)/has-packages
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .
	find csrc -name '*.h' -o -name '*.cuh' -o -name '*.cpp' -o -name '*.cu' | xargs $(VENV)/bin/clang-format -i

# A GPU machine often has no network: nothing is installed.
gpu:
	$(PYTHON) scripts/gpu.py

clean:
	rm -rf $(VENV) build dist genfast.egg-info genfast/_C.*.so genfast/_emulated.*.so
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks

$(VENV)/has-tools: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) setuptools pybind11 cmake ninja
	@touch $@

# torch goes first and alone: whatever asks for it later finds the pinned one.
$(VENV)/has-torch: $(VENV)/has-tools
	$(PIP) torch
	@touch $@

# All that development needs, which is all that is pinned.
$(VENV)/has-packages: $(VENV)/has-torch
	$(PIP) --requirement constraints.txt
	@touch $@

$(VENV)/has-library: $(VENV)/has-tools $(VENV)/options $(SOURCES)
	$(PY) setup.py --quiet build_ext --inplace
	@touch $@

# Two environments in one folder: what the demo needs, and what development needs. Compiling is slow, so the
# demo has CUDA kernels only where there is a GPU to run them, and CPU kernels for this processor alone.
$(VENV)/has-demo: export GENFAST_CPU_ISAS ?= native
$(VENV)/has-demo: export GENFAST_CUDA ?= $(if $(wildcard /dev/nvidiactl),auto,off)
$(VENV)/has-dev: $(VENV)/has-packages
$(VENV)/has-demo $(VENV)/has-dev: $(VENV)/has-torch $(VENV)/has-library
	$(PIP) --no-build-isolation --editable '.[$(@F:has-%=%)]'
	@touch $@

# Changes when the build options do, and then the library is built anew.
OPTIONS := $(GENFAST_CUDA) $(GENFAST_CUDA_ARCHS) $(GENFAST_CPU_ISAS)
$(VENV)/options: $(VENV)/has-tools FORCE
	@echo '$(OPTIONS)' | cmp -s - $@ || echo '$(OPTIONS)' > $@
FORCE:
