# Sets itself up on a fresh machine: Python 3.11 or 3.12, no root, no GPU, no running server.
# A name on the PATH may be a shim of a version that is not there, so each is asked.
RIGHT := import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))
PYTHON ?= $(shell for p in python3.11 python3.12 python3; do $$p -c '$(RIGHT)' 2>/dev/null && echo $$p && exit; done)
BIN := .venv/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH"
# Code is compiled when it is first used, most of what is installed never, and kept: each stage is a process of its own.
unexport PYTHONDONTWRITEBYTECODE # which containers set

# An environment knows the folder that it was made in: a copy of it would run the code of the checkout it came from.
ifneq ($(shell cat .venv/ready 2>/dev/null),$(CURDIR))
ANEW := $(if $(wildcard .venv/ready),--clear)
.PHONY: .venv/ready
endif

.PHONY: demo demo-adapt demo-adapt-scenes demo-compress demo-detection demo-multitask compare test lint check ui evidence evidence-detection evidence-domains bench format

demo: .venv/ready ## the whole pipeline on Fashion-MNIST: ends with the three-line table and the report's path
	$(RUN) python -m flows.expand

demo-detection: .venv/ready ## scenes of garments, a few with boxes: ends with a verdict on a detector
	$(RUN) python -m flows.detect

demo-multitask: .venv/ready ## four teachers, each of one task, and one student of all: ends with a table of both
	$(RUN) python -m flows.multitask

demo-adapt: .venv/ready ## from garments on black to garments before textures: ends with the choice made without labels
	$(RUN) python -m flows.adapt

demo-adapt-scenes: .venv/ready ## pixels of garments at night and in fog from scenes by day: ends with three lines
	$(RUN) python -m flows.adapt_scenes

demo-compress: .venv/ready ## a large network into a compact one, as ONNX: ends with a verdict on accuracy, size and speed
	$(RUN) python -m flows.compress

compare: .venv/ready ## every method on one teacher, student and budget: ends with work/compare/compare.md
	$(RUN) python -m flows.compare

test: .venv/ready
	$(BIN)/pytest -q -n auto --dist loadfile --no-loadscope-reorder

lint: .venv/ready ## form, types and who may import whom
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## what a commit passes; CI runs the demo too

ui: .venv/ready ## the Prefect UI on the demo's runs
	$(RUN) python -m flows.ui

evidence: .venv/ready ## three seeds, 400 and 100 labels: writes docs/evidence.md; wants a GPU (without DVC, side by side: --plain --parallel 20)
	$(BIN)/python -m benchmarks.evidence --recipe docs/recipes/long.yaml 100=docs/recipes/few_labels.yaml

evidence-domains: .venv/ready ## three seeds, every way to adapt pixels of scenes
	$(BIN)/python -m benchmarks.domains docs/recipes/adapt_scenes.yaml

evidence-detection: .venv/ready ## three seeds of demo-detection, other scenes each, twice its steps
	$(BIN)/python -m benchmarks.boxes --longer 2

bench: .venv/ready ## ratios in one run: training, labelling, memory; the flow's: benchmarks.overhead --flow
	$(BIN)/python -m benchmarks.overhead

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(RIGHT)' \
		|| (echo "Tutelage needs Python 3.11 or 3.12: make demo PYTHON=/path/to/python3.12" && exit 2)
	$(PYTHON) -m venv $(ANEW) .venv
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[pipeline,export,dev]'
	@echo '$(CURDIR)' > .venv/ready
