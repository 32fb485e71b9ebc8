# What an instance has on this machine right now. After `down` this must be nothing.
# shellcheck shell=bash

leftovers_list() {
  local p f
  for p in $(cgroup_pids); do echo "process $p: $(tr '\0' ' ' <"/proc/$p/cmdline" 2>/dev/null | cut -c1-100)"; done
  for f in "$STATE"/pids/*; do
    [[ -e $f ]] && p=$(recorded_pid "${f##*/}") && echo "process $p (recorded as ${f##*/})"
  done
  for f in "$NETNS_DIR/$LAB" "$NETNS_DIR/$LAB-node"*; do
    [[ -e $f ]] || continue
    echo "network namespace ${f##*/}"
    for p in $(netns_pids "${f##*/}"); do echo "process $p in network namespace ${f##*/}"; done
  done
  grep -E " ($STATE|$DISKS|$NETNS_DIR/$LAB(-node[0-9])?)[/ ]" /proc/mounts | awk '{print "mount " $2}' || true
  if [[ -e $NETNS_MARK ]] && ! compgen -G "$NETNS_DIR/*" >/dev/null; then echo "mount $NETNS_DIR"; fi
  cgroup_dirs | sed 's/^/control group /'
  for f in "$STATE" "$DISKS" "/run/systemd/nspawn/propagate/$LAB-node"* "/run/systemd/nspawn/unix-export/$LAB-node"*; do
    [[ -e $f ]] && echo "file $f"
  done
  return 0
}

leftovers() {
  local list; list=$(leftovers_list)
  [[ -n $list ]] || { say "nothing of lab \"$LAB\" is left"; return 0; }
  printf '%s\n' "$list"
  exit 1
}
