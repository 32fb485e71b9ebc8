# The Debian packages the lab itself needs.
# shellcheck shell=bash

DEPS_RUN=(systemd-container iproute2 util-linux procps nginx-light docker-registry skopeo jq curl ca-certificates rsync)
DEPS_MAKE=(mmdebstrap libcap2-bin xz-utils)
DEPS_BUILD=(gcc libc6-dev libseccomp-dev pkg-config) # only when artifacts are built from modules

# install PACKAGE...: what of these is missing; quiet and without starting any service.
install_packages() {
  local missing=() p
  for p; do
    dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || missing+=("$p")
  done
  ((${#missing[@]})) || return 0
  say "installing Debian packages: ${missing[*]}"
  with_lock apt install_missing "${missing[@]}"
}

install_missing() {
  local policy=/usr/sbin/policy-rc.d made=
  # A third-party source that does not answer must not stop the lab: only the install decides.
  apt-get update -qq >/dev/null 2>&1 || say "apt-get update had errors (a source that does not answer?); going on"
  # The mirror and the registry run inside the lab only: their packages must start nothing here.
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made=1
  fi
  # shellcheck disable=SC2064
  [[ -z $made ]] || trap "rm -f '$policy'" EXIT
  local log; log=$(mktemp)
  if ! DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >"$log" 2>&1; then
    tail -20 "$log" >&2
    rm -f "$log"
    die "apt-get install failed: $*"
  fi
  rm -f "$log"
}

deps() {
  [[ -f /etc/debian_version ]] || die "the lab runs on Debian (12 was tried); this is $(. /etc/os-release && echo "$PRETTY_NAME")"
  install_packages "${DEPS_RUN[@]}" "${DEPS_MAKE[@]}"
}

# The Go that the component modules ask for. Debian 12's own is too old to build them, but
# good enough to fetch a newer one, which Go publishes as a module like any other.
GO_WANTED=go1.26.8
go_setup() {
  local have dir
  install_packages "${DEPS_BUILD[@]}"
  export GOTOOLCHAIN=local GOWORK=off GOFLAGS=-buildvcs=false
  have=$(go env GOVERSION 2>/dev/null || true)
  if [[ $(printf '%s\n' "$GO_WANTED" "$have" | sort -V | tail -1) == "$have" && -n $have ]]; then return 0; fi
  [[ -n $have ]] || install_packages golang-go
  say "Go ${have:-is missing}; fetching $GO_WANTED as a module"
  (cd / && go mod download "golang.org/toolchain@v0.0.1-$GO_WANTED.linux-$ARCH") \
    || die "no Go >= $GO_WANTED: install one from https://go.dev/dl and put it on PATH"
  dir=$(go env GOMODCACHE)/golang.org/toolchain@v0.0.1-$GO_WANTED.linux-$ARCH
  # Modules carry no execute bits.
  chmod -R u+w "$dir/bin" "$dir/pkg/tool" && chmod -R a+x "$dir/bin" "$dir/pkg/tool"
  export PATH=$dir/bin:$PATH
}
