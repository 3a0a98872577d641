# Every target sets up what it needs: a virtual environment with pinned versions, then the work itself.
PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
SITE   := $(VENV)/.site

# glibc hands freed tensors back to the system and pays page faults for the next: keeping them is a fifth of the time.
export MALLOC_MMAP_THRESHOLD_ ?= 33554432
export MALLOC_TRIM_THRESHOLD_ ?= 1073741824
export MALLOC_TOP_PAD_        ?= 134217728

.PHONY: reproduce test browser robust abuse audit lab verify figures report site bench notebooks clean help

help:            ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else "ilo needs Python 3.10 to 3.13, this is %d.%d: make PYTHON=python3.12 …" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[notebooks,experiments,cluster,film,deepinv,dev]'
	touch $@

$(SITE): $(READY)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[site,browser]'
	touch $@

reproduce: $(READY)  ## run every notebook of the quick profile into runs/, figures in runs/figures (PROFILE=full: the paper's scale)
	$(BIN)/ilo fetch
	$(BIN)/ilo reproduce --profile $(or $(PROFILE),quick) --jobs $(JOBS)

test: $(READY)       ## lint, unit tests, and notebooks' outputs compared (ALL=1: slow tests and searching experiments too)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/ilo fetch
	$(BIN)/python tests/robust.py own $(if $(ALL),,--quick) --jobs $(JOBS)

browser: site        ## the site, and the report of a run, looked at in headless Chromium (install chromium first)
	$(BIN)/python -m pytest -q tests/browser

robust: $(READY)     ## the tests and notebooks under several arithmetics (ARITHMETIC=avx2: one of them)
	$(BIN)/ilo fetch
	$(BIN)/python tests/robust.py $(ARITHMETIC) --jobs $(JOBS)

abuse: $(READY)      ## thousands of trials to break it, counted: files, calls, kills, disks, … (SEED=1: others drawn)
	OMP_NUM_THREADS=1 TQDM_DISABLE=1 $(BIN)/python -m tests.abuse --seed $(or $(SEED),0)

# --strict: without it, a package that the database does not know counts as one without faults
audit:               ## known vulnerabilities of the pinned dependencies; needs the network's database of advisories
	@test -x $(VENV)-audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)-audit && $(VENV)-audit/bin/pip install --quiet pip-audit==2.10.1; }
	@$(VENV)-audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt || \
		{ echo "vulnerable, or not audited because the database was not reached: the lines above say which" >&2; exit 1; }

lab: $(READY)        ## open the notebooks
	$(BIN)/jupyter lab notebooks

verify: $(READY)     ## compare the last run's numbers, runs/figures, with the committed ones, and say what moved
	$(BIN)/ilo verify

figures: $(READY)    ## for maintainers: make the last run, of a clean commit, the committed figures/
	$(BIN)/ilo publish

report: $(READY)     ## write the last runs' report again, runs/report/index.html, as `make reproduce` does at its end
	$(BIN)/ilo report

site: $(SITE)        ## the site, from what is committed, into site/: nothing is run and nothing fetched
	$(BIN)/python -m docs

bench: $(READY)      ## what a step costs against the bare network, and what a batch saves
	$(BIN)/python -m benchmarks

notebooks: $(READY)  ## re-execute the committed notebooks in place, with their default parameters
	TQDM_DISABLE=1 $(BIN)/jupyter nbconvert --to notebook --execute --inplace $$(find notebooks -name '*.ipynb' | sort)
	$(BIN)/python tests/clean_notebooks.py

clean:               ## remove what the commands above made (figures/ and the download cache stay)
	rm -rf runs build site dist *.egg-info .pytest_cache .hypothesis .ruff_cache $(VENV) $(VENV)-audit
