# The eight phases in dependency order; what does not depend on each other runs side by side
# (`make -j -f pipeline.mk up`). Each phase can be run alone: this file knows nothing they do not.

BINDIR ?= /usr/local/bin
# Flags for every phase, e.g. KFLAGS='-v --timeout 300'.
KFLAGS ?=

PHASES := kprep kfetch kpki ketcd knode kcp kcni kapps

# Milestones at which others go on, while the phase itself has more to do: `knode-runtime` is
# `knode apply --until runtime`. What is left of a phase is done under its own name.
MILESTONES := kpki-issued ketcd-configured knode-runtime knode-kubelet kcp-prepared kcp-cluster

.PHONY: up plan check down everything backwards dns $(PHASES) $(MILESTONES)

# No other tool comes in between: each phase stands on what those before it left.
up: row = everything
down: row = backwards
up down:
	@$(BINDIR)/kprep $(KFLAGS) alone $(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) $(row)

everything: $(PHASES) dns

# Who needs whose files (docs/contract.md), programs or images.
kpki-issued: kprep
knode-runtime: kprep kfetch
ketcd-configured: kprep kfetch kpki-issued
ketcd: ketcd-configured
kcp-prepared: kpki-issued ketcd-configured knode-runtime
knode-kubelet: knode-runtime
kcp-cluster: kcp-prepared knode-kubelet ketcd
knode: knode-kubelet
kcp: kcp-cluster
kcni: kcp-cluster knode
# Applied beside the network, which its pods start with: kapps waits for kcni itself.
kapps: kcp-cluster knode
# Nobody waits for the rest of kpki, which takes time of the processor that others need more.
kpki: kcni
# Only a DNS that answers can go first in the machine's own lookups.
dns: kcni kapps

$(PHASES): run = $@ apply
$(MILESTONES): run = $(subst -, apply --until ,$@)
dns: run = kprep dns

$(PHASES) $(MILESTONES) dns:
	@$(BINDIR)/$(run) $(KFLAGS)

# plan and check ask one phase after the other, and stop at the first that cannot answer (its input
# is missing, or it does not work). make itself ends with 2 whenever an answer was not "as wanted".
plan check:
	@worst=0; for phase in $(PHASES); do \
	  $(BINDIR)/$$phase $@ $(KFLAGS) || { code=$$?; \
	    case $$code in 3) test $$worst -ne 0 || worst=3;; *) worst=$$code; break;; esac; }; \
	done; exit $$worst

# Backwards, one after the other; a phase that fails does not keep the others from going.
backwards:
	@worst=0; for phase in $(foreach at,8 7 6 5 4 3 2 1,$(word $(at),$(PHASES))); do \
	  $(BINDIR)/$$phase reset --yes $(KFLAGS) || worst=$$?; \
	done; exit $$worst
