# Container images, each written as an OCI layout of our own so that the same input gives the
# same digest, and pushed once into the cached registry that every lab serves read-only.
# shellcheck shell=bash

OCI=$CACHE/oci
REGISTRY_DATA=$CACHE/registry
TOOLBOX_REF=docker.io/k8steps/toolbox:1 # the tests' own pods; not part of any lock
LINKS_SHELL=(sh cp cat ls mkdir rm sleep echo test id env nslookup wget httpd nc ip ps grep sed hostname timeout)

# NAME REF USER ENTRYPOINT BASE FILE=DEST...: the images of the lock. BASE is what lies below the
# programs: none, or the Debian tools that kube-proxy and flannel call, or busybox alone.
image_table() {
  local p k=registry.k8s.io
  for p in kube-apiserver kube-controller-manager kube-scheduler; do
    echo "$p $k/$p:v$V_KUBE 0 - none kubernetes/$p=/usr/local/bin/$p"
  done
  cat <<EOF
kube-proxy $k/kube-proxy:v$V_KUBE 0 - tools kubernetes/kube-proxy=/usr/local/bin/kube-proxy
pause $k/pause:$V_PAUSE 65535:65535 /pause none pause/pause=/pause
coredns $k/coredns/coredns:v$V_COREDNS 65532:65532 /coredns none coredns/coredns=/coredns
cluster-proportional-autoscaler $k/cpa/cluster-proportional-autoscaler:v$V_CPA 65532:65532 /cluster-proportional-autoscaler none cluster-proportional-autoscaler/cluster-proportional-autoscaler=/cluster-proportional-autoscaler
metrics-server $k/metrics-server/metrics-server:v$V_METRICS 65534 /metrics-server none metrics-server/metrics-server=/metrics-server
node-feature-discovery $k/nfd/node-feature-discovery:v$V_NFD 65534:65534 - none nfd/nfd-master=/usr/bin/nfd-master nfd/nfd-worker=/usr/bin/nfd-worker nfd/nfd-gc=/usr/bin/nfd-gc
flannel docker.io/flannel/flannel:v$V_FLANNEL 0 /opt/bin/flanneld tools flannel/flanneld=/opt/bin/flanneld
flannel-cni-plugin docker.io/flannel/flannel-cni-plugin:v$V_FLANNEL_CNI 0 - busybox flannel-cni-plugin/flannel=/flannel
EOF
}

# image_skeleton ROOT: what a from-scratch image needs besides its program.
image_skeleton() {
  mkdir -p "$1/etc/ssl/certs" "$1/tmp" "$1/var/run"
  chmod 1777 "$1/tmp"
  printf 'root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >"$1/etc/passwd"
  printf 'root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n' >"$1/etc/group"
  cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"
}

busybox_links() { local a; mkdir -p "$1/bin"; for a in "${LINKS_SHELL[@]}"; do [[ -e $1/bin/$a || -L $1/bin/$a ]] || ln -s busybox "$1/bin/$a"; done; }

# The dynamic busybox: a static program of this C library needs its shared parts anyway to resolve names.
# The trees below images: made once, by mmdebstrap's extract variant, which runs no package script.
make_bases() {
  local work list a
  scratch work
  for list in busybox busybox,iptables,nftables,conntrack,kmod,iproute2; do
    say "base tree: $list"
    mmdebstrap --quiet --variant=extract --include="$list" bookworm "$work/root" </dev/null >/dev/null 2>"$work/err" \
      || { cat "$work/err" >&2; die "mmdebstrap could not make a base from $list"; }
    rm -rf "$work/root"/usr/share/{doc,man,locale,bash-completion,lintian,menu,bug} "$work/root"/var/{cache,lib/apt,lib/dpkg,log} "$work/root"/{dev,etc/apt,etc/dpkg,etc/fstab,etc/hostname,etc/resolv.conf}
    # Without package scripts there are no alternatives: link the nft flavour ourselves.
    if [[ $list == *iptables* ]]; then
      for a in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do
        ln -sf xtables-nft-multi "$work/root/usr/sbin/$a"
      done
    fi
    busybox_links "$work/root"
    image_skeleton "$work/root"
    a=busybox; [[ $list == *,* ]] && a=tools
    layer "$work/root" "$CACHE/base/$a"
    rm -rf "$work/root"
  done
}

# layer ROOT OUT: ROOT as a reproducible layer: OUT.gz, and OUT.diff holding its uncompressed digest.
layer() {
  mkdir -p "$(dirname "$2")"
  tar -C "$1" --sort=name --mtime="@$EPOCH" --owner=0 --group=0 --numeric-owner --format=pax \
    --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
    --xattrs --xattrs-include=security.capability -cf "$2.tar" .
  sha "$2.tar" >"$2.diff"
  gzip -1n <"$2.tar" >"$2.gz"
  rm -f "$2.tar"
}

# blob LAYOUT FILE: move FILE into the layout; prints its digest.
blob() { local d; d=$(sha "$2"); mv -f "$2" "$1/blobs/sha256/$d"; echo "$d"; }

# oci_image OUT USER ENTRYPOINT LAYER...: an OCI layout in OUT from layers made by layer().
oci_image() {
  local out=$1 user=$2 entry=$3 l d layers='[]' diffs='[]' config manifest size; shift 3
  rm -rf "$out"; mkdir -p "$out/blobs/sha256"
  for l; do
    cp "$l.gz" "$out/layer"
    size=$(stat -c %s "$out/layer")
    d=$(blob "$out" "$out/layer")
    layers=$(jq -c --arg d "sha256:$d" --argjson s "$size" '. + [{mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: $d, size: $s}]' <<<"$layers")
    diffs=$(jq -c --arg d "sha256:$(<"$l.diff")" '. + [$d]' <<<"$diffs")
  done
  jq -nc --arg arch "$ARCH" --arg user "$user" --arg entry "$entry" --argjson diffs "$diffs" '{
    created: "2025-01-01T00:00:00Z", architecture: $arch, os: "linux",
    config: ({User: $user, WorkingDir: "/", Env: ["PATH=/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
      + (if $entry == "-" then {} else {Entrypoint: [$entry]} end)),
    rootfs: {type: "layers", diff_ids: $diffs}}' >"$out/config"
  size=$(stat -c %s "$out/config"); config=$(blob "$out" "$out/config")
  jq -nc --arg d "sha256:$config" --argjson s "$size" --argjson layers "$layers" '{schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: {mediaType: "application/vnd.oci.image.config.v1+json", digest: $d, size: $s}, layers: $layers}' >"$out/manifest"
  size=$(stat -c %s "$out/manifest"); manifest=$(blob "$out" "$out/manifest")
  echo '{"imageLayoutVersion":"1.0.0"}' >"$out/oci-layout"
  jq -nc --arg d "sha256:$manifest" --argjson s "$size" '{schemaVersion: 2, manifests: [
    {mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $d, size: $s}]}' >"$out/index.json"
}

build_image() { # NAME REF USER ENTRYPOINT BASE FILE=DEST...
  local name=$1 user=$3 entry=$4 base=$5 work f layers=(); shift 5
  scratch work
  mkdir -p "$work/root"
  if [[ $base == none ]]; then image_skeleton "$work/root"; else layers=("$CACHE/base/$base"); fi
  for f; do install -D -m 755 "$BIN/${f%%=*}" "$work/root/${f#*=}"; done
  # As in the real image: an unprivileged CoreDNS may still bind port 53.
  [[ $name != coredns ]] || setcap cap_net_bind_service=+ep "$work/root/coredns"
  if (($#)); then layer "$work/root" "$work/top"; layers+=("$work/top"); fi
  oci_image "$OCI/$name" "$user" "$entry" "${layers[@]}"
}

images_from_modules() {
  local row fields keys
  while read -r row; do
    read -ra fields <<<"$row"
    keys=$(for f in "${fields[@]:5}"; do cat "$CACHE/stamps/build-${f%%/*}"; done)
    cached "image-${fields[0]}" "$(sha256sum <<<"$row $keys $(<"$CACHE/stamps/bases") $ARCH" | cut -d' ' -f1)" build_image "${fields[@]}"
  done < <(image_table)
}

images() {
  local mode
  mode=$(source_mode)
  cached bases "$(sha "$LAB_DIR/lib/images.sh")" make_bases
  [[ $mode == upstream ]] || images_from_modules
  cached image-toolbox "$(<"$CACHE/stamps/bases")" build_image toolbox - 0 - busybox
  cached registry "$({ echo "$mode"; image_refs "$mode"; sha "$CACHE"/stamps/image-*; } | sha256sum | cut -d' ' -f1)" fill_registry "$mode"
}
