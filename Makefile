# `make` alone prints what there is. The logic lives in Python and in the few scripts named here.
PYTHON := .venv/bin/python
PREFIX ?= /usr/local
ISOLATED := unshare --mount --net --propagation private -- sh -c 'ip link set lo up && exec "$$0" "$$@"'

.PHONY: help setup check test soak run bench conformance vmtest docs install uninstall clean

help:  ## print these targets
	@sed -n 's/^\([a-z]*\):.*  ## /  make \1\t/p' Makefile | expand -t 20

setup:  ## install what Orlop needs (apt, pip) and leave orlop, orlopd, orlop-runtime ready in .venv/bin
	@tools/setup

check: setup  ## ruff, mypy --strict, import-linter, tests of the seams
	@tools/check

test: setup  ## every test, in namespaces of their own; needs root
	@tools/test

run: setup  ## make an image, start the engine, serve a page with nginx, show it; needs root
	@examples/web_service.sh

soak: setup  ## disturb an engine at random for SECONDS (600), from a SEED; needs root
	@$(PYTHON) tests/soak/soak.py --seconds $(or $(SECONDS),600) $(if $(SEED),--seed $(SEED))

bench: setup  ## Orlop beside the peers that this machine has; needs root
	@$(ISOLATED) $(PYTHON) bench/bench.py

conformance: setup  ## docker-py's own integration tests against Orlop (long); needs root
	@tools/conformance

vmtest: setup  ## chosen tests with cgroup v2 and Debian 12's kernel, in a virtual machine (long); needs root
	@tools/vmtest

docs: setup  ## write the generated pages again
	@$(PYTHON) tools/generate_docs.py

install: setup  ## put the commands, a systemd unit and shell completion below PREFIX (/usr/local)
	@tools/install $(PREFIX)

uninstall:  ## take away what `make install` put there
	@tools/install --remove $(PREFIX)

clean:  ## remove what was built here
	@rm -rf .venv .cache build src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
