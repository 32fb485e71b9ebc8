# One node: a root booted by systemd in namespaces of its own.
# shellcheck shell=bash

node_name_ok() { [[ ${1:-} =~ ^node[1-9]$ ]] || die_usage "a node is called node1 to node9, not \"${1:-}\""; }
node_disk() { echo "$DISKS/$1"; }
# node_flavour NODE: which root its disk was made from, if it has one.
node_flavour() { [[ ! -d $(node_disk "$1") || ! -f $DISKS/$1.flavour ]] || cat "$DISKS/$1.flavour"; }

# node_pid NODE: the node's first process as seen from here, if the node runs.
node_pid() {
  local outer children child
  outer=$(recorded_pid "$1") || return 1
  # A helper of nspawn's own shares its namespaces: take the child that has others.
  children=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null) || return 1
  for child in $children; do
    if [[ $(readlink "/proc/$child/ns/pid") != "$(readlink "/proc/$outer/ns/pid")" ]]; then echo "$child"; return 0; fi
  done
  return 1
}

# node_run NODE CMD...: run CMD in the node, in its own control group, with a clean environment.
node_run() {
  local node=$1 pid; shift
  pid=$(node_pid "$node") || die "$node does not run: start it with \"up $node\""
  if cgroup_v1; then cgroup_join "$node"; fi
  exec nsenter -t "$pid" -m -u -i -n -p -C -- /usr/bin/env -i -C /root HOME=/root USER=root LOGNAME=root SHELL=/bin/bash \
    LANG=C.UTF-8 TERM="${TERM:-dumb}" PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
node_do() { (node_run "$@"); }

node_disk_make() { # NODE FLAVOUR
  local disk; disk=$(node_disk "$1")
  [[ -d $disk ]] && return 0
  mkdir -p "$DISKS"
  rm -rf "$disk.new"
  cp -a --reflink=auto "$(flavour_root "$2")" "$disk.new"
  echo "$2" >"$disk.flavour"
  mv "$disk.new" "$disk"
}

node_boot() {
  local node=$1 args=() d pid
  # Controllers come in as the container's own view; without the machine's systemd nothing registers it.
  export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network SYSTEMD_NSPAWN_USE_CGNS=1
  if cgroup_v1; then
    args+=(--register=no --keep-unit)
    cgroup_make "$node"
  fi
  for d in /dev/kmsg /dev/fuse; do [[ ! -e $d ]] || args+=("--bind=$d"); done
  (
    exec 9>&- </dev/null >"$STATE/log/$node" 2>&1
    if cgroup_v1; then cgroup_join "$node"; fi
    exec setsid systemd-nspawn --quiet --directory="$(node_disk "$node")" --machine="$LAB-$node" --hostname="$(<"$(node_disk "$node")/etc/hostname")" \
      --capability=all --network-namespace-path="$NETNS_DIR/$(netns "$node")" --resolv-conf=off --timezone=off \
      --link-journal=no --console=pipe "${args[@]}" --kill-signal=SIGRTMIN+3 --notify-ready=no \
      --system-call-filter="@system-service @mount @keyring bpf add_key request_key @clock @module @raw-io @privileged" \
      /usr/local/sbin/lab-init --show-status=no
  ) &
  pid=$!
  record_pid "$node" "$pid"
}

node_state() { node_do "$1" systemctl is-system-running 2>/dev/null || true; }
node_ready() {
  recorded_pid "$1" >/dev/null || { tail -5 "$STATE/log/$1" >&2; die "$1 ended while booting (log: $STATE/log/$1)"; }
  node_pid "$1" >/dev/null || return 1
  [[ $(node_state "$1") =~ ^(running|degraded)$ ]]
}

# node_kill NODE: as a power cut: nothing in it gets a say. Its disk stays.
node_kill() {
  local node=$1 outer inner p
  if inner=$(node_pid "$node"); then kill -KILL "$inner" 2>/dev/null || true; fi
  if outer=$(recorded_pid "$node"); then
    # With its child gone nspawn tidies up and ends by itself; give it a moment to.
    until_ok 10 "nspawn of $node ended" not_running "$node" 2>/dev/null || kill -KILL "$outer" 2>/dev/null || true
  fi
  for p in $(cgroup_pids "$node"); do kill -KILL "$p" 2>/dev/null || true; done
  until_ok 20 "every process of $node ended" no_pids "$node" || true
  rm -f "$STATE/pids/$node" "$DISKS/.#$node.lck"
  rm -rf "/run/systemd/nspawn/propagate/$LAB-$node" "/run/systemd/nspawn/unix-export/$LAB-$node"
  cgroup_remove "$node"
}
not_running() { ! recorded_pid "$1" >/dev/null; }
no_pids() { [[ -z $(cgroup_pids "${1:-}") ]]; }

lab_crash() {
  node_name_ok "${1:-}"
  recorded_pid "$1" >/dev/null || die "$1 does not run"
  with_lock "instance-$LAB" node_kill "$1"
  say "$1 is off; its disk stays. \"up $1\" boots it again"
}

lab_reboot() {
  node_name_ok "${1:-}"
  node_pid "$1" >/dev/null || die "$1 does not run: start it with \"up $1\""
  with_lock "instance-$LAB" reboot_locked "$1"
}
# systemd in the node stops everything it started, then the same disk boots.
reboot_locked() {
  say "$1 shuts down"
  node_do "$1" systemctl poweroff
  until_ok 120 "$1 is off" not_running "$1" || die "$1 does not shut down; \"crash $1\" turns it off"
  node_kill "$1" # its record and its groups
  up_locked "$1" "$(node_flavour "$1")"
}
