# What all measurements share.
# shellcheck shell=bash

BIN=${BIN:-target/release}

# seconds COMMAND...: run it quietly and print the seconds it took; its failure is ours.
seconds() {
  local begin end log
  log=$(mktemp)
  begin=$(date +%s.%N)
  if ! "$@" >"$log" 2>&1; then
    tail -20 "$log" >&2
    rm -f "$log"
    echo "bench: failed: $*" >&2
    return 1
  fi
  end=$(date +%s.%N)
  rm -f "$log"
  awk -v b="$begin" -v e="$end" 'BEGIN { printf "%.3f\n", e - b }'
}

# median NUMBER...
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# ratio A B: A divided by B.
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f\n", a / b }'; }
