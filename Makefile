# `make` alone lists the commands. `repro` and `test` install into .venv/ only.

PYTHON ?= python3
RUN = .venv/bin/python -m

.PHONY: help repro draw test tour slow faults check verify records verify-portable agreement bench bench-pipeline lint requirements setup setup-sweep setup-export setup-bench

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

repro: setup ## run the pipeline, or the part that changed, and show the metrics
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(RUN) dvc repro
	@$(RUN) dvc metrics show

draw: setup ## make draw.html, a page to draw digits on, and open it in the browser
	@$(RUN) tools.draw --open

test: setup ## run the tests
	@$(RUN) pytest -q -n auto

tour: setup ## write the outputs in docs/tour.md again (a few minutes)
	@PATH="$(CURDIR)/.venv/bin:$$PATH" $(RUN) tests.test_tour

slow: setup-sweep setup-export ## run the slow tests: the tour, a browser, the faults, ONNX
	@$(RUN) pytest -q -m slow -n 2 --dist loadfile \
		--ignore tests/faults/test_sweep_kills.py # only in make faults

faults: setup-sweep ## run the fault tests: kills, Ctrl-C, full disks, damaged files (FAULTS_SCALE=10: ten times as many)
	@$(RUN) pytest -q -m slow -n 2 --dist loadfile tests/faults

check: setup ## hash DVC's cache and all outputs, so that DVC makes damaged files again
	@$(RUN) tools.check

verify: setup ## run all stages again in a clone, and compare each output with dvc.lock (RECORD=name SEED=0: a row of records/)
	@$(RUN) tools.verify $(if $(RECORD),--record $(RECORD)) $(if $(SEED),--seed $(SEED))

records: setup ## train the rows of the records that are missing (hours; it can be stopped)
	@cd records && export PATH="$(CURDIR)/.venv/bin:$$PATH" && \
		dvc repro short short-committee && dvc repro --allow-missing

verify-portable: setup ## short runs with other threads, BLAS libraries, processors, Pythons and NumPys: compare the bytes
	@$(RUN) tools.portable

agreement: setup setup-bench ## compare the optimizers and regularization with PyTorch's; write benchmarks/agreement.md
	@.venv-bench/bin/python -m benchmarks.agreement

bench: setup setup-bench ## compare the speed with other libraries; measure growth; write benchmarks/*.md (BENCH=--quick: a trial)
	@.venv-bench/bin/python -m benchmarks.bench $(BENCH)
	@.venv-bench/bin/python -m benchmarks.knobs $(BENCH)
	@$(RUN) benchmarks.growth $(BENCH)

bench-pipeline: setup ## measure the time of each stage in a cold `dvc repro`
	@$(RUN) benchmarks.pipeline

lint: setup ## check the code's style and types
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy --no-error-summary

requirements: setup ## compile requirements.in into requirements.txt: pinned, with hashes, for every platform
	@$(RUN) uv pip compile requirements.in --output-file requirements.txt --upgrade --quiet \
		--universal --generate-hashes --no-annotate --no-header --python-version 3.11
	@for folder in benchmarks tools/sweep tools/export; do \
		$(RUN) uv pip compile $$folder/requirements.in --constraint requirements.txt \
			--output-file $$folder/requirements.txt --upgrade --quiet \
			--universal --generate-hashes --no-annotate --no-header --python-version 3.11 || exit 1; \
	done

# .venv/.installed is a copy of the requirements that were installed last. The import fails where the virtual
# environment's Python has gone, is too old, or has become another version under its feet. Without the check for Git, an
# unpacked archive would fail only after the installation.
setup: ## make .venv, if it is missing or is not what requirements.txt says
	@if ! { cmp -s requirements.txt .venv/.installed && \
		.venv/bin/python -c 'import sys, yaml; sys.exit(sys.version_info < (3, 11))'; } 2>/dev/null; then \
		[ -e .git ] || git rev-parse --git-dir >/dev/null 2>&1 || { \
			echo 'error: this folder is not a Git repository, which DVC needs;' \
				'make it one: git init && git add . && git commit -m Start' >&2; exit 1; }; \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
			echo 'error: $(PYTHON) is not Python 3.11 or newer; name one that is: make PYTHON=python3.13' >&2; exit 1; }; \
		echo 'Installing the requirements into .venv (a minute, once) ...' && \
		$(PYTHON) -m venv --clear .venv && \
		$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt && \
		$(RUN) tools.plots_page && \
		cp requirements.txt .venv/.installed; \
	fi

setup-sweep: setup ## install Dask, for experiments on many machines: docs/cluster.md
	@cmp -s tools/sweep/requirements.txt .venv/.installed-for-sweeps || { \
		$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r tools/sweep/requirements.txt && \
		cp tools/sweep/requirements.txt .venv/.installed-for-sweeps; \
	}

setup-export: setup ## install onnx and onnxruntime, to export the model: docs/export.md
	@cmp -s tools/export/requirements.txt .venv/.installed-for-export || { \
		$(RUN) pip install --quiet --disable-pip-version-check --require-hashes -r tools/export/requirements.txt && \
		cp tools/export/requirements.txt .venv/.installed-for-export; \
	}

# The other libraries have an environment of their own. PyTorch's builds with and without CUDA have different hashes, so
# PyTorch is pinned by version alone.
setup-bench:
	@if ! cat benchmarks/requirements.txt benchmarks/torch.txt | cmp -s - .venv-bench/.installed; then \
		$(PYTHON) -m venv --clear .venv-bench && \
		.venv-bench/bin/pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/requirements.txt && \
		.venv-bench/bin/pip install --quiet --disable-pip-version-check -r benchmarks/torch.txt && \
		cat benchmarks/requirements.txt benchmarks/torch.txt > .venv-bench/.installed; \
	fi
