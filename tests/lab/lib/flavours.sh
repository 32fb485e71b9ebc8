# Other roots than the plain Debian one. Each is a directory in flavours/: Debian `packages` added
# to the root it comes `from` (plain, if that says nothing), then the files below `root`, then
# what `finish ROOT MIRROR` does.
# shellcheck shell=bash

PLAIN=plain
FLAVOURS=$LAB_DIR/flavours

flavour_names() { echo "$PLAIN"; (cd "$FLAVOURS" && printf '%s\n' *); }
flavour_ok() { [[ $'\n'$(flavour_names)$'\n' == *$'\n'"$1"$'\n'* ]] || die_usage "no such flavour: $1 (there is: $(flavour_names | xargs))"; }
flavour_from() { if [[ -f $FLAVOURS/$1/from ]]; then cat "$FLAVOURS/$1/from"; else echo "$PLAIN"; fi; }
# flavour_piece FLAVOUR: what its root is called in the cache.
flavour_piece() { if [[ $1 == "$PLAIN" ]]; then echo rootfs; else echo "rootfs-$1"; fi; }
flavour_root() { echo "$CACHE/$(flavour_piece "$1")"; }

# flavour FLAVOUR: its root is in the cache, and so is what it stands on.
flavour() {
  local from
  if [[ $1 == "$PLAIN" ]]; then rootfs; return; fi
  from=$(flavour_from "$1")
  flavour "$from"
  cached "$(flavour_piece "$1")" "$({ cat "$CACHE/stamps/$(flavour_piece "$from")"; tree_sha "$FLAVOURS/$1"
    sha "$LAB_DIR/lib/flavours.sh"; } | sha256sum | cut -d' ' -f1)" make_flavour "$1" "$from"
}

make_flavour() {
  local name=$1 from r packages log=$CACHE/rootfs-$1.log dir=$FLAVOURS/$1
  from=$(flavour_root "$2") r=$(flavour_root "$name").new
  rm -rf "$r"
  packages=$(paste -sd, "$dir/packages")
  # Into a copy: mmdebstrap brings the package lists and what an installation must not see of this machine.
  # shellcheck disable=SC2016  # $1 is for the hook's shell
  FROM=$from mmdebstrap --quiet --variant=custom --include="$packages" --setup-hook='cp -a "$FROM/." "$1"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    bookworm "$r" </dev/null >"$log" 2>&1 \
    || { tail -20 "$log" >&2; die "mmdebstrap could not make the node root \"$name\""; }
  [[ ! -d $dir/root ]] || cp -a --no-preserve=ownership "$dir/root/." "$r/"
  [[ ! -x $dir/finish ]] || "$dir/finish" "$r" "$MIRROR" >>"$log" 2>&1 || { tail -20 "$log" >&2; die "flavours/$name/finish failed"; }
  rm -rf "$r"/var/cache/apt/archives/*.deb "${r:?}"/dev/*
  : >"$r/etc/machine-id" # as in make_rootfs
  rm -f "$r/var/lib/dbus/machine-id"
  rm -rf "$(flavour_root "$name")"
  mv "$r" "$(flavour_root "$name")"
}
