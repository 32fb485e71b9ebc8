# Into a node and back.
# shellcheck shell=bash

lab_exec() {
  local node=${1:-}; node_name_ok "$node"; shift
  [[ ${1:-} != -- ]] || shift
  (($#)) || die_usage "exec $node -- CMD...: a command is needed"
  node_run "$node" "$@"
}

lab_enter() { node_name_ok "${1:-}"; node_run "$1" /bin/bash -l; }

# Through tar inside the node's namespaces: a path is then resolved there, never on this machine.
lab_copy() {
  local node=${1:-} dest src mode; node_name_ok "$node"; shift
  (($# >= 2)) || die_usage "copy NODE SRC... DEST"
  dest=${!#}
  set -- "${@:1:$#-1}"
  for src; do [[ -e $src ]] || die "copy: $src does not exist"; done
  if (($# == 1)) && [[ $dest != */ ]] && ! node_do "$node" test -d "$dest"; then
    # One source under a new name, as cp does it.
    node_do "$node" mkdir -p "$(dirname "$dest")"
    if [[ -d $1 ]]; then
      node_do "$node" mkdir "$dest"
      tar -C "$1" -cf - . | node_do "$node" tar -C "$dest" --no-same-owner -xpf -
    else
      # Whole or not at all, also over a running program.
      mode=$(stat -c %a "$1")
      node_do "$node" sh -c 'cat >"$1.copy" && chmod "$2" "$1.copy" && mv -f "$1.copy" "$1"' sh "$dest" "$mode" <"$1"
    fi
    return
  fi
  node_do "$node" mkdir -p "$dest"
  for src; do
    src=$(realpath -s "$src")
    tar -C "$(dirname "$src")" -cf - "$(basename "$src")" | node_do "$node" tar -C "$dest" --no-same-owner -xpf -
  done
}

lab_log() {
  local lines=${2:-200}; node_name_ok "${1:-}"
  if node_pid "$1" >/dev/null; then node_do "$1" journalctl --no-pager -n "$lines"; return; fi
  say "$1 does not run; reading the journal on its disk"
  [[ ! -f $STATE/log/$1 ]] || tail -n 20 "$STATE/log/$1" >&2
  journalctl --no-pager -n "$lines" -D "$(node_disk "$1")/var/log/journal"
}
