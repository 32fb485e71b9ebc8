# The eight phases in dependency order; what does not depend on each other runs side by side
# (`make -j -f pipeline.mk up`). Each phase can be run alone: this file knows nothing they do not.

BINDIR ?= /usr/local/bin
# Flags for every phase, e.g. KFLAGS='-v --timeout 300'.
KFLAGS ?=

PHASES := kprep kfetch kpki ketcd knode kcp kcni kapps

.PHONY: up plan check down everything backwards dns $(PHASES)

# No other tool comes in between: each phase stands on what those before it left.
up: row = everything
down: row = backwards
up down:
	@$(BINDIR)/kprep $(KFLAGS) alone $(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) $(row)

everything: $(PHASES) dns

# Who needs whose files (docs/contract.md).
kpki: kprep
ketcd: kprep kfetch kpki
knode: kprep kfetch
kcp: kpki ketcd knode
kcni: kcp
# Its objects are applied beside the network, its pods start with it: kapps waits for kcni itself.
kapps: kcp
# Only a DNS that answers can go first in the machine's own lookups.
dns: kcni kapps

$(PHASES): run = $@ apply
dns: run = kprep dns

$(PHASES) dns:
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
