# Everything sets itself up in .venv; what is needed is Python >= 3.11 and make.
# Extra arguments for pip pass through, for example to choose a build of torch:
#   make demo PIP_ARGS="--find-links /path/to/wheels"

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint .ci/constraints.txt $(PIP_ARGS)
METHODS := random intensity atlas_z pca ae vae
ALL_METHODS = $(shell $(BIN)/python -c "from uadbench import methods; print(*methods.names())")

help:
	@echo "make demo     run every method on the built-in phantom and show the leaderboard"
	@echo "make test     run the tests"
	@echo "make thorough the tests that take from five seconds to a minute each"
	@echo "make check    lint and type-check"
	@echo "make docs     build the documentation as a site in build/site"
	@echo "make slow     the tests that take minutes"
	@echo "make slurm    the tests of sweeps on a real Slurm, which is started here for them"
	@echo "make bench    measure speed against the usual tools"
	@echo "make throughput  measure how fast every method trains and scores here, against what the device can do"
	@echo "make gpu      every learned method on one GPU, 9 minutes a call; GPU='--root ixi=/data/IXI' adds options"
	@echo "make records  make the committed phantom records and the leaderboard again"
	@echo "make leaderboard  the leaderboard again from the committed records, also frozen as CSV and JSON"
	@echo "make regress  train again what the committed phantom records were made of, and compare"
	@echo "make claims   every method on the phantom against random scores and its untrained self"
	@echo "make real DATA=folder   run every method on the real scans in a folder of downloads"
	@echo "make clean    remove what can be made again"

.venv/ready: pyproject.toml .ci/constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("uadbench needs Python 3.11 or newer") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1" $(PIP_ARGS)
	@echo "installing torch and what else is needed; this takes a few minutes once"
	$(PIP) --editable .
	@touch $@

.venv/ready-test: .venv/ready
	$(PIP) --group test
	@touch $@

.venv/ready-check: .venv/ready-test
	$(PIP) --group check
	@touch $@

.venv/ready-browser: .venv/ready-test
	$(PIP) --group browser
	@touch $@

.venv/ready-docs: .venv/ready
	$(PIP) --group docs
	@touch $@

# Networks this small gain little from a second thread, and the figures are those of any number of cores.
demo: .venv/ready
	OMP_NUM_THREADS=1 UADBENCH_RUNS=runs/demo $(BIN)/uadbench run $(METHODS:%=--method %) --dataset phantom --preset demo --results runs/demo/results
	@echo "The pictures are under runs/demo/pictures, the records under runs/demo/results."

PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -q --numprocesses logical --maxprocesses 4 --dist loadscope
test: .venv/ready-test
	$(PYTEST) -m "not thorough and not slow and not slurm"

thorough: .venv/ready-test
	$(PYTEST) -m "thorough and not slow and not slurm"

slow: .venv/ready-browser
	$(BIN)/pytest -q -m slow

# Says so, and ends well, where Slurm's packages are not here and cannot be installed.
slurm: .venv/ready-test
	bash .ci/slurm

check: .venv/ready-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The variable silences a notice of mkdocs-material about the next MkDocs, which is kept out by its pin.
docs: .venv/ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The site begins at build/site/index.html."

bench: .venv/ready-browser
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/metrics.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/sweep.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/page.py

throughput: .venv/ready
	$(BIN)/python benchmarks/throughput.py $(THROUGHPUT)

# Run again until it says that nothing is left: each call ends within ten minutes and takes up what was stopped.
# `make throughput THROUGHPUT="--device cuda --preset small"` measures how fast each method is there.
gpu: .venv/ready
	UADBENCH_RUNS=runs/gpu UADBENCH_PHANTOM_HEALTHY=200 $(BIN)/uadbench sweep results/sweeps/gpu.toml --for-minutes 9 $(GPU)

records: .venv/ready
	UADBENCH_RUNS=runs/records $(BIN)/uadbench run $(addprefix --method ,$(ALL_METHODS)) --dataset phantom --preset demo --force
	UADBENCH_RUNS=runs/records $(BIN)/uadbench run $(addprefix --method ,$(ALL_METHODS)) --dataset phantom --preset ci --force
	$(MAKE) leaderboard

# LEADERBOARD.csv and .json bear version, date and commit: a release's can be cited.
leaderboard: .venv/ready
	$(BIN)/uadbench leaderboard --format markdown --output results/LEADERBOARD.md
	$(BIN)/uadbench leaderboard --format html --output results/leaderboard.html
	$(BIN)/python .ci/freeze.py
	$(BIN)/python .ci/readme.py

# Rows whose results on another processor are within the tolerances: see .ci/run.
ROWS = $(filter-out ae f_anogan fae random,$(ALL_METHODS))
regress: .venv/ready
	$(BIN)/uadbench regress --quiet $(addprefix --method ,$(ROWS))

claims: .venv/ready
	$(BIN)/python benchmarks/claims.py --output results/claims/phantom-demo.md

# RESULTS=folder for the records; what is done already is not done again. A data set is known by its folder's name.
RESULTS ?= runs/real/results
folder = $(firstword $(sort $(wildcard $(addprefix $(DATA)/,$(2)))))
root = $(if $(folder),--root $(1)=$(folder))
ROOTS = $(call root,ixi,ixi* IXI*) $(call root,mslub,mslub* MSLUB*) $(call root,lgg,lgg* LGG* kaggle_3m*) \
	$(call root,brats13,brats13* brats*2013* BraTS*2013* BRATS*2013*) \
	$(call root,labelmaps,labelmaps* training_label_maps*)
real: .venv/ready
	-UADBENCH_RUNS=runs/real $(BIN)/uadbench sweep results/sweeps/samples.toml --results $(RESULTS) $(ROOTS) $(REAL)
	$(BIN)/uadbench leaderboard --results $(RESULTS) --format markdown --output $(RESULTS)/LEADERBOARD.md
	cat $(RESULTS)/LEADERBOARD.md

clean:
	rm -rf runs dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -exec rm -rf {} +

.PHONY: help demo test thorough slow slurm check docs bench throughput gpu records leaderboard regress claims real clean
.DEFAULT_GOAL := help
