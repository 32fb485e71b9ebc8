//! ketcd's member with a real etcd and systemd, before there is a control plane: snapshots, a
//! restore proven by revision and hash, and faults by their codes, after each of which the next
//! `apply` finishes.

#![expect(clippy::unwrap_used, reason = "a test drives programs")]

use pipeline_tests::node::Node;

/// Everything etcd holds, and nothing of when or where.
const HELD: &str = "etcdctl.sh get '' --prefix -w json | jq -c '.kvs'";
/// The newest snapshot.
const NEWEST: &str = "ls -t /var/backups/etcd/*.db | head -1";

#[test]
fn a_member_is_saved_restored_and_mended() {
    let node = Node::boot("k8setc", "plain");
    node.must("kprep apply && kfetch apply && kpki apply && ketcd apply");
    // Killed after the start and before it was noted: what is empty needs no snapshot.
    node.must("rm /var/lib/k8steps/started/etcd.service");
    node.ends("ketcd plan", 3, "restart etcd.service");
    node.must("ketcd apply && test ! -e /var/backups/etcd");
    node.must("for i in $(seq 1 40); do etcdctl.sh put /registry/k$i v$i; done");

    saved(&node);
    restored(&node);
    faults(&node);
    node.down();
}

fn saved(node: &Node) {
    node.must("ketcd backup");
    let mode = format!("stat -c '%a %U' $({NEWEST}); stat -c %a /var/backups/etcd");
    assert_eq!(node.must(&mode), "600 root\n700\n");
    node.ends("ketcd backups --verify", 0, "whole: hash ");

    // Before a restart, and only then; the newest two stay.
    node.describe("[etcd]\ncompaction-hours = 9\n[etcd.backup]\nkeep = 2");
    node.ends("ketcd plan", 3, "~ save a snapshot of etcd in /var/backups/etcd before its restart");
    node.must("ketcd apply && ketcd backup && sleep 1 && ketcd backup");
    assert_eq!(node.must("ls /var/backups/etcd | wc -l"), "2\n");
    node.ends("ketcd apply", 0, "nothing to do");
    assert_eq!(node.must("ls /var/backups/etcd | wc -l"), "2\n");

    node.must("mkdir /mnt/small && mount -t tmpfs -o size=512k small /mnt/small");
    node.ends("ketcd backup --to /mnt/small", 1, "error[no-space]: ");
    assert_eq!(node.must("ls -A /mnt/small | wc -l; umount /mnt/small"), "0\n");
    node.must("cp -p $(ls -t /var/backups/etcd/*.db | head -1) /root/kept.db");
    node.must("head -c 8000 /root/kept.db >/root/cut.db");
    node.ends("ketcd restore /root/cut.db", 1, "error[snapshot-damaged]: ");
    node.must("cp /root/kept.db /root/bad.db; printf x | dd of=/root/bad.db bs=1 seek=9000 conv=notrunc status=none");
    node.ends("ketcd restore /root/bad.db --force", 1, "the checksum at its end differs");
}

fn restored(node: &Node) {
    let revision = "etcdctl.sh endpoint status -w json | jq '.[0].Status.header.revision'";
    let before = (node.must(HELD), number(&node.must(revision)));
    let hash = |etcdctl: &str| {
        format!("{etcdctl} endpoint hashkv --rev {} -w json | jq '.[0].HashKV.hash'", before.1)
    };
    let hashed = node.must(&hash("etcdctl.sh"));
    assert!(number(&hashed) > 0);
    node.must("etcdctl.sh del --prefix /registry/k1 && etcdctl.sh put /registry/later v");
    node.ends("ketcd restore /root/kept.db", 2, "error[data-present]: ");

    // Killed wherever it is, the same command goes on; no other verb starts an empty etcd.
    node.must(
        "ketcd restore /root/kept.db --force & until [ -e /var/lib/k8steps/etcd-restore.json ]; do \
         sleep 0.01; done; kill -KILL $!; wait; while pgrep -x etcdutl; do sleep 0.1; done; true",
    );
    node.ends("ketcd apply", 1, "error[restore-unfinished]: ");
    node.must("ketcd restore /root/kept.db --force");
    assert_eq!(node.must(HELD), before.0);
    let raised = number(&node.must(revision));
    assert!(raised >= before.1 + 1_000_000_000, "{raised} after {}", before.1);
    node.must("ls -d /var/lib/etcd/before-restore-*/member/wal && ketcd check");
    node.ends("ketcd apply", 0, "nothing to do");

    // The snapshot by itself, without the raised revision, hashes as etcd did when it was saved.
    node.must(
        "etcdutl snapshot restore /root/kept.db --data-dir /root/plain 2>/dev/null; systemd-run -q \
         --unit=plain etcd --data-dir /root/plain --listen-client-urls http://127.0.0.1:9379 \
         --advertise-client-urls http://127.0.0.1:9379 --listen-peer-urls http://127.0.0.1:9380; \
         until etcdctl --endpoints 127.0.0.1:9379 endpoint health; do sleep 0.1; done",
    );
    assert_eq!(node.must(&hash("etcdctl --endpoints 127.0.0.1:9379")), hashed);
    node.must("systemctl stop plain");

    // An emptied node needs no --force.
    node.must("systemctl stop etcd && rm -rf /var/lib/etcd/member /var/lib/etcd/before-*");
    node.must("ketcd restore /root/kept.db");
    assert_eq!(node.must(HELD), before.0);
}

fn faults(node: &Node) {
    let held = node.must(HELD);
    // Somebody else at its port.
    node.must("systemctl stop etcd && systemd-run -q --unit=other socat TCP-LISTEN:2380,fork -");
    let said = node.ends("ketcd apply", 1, "error[etcd-port-taken]: ");
    assert!(said.contains("port 2380 is taken by `socat` (pid "), "{said}");
    node.must("systemctl stop other && ketcd apply && ketcd check");

    // Data that root took.
    node.must("systemctl stop etcd && chown -R root:root /var/lib/etcd/member");
    node.ends("ketcd apply", 0, "done: give /var/lib/etcd/member to etcd:etcd");

    // Killed: systemd starts it again, and apply waits for that or does it.
    node.must("systemctl kill -s KILL etcd && ketcd apply && ketcd check");

    // A certificate whose key is another's.
    node.must(
        "cd /etc/ssl/etcd/ssl && cp -p member-node1-key.pem /root/ && cat admin-node1-key.pem \
         >member-node1-key.pem && systemctl stop etcd",
    );
    node.ends("ketcd apply", 1, "error[etcd-certificate]: ");
    node.must("cp -p /root/member-node1-key.pem /etc/ssl/etcd/ssl/ && ketcd apply && ketcd check");

    // Data of another cluster: etcd works, and it is not ours.
    node.must(
        "systemctl stop etcd && mv /var/lib/etcd/member /root/ours && etcdutl snapshot restore \
         /root/kept.db --data-dir /root/theirs --name etcd9 --initial-cluster \
         etcd9=https://10.99.0.99:2380 --initial-advertise-peer-urls https://10.99.0.99:2380 \
         2>/dev/null && mv /root/theirs/member /var/lib/etcd/",
    );
    // Each wait must be long enough for an election, which takes 5 s and more.
    let said = node.ends("ketcd apply --timeout 30", 1, "error[etcd-other-cluster]: ");
    assert!(said.contains("its members are etcd1 at https://10.99.0.99:2380"), "{said}");
    node.must("systemctl stop etcd && mv /var/lib/etcd/member /root/was && mv /root/ours /var/lib/etcd/member");
    node.must("ketcd apply && ketcd check");
    assert_eq!(node.must(HELD), held, "something was lost");
}

fn number(said: &str) -> u64 {
    said.trim().parse().unwrap()
}
