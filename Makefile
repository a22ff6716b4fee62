# Two commands matter: `make demo` and `make test`. Everything they need lands in .venv, build, data and work_dirs.
PYTHON ?= python3
BIN := .venv/bin
export OMP_NUM_THREADS ?= $(shell nproc)

.PHONY: help install build runtime demo real test test-runtime replay lint docs bench clean
.DEFAULT_GOAL := help

help:
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# mmcv-lite builds only without isolation and with setuptools < 82 (it imports pkg_resources); a full mmcv is left alone.
.venv/installed: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -U pip "setuptools<82" wheel ninja
	$(BIN)/python -m pip install -q -c constraints.txt torch numpy
	$(BIN)/python -c "import mmcv" 2>/dev/null || $(BIN)/python -m pip install -q --no-build-isolation mmcv-lite==2.1.0
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e ".[dev]"
	touch $@

install: .venv/installed ## set up .venv with every dependency

CSRC := $(wildcard csrc/kernels/* csrc/torch/*)
build/extension: .venv/installed $(CSRC)
	@mkdir -p build
	$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

build: build/extension ## compile csrc into perception/_C.so

# What the runtime decodes images and reads JSON with; installed where that is allowed, named where it is not.
RUNTIME_PACKAGES := libjpeg62-turbo-dev libpng-dev nlohmann-json3-dev
RUNTIME_HEADERS := jpeglib.h png.h nlohmann/json.hpp
build/runtime-packages:
	@mkdir -p build
	@for header in $(RUNTIME_HEADERS); do \
		printf '#include <stdio.h>\n#include <%s>\n' $$header | $(CXX) -x c++ -std=c++20 -fsyntax-only - 2>/dev/null || missing=1; \
	done; \
	test -z "$$missing" || (apt-get update -qq && apt-get install -y -qq $(RUNTIME_PACKAGES)) || \
		{ echo "the runtime needs: sudo apt install $(RUNTIME_PACKAGES)" >&2; exit 1; }
	@touch $@

runtime: .venv/installed build/runtime-packages ## build the on-vehicle library and perception-run into build/runtime
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S csrc -B build/runtime -G Ninja -DPERCEPTION_RUNTIME=ON -DPERCEPTION_TESTS=OFF \
		-DCMAKE_PREFIX_PATH=$$($(BIN)/python -c 'import torch; print(torch.utils.cmake_prefix_path)')
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/runtime

ONE_FRAME ?= ../shared/nuscenes-one-frame

demo: build ## generate the synthetic data set, train the fused detector, score it, write the report
	$(BIN)/python tools/demo.py

real: build ## train and score one real nuScenes key frame (ONE_FRAME=its dataroot)
	$(BIN)/python tools/create_data.py nuscenes --root $(ONE_FRAME) --version v1.0-mini --out data/one-frame
	$(BIN)/python tools/train.py configs/one_frame_fusion.py --work-dir work_dirs/one-frame
	$(BIN)/python tools/test.py configs/one_frame_fusion.py work_dirs/one-frame/latest.pth --out work_dirs/one-frame
	$(BIN)/python tools/visualize.py configs/one_frame_fusion.py --results work_dirs/one-frame/fused/results.json \
		--out work_dirs/one-frame/frames

lint: .venv/installed ## ruff and mypy (strict on the core)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed ## build the documentation into build/site
	$(BIN)/python -m pip install -q -c constraints.txt "mkdocs>=1.6,<2"
	$(BIN)/python -m mkdocs build -q

test: build lint ## set up, lint, and run every test
	@if $(MAKE) -s build/runtime-packages; then $(MAKE) -s runtime; else echo "tests of the runtime will be skipped" >&2; fi
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile

test-runtime: build runtime ## export a small network and run it without Python, with good and bad input
	$(BIN)/python -m pytest tests/runtime

replay: build runtime ## fail when the runtime's boxes or its speed over eager Python drift from tests/runtime/reference.json
	$(BIN)/python tests/runtime/small_network.py build/replay
	$(BIN)/python tools/verify_export.py build/replay/artifact build/replay/tiny_fusion.py build/replay/tiny.pth \
		build/replay/data/nuscenes_infos_val.json --replay tests/runtime/reference.json

bench: build runtime ## measure every operator on this machine, one table
	$(BIN)/python benchmarks/run_all.py

clean: ## remove what was built (keeps .venv, data and work_dirs)
	rm -rf build perception/_C*.so *.egg-info
