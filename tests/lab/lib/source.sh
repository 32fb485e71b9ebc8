# Where artifacts come from, and the recipe of each component built from Go modules.
# shellcheck shell=bash

SHIPPED_LOCK=$LAB_DIR/../../share/artifacts.lock

# upstream or modules. Asked once a machine: one short request; the answer stays in the cache.
source_mode() {
  case ${K8STEPS_LAB_SOURCE:-auto} in
    upstream | modules) echo "$K8STEPS_LAB_SOURCE"; return ;;
    auto) ;;
    *) die_usage "K8STEPS_LAB_SOURCE is auto, upstream or modules" ;;
  esac
  if [[ ! -f $CACHE/source ]]; then
    local mode=modules
    if [[ -f $SHIPPED_LOCK ]] && curl -fsS -m 4 -o /dev/null https://dl.k8s.io/release/stable.txt 2>/dev/null; then
      mode=upstream
    fi
    mkdir -p "$CACHE"
    echo "$mode" >"$CACHE/source.tmp.$$" && mv -f "$CACHE/source.tmp.$$" "$CACHE/source"
    say "artifacts come from: $mode (kept in $CACHE/source)"
  fi
  cat "$CACHE/source"
}

# Versions as built here. The go.mod of each component says the same; a test of each program's
# own --version (see verify_versions) keeps the two from drifting apart.
V_KUBE=1.33.3 V_ETCD=3.5.34 V_CONTAINERD=2.1.5 V_RUNC=1.3.4 V_CNI=1.8.0 V_HELM=3.18.4
V_CRICTL=1.33.0 V_NERDCTL=2.1.6 V_COREDNS=1.12.0 V_METRICS=0.9.0 V_NFD=0.17.3 V_FLANNEL=0.28.4
V_FLANNEL_CNI=1.7.1-flannel1 V_CPA=1.8.8 V_PAUSE=3.10

COMPONENTS=(kubernetes etcd containerd runc cni-plugins flannel-cni-plugin flannel coredns
  metrics-server nfd helm crictl nerdctl cluster-proportional-autoscaler pause)

# recipe COMPONENT sets: cgo, tags, ldflags, and programs as "NAME=PACKAGE".
# Output goes to bin/COMPONENT/NAME in the cache.
recipe() {
  local p
  cgo=0 tags='' ldflags='-s -w' programs=()
  case $1 in
    kubernetes)
      p=k8s.io/component-base/version
      ldflags+=" -X $p.gitVersion=v$V_KUBE -X $p.gitMajor=1 -X $p.gitMinor=33"
      ldflags+=" -X $p.gitCommit=80779bd6ff08b451e1c165a338a7b69351e9b0b8 -X $p.gitTreeState=clean"
      ldflags+=" -X $p.buildDate=2025-07-15T18:01:22Z -X k8s.io/client-go/pkg/version.gitVersion=v$V_KUBE"
      for p in kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubeadm kubectl kubelet; do
        programs+=("$p=k8s.io/kubernetes/cmd/$p")
      done ;;
    etcd | etcd-next) programs=(etcd=go.etcd.io/etcd/server/v3 etcdctl=go.etcd.io/etcd/etcdctl/v3 etcdutl=go.etcd.io/etcd/etcdutl/v3) ;;
    containerd)
      p=github.com/containerd/containerd/v2
      ldflags+=" -X $p/version.Version=v$V_CONTAINERD"
      programs=("containerd=$p/cmd/containerd" "ctr=$p/cmd/ctr" "containerd-shim-runc-v2=$p/cmd/containerd-shim-runc-v2") ;;
    runc) # static, as upstream releases it
      cgo=1 tags='seccomp netgo osusergo' ldflags+=" -extldflags -static -X main.version=$V_RUNC"
      programs=(runc=github.com/opencontainers/runc) ;;
    cni-plugins)
      p=github.com/containernetworking/plugins
      ldflags+=" -X $p/pkg/utils/buildversion.BuildVersion=v$V_CNI"
      for p in ipam/{dhcp,host-local,static} main/{bridge,dummy,host-device,ipvlan,loopback,macvlan,ptp,tap,vlan} \
        meta/{bandwidth,firewall,portmap,sbr,tuning,vrf}; do
        programs+=("${p##*/}=github.com/containernetworking/plugins/plugins/$p")
      done ;;
    flannel-cni-plugin) programs=(flannel=github.com/containernetworking/plugins/plugins/meta/flannel) ;;
    flannel) # its vxlan backend calls the C library
      cgo=1 ldflags+=" -X github.com/flannel-io/flannel/pkg/version.Version=v$V_FLANNEL"
      programs=(flanneld=github.com/flannel-io/flannel) ;;
    coredns) programs=(coredns=github.com/coredns/coredns) ;;
    metrics-server)
      ldflags+=" -X k8s.io/client-go/pkg/version.gitVersion=v$V_METRICS"
      programs=(metrics-server=sigs.k8s.io/metrics-server/cmd/metrics-server) ;;
    nfd)
      p=sigs.k8s.io/node-feature-discovery
      # The worker sees the host's files below /host-..., as its manifest mounts them.
      ldflags+=" -X $p/pkg/version.version=v$V_NFD -X $p/pkg/utils/hostpath.pathPrefix=/host-"
      programs=("nfd-master=$p/cmd/nfd-master" "nfd-worker=$p/cmd/nfd-worker" "nfd-gc=$p/cmd/nfd-gc") ;;
    helm)
      p=helm.sh/helm/v3
      ldflags+=" -X $p/internal/version.version=v$V_HELM -X $p/internal/version.gitTreeState=clean"
      programs=("helm=$p/cmd/helm") ;;
    crictl | nerdctl | cluster-proportional-autoscaler | pause) programs=("$1=k8steps.invalid/lab/$1") ;;
    *) die "no recipe for component $1" ;;
  esac
}
