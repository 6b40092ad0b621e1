# SPDX-License-Identifier: GPL-2.0
#
# Every command a person types. The work is done by qemu-scripts/; each of them can be
# called by hand and says at its top what else it can do.

.DEFAULT_GOAL := help
SCRIPTS := qemu-scripts
FLAVOUR ?= release
MODULE ?= rust_fuse
# What is asked of `make test` (all): lint host kunit guest cfuse parity cost hosts demo labs debug self, and suites if named
SECTIONS ?=
QUEUE_MODEL_ITERATIONS ?= 20000
FUZZ_MINUTES ?= 60

LABS := 1 2 3 4 5 6 7 8

.PHONY: help run $(LABS:%=lab-%) test test-long parity conformance mutation fuzz queue-model module kernel userspace shell bench lint fmt doc rust-analyzer clean
# The scripts share what they build, one after the other.
.NOTPARALLEL:

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24
	@echo '  lab-N                 an experiment with the queues (docs/labs), N one of $(LABS)'
	@echo
	@echo "FLAVOUR=debug: module, kernel and shell on the debug kernel. MODULE=fuse: a shell on C FUSE."
	@echo "LINUX=tree-or-tarball: another kernel source. HOST_TOOLCHAIN=1: the compilers on PATH."
	@echo "KDIR=built-kernel: the module for a kernel of your own."

run: ## build everything, boot a guest, and show the demo file systems on rust_fuse
	@$(SCRIPTS)/run

$(LABS:%=lab-%): lab-%: # an experiment with the queues: docs/labs
	@$(SCRIPTS)/lab $*

test: ## all that CI runs (SECTIONS="lint host ..." for a part of it)
	@$(SCRIPTS)/test $(SECTIONS)

test-long: ## a million requests, a thousand kills, more interleavings: takes hours
	@$(SCRIPTS)/test long

queue-model: ## the queues on very many schedules: QUEUE_MODEL_ITERATIONS for each scenario
	@cd userspace-test && QUEUE_MODEL_ITERATIONS=$(QUEUE_MODEL_ITERATIONS) \
		cargo test --package queue-model --lib --target-dir ../build/userspace/host model::

parity: ## docs/PARITY.md, from docs/parity.tsv and the tests that it names
	@$(SCRIPTS)/parity

mutation: ## docs/MUTATION.md: whether tests fail when what they test is taken out
	@$(SCRIPTS)/mutation

fuzz: ## docs/FUZZ.md: a hostile daemon and hostile callers on the debug kernel, an hour each (FUZZ_MINUTES)
	@status=0; for who in daemon caller; do \
		$(SCRIPTS)/fuzz $$who --minutes $(FUZZ_MINUTES) || status=1; done; exit $$status

conformance: ## docs/CONFORMANCE.md, from other people's test suites in full: takes an hour a module
	@$(SCRIPTS)/conformance

module: ## build/module-release/rust_fuse.ko
	@$(SCRIPTS)/module $(FLAVOUR)

kernel: ## the guest's kernel, in the cache
	@$(SCRIPTS)/kernel $(FLAVOUR)

userspace: ## the test daemons and test programs
	@$(SCRIPTS)/userspace

shell: module userspace ## a shell in a guest with the module loaded (ctrl-a x ends it)
	@$(SCRIPTS)/guest --tty --kernel $(FLAVOUR) --module $(MODULE)

bench: ## what operations cost on rust_fuse and on C FUSE: build/bench.json and docs/COSTS.md
	@$(SCRIPTS)/bench

lint: ## rustfmt, clippy, shellcheck, and where `unsafe` and who may use whom
	@$(SCRIPTS)/lint

fmt: ## format the Rust code
	@$(SCRIPTS)/lint --fix

doc: ## rustdoc of the module, in build/doc
	@$(SCRIPTS)/module $(FLAVOUR) doc

rust-analyzer: ## rust-project.json, for editors
	@$(SCRIPTS)/module $(FLAVOUR) rust-analyzer

clean: ## remove build/ (the kernel and the toolchain stay in the cache)
	rm -rf build rust-project.json
