# What runs, and where it answers.
# shellcheck shell=bash

status() {
  local p pid any='' name
  for p in "$STATE/pids/"*; do
    [[ -e $p ]] || continue
    name=${p##*/} any=1
    if pid=$(recorded_pid "$name"); then printf '%-10s running  pid %s' "$name" "$pid"; else printf '%-10s DEAD' "$name"; fi
    case $name in
      mirror) echo "  http://$HUB_IP:$MIRROR_PORT" ;;
      registry) echo "  http://$HUB_IP:$REGISTRY_PORT" ;;
      names) echo "  $HUB_IP port 53" ;;
      *) echo "  10.99.0.$((10 + ${name#node}))  disk $(node_disk "$name")" ;;
    esac
  done
  [[ -n $any ]] || echo "no lab called \"$LAB\" runs"
}
