//! Another etcd in the place of the one that runs, with two real releases: it goes on with what is
//! there; a broken one makes way for the old one again. And what `ketcd` says when the machine
//! does not do its part, and the timer that saves snapshots.

#![expect(clippy::unwrap_used, reason = "a test drives programs")]

use pipeline_tests::node::Node;

/// The release after the lab's own (`tests/lab/lib/next.sh`).
const NEXT: &str = "3.5.35";
/// Everything etcd holds, and nothing of when or where.
const HELD: &str = "etcdctl.sh get '' --prefix -w json | jq -c '.kvs'";
/// What a run leaves of etcd's own files.
const FILES: &str =
    "sha256sum /usr/local/bin/etcd{,ctl,utl} /etc/etcd.env /etc/systemd/system/etcd.service";
const RUNS: &str = "etcdctl.sh endpoint status -w json | jq -r '.[0].Status.version'";
const SAVED: &str = "ls /var/backups/etcd | wc -l";
const KEPT: &str = "/var/lib/k8steps/etcd-before";
/// An etcd that ends at once takes the place of the one in the store, as a broken download would.
const BREAK: &str = r#"
    printf '#!/bin/sh\necho this build is broken >&2\nexit 3\n' >/root/broken && chmod 755 /root/broken
    jq --arg hex "$(sha256sum </root/broken | cut -d' ' -f1)" '.files.etcd.version = "3.5.99"
      | .files.etcd.members.etcd.path = "/root/broken"
      | .files.etcd.members.etcd.sha256 |= sub("[0-9a-f]{64}$"; $hex)' \
      /root/good.json >/var/lib/k8steps/artifacts.json"#;

#[test]
fn another_etcd_takes_over_or_makes_way_again() {
    let node = Node::boot("k8setu", "plain");
    node.lab(&["next"]);
    node.must("kprep apply && kfetch apply && kpki apply && ketcd apply");
    node.must("for i in $(seq 1 40); do etcdctl.sh put /registry/k$i v$i; done");
    let held = node.must(HELD);

    upgraded(&node);
    assert_eq!(node.must(HELD), held);
    made_way(&node);
    assert_eq!(node.must(HELD), held);
    refused(&node);
    assert_eq!(node.must(HELD), held);
    by_the_calendar(&node);
    node.down();
}

fn upgraded(node: &Node) {
    let old = node.must(RUNS);
    let old = old.trim();
    node.must(&format!(
        "cd /etc/k8steps && was=$(grep -A5 '^name = \"etcd\"' artifacts.lock | sed -n 's/^sha256 = //p') \
         && sed -i 's/{old}/{NEXT}/g' artifacts.lock && url=$(grep -A5 '^name = \"etcd\"' \
         artifacts.lock | sed -n 's#^url = \"https://\\(.*\\)\"#\\1#p') && \
         curl -sfo /root/next.tar.gz http://10.99.0.1:8080/$url && sed -i \
         \"s/$was/\\\"$(sha256sum </root/next.tar.gz | cut -d' ' -f1)\\\"/\" artifacts.lock && \
         kfetch apply"
    ));
    let keep = format!("~ keep etcd {old}, and a snapshot in /var/backups/etcd, until etcd {NEXT}");
    node.ends("ketcd plan", 3, &keep);
    node.must(&format!("ketcd apply && test ! -e {KEPT}"));
    assert_eq!(node.must(RUNS).trim(), NEXT);
    assert_eq!(node.must(SAVED), "1\n");
    node.ends("ketcd apply", 0, "nothing to do");
    node.must("ketcd check");
}

/// The new one is broken: the old one is back, whole and healthy, and the error says why.
fn made_way(node: &Node) {
    let before = node.must(FILES);
    node.must("cp -p /var/lib/k8steps/artifacts.json /root/good.json");
    node.must(BREAK);
    let said = node.ends("ketcd apply", 1, "error[etcd-upgrade-failed]: etcd 3.5.99 did not");
    for words in
        [&format!("etcd {NEXT} is back in its place"), "it said last: this build is broken"]
    {
        assert!(said.contains(words), "no `{words}` in\n{said}");
    }
    assert!(said.contains(&format!("name etcd {NEXT} in artifacts.lock")), "{said}");
    assert_eq!(node.must(FILES), before);
    node.must(&format!("{RUNS} | grep -x {NEXT} && test ! -e {KEPT}"));
    assert_eq!(node.must(SAVED), "2\n");

    // Killed in the middle, the next run goes back as well.
    node.must(&format!(
        "ketcd apply & until [ -e {KEPT} ]; do sleep 0.01; done; kill -KILL $!; wait; true"
    ));
    node.ends("ketcd apply", 1, "error[etcd-upgrade-failed]: ");
    assert_eq!(node.must(FILES), before);

    // Nothing on this machine can start: both are told.
    node.must(
        "mkdir /etc/systemd/system/etcd.service.d && printf '[Service]\\nExecStartPre=/bin/false\\n' \
         >/etc/systemd/system/etcd.service.d/no.conf && systemctl daemon-reload",
    );
    node.ends("ketcd apply", 1, "error[etcd-rollback-failed]: etcd 3.5.99 did not become healthy");
    assert_eq!(node.must(FILES), before);
    node.must(
        "rm -r /etc/systemd/system/etcd.service.d && systemctl daemon-reload && \
         cp -p /root/good.json /var/lib/k8steps/artifacts.json && ketcd apply && ketcd check",
    );
    node.ends("ketcd apply", 0, "nothing to do");

    // What the data could not go on with is refused before anything changes.
    for (version, code) in [("3.4.40", "etcd-downgrade"), ("3.7.0", "etcd-upgrade-skips")] {
        node.must(&format!(
            "jq '.files.etcd.version = \"{version}\"' /root/good.json >/var/lib/k8steps/artifacts.json"
        ));
        node.ends("ketcd apply", 2, &format!("error[{code}]: etcd {version} cannot take"));
    }
    node.must("cp -p /root/good.json /var/lib/k8steps/artifacts.json && ketcd check");
}

fn refused(node: &Node) {
    // A user that somebody removed.
    node.must("cp -p /etc/passwd /root/ && sed -i '/^etcd:/d' /etc/passwd");
    node.ends("ketcd plan", 1, "error[user-missing]: there is no user `etcd`");
    node.must("cp -p /root/passwd /etc/passwd && ketcd check");

    // A node that is no member.
    node.must(
        "ketcd backup --to /root/kept && mv /root/kept/*.db /root/kept.db && \
         printf 'schema = 1\\n[[node]]\\nname = \"node1\"\\naddress = \"10.99.0.11\"\\nroles = \
         [\"control-plane\"]\\n[[node]]\\nname = \"node2\"\\naddress = \"10.99.0.12\"\\nroles = \
         [\"etcd\"]\\n' >/root/other.toml",
    );
    let elsewhere = "ketcd restore /root/kept.db --config /root/other.toml --node node1";
    node.ends(elsewhere, 2, "error[not-a-member]: this node is no etcd member");

    // Files that may not grow: a snapshot that cannot be written, and one that cannot be restored.
    node.ends("ulimit -f 8; ketcd backup --to /root/kept", 1, "error[backup-failed]: ");
    assert_eq!(node.must("ls /root/kept | wc -l"), "0\n", "half a snapshot has a name");
    let said =
        node.ends("ulimit -f 8; ketcd restore /root/kept.db --force", 1, "error[restore-failed]: ");
    assert!(said.contains("nothing was replaced"), "{said}");
    node.must("rm /var/lib/k8steps/etcd-restore.json && ketcd apply && ketcd check");

    // A setting that etcd does not know ends it at its start.
    node.describe("[etcd]\nextra-env = { ETCD_LOG_LEVEL = \"shouting\" }");
    let said = node.ends("ketcd apply", 1, "error[etcd-not-started]: etcd.service did not start");
    assert!(said.contains("shouting"), "{said}");
    node.must("sed -i '/^\\[etcd\\]$/d; /^extra-env/d' /etc/k8steps/cluster.toml && ketcd apply");
    node.must("ketcd check");
}

/// The timer itself starts the service, whose snapshots are whole; the newest two stay.
fn by_the_calendar(node: &Node) {
    node.describe("[etcd.backup]\nkeep = 2\nschedule = \"whenever\"");
    node.ends("ketcd plan", 2, "error[backup-schedule-invalid]: ");
    node.must("sed -i 's/whenever/yearly/' /etc/k8steps/cluster.toml && ketcd apply");
    let newest = "ls -t /var/backups/etcd/*.db | head -1";
    let before = node.must(newest);
    let soon = "/etc/systemd/system/ketcd-backup.timer.d";
    node.must(&format!(
        "mkdir {soon} && printf '[Timer]\\nOnActiveSec=1s\\nAccuracySec=100ms\\n' >{soon}/soon.conf \
         && systemctl daemon-reload && systemctl restart ketcd-backup.timer && timeout 60 sh -c \
         'until [ \"$({newest})\" != {} ]; do sleep 0.2; done'",
        before.trim()
    ));
    node.must(
        "timeout 60 sh -c 'while systemctl is-active -q ketcd-backup.service || [ \"$(systemctl \
         show -P ActiveState ketcd-backup.service)\" = activating ]; do sleep 0.2; done'; \
         systemctl show -P Result ketcd-backup.service | grep -x success",
    );
    assert_eq!(node.must(SAVED), "2\n", "the oldest went");
    let whole = node.must("ketcd backups --verify | grep -c 'whole: hash '");
    assert_eq!(whole.trim().parse::<u32>().unwrap(), 2);
    node.must(&format!("rm -r {soon} && systemctl daemon-reload && ketcd check"));
}
