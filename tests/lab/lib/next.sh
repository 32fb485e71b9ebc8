# The release of etcd after the lab's own, for the test of an upgrade: on the mirror, in no lock.
# shellcheck shell=bash

V_ETCD_NEXT=3.5.35

next() {
  cached build-etcd-next "$(build_key etcd-next)" build_component etcd-next
  cached mirror-etcd-next "$(sha "$CACHE/stamps/build-etcd-next" "$LAB_DIR/lib/next.sh")" package_next
}

package_next() {
  local work p=etcd-v$V_ETCD_NEXT-linux-$ARCH got
  got=$("$BIN/etcd-next/etcd" --version)
  [[ $got == *"$V_ETCD_NEXT"* ]] || die "etcd-next says \"$got\", wanted $V_ETCD_NEXT"
  scratch work
  mkdir "$work/root"
  cp -r "$BIN/etcd-next" "$work/root/$p"
  archive "https://$GITHUB/etcd-io/etcd/releases/download/v$V_ETCD_NEXT/$p.tar.gz" "$work/root" "$p"
}
