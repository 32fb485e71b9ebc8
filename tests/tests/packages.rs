//! Packages, with the programs that really install them: a transaction that is killed, a package
//! that somebody removed, and packages of the operator's that need ours.

use pipeline_tests::{events, node::Node};

/// A package that kills dnf, and kprep which runs it, as soon as `ipset-libs` has come; when `/run/cut` is there.
const CUT: &str = r#"%triggerin -p <lua> -- ipset-libs
if os.remove("/run/cut") then os.execute("kill -KILL $(ps -o ppid= -p $PPID) $PPID") end"#;

/// The operator makes and installs the package `name`.
fn rpm(node: &Node, name: &str, more: &str, scripts: &str) {
    let spec = format!(
        "Name: {name}\nVersion: 1\nRelease: 1\nBuildArch: noarch\nSummary: x\nLicense: MIT\n{more}\n\
         %description\nx\n{scripts}\n%files\n"
    );
    let script = "d=$(mktemp -d) && cat >$d/spec && rpmbuild --quiet -bb --define \"_topdir $d\" $d/spec \
        && rpm --install --force-debian $d/RPMS/noarch/*.rpm && rm -r $d";
    let (code, said) = node.fed(script, spec.as_bytes());
    assert_eq!(code, 0, "{said}");
}

#[test]
fn dnf() {
    let node = Node::boot("k8spkr", "rocky");
    rpm(&node, "lab-cut", "", CUT);
    let all = "rpm -qa --queryformat '%{NAME}\\n' | sort";
    let before = node.must(all);

    cut(&node);
    let half = node.must(all);
    assert!(half.contains("ipset-libs\n") && !half.contains("ipset\n"), "{half}");
    node.must("kprep reset --yes");
    assert_eq!(node.must(all), before, "what dnf had no time to note the reason of");
    cut(&node);
    node.must("kprep apply && kprep plan");

    drifts(&node, "rpm -e --nodeps socat", "rpm -q socat");
    drifts(&node, "rpm -e --nodeps iptables-nft", "rpm -q iptables-nft");

    rpm(&node, "lab-mine", "Requires: ipset", "");
    node.must("dnf mark install libnetfilter_conntrack");
    let said = node.must("kprep reset --yes");
    let told = "packages stay: ipset ipset-libs: needed by lab-mine; \
        libnetfilter_conntrack: somebody asked for it since";
    assert!(said.contains(told), "{said}");
    let stay = ["ipset", "ipset-libs", "lab-mine", "libnetfilter_conntrack"];
    assert_eq!(node.must(all), with(&before, &stay));
    node.down();
}

/// An archive with `lab-tool`, which needs `lab-lib`; that one kills dpkg, apt and kprep before it is
/// unpacked or while it is set up, when `/run/cut` says so. `lab-mine` is the operator's.
const ARCHIVE: &str = r#"set -e
mkdir -p /srv/deb && cd /srv/deb
make() {
  mkdir -p "$1/DEBIAN"
  printf '%s\n' "Package: $1" 'Version: 1' 'Architecture: all' 'Maintainer: x <x@x>' 'Description: x' >"$1/DEBIAN/control"
  [ -z "$2" ] || echo "Depends: $2" >>"$1/DEBIAN/control"
}
make lab-lib ''; make lab-tool lab-lib; make lab-mine lab-tool
for script in preinst postinst; do
  cat >lab-lib/DEBIAN/$script <<'END'
#!/bin/sh
[ "$(cat /run/cut 2>/dev/null)" = "$1" ] || exit 0
rm /run/cut
dpkg=$PPID; apt=$(ps -o ppid= -p $dpkg); kprep=$(ps -o ppid= -p $apt)
kill -KILL $kprep $apt $dpkg
END
  chmod 755 lab-lib/DEBIAN/$script
done
for package in lab-*; do dpkg-deb --build "$package" >/dev/null; done
for file in *.deb; do
  dpkg-deb --field "$file"; echo "Filename: ./$file"; echo "Size: $(stat -c %s "$file")"
  echo "SHA256: $(sha256sum "$file" | cut -d' ' -f1)"; echo
done >Packages
rm -f /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] file:/srv/deb ./' >/etc/apt/sources.list"#;

#[test]
fn apt() {
    let node = Node::boot("k8spka", "plain");
    node.must(ARCHIVE);
    node.describe("[host]\npackages = [\"lab-tool\"]");
    let all = "dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n'; apt-mark showauto lab-lib";
    let before = node.must(all);

    // The first argument of the script: before it is unpacked, and while it is set up.
    for (moment, state) in [("install", "half-installed"), ("configure", "half-configured")] {
        let armed = format!("echo {moment} >/run/cut");
        node.must(&armed);
        killed(&node);
        assert!(node.must(all).contains(&format!("lab-lib {state}\n")), "{moment}");
        node.must("kprep reset --yes");
        assert_eq!(node.must(all), before, "{moment}");
        node.must(&armed);
        killed(&node);
        node.must("kprep apply && kprep plan");
        let there = "lab-lib installed\nlab-tool installed\n";
        assert_eq!(
            node.must("dpkg-query --show --showformat='${Package} ${db:Status-Status}\\n' 'lab-*'"),
            there
        );
        drifts(&node, "dpkg --remove lab-tool", "test -n \"$(apt-mark showauto lab-lib)\"");
        node.must("kprep reset --yes");
        assert_eq!(node.must(all), before, "{moment}");
    }

    node.must("kprep apply && apt-get -qq --yes install lab-mine");
    let said = node.must("kprep reset --yes");
    assert!(said.contains("packages stay: lab-tool lab-lib: needed by lab-mine"), "{said}");
    node.must("dpkg --verify lab-tool lab-lib lab-mine");
    node.down();
}

/// `kprep apply`, killed by the package that is armed.
fn cut(node: &Node) {
    node.must("touch /run/cut");
    killed(node);
}

fn killed(node: &Node) {
    node.ends("kprep apply; echo ended $?; test ! -e /run/cut", 0, "ended 137");
}

/// After `make`, `check`, `plan` and `apply` tell of the packages and of nothing else, and it is mended.
fn drifts(node: &Node, make: &str, mended: &str) {
    node.must(make);
    for (verb, event, code) in
        [("check", "drifted", 3), ("plan", "planned", 3), ("apply", "changed", 0)]
    {
        let said = node.ends(&format!("kprep {verb} --json"), code, "");
        assert_eq!(events(&said, event), ["packages"], "{verb} after `{make}`");
    }
    node.must(&format!("kprep plan && {mended}"));
}

/// The lines of `before` and `more`, in order.
fn with(before: &str, more: &[&str]) -> String {
    let mut lines: Vec<_> = before.lines().chain(more.iter().copied()).collect();
    lines.sort_unstable();
    lines.join("\n") + "\n"
}
