# The file mirror, the registry and the name server, inside the lab's network namespace.
# shellcheck shell=bash

# service NAME COMMAND...: start it unless the recorded process still runs.
service() {
  local name=$1 pid; shift
  if recorded_pid "$name" >/dev/null; then return 0; fi
  (
    exec 9>&- </dev/null >>"$STATE/log/$name" 2>&1
    if cgroup_v1; then cgroup_join services; fi
    exec setsid nsenter --net="$NETNS_DIR/$(netns)" "$@"
  ) &
  pid=$!
  record_pid "$name" "$pid"
}

in_hub() { nsenter --net="$NETNS_DIR/$(netns)" "$@"; }
mirror_answers() { in_hub curl -fs -m 2 -o /dev/null "http://$HUB_IP:$MIRROR_PORT/lab-mirror"; }
registry_answers() { in_hub curl -fs -m 2 -o /dev/null "http://$HUB_IP:$REGISTRY_PORT/v2/"; }

name_server_answers() { in_hub curl -fs -m 2 -o /dev/null "http://$HUB_IP:$DNS_HEALTH_PORT/health"; }

# name_server_program: CoreDNS, built here or taken out of upstream's image.
name_server_program() {
  local program=$BIN/coredns/coredns layer
  if [[ ! -x $program && -f $OCI/coredns/manifest.json ]]; then
    mkdir -p "${program%/*}"
    for layer in $(jq -r '.layers[].digest' "$OCI/coredns/manifest.json"); do
      tar -xzf "$OCI/coredns/${layer#sha256:}" -C "${program%/*}" coredns 2>/dev/null || true
    done
  fi
  [[ -x $program ]] || die "no CoreDNS in the cache to serve names with: run \"artifacts\" and \"images\""
  echo "$program"
}

services_start() {
  local name_server
  name_server=$(name_server_program)
  mkdir -p "$STATE/log" "$STATE/nginx"
  nginx_config >"$STATE/nginx.conf"
  registry_config "$HUB_IP:$REGISTRY_PORT" true >"$STATE/registry.yml"
  root_zone >"$STATE/zone"
  corefile >"$STATE/Corefile"
  if cgroup_v1; then cgroup_make services; fi
  service mirror nginx -p "$STATE/nginx" -e "$STATE/log/mirror-error" -c "$STATE/nginx.conf"
  service registry docker-registry serve "$STATE/registry.yml"
  service names "$name_server" -conf "$STATE/Corefile"
  until_ok 15 "the file mirror answers on $HUB_IP:$MIRROR_PORT (see $STATE/log/mirror-error)" mirror_answers
  until_ok 15 "the registry answers on $HUB_IP:$REGISTRY_PORT (see $STATE/log/registry)" registry_answers
  until_ok 15 "the name server answers on $HUB_IP (see $STATE/log/names)" name_server_answers
}

corefile() {
  cat <<EOF
. {
  bind $HUB_IP
  file $STATE/zone .
  health $HUB_IP:$DNS_HEALTH_PORT
  errors
}
EOF
}

# All the names there are: the root, which answers for itself, and lab.example. Every other name is
# known not to exist, at once.
root_zone() {
  cat <<EOF
. 60 IN SOA ns.lab.example. ops.lab.example. 1 3600 600 86400 60
. 60 IN NS ns.lab.example.
ns.lab.example. 60 IN A $HUB_IP
host.lab.example. 60 IN A 192.0.2.80
EOF
}

nginx_config() {
  cat <<EOF
user root; daemon off; worker_processes 1;
pid $STATE/nginx/pid;
error_log $STATE/log/mirror-error;
events { worker_connections 256; }
http {
  access_log $STATE/log/mirror-access;
  client_body_temp_path $STATE/nginx/body; proxy_temp_path $STATE/nginx/proxy;
  fastcgi_temp_path $STATE/nginx/fastcgi; uwsgi_temp_path $STATE/nginx/uwsgi; scgi_temp_path $STATE/nginx/scgi;
  default_type application/octet-stream; sendfile on;
  server {
    listen $HUB_IP:$MIRROR_PORT;
    root $MIRROR;
    location = /lab-mirror { return 200 "k8steps lab mirror\\n"; }
  }
}
EOF
}
