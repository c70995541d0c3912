# Copyright: (c) 2026, the wnodes.farm contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Needs only git, make and (for the lab, integration and e2e) root on Debian 12: tools/bootstrap brings the rest.
# One gate after the other, stopping at the first that fails; -j must not interleave them.
.NOTPARALLEL:
.DEFAULT_GOAL := help
SHELL := /bin/bash

VENV := $(CURDIR)/.venv
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
# What the user adds, for example PYTEST_ARGS='-k bridge -x'.
PYTEST_ARGS ?=
MOLECULE_ARGS ?=
export PATH := $(VENV)/bin:$(PATH)
export PYTHONDONTWRITEBYTECODE := 1

-include make/*.mk

.PHONY: help bootstrap test lint format sanity sanity-all test-unit test-integration molecule test-e2e test-debian13 test-long bench clean

help:  ## show the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / {printf "%-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

bootstrap:  ## install what is missing (Debian packages, .venv); does nothing the second time
	@tools/bootstrap

test: bootstrap lint test-unit test-integration test-e2e molecule test-debian13  ## every gate, in this order

lint: bootstrap  ## ruff, mypy, yamllint, ansible-lint, ansible-test sanity
	@tools/lint

sanity: bootstrap  ## ansible-test sanity alone; SANITY_ARGS='--test validate-modules' narrows it
	@tools/sanity $(SANITY_ARGS)

sanity-all: bootstrap  ## the same with every supported ansible-core whose Python is there
	@tools/sanity --all

format: bootstrap  ## let ruff rewrite the Python files
	ruff check --fix-only . && ruff format .

# What they write is forgotten at once, so it need not reach a disk.
test-unit: bootstrap  ## unit tests: no process, no socket, no sleep
	PYTEST_DEBUG_TEMPROOT=/dev/shm $(PYTEST) tests/unit $(PYTEST_ARGS)

test-integration: bootstrap  ## modules and backends on real libvirt, QEMU, libguestfs and Slurm
	$(PYTEST) tests/integration -m "not long" $(PYTEST_ARGS)

molecule: bootstrap  ## each role on the lab site; MOLECULE_ARGS='-s bait' takes one
	@tools/molecule $(MOLECULE_ARGS)

test-e2e: bootstrap  ## jobs on the lab site
	$(PYTEST) tests/e2e -m "not long" $(PYTEST_ARGS)

test-debian13: bootstrap  ## the same jobs on a lab of Debian 13, of everything a little
	WNODES_LAB=lab-debian13 $(PYTEST) tests/e2e -m "every_release and not long" $(PYTEST_ARGS)

test-long: bootstrap  ## what takes too long for each change; run it before a release
	$(PYTEST) tests/integration tests/e2e -m long $(PYTEST_ARGS)

bench: bootstrap  ## the figures: hook, job start by phase, footprint
	$(PY) -m tests.bench

clean:  ## remove caches, keep .venv and the lab
	rm -rf .cache .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache
