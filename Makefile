# Everything a checkout needs: `make run`, `make test`. Python 3.11 or newer is enough; the rest is installed into .venv.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PLUGINS := $(sort $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml)))
VENV := .venv
FUZZ_SECONDS := 300
NUMERIC := tests/metrics tests/training tests/generation tests/evaluation tests/golden tests/legacy plugins
RUNTIME := $(VENV)/.runtime
STAMP := $(VENV)/.installed
# An index to take PyTorch from: without an NVIDIA GPU its own one of CPU builds saves gigabytes. Empty: where pip looks.
TORCH_INDEX :=
PIP := $(VENV)/bin/python -m pip install -c constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help install run demo gallery dist docs test test-all fuzz lint bench clean

help:
	@echo "make demo      install what running needs, make samples with small trained models: something to see in a minute"
	@echo "make run       install what running needs, train the music plugin's default recipe, end with music"
	@echo "make test      install the tools of development as well, run the tests"
	@echo "make test-all  the slow ones too, and the numeric ones with the kernels of a plain CPU"
	@echo "make fuzz      search for files that a reader cannot stand, FUZZ_SECONDS long (300)"
	@echo "make lint      ruff, mypy, import layers"
	@echo "make bench     the benchmarks (hours; see benchmarks/README.md)"
	@echo "make gallery   the pictures and the sound of README, made anew"
	@echo "make docs      the documentation site in docs/_build/html"
	@echo "make dist      wheels of the core and of all plugins in dist, checked, with registry.yaml and release notes"

install: $(STAMP)

# Progress is shown: PyTorch alone is some hundred megabytes.
$(RUNTIME): pyproject.toml constraints.txt $(PLUGINS:%=%/pyproject.toml)
	@echo "1/3  an environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	@echo "2/3  PyTorch"
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch
	@echo "3/3  gan and its plugins, with what they need"
	$(PIP) -e . $(PLUGINS:%=-e ./%)
	$(VENV)/bin/python -m compileall -q core plugins
	@touch $(RUNTIME)

$(STAMP): $(RUNTIME)
	$(PIP) --quiet -e ".[dev]"
	@touch $(STAMP)

run: $(RUNTIME)
	$(VENV)/bin/gan run music

demo: $(RUNTIME)
	$(VENV)/bin/gan demo

# The pictures, the sounds and the text of README and of docs/gallery.md, by models of the zoo.
gallery: $(RUNTIME)
	rm -rf build/gallery && mkdir -p build/gallery docs/gallery
	$(VENV)/bin/gan generate zoo:chorales --count 2 --seed 1 --render ogg --out build/gallery/chorales
	$(VENV)/bin/gan generate zoo:digits --count 16 --seed 1 --out build/gallery/digits
	$(VENV)/bin/gan generate zoo:furniture --count 8 --seed 1 --out build/gallery/furniture
	$(VENV)/bin/gan generate zoo:motions --count 4 --seed 1 --out build/gallery/motions
	$(VENV)/bin/gan generate zoo:percussion --count 6 --seed 2 --format ogg --out build/gallery/percussion
	$(VENV)/bin/gan generate zoo:reference --seed 1 --count 1 --prompt 'The "while" statement is' --temperature 0.7 --top-p 0.9 --max-length 40 --out build/gallery/reference
	cp build/gallery/digits/preview.png docs/gallery/digits.png
	cp build/gallery/chorales/preview.png docs/gallery/chorales.png
	cp build/gallery/chorales/sample-0000.ogg docs/gallery/chorales.ogg
	cp build/gallery/furniture/preview.png docs/gallery/furniture.png
	cp build/gallery/motions/preview.png docs/gallery/motions.png
	cp build/gallery/percussion/preview.png docs/gallery/percussion.png
	cp build/gallery/percussion/sample-0000.ogg docs/gallery/percussion.ogg
	cp build/gallery/reference/sample-0000.txt docs/gallery/reference.txt

docs: install
	$(PIP) --quiet -e ".[docs]"
	$(VENV)/bin/python -m sphinx -q -W -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

dist: install
	$(VENV)/bin/python tools/release.py

# worksteal keeps the tests of a file on one worker, so that what they share is made once.
test: install
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

# The second line repeats the numeric tests with the kernels of a plain x86: no tolerance may hold on one CPU only.
test-all: install
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m "slow or not slow"
	ATEN_CPU_CAPABILITY=default $(VENV)/bin/python -m pytest -n 2 --dist worksteal $(NUMERIC)

# What it finds stays in tests/fuzz/corpus, which the ordinary tests repeat. The second half is guided by the lines that
# are reached, where atheris exists (Linux).
fuzz: install
	GAN_FUZZ_SECONDS=$$(($(FUZZ_SECONDS) / 2)) $(VENV)/bin/python -m pytest -p no:faulthandler --timeout 0 tests/fuzz/test_fuzz_readers.py
	$(VENV)/bin/python -m pip install --quiet -c constraints.txt -e ".[fuzz]"
	$(VENV)/bin/python tests/fuzz/guided.py --seconds $$(($(FUZZ_SECONDS) / 2))

lint: install
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python tools/layout.py

bench: install
	$(VENV)/bin/python benchmarks/run.py

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
