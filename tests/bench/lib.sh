# What all measurements share.
# shellcheck shell=bash

BIN=${BIN:-target/release}

lab() { tests/lab/lab "$@"; }
node() { lab exec node1 -- bash -euo pipefail -c "$1"; }

# finally COMMANDS: run them when the measurement ends, however it ends. No second signal stops them.
finally() {
  # shellcheck disable=SC2064  # the commands are those of now
  trap "trap '' INT TERM HUP; { $1; } >&2" EXIT
  trap 'exit 1' INT TERM HUP
}

# seconds COMMAND...: run it quietly and print the seconds it took; its failure is ours.
seconds() {
  local begin end said
  begin=$(date +%s.%N)
  if ! said=$("$@" 2>&1); then
    tail -20 <<<"$said" >&2
    echo "bench: failed: $*" >&2
    return 1
  fi
  end=$(date +%s.%N)
  awk -v b="$begin" -v e="$end" 'BEGIN { printf "%.3f\n", e - b }'
}

# median NUMBER...
median() { printf '%s\n' "$@" | sort -n | awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }

# figure NAME UNIT NUMBER...: a line of results: the median, the least, the most, and how many.
figure() {
  local name=$1 unit=$2
  shift 2
  printf '%s\n' "$@" | sort -n | awk -v name="$name" -v unit="$unit" -v median="$(median "$@")" '
    function short(number) { return sprintf(number < 100 ? "%.3g" : "%.0f", number) }
    NR == 1 { least = $1 }
    END { print name, short(median), unit, short(least), short($1), NR }'
}

# ratio A B: A divided by B.
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f\n", a / b }'; }
