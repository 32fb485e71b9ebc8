# Remove everything an instance made, whatever state it is in. Every step does nothing when there
# is nothing to do, so an interrupted `down` is finished by the next one.
# shellcheck shell=bash

down() { with_lock "instance-$LAB" down_locked; }

down_locked() {
  local f p tries
  for f in "$STATE"/pids/node*; do [[ ! -e $f ]] || node_kill "${f##*/}"; done
  # Whatever else the lab started: recorded, or in its groups, or in its network namespaces.
  for tries in 1 2 3 4 5; do
    for p in $(lab_pids); do kill -KILL "$p" 2>/dev/null || true; done
    [[ -n $(lab_pids) ]] || break
    sleep "0.$tries"
  done
  net_remove
  cgroup_remove
  { grep -oE " ($STATE|$DISKS)/[^ ]*" /proc/mounts || true; } | sort -r | while read -r f; do umount -l "$f" || true; done
  rm -rf --one-file-system "$DISKS" "/run/systemd/nspawn/propagate/$LAB-node"* "/run/systemd/nspawn/unix-export/$LAB-node"*
  cgroup_remove # a group whose last process had not been reaped the first time
  [[ -z $(cgroup_dirs) ]] || until_ok 10 "the kernel let go of the control groups" groups_gone || true
  rm -rf "$STATE"
  # Shared with other instances, and with other users of nspawn: only when empty.
  rmdir /run/k8steps-lab /var/lib/k8steps-lab /run/systemd/nspawn/{locks,propagate,unix-export} /run/systemd/nspawn 2>/dev/null || true
  leftovers
}
groups_gone() { cgroup_remove; [[ -z $(cgroup_dirs) ]]; }

lab_pids() {
  local f
  cgroup_pids
  for f in mirror registry names; do recorded_pid "$f" || true; done
  for f in "$NETNS_DIR/$LAB" "$NETNS_DIR/$LAB-node"*; do netns_pids "${f##*/}"; done
}
