# Files as upstream releases them, laid out in the mirror as HOST/PATH of their upstream address.
# shellcheck shell=bash

BIN=$CACHE/bin
MIRROR=$CACHE/mirror
GITHUB=github.com

# build_key COMPONENT: everything that decides the bytes: sources, versions, recipe, Go.
build_key() {
  local cgo tags ldflags programs
  recipe "$1"
  { tree_sha "$LAB_DIR/components/$1"; echo "$GO_WANTED $ARCH $cgo $tags $ldflags ${programs[*]}"; } | sha256sum | cut -d' ' -f1
}

build_component() {
  local name=$1 cgo tags ldflags programs work p
  go_setup
  recipe "$name"
  scratch work
  (
    cd "$LAB_DIR/components/$name"
    CGO_ENABLED=$cgo GOARCH=$ARCH go build -mod=readonly -trimpath ${tags:+-tags "$tags"} -ldflags "$ldflags" \
      -o "$work/" "${programs[@]#*=}"
  ) || die "building $name failed"
  # go build names a program after its package ("server" for etcd): give it the released name.
  mkdir -p "$work/named" "$BIN/$name"
  for p in "${programs[@]}"; do mv "$work/$(go_program_name "${p#*=}")" "$work/named/${p%%=*}"; done
  mv -f "$work/named/"* "$BIN/$name/"
}
go_program_name() { local p=$1; [[ ${p##*/} =~ ^v[0-9]+$ ]] && p=${p%/*}; echo "${p##*/}"; }

# put FILE URL: into the mirror, whole or not at all.
put() {
  local to=$MIRROR/${2#https://}
  mkdir -p "$(dirname "$to")"
  cp -- "$1" "$to.tmp.$BASHPID"
  chmod 644 "$to.tmp.$BASHPID"
  mv -f "$to.tmp.$BASHPID" "$to"
}

# archive URL ROOT MEMBER...: members of ROOT as a reproducible .tar.gz at URL.
archive() {
  local url=$1 root=$2 work=$work; shift 2
  tar -C "$root" --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner --mode=a+rx,u+w,go-w -cf - "$@" \
    | gzip -1n >"$work/archive"
  put "$work/archive" "$url"
}

# The files of the lock: NAME VERSION URL [MEMBER...]; members only for archives.
# This table is both what package() makes and what the lab's lock says.
file_table() {
  local p
  for p in kubelet kubeadm kubectl; do echo "$p $V_KUBE https://dl.k8s.io/release/v$V_KUBE/bin/linux/$ARCH/$p"; done
  p=etcd-v$V_ETCD-linux-$ARCH
  echo "etcd $V_ETCD https://$GITHUB/etcd-io/etcd/releases/download/v$V_ETCD/$p.tar.gz $p/etcd $p/etcdctl $p/etcdutl"
  echo "containerd $V_CONTAINERD https://$GITHUB/containerd/containerd/releases/download/v$V_CONTAINERD/containerd-$V_CONTAINERD-linux-$ARCH.tar.gz bin/*"
  echo "runc $V_RUNC https://$GITHUB/opencontainers/runc/releases/download/v$V_RUNC/runc.$ARCH"
  echo "crictl $V_CRICTL https://$GITHUB/kubernetes-sigs/cri-tools/releases/download/v$V_CRICTL/crictl-v$V_CRICTL-linux-$ARCH.tar.gz crictl"
  echo "nerdctl $V_NERDCTL https://$GITHUB/containerd/nerdctl/releases/download/v$V_NERDCTL/nerdctl-$V_NERDCTL-linux-$ARCH.tar.gz nerdctl"
  echo "cni-plugins $V_CNI https://$GITHUB/containernetworking/plugins/releases/download/v$V_CNI/cni-plugins-linux-$ARCH-v$V_CNI.tgz *"
  echo "helm $V_HELM https://get.helm.sh/helm-v$V_HELM-linux-$ARCH.tar.gz linux-$ARCH/helm"
}

package() {
  local work root name version url members
  scratch work
  while read -r name version url members; do
    root=$work/$name
    mkdir -p "$root"
    case $name in
      kubelet | kubeadm | kubectl) put "$BIN/kubernetes/$name" "$url" ;;
      runc) put "$BIN/runc/runc" "$url" ;;
      etcd) cp -r "$BIN/etcd" "$root/etcd-v$version-linux-$ARCH"; archive "$url" "$root" "etcd-v$version-linux-$ARCH" ;;
      containerd) cp -r "$BIN/containerd" "$root/bin"; archive "$url" "$root" bin ;;
      helm) cp -r "$BIN/helm" "$root/linux-$ARCH"; archive "$url" "$root" "linux-$ARCH" ;;
      cni-plugins) archive "$url" "$BIN/cni-plugins" . ;; # upstream's members are ./bridge, ...
      crictl | nerdctl) archive "$url" "$BIN/$name" "$name" ;;
    esac
  done < <(file_table)
}

# A component whose go.mod drifted to another version than the table says must not pass.
verify_versions() {
  local got
  check() { got=$("${@:2}" 2>&1) || true; [[ $got == *"$1"* ]] || die "$2 says \"$got\", wanted $1"; }
  check "v$V_KUBE" "$BIN/kubernetes/kubelet" --version
  check "$V_ETCD" "$BIN/etcd/etcd" --version
  check "$V_ETCD" "$BIN/etcd/etcdctl" version
  check "v$V_CONTAINERD" "$BIN/containerd/containerd" --version
  check "$V_RUNC" "$BIN/runc/runc" --version
  check "v$V_HELM" "$BIN/helm/helm" version
  check "lab stand-in" "$BIN/crictl/crictl" --version
  check "lab stand-in" "$BIN/nerdctl/nerdctl" --version
}

artifacts_from_modules() {
  local c keys=
  for c in "${COMPONENTS[@]}"; do
    cached "build-$c" "$(build_key "$c")" build_component "$c"
    keys+=$(<"$CACHE/stamps/build-$c")
  done
  cached files "$({ echo "$keys"; file_table; sha "$LAB_DIR/lib/artifacts.sh"; } | sha256sum | cut -d' ' -f1)" package_and_verify
}
package_and_verify() { verify_versions; package; }

# lock_files LOCK: "SHA256 URL" of this architecture's files in an artifacts.lock.
lock_files() {
  awk -v arch="$ARCH" '
    function out() { if (kind == "[[file]]" && f["arch"] == arch) print f["sha256"], f["url"]; delete f }
    /^\[\[/ { out(); kind = $1 }
    /^[a-z0-9_]+ *= *"/ { k = $1; sub(/^[^"]*"/, ""); sub(/".*/, ""); f[k] = $0 }
    END { out() }' "$1"
}
artifacts_from_upstream() { cached files "$(lock_files "$SHIPPED_LOCK" | sha256sum | cut -d' ' -f1)" download_files; }
download_files() {
  local sum url to
  while read -r sum url; do
    to=$MIRROR/${url#https://}
    mkdir -p "$(dirname "$to")"
    [[ -f $to ]] && continue
    say "downloading $url"
    curl -fsSL --retry 3 -C - -o "$to.part" "$url" || die "downloading $url failed; run again to continue, or set K8STEPS_LAB_SOURCE=modules"
    sha256sum -c --status <<<"$sum  $to.part" || { rm -f "$to.part"; die "$url does not have the sha256 the lock names ($sum)"; }
    mv -f "$to.part" "$to"
  done < <(lock_files "$SHIPPED_LOCK")
}

artifacts() {
  deps
  "artifacts_from_$(source_mode)"
  # toolbox and the images for pods of the tests are built in either case: see images.sh
}
