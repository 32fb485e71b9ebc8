# k8steps: Kubernetes on a machine in eight steps. `make help` lists the targets.

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR    ?=
CARGO      ?= cargo
# What is built here; a tree without cargo can bring its own programs.
BUILT      ?= target/release

TOOLS      := kprep kfetch kpki ketcd knode kcp kcni kapps
BINDIR     := $(DESTDIR)$(PREFIX)/bin
SHAREDIR   := $(DESTDIR)$(PREFIX)/share
CONFIGDIR  := $(DESTDIR)$(SYSCONFDIR)/k8steps
UNITDIR    := $(DESTDIR)$(PREFIX)/lib/systemd/system
# `make up` keeps the events of its run here, for scripts/timeline; without it, it only draws a chart.
EVENTS     ?=
PIPELINE   := $(MAKE) --no-print-directory -f scripts/pipeline.mk BINDIR=$(PREFIX)/bin

# Where rustup puts cargo, for a shell that has not heard of it yet.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

.DEFAULT_GOAL := help
.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# ---- Try it -------------------------------------------------------------------------------------

.PHONY: demo demo-down
demo: ## A real cluster in a throwaway node on this machine (root, Debian 12)
	@scripts/demo up

demo-down: ## Remove it, with everything it made
	@scripts/demo down

# ---- Build and check ----------------------------------------------------------------------------

.PHONY: build test check fmt lint unit deny shell cluster-test bench chaos fuzz audit clean
build: ## Build the eight tools in release mode
	@scripts/bootstrap build
	$(CARGO) build --release --locked

test: check cluster-test ## Everything: check, and the whole-cluster test in the lab (root)

check: fmt lint shell deny unit ## Format, lints, licences, unit and command-line tests

fmt:
	@scripts/bootstrap build
	$(CARGO) fmt --all --check

lint:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

unit:
	@scripts/bootstrap unit
	INSTA_UPDATE=no $(CARGO) test --workspace --exclude pipeline-tests --locked

deny:
	@scripts/bootstrap deny
	PATH="$$(scripts/bootstrap tools):$$PATH" $(CARGO) deny --log-level error check licenses bans sources

shell:
	@scripts/bootstrap shellcheck
	@scripts/shell-files | xargs shellcheck --external-sources

# A node spends much of its time waiting, so two labs at once take little more than half the time;
# each has a network and a name of its own. All are run, whichever fails.
LAB_JOBS   ?= 2
LAB_TESTS  := $(patsubst tests/tests/%.rs,lab-test-%,$(wildcard tests/tests/*.rs))

cluster-test: build
	$(CARGO) test --locked -p pipeline-tests --no-run
	@$(MAKE) --no-print-directory --keep-going -j$(LAB_JOBS) $(LAB_TESTS)

.PHONY: $(LAB_TESTS)
$(LAB_TESTS):
	@unset MAKEFLAGS MFLAGS MAKELEVEL; \
	$(CARGO) test --locked -p pipeline-tests --test $(@:lab-test-%=%) -- --nocapture

bench: build ## Measure against curl, ctr and the like, in turns (root, Debian 12)
	@scripts/bench $(BENCH)

chaos: build ## Kill every phase at every system call (10 minutes), then a node's make up (2 hours; root)
	@scripts/bootstrap unit
	@scripts/chaos

# Some of the targets, how long for each, and one input that was found.
FUZZ         ?=
FUZZ_SECONDS ?= 30
FUZZ_INPUT   ?=

fuzz: ## Let libFuzzer try every reader of what others write (20 minutes; FUZZ, FUZZ_SECONDS)
	@scripts/bootstrap build
	@scripts/bootstrap fuzz
	@CARGO='$(CARGO)' FUZZ_SECONDS=$(FUZZ_SECONDS) fuzz/run $(FUZZ) $(FUZZ_INPUT)

audit: ## Ask the RustSec database about every crate (needs the internet)
	@scripts/bootstrap deny
	PATH="$$(scripts/bootstrap tools):$$PATH" $(CARGO) deny check advisories

clean: ## Remove what was built here; the lab's cache stays
	$(CARGO) clean

# ---- Install ------------------------------------------------------------------------------------

.PHONY: install uninstall
install: ## Put the tools, their pages and a default configuration under PREFIX
	@test -x $(BUILT)/kprep || { echo 'install: nothing is built yet; run `make build` first' >&2; exit 2; }
	install -d $(BINDIR) $(SHAREDIR)/k8steps $(SHAREDIR)/man/man8 $(UNITDIR) \
	  $(SHAREDIR)/bash-completion/completions $(SHAREDIR)/zsh/site-functions
	set -e; for tool in $(TOOLS); do \
	  install -m 755 $(BUILT)/$$tool $(BINDIR)/$$tool; \
	  $(BUILT)/$$tool man > $(SHAREDIR)/man/man8/$$tool.8; \
	  $(BUILT)/$$tool completion bash > $(SHAREDIR)/bash-completion/completions/$$tool; \
	  $(BUILT)/$$tool completion zsh > $(SHAREDIR)/zsh/site-functions/_$$tool; \
	done
	install -m 644 scripts/pipeline.mk share/artifacts.lock $(SHAREDIR)/k8steps/
	sed 's|@PREFIX@|$(PREFIX)|g' share/k8steps-check.service > $(UNITDIR)/k8steps-check.service
	install -m 644 share/k8steps-check.timer $(UNITDIR)/
	install -d $(CONFIGDIR)
	test -e $(CONFIGDIR)/artifacts.lock || install -m 644 share/artifacts.lock $(CONFIGDIR)/
	test -e $(CONFIGDIR)/cluster.toml || $(BUILT)/kprep init --config $(CONFIGDIR)/cluster.toml

uninstall: ## Remove what install put there; the configuration stays
	set -e; for tool in $(TOOLS); do \
	  rm -f $(BINDIR)/$$tool $(SHAREDIR)/man/man8/$$tool.8 \
	    $(SHAREDIR)/bash-completion/completions/$$tool $(SHAREDIR)/zsh/site-functions/_$$tool; \
	done
	rm -f $(UNITDIR)/k8steps-check.service $(UNITDIR)/k8steps-check.timer
	rm -f $(SHAREDIR)/k8steps/pipeline.mk $(SHAREDIR)/k8steps/artifacts.lock
	-rmdir $(SHAREDIR)/k8steps
	@echo 'uninstall: kept $(CONFIGDIR); a node that is up stays up (`make down` takes it apart)'

# ---- Run, on the machine that becomes a node ----------------------------------------------------

.PHONY: up plan status down
# No --output-sync: it would keep a phase's words until the phase has ended, and every tool writes
# a message at once, with its name before it.
up: ## Make this machine a node: all eight phases, side by side where they may
	@events='$(EVENTS)'; events=$${events:-$$(mktemp)}; : >"$$events"; code=0; \
	K8STEPS_EVENTS=$$events $(PIPELINE) -j up || code=$$?; \
	test ! -s "$$events" || { echo; scripts/chart "$$events"; }; test -n '$(EVENTS)' || rm -f "$$events"; exit $$code

plan: ## What `make up` would change
	@$(PIPELINE) plan

status: ## Is the node still so, and does it work?
	@$(PIPELINE) check

down: ## Put this machine back as it was
	@$(PIPELINE) down
