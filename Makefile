# Two commands from nothing: `make demo` and `make test`. Both make .venv on the first call and reuse it afterwards.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
CONSTRAINTS ?= requirements/cpu.txt
PACKAGE := sub-packages/bionemo-scale

# Processes that share the tests; a file's tests stay in one of them, and conftest.py says which files begin. JOBS=0 runs all in
# this process.
JOBS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

export OMP_NUM_THREADS ?= 2
export PYTHONNOUSERSITE := 1

.PHONY: ablation demo docs notebooks test test-slurm test-unit checks format clean

# torch goes first with its exact pin: a looser pin may bring gigabytes of CUDA wheels.
$(STAMP): $(CONSTRAINTS) $(PACKAGE)/pyproject.toml $(PACKAGE)/VERSION
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check $$(grep '^torch==' $(CONSTRAINTS))
	$(BIN)/pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e '$(PACKAGE)[test]'
	touch $@

demo: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" bash examples/kang.sh runs/kang

# The paper's ablation axes on both bundled screens; resumable, hours on two cores.
ablation: $(STAMP)
	$(BIN)/bionemo-scale-prepare examples/data/kang2018_pbmc_ifnb.h5ad --out runs/ablation/kang --overwrite \
	    --dataset kang --split examples/splits/kang.toml --library-size-key n_counts_full
	$(BIN)/bionemo-scale-prepare examples/data/papalexi2021_thp1_eccite.h5ad --out runs/ablation/papalexi --overwrite \
	    --dataset papalexi --split examples/splits/papalexi.toml --cell-type-key batch --batch-key batch
	OMP_NUM_THREADS=1 $(BIN)/python examples/ablation.py --store kang=runs/ablation/kang \
	    --store papalexi=runs/ablation/papalexi --out benchmarks/ablation
	OMP_NUM_THREADS=1 $(BIN)/python examples/ablation.py --store kang=runs/ablation/kang --preset paper --steps 200 \
	    --store papalexi=runs/ablation/papalexi --out benchmarks/ablation/paper

test: $(STAMP) checks
	$(PYTEST)

test-unit: $(STAMP)
	$(PYTEST) $(PACKAGE)/tests -m "not slow"

# As root: installs a Slurm of one node and runs the pipeline on it; about ten minutes.
test-slurm: $(STAMP)
	BIONEMO_SCALE_SLURM_TEST=1 $(BIN)/pytest tests/slurm

# The site in build/docs, in an environment of its own with the tools and the small installation of docs/install.md: no torch.
docs:
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install -q --disable-pip-version-check -c requirements/light.txt -r requirements/docs.txt
	$(VENV)-docs/bin/pip install -q --disable-pip-version-check --no-deps -r requirements/light.txt
	PYTHONPATH=$(PACKAGE)/src $(VENV)-docs/bin/python docs/commands.py
	PYTHONPATH=$(PACKAGE)/src $(VENV)-docs/bin/python docs/settings.py
	$(VENV)-docs/bin/mkdocs build --strict --site-dir build/docs

# Runs the site's notebooks, for their outputs: the kernel is one of the site's tools, the packages are the training environment's.
notebooks: $(STAMP)
	$(PYTHON) -m venv $(VENV)-docs
	$(VENV)-docs/bin/pip install -q --disable-pip-version-check -r requirements/docs.txt
	PYTHONPATH="$(abspath $(PACKAGE))/src:$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" \
	    $(VENV)-docs/bin/python docs/notebooks.py

checks: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) runs
