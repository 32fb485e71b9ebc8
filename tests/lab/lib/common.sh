# Shared by every part of the lab: names, progress lines, locks, cached pieces.
# shellcheck shell=bash

CACHE=${K8STEPS_CACHE:-/var/cache/k8steps-lab}
STATE=/run/k8steps-lab/$LAB      # what this instance runs: pids, configs, logs
DISKS=/var/lib/k8steps-lab/$LAB  # node disks: they outlive a node's crash
HUB_IP=10.99.0.1                 # the bridge; mirror, registry and name server listen here
MIRROR_PORT=8080
REGISTRY_PORT=5000
DNS_HEALTH_PORT=8053             # the name server itself is on port 53
ARCH=$(dpkg --print-architecture 2>/dev/null || uname -m)
case $ARCH in x86_64) ARCH=amd64 ;; aarch64) ARCH=arm64 ;; esac
# Every archive and image gets this date, so the same input gives the same digest.
EPOCH=1735689600
export SOURCE_DATE_EPOCH=$EPOCH TZ=UTC LC_ALL=C.UTF-8
umask 022

LAB_START=${LAB_START:-$(date +%s)}
export LAB_START

say() { printf '[lab %4ds] %s\n' "$(($(date +%s) - LAB_START))" "$*" >&2; }
die() { printf 'lab: %s\n' "$*" >&2; exit 1; }
die_usage() { printf 'lab: %s\n' "$*" >&2; exit 2; }
need_root() { [[ $(id -u) -eq 0 ]] || die "this command makes namespaces and mounts: run it as root"; }

# The name ends up in namespace, machine, cgroup and interface names (15 characters at most).
[[ $LAB =~ ^[a-z][a-z0-9]{0,7}$ ]] || die_usage "LAB=$LAB: use at most 8 lower case letters and digits"

# with_lock NAME FUNCTION...: one at a time over all labs on this machine; the second waits.
# Runs in a subshell so that the lock dies with it. Children that outlive the call must
# close descriptor 9 (see services.sh and node.sh), or they would keep the lock.
with_lock() {
  local name=$1; shift
  mkdir -p "$CACHE/lock"
  (
    exec 9>"$CACHE/lock/$name"
    if ! flock -n 9; then
      say "waiting: another lab command holds the lock \"$name\""
      flock 9
    fi
    "$@"
  )
}

# sha FILE...: one hash over the bytes and order of the files.
sha() { cat -- "$@" | sha256sum | cut -d' ' -f1; }

# tree_sha DIR: one hash over every file's path and bytes below DIR.
tree_sha() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum) | sha256sum | cut -d' ' -f1; }

# A piece of the cache is done when its stamp holds the key of its present inputs.
stamped() { [[ -f $CACHE/stamps/$1 && $(<"$CACHE/stamps/$1") == "$2" ]]; }
stamp() { mkdir -p "$CACHE/stamps"; printf '%s' "$2" >"$CACHE/stamps/$1.tmp.$BASHPID"; mv -f "$CACHE/stamps/$1.tmp.$BASHPID" "$CACHE/stamps/$1"; }

# cached PIECE KEY FUNCTION...: run FUNCTION once per KEY; a second caller waits, then finds it done.
cached() {
  local piece=$1 key=$2; shift 2
  stamped "$piece" "$key" && return 0
  with_lock "$piece" cached_locked "$piece" "$key" "$@"
}
cached_locked() {
  local piece=$1 key=$2 start; shift 2
  stamped "$piece" "$key" && return 0
  start=$(date +%s)
  say "$piece: making"
  "$@"
  stamp "$piece" "$key"
  say "$piece: done in $(($(date +%s) - start)) s"
}

# scratch VARIABLE: a work directory in the cache, removed when this (sub)shell ends. One whose
# process was killed is removed by the next call.
scratch() {
  local old me=$BASHPID
  mkdir -p "$CACHE/tmp"
  for old in "$CACHE"/tmp/*; do [[ -d /proc/$(basename "${old%%.*}") ]] || rm -rf -- "$old"; done
  printf -v "$1" '%s' "$(mktemp -d "$CACHE/tmp/$me.XXXXXX")"
  # shellcheck disable=SC2064  # the path is to be expanded now
  trap "rm -rf -- '${!1}'" EXIT
}

# until_ok SECONDS WHAT COMMAND...: wait with a limit; says what was waited for when it runs out.
until_ok() {
  local limit=$1 what=$2 end; shift 2
  end=$(($(date +%s) + limit))
  until "$@"; do
    if (($(date +%s) >= end)); then
      printf 'lab: after %s s still not: %s\n' "$limit" "$what" >&2
      return 1
    fi
    sleep 0.2
  done
}

# A process is named by its pid and its start time, so a reused pid is never taken for it.
start_time() { local s; s=$(cat "/proc/$1/stat" 2>/dev/null) || return 1; s=${s##*) }; cut -d' ' -f20 <<<"$s"; }
record_pid() { mkdir -p "$STATE/pids"; printf '%s %s\n' "$2" "$(start_time "$2")" >"$STATE/pids/$1"; }
recorded_pid() {
  local pid begun
  [[ -f $STATE/pids/$1 ]] || return 1
  read -r pid begun <"$STATE/pids/$1" || return 1
  [[ -n $begun && $(start_time "$pid") == "$begun" ]] || return 1
  echo "$pid"
}

cache() {
  case ${1:-} in
    '') [[ -d $CACHE ]] && du -sh "$CACHE"/*/ 2>/dev/null; return 0 ;;
    clean) need_root; rm -rf -- "$CACHE" ;;
    *) die_usage "cache takes nothing or \"clean\"" ;;
  esac
}
