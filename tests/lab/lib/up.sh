# Boot a node, with everything that has to exist before.
# shellcheck shell=bash

up() {
  local node=node1 flavour=${LAB_FLAVOUR:-} had
  while (($#)); do
    case $1 in
      --flavour) (($# >= 2)) || die_usage "up [NODE] [--flavour FLAVOUR]"; flavour=$2; shift 2 ;;
      *) node=$1; shift ;;
    esac
  done
  node_name_ok "$node"
  had=$(node_flavour "$node")
  flavour=${flavour:-${had:-$PLAIN}}
  flavour_ok "$flavour"
  [[ ${had:-$flavour} == "$flavour" ]] || die "$node has a disk of flavour $had; \"down\" removes it"
  artifacts
  images
  lock >/dev/null
  flavour "$flavour"
  # One change to an instance at a time; the lock file lies in the cache and outlives `down`.
  with_lock "instance-$LAB" up_locked "$node" "$flavour"
}

up_locked() { # NODE FLAVOUR
  local node=$1 flavour=$2
  mkdir -p "$STATE/log" "$DISKS"
  net_hub
  services_start
  if recorded_pid "$node" >/dev/null && [[ $(node_state "$node") =~ ^(running|degraded)$ ]]; then
    say "$node runs already"
  else
    node_kill "$node" # what a half-finished boot left
    say "booting $node"
    net_node "$node"
    node_disk_make "$node" "$flavour"
    node_boot "$node"
    until_ok 60 "systemd in $node is up (log: $STATE/log/$node)" node_ready "$node" \
      || die "$node does not come up; its systemd says: $(node_state "$node")"
    if [[ $(node_state "$node") == degraded ]]; then
      say "note: failed units in $node: $(node_do "$node" systemctl list-units --failed --plain --no-legend | cut -d' ' -f1 | xargs)"
    fi
  fi
  say "$node is up at $(node_ip "$node"). enter: tests/lab/lab enter $node   remove: tests/lab/lab down"
}
