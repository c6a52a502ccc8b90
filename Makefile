# Two commands matter on a fresh machine: `make demo` and `make test`. Both build the same environment first.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint package docs man bench bench-search bench-selection soak gpu notebook screenshots clean

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "lobtuna needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@mkdir -p $(VENV)/share/man && ln -sfn ../../../docs/man $(VENV)/share/man/man1  # an editable install leaves them out
	@touch $@

demo: $(STAMP)
	$(BIN)/lobtuna demo

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

package: $(STAMP)
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation
	sha256sum dist/*

docs: $(STAMP)
	$(BIN)/python -m tests.docs.make_site build/site
	@echo build/site/index.html

man: $(STAMP)
	$(BIN)/python -m tests.docs.make_man docs/man

bench: $(STAMP)
	$(BIN)/python -m pytest tests/benchmarks -m bench -s -p no:xdist

# With less time: make bench-search SEEDS=1 ORDERS=10 EPOCHS=100,300
bench-search: $(STAMP)
	BENCH_SEEDS=$(or $(SEEDS),2) BENCH_ORDERS=$(or $(ORDERS),40) $(if $(EPOCHS),BENCH_EPOCHS=$(EPOCHS)) $(BIN)/python -m pytest tests/benchmarks/search -m bench -s -p no:xdist

bench-selection: $(STAMP)
	$(BIN)/python -m tests.benchmarks.selection.arms --data $(DATA) --output selection --seconds $(or $(SECONDS_EACH),3600)

# What takes minutes, and the variants of what `make test` shows once: both widths of the pages, more kinds of faults and
# outages, an attack on a fleet, new environments, checks of a GPU on a made one; new examples for the property tests.
soak: $(STAMP)
	$(BIN)/python -m pytest -m soak -s -p no:xdist
	$(BIN)/python -m pytest -m 'hypothesis and not bench and not gpu' --hypothesis-profile=exploring -p no:xdist

notebook: $(STAMP)
	$(BIN)/python -m tests.docs.make_notebook docs/python.ipynb

gpu: $(STAMP)
	@if $(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then \
		$(BIN)/python -m pytest tests/device -m gpu -s -rs -p no:xdist; \
	else echo "make gpu: torch finds no GPU here; nothing was checked"; fi

screenshots: $(STAMP)
	$(BIN)/python -m tests.screenshots docs/images

clean:
	rm -rf $(VENV) build dist
