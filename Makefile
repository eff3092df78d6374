# `make demo` and `make test` do everything on a fresh machine: environment, installation, run.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

SERVED = runs/demo

.PHONY: demo serve test lint format benchmark reproduction clean

demo: $(INSTALLED)
	rm -rf runs/demo
	$(BIN)/rootspace train --config recipes/characters.yaml --run.dir runs/demo
	@echo 'Try it in the browser: make serve'

# The page of a run: `make serve SERVED=runs/photos` for another.
serve: $(INSTALLED)
	$(BIN)/rootspace serve $(SERVED) --open

# A process a core, of one thread each: two that train with two threads would wait for each other.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --numprocesses logical --maxprocesses 8 --dist worksteal

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: $(INSTALLED)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# loss.py, decode.py and training.py. Results of this machine go to runs/benchmarks;
# `make benchmark OUT=benchmarks/results` renews the committed ones, of which the README has two rows
# (training steps). A run that was stopped goes on.
OUT = runs/benchmarks

benchmark: $(INSTALLED)
	$(BIN)/python -m pip install --quiet -e '.[benchmark]'
	$(BIN)/python benchmarks/loss.py --out $(OUT)
	$(BIN)/python benchmarks/decode.py --out $(OUT)
	$(BIN)/python benchmarks/training.py --threads 1 --out $(OUT)

# The short parts of the paper's evaluation (docs/reproduction.md): at most 20 minutes of one core.
reproduction: $(INSTALLED)
	$(BIN)/python -m papers.lsc2510 --quick

$(INSTALLED): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "rootspace needs Python 3.11 or newer: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $(INSTALLED)

clean:
	rm -rf $(VENV) build dist
