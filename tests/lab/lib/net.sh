# The lab's own network: one namespace with a bridge, one per node, joined by a veth pair that is
# made inside them. The machine's own namespace is never touched, and nothing leads out.
# shellcheck shell=bash

NETNS_DIR=/run/netns
NETNS_MARK=/run/k8steps-lab/netns-dir-is-ours

netns() { echo "$LAB${1:+-$1}"; }                                   # netns [NODE]
node_ip() { echo "10.99.0.$((10 + ${1#node}))"; }                    # node1 is 10.99.0.11

netns_add() {
  # ip-netns mounts its directory onto itself at first use; the last `down` undoes that if we caused it.
  if ! grep -q " $NETNS_DIR " /proc/mounts; then
    mkdir -p "$(dirname "$NETNS_MARK")"
    touch "$NETNS_MARK"
  fi
  # A name without a namespace mounted on it is what an interrupted `ip netns add` leaves.
  if [[ -e $NETNS_DIR/$1 ]] && ! grep -q " $NETNS_DIR/$1 " /proc/mounts; then rm -f "$NETNS_DIR/$1"; fi
  [[ -e $NETNS_DIR/$1 ]] || ip netns add "$1"
  ip -n "$1" link set lo up
}

netns_del() {
  local tries
  for tries in 1 2 3; do
    [[ -e $NETNS_DIR/$1 ]] || return 0
    ip netns del "$1" 2>/dev/null || umount -l "$NETNS_DIR/$1" 2>/dev/null || true
    rm -f "$NETNS_DIR/$1" 2>/dev/null || sleep "0.$tries"
  done
}

# netns_pids NAME: processes inside, by identity of the namespace.
netns_pids() { if [[ -e $NETNS_DIR/$1 ]]; then ip netns pids "$1" 2>/dev/null || true; fi; }

net_hub() {
  local ns; ns=$(netns)
  netns_add "$ns"
  ip -n "$ns" link show br0 >/dev/null 2>&1 || ip -n "$ns" link add br0 type bridge
  ip -n "$ns" addr replace "$HUB_IP/24" dev br0
  ip -n "$ns" link set br0 up
}

# A fresh namespace at every boot: a reboot forgets firewall rules and interfaces.
net_node() {
  local hub ns; hub=$(netns) ns=$(netns "$1")
  netns_del "$ns"
  ip -n "$hub" link del "v-$1" 2>/dev/null || true
  netns_add "$ns"
  ip -n "$hub" link add "v-$1" type veth peer name eth0 netns "$ns"
  ip -n "$hub" link set "v-$1" master br0 up
  ip -n "$ns" addr add "$(node_ip "$1")/24" dev eth0
  ip -n "$ns" link set eth0 up
  ip -n "$ns" route add default via "$HUB_IP"
}

net_remove() {
  local name
  for name in "$NETNS_DIR/$LAB-node"* "$NETNS_DIR/$LAB"; do
    if [[ -e $name ]]; then netns_del "${name##*/}"; fi
  done
  if [[ -e $NETNS_MARK ]] && [[ -z $(ls -A "$NETNS_DIR" 2>/dev/null) ]]; then
    while umount "$NETNS_DIR" 2>/dev/null; do :; done
    rmdir "$NETNS_DIR" 2>/dev/null || true
    rm -f "$NETNS_MARK"
  fi
}
