# Every target sets up .venv by itself. Another interpreter: make test PYTHON=python3.12
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := bench/.venv-peers

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test check slow bench peers clean
.DEFAULT_GOAL := demo

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "Making $(VENV) (once, a few minutes)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install -qq -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(READY)  ## the first command: a table, an input layer, an LSTM, and what each part bought
	@$(BIN)/inputlayer demo

test: $(READY)  ## the tests that fit in a few minutes
	$(BIN)/python -m pytest -m 'not slow' -n auto --dist worksteal

slow: $(READY)  ## the tests that take minutes or measure speed
	$(BIN)/python -m pytest -m slow

check: $(READY)  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict src

peers: $(PEERS)/.ready  ## the other libraries that bench/ measures beside ours

$(PEERS)/.ready: bench/peers.txt
	@echo "Making $(PEERS) (once, several minutes, 4 GB)"
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install -qq torch==2.13.0 numpy
	@$(PEERS)/bin/python -m pip install -qq -r bench/peers.txt
	@touch $@

bench: $(READY) $(PEERS)/.ready  ## every claim about speed and size, each script a table
	@for script in $$(grep -l __main__ bench/*.py); do $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) $(PEERS)
