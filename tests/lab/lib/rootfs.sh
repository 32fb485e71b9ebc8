# The Debian root a node starts from: what a freshly installed server would have, so that the
# product meets real packages, and nothing it is supposed to install or configure itself.
# shellcheck shell=bash

ROOTFS=$CACHE/rootfs
# The node has no way to a package archive, so everything kubespray installs is already there.
ROOTFS_PACKAGES=(
  systemd systemd-sysv dbus libpam-systemd udev init adduser passwd login procps kmod
  apt-transport-https apparmor bash-completion ca-certificates conntrack curl e2fsprogs ebtables
  ethtool gnupg iproute2 ipset iptables iputils-ping jq less libseccomp2 make nftables openssl
  python3-apt rsync socat software-properties-common strace sudo tar unzip xfsprogs
  hostname netbase tzdata cron logrotate openssh-client file psmisc lsof util-linux-extra)

# The first process of a node: it undoes what a container differs in from a machine, while nothing
# else runs yet, and becomes systemd. See README.md, "Traps".
lab_init() {
  cat <<'EOF'
#!/bin/sh
# cgroup v1 controllers arrive read-only; systemd, containerd and kubelet must write them.
for c in /sys/fs/cgroup/*/; do
  mount -o remount,bind,rw "$c" 2>/dev/null || true
done
# vm.* and kernel.* belong to the machine below. A private file with the present value takes the
# place of each one a node wants to set: writes work, and touch nothing outside.
mkdir -p /run/lab-shadow
for s in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops \
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
  f=/run/lab-shadow/$(echo "$s" | tr / -)
  [ -e "/proc/sys/$s" ] || continue
  cat "/proc/sys/$s" >"$f" && chmod 644 "$f" && mount --bind "$f" "/proc/sys/$s"
done
exec /lib/systemd/systemd "$@"
EOF
}

make_rootfs() {
  local packages r=$ROOTFS.new
  rm -rf "$r"
  packages=$(IFS=,; echo "${ROOTFS_PACKAGES[*]}")
  mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    bookworm "$r" </dev/null >"$CACHE/rootfs.log" 2>&1 \
    || { tail -20 "$CACHE/rootfs.log" >&2; die "mmdebstrap could not make the node root"; }
  rm -rf "$r"/var/cache/apt/archives/*.deb "${r:?}"/dev/*
  : >"$r/etc/machine-id" # every node gets its own at its first boot
  rm -f "$r/var/lib/dbus/machine-id"
  echo debian >"$r/etc/hostname"
  printf '127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n::1\tlocalhost ip6-localhost ip6-loopback\n' >"$r/etc/hosts"
  printf 'nameserver %s\n' "$HUB_IP" >"$r/etc/resolv.conf"
  mkdir -p "$r/var/log/journal"
  lab_init >"$r/usr/local/sbin/lab-init" && chmod 755 "$r/usr/local/sbin/lab-init"
  # Terminals, and units that would fiddle with devices or the clock of the machine below.
  local u
  for u in getty.target console-getty.service systemd-timesyncd.service systemd-udevd.service \
    systemd-udev-trigger.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer \
    apparmor.service systemd-binfmt.service kmod-static-nodes.service sys-kernel-debug.mount \
    sys-kernel-tracing.mount proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "$r/etc/systemd/system/$u"
  done
  rm -rf "$ROOTFS"
  mv "$r" "$ROOTFS"
}

rootfs() {
  deps
  cached rootfs "$({ echo "${ROOTFS_PACKAGES[*]}"; sha "$LAB_DIR/lib/rootfs.sh"; } | sha256sum | cut -d' ' -f1)" make_rootfs
}
