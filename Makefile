# `make` alone prints this list. Every target sets up what it needs first.
.DEFAULT_GOAL := help
.PHONY: help setup python demo quick test simulate prove model check bench fuzz lock

BIN = $(if $(wildcard .venv/Scripts/python.exe),.venv/Scripts,.venv/bin)
ROOMS = schemas core control producers processors sinks deploy
BESIDE = bench demo generator
PYTEST = $(BIN)/python -m pytest

help: ## Print what each target does.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

setup: ## Install everything into .venv and a cache: Python packages, Java if there is none, Kafka, system tools.
	@bash deploy/setup.sh

python:
	@bash deploy/setup.sh python

demo: setup ## Run the whole way with three endpoints, halt it, and prove it (KEEP=1 leaves it running, JSON=1 ends with JSON).
	@$(BIN)/byleave demo $(if $(filter 1,$(KEEP)),--keep) $(if $(filter 1,$(JSON)),--json)

quick: python ## Run the unit, promise and house tests that need no broker, no display and no second of their own.
	$(PYTEST) -n 2 tests/unit tests/promises tests/house -m "not broker and not display and not prove and not slow"

test: setup ## Run every test at a size that fits ten minutes on two cores.
	$(PYTEST) -n 2 --dist loadfile -m "not prove"

simulate: python ## Run the halt protocol in SEEDS=1000 seeded worlds of ENDPOINTS=1000; a failing seed is printed with how to replay it.
	$(BIN)/python tests/assets/halt_world.py --seeds $(or $(SEEDS),1000) --first $(or $(FIRST),0) --endpoints $(or $(ENDPOINTS),1000)

prove: setup ## Run every test and the full numbers of every proof, with a report in .cache/prove.xml.
	$(PYTEST) --junitxml=.cache/prove.xml

model: python ## Check the halt protocol with Spin, exhaustively, and that each weakened variant of it breaks.
	@bash deploy/setup.sh model && $(BIN)/python tests/model/check.py

check: python ## Check style, types, layers, generated files and locks.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(addprefix -p byleave.,$(ROOMS)) $(addprefix -p ,$(BESIDE))
	$(BIN)/lint-imports
	$(BIN)/byleave generate --check
	$(PYTEST) -q tests/house

bench: setup ## Measure speed, and redaction beside its peers; print the figures with the machine they were measured on.
	$(BIN)/python -m bench
	-$(BIN)/python -m bench redact

fuzz: python ## Throw hostile input at redaction and reassembly, SECONDS=60 each (needs the extra `fuzz`).
	$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),60)

lock: python ## Resolve the dependencies anew into the locked, hashed requirements (UPGRADE=1 takes newer ones).
	bash deploy/lock.sh
