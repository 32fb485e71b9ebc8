# Prove a cluster with real pods: named checks, each with a limit, each saying what it saw last.
# shellcheck shell=bash

PROBE_NS=k8steps-probe
PROBE_ANSWER=answer-from-the-probe-server

probe_objects() {
  cat <<EOF
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: $PROBE_NS, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: httpd
    image: docker.io/k8steps/toolbox:1
    command: [sh, -c, "mkdir -p /tmp/www && echo $PROBE_ANSWER >/tmp/www/index.html && echo serving && exec httpd -f -p 8080 -h /tmp/www"]
    readinessProbe: {httpGet: {path: /index.html, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: server, namespace: $PROBE_NS}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: $PROBE_NS}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{name: sleep, image: "docker.io/k8steps/toolbox:1", command: [sleep, "3600"]}]
EOF
}

# An exec stream has no limit of its own; and busybox's wget dies of its own -T.
kube() { node_do "$PROBE_NODE" /usr/local/bin/kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout=10s "$@"; }
in_client() { kube -n "$PROBE_NS" exec client -- timeout 5 "$@"; }

# check NAME SECONDS FUNCTION: repeat FUNCTION until it succeeds; its output is what was seen.
check() {
  local name=$1 limit=$2 started seen; shift 2
  [[ " $PROBE_SKIP " != *" $name "* ]] || { echo "skipped $name"; return 0; }
  started=$(date +%s)
  until seen=$("$@" 2>&1); do
    if (($(date +%s) - started >= limit)); then
      echo "FAIL $name: after $limit s: $(tr '\n' '|' <<<"${seen:-nothing}" | cut -c1-600)"
      PROBE_FAILED=1
      return 0
    fi
    sleep 0.3
  done
  echo "ok $name ($(($(date +%s) - started)) s)"
}

probe_node_ready() { kube get node "$(node_do "$PROBE_NODE" hostname)" -o 'jsonpath={range .status.conditions[?(@.type=="Ready")]}{.status} {.reason} {.message}{end}' | sed 's/^/Ready=/' | tee /dev/stderr | grep -q '^Ready=True'; }

# Pods that are neither finished nor wholly ready, one a line; none may remain.
unready_pods() {
  kube get pods -A -o json | jq -r '.items[] | select(.status.phase != "Succeeded")
    | select(.status.reason != "Terminated") # ended by a shutdown of the node; Kubernetes keeps their names
    | select((.status.phase != "Running") or ([.status.containerStatuses[]?.ready] | all | not))
    | "\(.metadata.namespace)/\(.metadata.name) \(.status.phase) \([.status.containerStatuses[]?, .status.initContainerStatuses[]? | .state.waiting // .state.terminated | .reason? // empty] | unique | join(","))"'
}
probe_pods_ready() { local bad; bad=$(unready_pods) || return 1; echo "$bad"; [[ -z $bad ]]; }
probe_default_account() { kube -n default get serviceaccount default; }
probe_objects_made() { kube get namespace "$PROBE_NS" || kube create namespace "$PROBE_NS" || return 1; kube -n "$PROBE_NS" get serviceaccount default || return 1; probe_objects | kube apply -f -; }
probe_pod() { kube -n "$PROBE_NS" get pod "$1" -o 'jsonpath={.status.phase} {.status.containerStatuses[*].ready} {.status.conditions[*].message} {.status.containerStatuses[*].state}' | tee /dev/stderr | grep -q '^Running true'; }
probe_dns() { in_client nslookup kubernetes.default.svc.cluster.local | tee /dev/stderr | grep -q "$(kube get service kubernetes -o 'jsonpath={.spec.clusterIP}')"; }
probe_service_name() { in_client wget -qO- "http://server.$PROBE_NS.svc.cluster.local/" | tee /dev/stderr | grep -q "$PROBE_ANSWER"; }
probe_cluster_ip() { in_client wget -qO- "http://$(kube -n "$PROBE_NS" get service server -o 'jsonpath={.spec.clusterIP}')/" | tee /dev/stderr | grep -q "$PROBE_ANSWER"; }
probe_logs() { kube -n "$PROBE_NS" logs server | tee /dev/stderr | grep -qx serving; }
probe_exec() { in_client id -u | tee /dev/stderr | grep -qx 0; }
probe_top() { kube top node | tee /dev/stderr | grep -qE '[0-9]+m +[0-9]+%'; }
probe_nfd() { kube get node -o json | jq -r '.items[].metadata.labels | keys[] | select(startswith("feature.node.kubernetes.io/"))' | head -50 | grep -c .; }
probe_helm() { node_do "$PROBE_NODE" /usr/local/bin/helm version --short; }
probe_air_gap() { ! in_client nslookup -timeout=2 example.com; }
probe_gone() { kube delete namespace "$PROBE_NS" --ignore-not-found --timeout=60s --request-timeout=70s; }

probe() {
  PROBE_NODE=${1:-} PROBE_SKIP='' PROBE_FAILED=''
  node_name_ok "$PROBE_NODE"; shift
  while (($#)); do
    [[ $1 == --skip && $# -ge 2 ]] || die_usage "probe NODE [--skip CHECK]..."
    PROBE_SKIP+=" $2"; shift 2
  done
  node_pid "$PROBE_NODE" >/dev/null || die "$PROBE_NODE does not run: start it with \"up $PROBE_NODE\""
  check node-ready 120 probe_node_ready
  check default-service-account 60 probe_default_account
  check pods-ready 180 probe_pods_ready
  check probe-objects 60 probe_objects_made
  check server-pod 90 probe_pod server
  check client-pod 60 probe_pod client
  check dns 60 probe_dns
  check service-by-name 30 probe_service_name
  check service-by-cluster-ip 30 probe_cluster_ip
  check logs 20 probe_logs
  check exec 20 probe_exec
  check top-node 150 probe_top
  check nfd-labels 120 probe_nfd
  check helm 20 probe_helm
  check air-gap 10 probe_air_gap
  check cleaned-up 90 probe_gone
  [[ -z $PROBE_FAILED ]] || exit 1
}
