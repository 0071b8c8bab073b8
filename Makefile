# The front door. From a fresh clone, Python 3.11 or later (with venv), git, make and ssh are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench clean

# The main job on the embedded stand-in: no AWS account, no root, no sshd needed.
demo: $(VENV)/.demo
	@$(BIN)/ssm-ssh demo

# Everything the tests need, then everything that can be tested here.
test: $(VENV)/.dev
	@.ci/system-packages
	@PATH="$(CURDIR)/$(BIN):$$PATH" .ci/tests

# The static checks alone.
check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench

$(VENV)/.demo: pyproject.toml
	@PYTHON="$(PYTHON)" .ci/venv "$(VENV)" emulator
	@touch $@

$(VENV)/.dev: pyproject.toml
	@PYTHON="$(PYTHON)" .ci/venv "$(VENV)" emulator,dev
	@touch $@ "$(VENV)/.demo"

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
