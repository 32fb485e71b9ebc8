# Control groups of the lab. Each instance gets one group below the caller's own in every
# hierarchy, so it stays inside the caller's limits; whatever runs in it was started by the lab,
# which is how `down` finds processes that nobody got to record.
# shellcheck shell=bash

CGROUP_NAME=k8steps-lab.$LAB

# cgroup v1 or the hybrid layout: the lab makes its groups itself. With cgroup v2 alone,
# systemd-nspawn asks the machine's systemd for a scope instead.
cgroup_v1() { grep -qE '^[^ ]+ /sys/fs/cgroup/[^ ]+ cgroup ' /proc/mounts; }

# cgroup_homes: the caller's own directory in every hierarchy, one a line.
cgroup_homes() {
  local dev dir type opts _ own id subs path
  while read -r dev dir type opts _; do
    [[ $type == cgroup || $type == cgroup2 ]] || continue
    own=/
    while IFS=: read -r id subs path; do
      if [[ $type == cgroup2 && $id == 0 ]]; then own=$path; fi
      if [[ $type == cgroup && -n $subs && ,$opts, == *",$subs,"* ]]; then own=$path; fi
    done </proc/self/cgroup
    # A process already inside a lab's group (a shell that started `up`) counts as being above it.
    own=${own%%/k8steps-lab.*}
    [[ -d $dir$own ]] && echo "$dir${own%/}"
  done </proc/mounts
}

# cgroup_make NODE: its group in every hierarchy.
cgroup_make() {
  local home group f
  mkdir -p "$STATE"
  cgroup_homes | while read -r home; do
    group=$home/$CGROUP_NAME
    echo "$group" >>"$STATE/cgroups" # before it exists, so that an interrupted `up` leaves a trace
    for group in "$group" "$group/$1"; do
      [[ -d $group ]] || mkdir "$group"
      # cpuset groups start without a processor and refuse processes until they have one.
      for f in cpuset.cpus cpuset.mems; do
        if [[ -f $group/$f && -z $(<"$group/$f") ]]; then cat "${group%/*}/$f" >"$group/$f"; fi
      done
    done
  done
}

# cgroup_join NODE: this very shell, and what it starts from now on, moves into NODE's group.
# nspawn gives the booted system a "payload" group of its own in some hierarchies: join that one.
cgroup_join() {
  local g
  for g in $(cgroup_dirs); do
    g=$g/$1
    [[ ! -d $g/payload ]] || g=$g/payload
    [[ ! -d $g ]] || echo "$BASHPID" 2>/dev/null >"$g/cgroup.procs" || true
  done
}

# cgroup_dirs: the instance's own top directories, recorded or found.
cgroup_dirs() {
  {
    [[ ! -f $STATE/cgroups ]] || cat "$STATE/cgroups"
    find /sys/fs/cgroup -maxdepth 6 -type d -name "$CGROUP_NAME" 2>/dev/null
  } | sort -u | while read -r g; do [[ -d $g ]] && echo "$g"; done || true
}

cgroup_pids() {
  local g
  cgroup_dirs | while read -r g; do find "$g${1:+/$1}" -name cgroup.procs -exec cat {} + 2>/dev/null || true; done | sort -un
}

# A group can be removed only without processes and without groups below it.
cgroup_remove() {
  local g
  cgroup_dirs | while read -r g; do find "$g${1:+/$1}" -depth -type d -exec rmdir {} \; 2>/dev/null || true; done
}
