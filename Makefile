# `make` alone lists the commands. They install into .venv/ only (`bench` into .venv-bench/).

PYTHON ?= python3
RUN = .venv/bin/python -m
WITH_DVC = PATH="$(CURDIR)/.venv/bin:$$PATH"

.PHONY: help setup repro experiments test lint verify requirements

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.installed $(WITH:%=.venv/.installed-%) ## install requirements.txt into .venv (WITH="sweep export": for these tools, too)

# uv installs in seconds what takes pip a minute. pip installs uv, and everything where uv cannot. Both compile what they
# install: else each command would do so again where Python may write no bytecode, as in many containers.
BY_PIP = .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r
BY_UV = .venv/bin/uv pip install --quiet --compile-bytecode --python .venv --require-hashes -r
UV_ALONE = sed -n '/^uv==/,/[^\\]$$/p' requirements.txt

.venv/.installed: requirements.txt .venv/pyvenv.cfg
	@echo 'Installing the requirements into .venv ...'
	@[ -x .venv/bin/uv ] || $(UV_ALONE) | $(BY_PIP) /dev/stdin || true
	@$(BY_UV) requirements.txt || $(BY_PIP) requirements.txt
	@$(RUN) pipeline.plots_page
	@touch $@

.venv/.installed-%: tools/%/requirements.txt .venv/.installed
	@$(BY_UV) $< || $(BY_PIP) $<
	@touch $@

# A .venv whose Python is gone, too old, or another version than before, cannot import yaml: it is made again.
ifneq ($(shell .venv/bin/python -c 'import sys, yaml; print(sys.version_info >= (3, 11, 4))' 2>&1),True)
.PHONY: .venv/pyvenv.cfg
endif
# With project.pth, `from mlp import train` works in any folder.
.venv/pyvenv.cfg:
	@git rev-parse --git-dir >/dev/null 2>&1 || { \
		echo 'error: this folder is not a Git repository, which DVC needs;' \
			'make it one: git init && git add . && git commit -m Start' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' 2>/dev/null || { \
		echo 'error: $(PYTHON) is not Python 3.11.4 or newer; name one that is: make PYTHON=python3.13' >&2; exit 1; }
	@$(PYTHON) -m venv --clear .venv
	@pwd >"$$(echo .venv/lib/python*/site-packages)/project.pth"

repro: setup ## run the pipeline, or the part that changed, and show the metrics
	@$(RUN) pipeline.mend
	@$(WITH_DVC) $(RUN) dvc repro
	@$(RUN) dvc metrics show

experiments: setup ## list the experiments of this commit: what differs, and the validation loss, the best first
	@$(RUN) dvc exp show --hide-workspace --only-changed --drop '.*/|macro_f1|Created|Executor' \
		--keep metrics/validation.json:loss --sort-by metrics/validation.json:loss

test: setup ## run the fast tests of the code
	@$(RUN) pytest -q -n auto --dist loadfile

lint: setup ## check the code's style and types
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy --no-error-summary

verify: setup ## delete all results in a copy of the commit, run all stages, compare (REV=a commit, a tag or an experiment; RECORD=name SEED=0 EPOCHS=5: a record, or its first epochs)
	@.venv/bin/python -P -m tools.verify $(if $(REV),--rev $(REV)) $(if $(RECORD),--record $(RECORD)) $(if $(SEED),--seed $(SEED)) \
		$(if $(EPOCHS),--epochs $(EPOCHS))

requirements: setup ## compile each requirements.in, pinned and with hashes, and install it (UPGRADE=--upgrade: the newest of all)
	@for folder in . $(wildcard benchmarks tools/sweep tools/export); do \
		$(RUN) uv pip compile $$folder/requirements.in --output-file $$folder/requirements.txt --quiet $(UPGRADE) \
			$$([ $$folder = . ] || echo --constraint requirements.txt) \
			--universal --generate-hashes --no-annotate --no-header --python-version 3.11 || exit 1; \
	done
	@$(MAKE) --no-print-directory setup

-include repository.mk  # the commands of what `make copy` leaves out
