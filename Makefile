# `make` alone lists the commands. They install into .venv/ only (`bench` into .venv-bench/).

PYTHON ?= python3
RUN = .venv/bin/python -m
WITH_DVC = PATH="$(CURDIR)/.venv/bin:$$PATH"
INSTALL = pip install --quiet --disable-pip-version-check --require-hashes -r

.PHONY: help setup repro course draw test test-all lint check verify verify-portable proof records update bench requirements

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# .venv/.installed is a copy of the requirements that were installed last. The import fails where the virtual
# environment's Python has gone, is too old, or has become another version meanwhile. Without the check for Git, an
# unpacked archive would fail only after the installation. With project.pth, `from mlp import train` works in any folder.
setup: ## make .venv, if it is missing or is not what requirements.txt says (WITH="sweep export": for these tools, too)
	@if ! { cmp -s requirements.txt .venv/.installed && \
		.venv/bin/python -c 'import sys, yaml; sys.exit(sys.version_info < (3, 11, 4))'; } 2>/dev/null; then \
		[ -e .git ] || git rev-parse --git-dir >/dev/null 2>&1 || { \
			echo 'error: this folder is not a Git repository, which DVC needs;' \
				'make it one: git init && git add . && git commit -m Start' >&2; exit 1; }; \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11, 4))' 2>/dev/null || { \
			echo 'error: $(PYTHON) is not Python 3.11.4 or newer; name one that is: make PYTHON=python3.13' >&2; exit 1; }; \
		echo 'Installing the requirements into .venv (a minute, once) ...' && \
		$(PYTHON) -m venv --clear .venv && \
		$(RUN) $(INSTALL) requirements.txt && \
		$(RUN) pipeline.plots_page && \
		.venv/bin/python -c 'import os, pathlib, sysconfig; \
			pathlib.Path(sysconfig.get_path("purelib"), "project.pth").write_text(os.getcwd())' && \
		cp requirements.txt .venv/.installed; \
	fi
	@for tool in $(WITH); do \
		cmp -s tools/$$tool/requirements.txt .venv/.installed-$$tool || { \
			$(RUN) $(INSTALL) tools/$$tool/requirements.txt && \
			cp tools/$$tool/requirements.txt .venv/.installed-$$tool; \
		} || exit 1; \
	done

repro: setup ## run the pipeline, or the part that changed, and show the metrics
	@$(RUN) pipeline.mend
	@$(WITH_DVC) $(RUN) dvc repro
	@$(RUN) dvc metrics show

course: setup ## check your solutions of course/exercises.py, one after another
	@$(RUN) course

draw: setup ## make draw.html, a page to draw digits on and to train the network in the browser, and open it
	@$(RUN) tools.draw --open

test: setup ## run the fast tests of the code
	@$(RUN) pytest -q -n auto --dist loadfile

test-all: WITH = sweep export
test-all: repro test ## also those of the numbers in Git, and the slow ones: browsers, faults (FAULTS_SCALE=10: ten times as many)
	@$(RUN) pytest -q -m "slow or committed" -n 3 --dist loadfile --no-loadscope-reorder

lint: setup ## check the code's style and types
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) mypy --no-error-summary

check: setup ## hash DVC's cache and all outputs, so that DVC makes damaged files again
	@$(RUN) tools.check

verify: setup ## run all stages again in a clone, compare with dvc.lock and Git (REV=a commit, a tag or an experiment; RECORD=name SEED=0 EPOCHS=5: a record, or its first epochs)
	@$(RUN) tools.verify $(if $(REV),--rev $(REV)) $(if $(RECORD),--record $(RECORD)) $(if $(SEED),--seed $(SEED)) \
		$(if $(EPOCHS),--epochs $(EPOCHS))

verify-portable: setup ## short runs with other threads, BLAS libraries, processors, Pythons and NumPys: compare the bytes (ALL=--all: more processors)
	@$(RUN) tools.portable $(ALL)

# What Coq's real numbers assume. A proof that assumes more is refused, and so are words that can leave a gap.
ASSUMED = ClassicalDedekindReals.sig_(not|forall)_dec|FunctionalExtensionality.functional_extensionality_dep|Classical_Prop.classic
proof: ## let Coq check the proof of docs/exact-arithmetic.md, and what it assumes
	@[ -d "$$(coqc -where 2>/dev/null)/user-contrib/Flocq" ] || { \
		echo 'error: this needs Coq and its library Flocq; on Debian: apt-get install coq libcoq-flocq' >&2; exit 1; }
	@! grep -nwE 'Admitted|admit|give_up|Axioms?|Parameters?|Conjecture|Hypothes[ie]s|Variables?|Context|Unset' proof/exact.v || { \
		echo 'error: these lines may leave a gap in the proof' >&2; exit 1; }
	@folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT && cp proof/exact.v "$$folder" && cd "$$folder" && \
		sed -nE 's/^(Lemma|Theorem) ([a-z_]+).*/@\2/p' exact.v >lemmas && \
		echo "Definition lemmas := ($$(paste -sd, lemmas)). Print Assumptions lemmas." >>exact.v && \
		coqc exact.v >assumptions && { ! grep -vE '^( |Axioms:|Closed under|$(ASSUMED))' assumptions || { \
			echo 'error: the proof assumes this, beyond the real numbers' >&2; exit 1; }; } && \
		echo "proof/exact.v: Coq accepts all $$(wc -l <lemmas) lemmas. They assume what its real numbers do:" && \
		grep -oE '^($(ASSUMED))' assumptions | sort -u

records: setup ## train the rows of the records that are missing (hours; it can be stopped)
	@$(RUN) pipeline.mend records/dvc.lock
	@cd records && $(WITH_DVC) dvc repro prepare && $(WITH_DVC) dvc repro --allow-missing

update: setup ## after an edit: run the pipeline; write the ledger, the tour's outputs and README's picture again
	@$(WITH_DVC) $(RUN) dvc repro
	@cd records && $(WITH_DVC) dvc repro canary && $(WITH_DVC) dvc repro --single-item ledger
	@$(RUN) tools.curves
	@$(WITH_DVC) $(RUN) tests.docs.test_tour

bench: setup .venv-bench/.installed ## compare with PyTorch, scikit-learn and JAX (BENCH=--quick: a trial)
	@.venv-bench/bin/python -m benchmarks.bench $(BENCH)

# PyTorch's builds with and without CUDA have different hashes, so PyTorch is pinned by version alone
.venv-bench/.installed: benchmarks/requirements.txt benchmarks/torch.txt
	@$(PYTHON) -m venv --clear .venv-bench
	@.venv-bench/bin/$(INSTALL) benchmarks/requirements.txt
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check -r benchmarks/torch.txt
	@touch $@

requirements: setup ## compile each requirements.in: pinned, with hashes; other pins stay (UPGRADE=--upgrade: newest of all)
	@for folder in . $(wildcard benchmarks tools/sweep tools/export); do \
		$(RUN) uv pip compile $$folder/requirements.in --output-file $$folder/requirements.txt --quiet $(UPGRADE) \
			$$([ $$folder = . ] || echo --constraint requirements.txt) \
			--universal --generate-hashes --no-annotate --no-header --python-version 3.11 || exit 1; \
	done
