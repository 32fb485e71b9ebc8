# The registry every lab serves: filled once, then read-only.
# shellcheck shell=bash

# image_refs MODE: "NAME REF" of every image that belongs to the lock.
image_refs() {
  if [[ $1 == upstream ]]; then
    awk '/^\[\[/ { image = ($1 == "[[image]]") }
      image && /^name/ { split($0, a, "\""); name = a[2] }
      image && /^ref/ { split($0, a, "\""); print name, a[2] }' "$SHIPPED_LOCK"
  else
    image_table | cut -d' ' -f1,2
  fi
}

registry_config() { # ADDRESS READONLY
  cat <<EOF
version: 0.1
log: {level: warn, accesslog: {disabled: true}}
storage:
  filesystem: {rootdirectory: $REGISTRY_DATA}
  maintenance: {readonly: {enabled: $2}, uploadpurging: {enabled: false}}
  cache: {blobdescriptor: inmemory}
http: {addr: "$1", headers: {X-Content-Type-Options: [nosniff]}}
EOF
}

# Pushing needs a running registry. It runs in a network of its own with nothing but loopback,
# so it meets no other port and nobody else meets it. Copies from upstream come in through a
# layout on disk for the same reason.
fill_registry() {
  local mode=$1 name ref
  while read -r name ref; do
    [[ $mode == upstream ]] || continue
    say "copying $ref"
    rm -rf "${OCI:?}/$name"
    mkdir -p "$OCI"
    skopeo --insecure-policy copy -q --retry-times 3 --preserve-digests "docker://$ref" "dir:$OCI/$name" || die "could not copy $ref"
  done < <(image_refs "$mode")
  mkdir -p "$REGISTRY_DATA"
  scratch work
  registry_config 127.0.0.1:5000 false >"$work/config.yml"
  { image_refs "$mode"; echo "toolbox $TOOLBOX_REF"; } >"$work/list"
  export -f push_all say
  OCI=$OCI unshare --net bash -euo pipefail -c 'push_all "$1"' push "$work"
}

push_all() {
  local work=$1 pid name ref from
  ip link set lo up
  docker-registry serve "$work/config.yml" >"$work/log" 2>&1 9>&- &
  pid=$!
  # shellcheck disable=SC2064
  trap "kill $pid 2>/dev/null; wait $pid 2>/dev/null || true" EXIT
  for _ in {1..100}; do curl -fs -o /dev/null http://127.0.0.1:5000/v2/ && break; sleep 0.1; done
  while read -r name ref; do
    from=oci:$OCI/$name
    [[ ! -f $OCI/$name/manifest.json ]] || from=dir:$OCI/$name
    skopeo --insecure-policy copy -q --preserve-digests --dest-tls-verify=false \
      "$from" "docker://127.0.0.1:5000/${ref#*/}" </dev/null || { tail -5 "$work/log" >&2; return 1; }
    say "in the registry: $ref"
  done <"$work/list"
}

# image_digest NAME: of the manifest the registry serves.
image_digest() {
  if [[ -f $OCI/$1/manifest.json ]]; then echo "sha256:$(sha "$OCI/$1/manifest.json")"
  else jq -r '.manifests[0].digest' "$OCI/$1/index.json"; fi
}
