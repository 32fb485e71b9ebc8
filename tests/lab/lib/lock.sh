# The lock that says what this lab really has.
# shellcheck shell=bash

lock_text() {
  local mode name version url members ref quoted
  mode=$(source_mode)
  echo "# Written by the lab: what its mirror and registry hold (artifacts from: $mode)."
  echo "schema = 1"
  if [[ $mode == upstream ]]; then
    # The files are the released ones: their entries are those of the shipped lock.
    awk '/^\[\[/ { keep = ($1 == "[[file]]"); if (keep) print "" } keep && NF && !/^#/' "$SHIPPED_LOCK"
  else
    set -f # members such as "*" are patterns for the reader of the lock, not for this shell
    while read -r name version url members; do
      printf '\n[[file]]\nname = "%s"\nversion = "%s"\narch = "%s"\nurl = "%s"\nsha256 = "%s"\n' \
        "$name" "$version" "$ARCH" "$url" "$(sha "$MIRROR/${url#https://}")"
      [[ -n $members ]] || continue
      # shellcheck disable=SC2086
      quoted=$(printf '"%s", ' $members)
      printf 'format = "tar.gz"\nmembers = [%s]\n' "${quoted%, }"
    done < <(file_table)
    set +f
  fi
  while read -r name ref; do
    printf '\n[[image]]\nname = "%s"\nref = "%s"\ndigest = { %s = "%s" }\n' "$name" "$ref" "$ARCH" "$(image_digest "$name")"
  done < <(image_refs "$mode")
}

lock() {
  local key
  key=$(sha "$CACHE/stamps/files" "$CACHE/stamps/registry" "$LAB_DIR/lib/lock.sh")
  # Hashing a gigabyte takes seconds: the text is kept as long as its inputs stay.
  cached lock "$key" write_lock_text
  if [[ $# -gt 0 ]]; then cp "$CACHE/artifacts.lock" "$1"; else cat "$CACHE/artifacts.lock"; fi
}
write_lock_text() { lock_text >"$CACHE/artifacts.lock.tmp" && mv -f "$CACHE/artifacts.lock.tmp" "$CACHE/artifacts.lock"; }
