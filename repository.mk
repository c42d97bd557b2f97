# The commands of what `make copy` leaves out. The Makefile includes this file.

.PHONY: course draw copy test-all check verify-portable proof records update bench

# `make repro test lint` runs in the copy, and so do the tools that it has.
OTHERS = cluster drawings node proofs sweeps  # tests of what stays behind need them
COPIED = .dvc .dvcignore .gitignore LICENSE Makefile data datasets.yaml dvc.lock dvc.yaml metrics mlp models params.yaml \
	pipeline pyproject.toml requirements.in requirements.txt stages textbook.py textbook_exact.py tests/conftest.py tests/mlp tests/pipeline \
	tests/sample tests/stages tests/support tests/tools/conftest.py $(OTHERS:%=':!tests/support/%.py') \
	$(foreach tool,__init__.py check.py compare lock pack pictures predict.py report.py tables verify.py,tools/$(tool)) \
	$(foreach tool,compare pack pictures report verify,tests/tools/test_$(tool).py)

copy: ## copy the pipeline of the last commit, without the rest, into a Git repository of its own (TO=../mine)
	@[ -n "$(TO)" ] && mkdir "$(TO)" || { echo 'error: name a new folder: make copy TO=../mine' >&2; exit 1; }
	@git archive HEAD $(COPIED) | tar -x -C "$(TO)"
	@cd "$(TO)" && git init --quiet && git add --all && git commit --quiet --message "Begin"
	@echo "$(TO) is a repository of its own. Run there: make repro test"

course: setup ## check your solutions of course/exercises.py, one after another
	@$(RUN) course

draw: setup ## make draw.html, a page to draw digits on and to train the network in the browser, and open it
	@$(RUN) tools.draw --open

test-all: .venv/.installed-sweep .venv/.installed-export repro test ## also those of the numbers in Git, and the slow ones: browsers, faults (FAULTS_SCALE=10: ten times as many)
	@$(RUN) pytest -q -m "slow or committed" -n 3 --dist loadfile --no-loadscope-reorder

check: setup ## hash DVC's cache and all outputs, so that DVC makes damaged files again
	@$(RUN) tools.check

verify-portable: setup ## short runs with other threads, BLAS libraries, processors, Pythons and NumPys: compare the bytes (ALL=--all: more processors)
	@$(RUN) tools.portable $(ALL)

# proof/theorem.v states again, in full, what exact.v proves. Coq's second checker lists what both assume: what Coq's real
# numbers do, and nothing else.
define ASSUMED

CONTEXT SUMMARY
===============

* Theory: Set is predicative

* Theory: Rewrite rules are not allowed

* Axioms:
    Coq.Logic.Classical_Prop.classic
    Coq.Logic.FunctionalExtensionality.functional_extensionality_dep
    Coq.Reals.ClassicalDedekindReals.sig_forall_dec
    Coq.Reals.ClassicalDedekindReals.sig_not_dec

* Constants/Inductives relying on type-in-type: <none>

* Constants/Inductives relying on unsafe (co)fixpoints: <none>

* Inductives whose positivity is assumed: <none>
endef
export ASSUMED
proof: ## let Coq check the proof of docs/exact-arithmetic.md, and what it assumes
	@[ -d "$$(coqc -where 2>/dev/null)/user-contrib/Flocq" ] || { \
		echo 'error: this needs Coq and its library Flocq; on Debian: apt-get install coq libcoq-flocq' >&2; exit 1; }
	@folder=$$(mktemp -d) && trap 'rm -r "$$folder"' EXIT && cp proof/exact.v proof/theorem.v "$$folder" && cd "$$folder" && \
		coqc exact.v >/dev/null && coqc theorem.v && coqchk -o -silent theorem 2>found && \
		echo "$$ASSUMED" | grep '[^ ]' | sort >expected && { grep '[^ ]' found | sort | diff expected - || { \
			echo 'error: the proof assumes something else than the real numbers do' >&2; exit 1; }; } && \
		echo 'Coq accepts proof/exact.v and the theorem in proof/theorem.v. They assume what its real numbers do:' && \
		grep '^ *Coq\.' found

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
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check --require-hashes -r benchmarks/requirements.txt
	@.venv-bench/bin/pip install --quiet --disable-pip-version-check -r benchmarks/torch.txt
	@touch $@
