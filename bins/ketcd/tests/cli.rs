//! ketcd as its user meets it, on a tree and as an ordinary user.

#![expect(clippy::disallowed_methods, reason = "tests meddle")]

use kspec::state::{EtcdState, PkiState, State as _};
use ktest::Tree;

const KETCD: &str = env!("CARGO_BIN_EXE_ketcd");
const VERSION: &str = "3.5.25";
const ENV: &str = "/etc/etcd.env";

/// A tree with everything the earlier phases leave.
fn tree(extra: &str) -> Tree {
    let tree = Tree::with_cluster(KETCD, extra);
    tree.leave(&ktest::facts());
    tree.leave(&ktest::artifacts(
        [tree.store("etcd", VERSION, &["etcd", "etcdctl", "etcdutl"])],
        [],
    ));
    tree.leave(&ktest::pki());
    tree
}

#[test]
fn other_nodes_are_no_work() {
    tree("").has_no_more_to_do_among_500_nodes(&[]);
}

#[test]
fn plan_apply_again_check_and_back() {
    let tree = tree("");
    let planned = tree.lives_through_its_phase(|| {
        let after = tree.listing();
        for line in [
            "etc/etcd.env 100640",
            "etc/systemd/system/etcd.service 100644",
            "usr/local/bin/etcd 100755",
            "usr/local/bin/etcdctl 100755",
            "usr/local/bin/etcdctl.sh 100755",
            "usr/local/bin/etcdutl 100755",
            "var/lib/etcd 40700",
            "var/lib/k8steps/etcd.json 100644",
        ] {
            assert!(after.lines().any(|found| found.starts_with(line)), "{line} not in\n{after}");
        }
        tree.write("/var/lib/etcd/member/snap/db", "what etcd wrote meanwhile");
    });
    insta::assert_snapshot!(planned.join("\n"), @r"
    install /usr/local/bin/etcd (sha256:2d71c8cdbafb05a41c4db84089e9f258a1e08fbb0c55a4eed95877812cf57f4d)
    install /usr/local/bin/etcdctl (sha256:416b24678a9708f7946739f94d39d4fbc7c66c461b64f6899c37a6794a27535d)
    install /usr/local/bin/etcdutl (sha256:a0712ec4fcbe58cd473ad57a699ddfcb984448f85ac773e72cefd7cf9b4e5979)
    create /usr/local/bin/etcdctl.sh (0755 root:root)
    make directory /var/lib/etcd (0700 etcd:etcd)
    create /etc/etcd.env (0640 root:root)
    create /etc/systemd/system/etcd.service (0644 root:root)
    create /var/lib/k8steps/etcd.json (0644 root:root)
    ");
}

#[test]
fn the_wrapper_uses_the_administrators_certificate() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    insta::assert_snapshot!(tree.read("/usr/local/bin/etcdctl.sh"), @r#"
    #!/bin/sh
    # etcdctl with this node's administrator certificate, for example:
    #   etcdctl.sh get --keys-only --prefix /registry/namespaces
    exec /usr/local/bin/etcdctl --cacert /etc/ssl/etcd/ssl/ca.pem --cert /etc/ssl/etcd/ssl/admin-node1.pem --key /etc/ssl/etcd/ssl/admin-node1-key.pem "$@"
    "#);
}

#[test]
fn the_machine_and_the_version_are_respected() {
    let tree = tree("");
    let mut facts = ktest::facts();
    facts.limits.nofile = Some(20_000);
    tree.leave(&facts);
    tree.run(&["apply"], 0);
    assert!(tree.read("/etc/systemd/system/etcd.service").contains("LimitNOFILE=20000"));
    let state: EtcdState = serde_json::from_str(&tree.read(EtcdState::PATH)).unwrap();
    assert_eq!(state.version.as_deref(), Some("3.5.25"));
    assert_eq!(state.member.as_deref(), Some("etcd1"));
    assert_eq!(state.endpoints, ["https://192.0.2.11:2379"]);
}

#[test]
fn a_changed_setting_is_a_diff() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    let config = tree.read("/etc/k8steps/cluster.toml");
    let quota = config.replace("schema = 1\n", "schema = 1\n[etcd]\nquota-bytes = 8589934592\n");
    tree.write("/etc/k8steps/cluster.toml", &quota);
    let (planned, _) = tree.run(&["plan"], 3);
    insta::assert_snapshot!(planned, @r"
    ~ change /etc/etcd.env
         ETCD_AUTO_COMPACTION_RETENTION=8
         ETCD_SNAPSHOT_COUNT=100000
        -ETCD_QUOTA_BACKEND_BYTES=2147483648
        +ETCD_QUOTA_BACKEND_BYTES=8589934592
         ETCD_MAX_REQUEST_BYTES=1572864
         ETCD_LOG_LEVEL=info
    ");
    tree.run(&["apply"], 0);
    assert!(tree.read(ENV).contains("ETCD_QUOTA_BACKEND_BYTES=8589934592\n"));
}

/// Three members; the first starts the cluster alone, the others join it.
const THREE: &str = "schema = 1\n\
    [[node]]\nname = \"node1\"\naddress = \"192.0.2.11\"\nroles = [\"etcd\", \"control-plane\"]\n\
    [[node]]\nname = \"node2\"\naddress = \"192.0.2.12\"\nroles = [\"etcd\"]\n\
    [[node]]\nname = \"node3\"\naddress = \"192.0.2.13\"\nroles = [\"etcd\"]\n";

#[test]
fn the_first_member_starts_alone_and_the_others_join() {
    let place = |node: &str| {
        let tree = tree("");
        tree.write("/etc/k8steps/cluster.toml", THREE);
        tree.run(&["apply", "--node", node], 0);
        let env = tree.read(ENV);
        let lines = env.lines().filter(|line| {
            ["ETCD_NAME=", "ETCD_INITIAL_CLUSTER"].iter().any(|key| line.starts_with(key))
        });
        lines.map(|line| line.to_owned() + "\n").collect::<String>()
    };
    insta::assert_snapshot!(place("node1"), @r"
    ETCD_INITIAL_CLUSTER_STATE=new
    ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd
    ETCD_NAME=etcd1
    ETCD_INITIAL_CLUSTER=etcd1=https://192.0.2.11:2380
    ");
    insta::assert_snapshot!(place("node2"), @r"
    ETCD_INITIAL_CLUSTER_STATE=existing
    ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd
    ETCD_NAME=etcd2
    ETCD_INITIAL_CLUSTER=etcd1=https://192.0.2.11:2380,etcd2=https://192.0.2.12:2380,etcd3=https://192.0.2.13:2380
    ");
}

#[test]
fn more_members_in_the_description_restart_none_that_runs() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    assert!(tree.read(ENV).contains("\nETCD_ELECTION_TIMEOUT=1000\n"), "it has nobody to wait for");
    tree.write("/var/lib/etcd/member/wal/0.wal", "etcd has started");
    tree.write("/etc/k8steps/cluster.toml", THREE);
    let (planned, _) = tree.run(&["plan", "--node", "node1"], 3);
    assert!(!planned.contains("etcd.env"), "etcd would be restarted for nothing:\n{planned}");
    assert!(planned.contains("+    \"https://192.0.2.12:2379\""), "{planned}");

    // A node that takes another's place in the description stays who it is.
    let others = THREE.replace("node1", "n").replace("node3", "node1");
    let others = others.replace("192.0.2.11", "192.0.2.10").replace("192.0.2.13", "192.0.2.11");
    tree.write("/etc/k8steps/cluster.toml", &others);
    tree.run(&["apply", "--node", "node1"], 0);
    assert!(tree.read(ENV).contains("\nETCD_NAME=etcd1\n"));
    assert!(tree.read(EtcdState::PATH).contains("\"member\": \"etcd1\""));
}

#[test]
fn a_first_etcd_that_begins_alone_is_told_of_before_it_starts_and_any_other_when_it_votes() {
    let ends = |tree: &Tree| {
        let all = tree.order(&[]);
        let until = tree.order(&["--until", "configured"]);
        assert!(all.starts_with(&until));
        (until.last().cloned(), all.len() > until.len())
    };
    let told = Some(format!("file:{}", EtcdState::PATH));
    let first = tree("");
    assert_eq!(ends(&first), (told.clone(), true));
    first.write("/var/lib/etcd/member/wal/0.wal", "it has started");
    assert_eq!(ends(&first), (told.clone(), false));

    let again = tree("");
    again.run(&["apply"], 0);
    again.write(ENV, "changed"); // an upgrade goes by the version that was healthy last
    assert_eq!(ends(&again), (told.clone(), false));

    let member = |n: u8| {
        format!("[[node]]\nname = \"node{n}\"\naddress = \"192.0.2.{n}\"\nroles = [\"etcd\"]\n")
    };
    assert_eq!(ends(&tree(&(member(2) + &member(3)))), (told, false));
}

#[test]
fn a_node_that_is_no_member_only_learns_where_they_are() {
    let tree = Tree::new(KETCD);
    tree.write(
        "/etc/k8steps/cluster.toml",
        "schema = 1\n[[node]]\nname = \"n1\"\naddress = \"192.0.2.11\"\nroles = [\"etcd\"]\n\
         [[node]]\nname = \"n2\"\naddress = \"192.0.2.12\"\nroles = [\"control-plane\"]\n",
    );
    tree.run(&["apply", "--until", "configured", "--node", "n2"], 0);
    insta::assert_snapshot!(tree.read(EtcdState::PATH), @r#"
    {
      "schema": 1,
      "version": null,
      "member": null,
      "endpoints": [
        "https://192.0.2.11:2379"
      ],
      "data-dir": "/var/lib/etcd"
    }
    "#);
    assert!(!tree.path(ENV).exists() && !tree.path("/usr/local").exists());
    let (_, said) = tree.run(&["plan", "--node", "n1"], 2);
    assert!(said.contains("error[input-missing]"), "{said}");
}

#[test]
fn what_is_missing_is_named_with_what_makes_it() {
    let remove = |path: &str| {
        let tree = tree("");
        std::fs::remove_file(tree.path(path)).unwrap();
        tree
    };
    remove("/var/lib/k8steps/facts.json").refuses_phase(2, "input-missing", "run `kprep apply`");
    remove("/var/lib/k8steps/artifacts.json").refuses_phase(
        2,
        "input-missing",
        "run `kfetch apply`",
    );
    remove("/var/lib/k8steps/pki.json").refuses_phase(2, "input-missing", "run `kpki apply`");

    let tree = tree("");
    tree.leave(&PkiState { member: None, ..ktest::pki() });
    tree.refuses_phase(2, "certificate-missing", "run `kpki apply`");
    tree.leave(&ktest::pki());
    tree.leave(&ktest::artifacts([tree.store("etcd", VERSION, &["etcd", "etcdctl"])], []));
    tree.refuses_phase(
        2,
        "artifact-unusable",
        "name etcd with its members etcd, etcdctl and etcdutl",
    );
}

#[test]
fn bad_settings_are_refused() {
    let bad = |extra: &str, hint: &str| tree(extra).refuses_phase(2, "etcd-env-invalid", hint);
    bad("[etcd]\nextra-env = { LOG_LEVEL = \"info\" }", "write etcd's flags as variables");
    bad("[etcd]\nextra-env = { ETCD_NAME = \"a\" }", "change the [[node]] sections");
    bad("[etcd]\nextra-env = { ETCD_X = \"a\\nb\" }", "leave out quotes");
    tree("[etcd]\nheartbeat = 1").refuses_phase(2, "input-invalid", "did you mean `heartbeat-ms`?");
}

#[test]
fn members_are_asked_of_a_machine_only() {
    let tree = tree("");
    let (_, said) = tree.run(&["member", "list"], 2);
    assert!(said.contains("error[needs-machine]") && said.contains("hint: leave out"), "{said}");
}

#[test]
fn an_etcd_that_could_not_go_on_with_the_data_is_refused() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    let wants = |version: &str| {
        let programs = tree.store("etcd", version, &["etcd", "etcdctl", "etcdutl"]);
        tree.leave(&ktest::artifacts([programs], []));
    };
    wants("3.4.40");
    tree.run(&["plan"], 3); // nothing was written yet that it could not read
    tree.write("/var/lib/etcd/member/wal/0.wal", "etcd has started");
    let before = tree.listing();
    tree.refuses(
        &["apply"],
        2,
        "etcd-downgrade",
        "name a release of etcd 3.5 in artifacts.lock; to go back, run `ketcd restore",
    );
    wants("3.7.1");
    tree.refuses(
        &["apply"],
        2,
        "etcd-upgrade-skips",
        "name a release of etcd 3.6 in artifacts.lock",
    );
    let programs = |listing: &str| -> Vec<String> {
        let own =
            listing.lines().filter(|line| line.starts_with("usr/") || line.starts_with("etc/"));
        own.map(str::to_owned).collect()
    };
    assert_eq!(programs(&tree.listing()), programs(&before), "something changed all the same");
    wants("3.6.16");
    tree.run(&["apply"], 0);
    assert!(tree.read(ENV).contains("\nETCD_FEATURE_GATES=InitialCorruptCheck=true\n"));
}

/// The tree's `cluster.toml` with `[etcd.backup]` as in `backup`.
fn with_backup(backup: &str) -> Tree {
    tree(&format!("[etcd.backup]\n{backup}"))
}

#[test]
fn snapshots_are_listed_and_asked_for_on_a_machine_only() {
    let tree = with_backup("dir = \"/srv/etcd\"");
    let (listed, said) = tree.run(&["backups"], 0);
    assert_eq!(listed, "");
    assert!(said.contains("there is none in ") && said.contains("/srv/etcd"), "{said}");
    tree.write("/srv/etcd/etcd-20261125T060708Z-r1234.db", "no real one");
    tree.write("/srv/etcd/etcd-20261124T060708Z-r98.db", "no real one");
    tree.write("/srv/etcd/notes", "not ours");
    let (listed, _) = tree.run(&["backups"], 0);
    let rows: Vec<Vec<_>> = listed.lines().map(|row| row.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["TAKEN", "REVISION", "SIZE", "FILE"]);
    assert_eq!(rows[1][..4], ["2026-11-24T06:07:08Z", "98", "1", "KiB"]);
    assert!(rows[2][4].ends_with("/srv/etcd/etcd-20261125T060708Z-r1234.db"), "{listed}");
    assert_eq!(rows.len(), 3);

    let (listed, _) = tree.run(&["backups", "--json"], 0);
    let line: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!((&line["event"], &line["revision"]), (&"snapshot".into(), &98.into()));
    assert_eq!((&line["size"], line.get("hash")), (&11.into(), None));

    let (listed, said) = tree.run(&["backups", "--verify"], 1);
    assert!(said.contains("error[snapshot-damaged]: 2 of 2 snapshots are not whole"), "{said}");
    assert!(listed.contains("damaged: ") && listed.contains("11 bytes are not the length"));

    tree.refuses(&["backup"], 2, "needs-machine", "leave out `--root`");
    tree.refuses(&["restore", "/tmp/x.db"], 2, "needs-machine", "leave out `--root`");
    tree.refuses(&["backup", "--to", "/tmp"], 2, "needs-machine", "leave out `--root`");
}

#[test]
fn a_schedule_has_a_timer_and_none_has_none() {
    let tree = with_backup("schedule = \"*-*-* 00/6:00:00\"");
    tree.run(&["apply"], 0);
    insta::assert_snapshot!(tree.read("/etc/systemd/system/ketcd-backup.timer"), @r"
    [Unit]
    Description=Snapshots of what etcd holds, by etcd.backup.schedule
    Documentation=man:ketcd(8)

    [Timer]
    OnCalendar=*-*-* 00/6:00:00
    Persistent=true

    [Install]
    WantedBy=timers.target
    ");
    insta::assert_snapshot!(tree.read("/etc/systemd/system/ketcd-backup.service"), @r"
    [Unit]
    Description=Snapshot of what etcd holds
    Documentation=man:ketcd(8)
    After=etcd.service

    [Service]
    Type=oneshot
    ExecStart=/usr/local/bin/ketcd backup
    ");
    let config = tree.read("/etc/k8steps/cluster.toml");
    tree.write("/etc/k8steps/cluster.toml", &config.replace("*-*-* 00/6:00:00", ""));
    let (planned, _) = tree.run(&["plan"], 3);
    assert_eq!(
        planned,
        "~ remove /etc/systemd/system/ketcd-backup.timer\n\
         ~ remove /etc/systemd/system/ketcd-backup.service\n"
    );
    tree.run(&["apply"], 0);
    tree.run(&["plan"], 0);
}

#[test]
fn help() {
    let help = Tree::new(KETCD).help();
    let own = help.split("\nOptions:").next().unwrap(); // the shared flags are khost's
    insta::assert_snapshot!(own, @r"
    Run the etcd member of this node

    Installs etcd, etcdctl and etcdutl, keeps /etc/etcd.env and etcd.service, and
    waits until the member is healthy; when it is not, says why. etcd runs as the
    user etcd, its data is in /var/lib/etcd. It is restarted only when its program,
    its settings or its CA changed since its last start, and a snapshot is saved
    before. A node without the role etcd only learns where the members are.

      ketcd plan           what would change
      ketcd check          is it still so, and is the member healthy?
      ketcd member list    who is in the cluster
      ketcd backup         save what it holds, now
      ketcd restore FILE   begin anew with what was saved
      etcdctl.sh ...       anything else, with the right certificates

    Usage: ketcd [OPTIONS] <COMMAND>

    Commands:
      plan     Show what apply would change; exits 3 when there is something
      apply    Make it so; a second run changes nothing
      check    Is it still so, and does it work? Exits 3 when it drifted, 1 when it
               does not work
      reset    Put back exactly what apply changed
      member   Ask who is in the etcd cluster
      backup   Save a snapshot of what etcd holds, and print its path
      backups  List the snapshots there are, the oldest first
      restore  Begin anew with what a snapshot holds; killed anywhere, the same
               command again goes on
      help     Print this message or the help of the given subcommand(s)
    ");
}

#[test]
fn two_at_once_do_not_tear_its_work() {
    tree("").is_alone_with_its_phase();
}

#[test]
fn faults_at_any_system_call_lose_nothing() {
    tree("").survives_faults("ketcd");
}
