//! What `plan` says is what `apply` does, `check` finds the same, and a second `apply` writes nothing:
//! on a whole node, each phase fresh, each phase again under strace(1) and the audit log, and then one
//! drift after another.
//!
//! `DRIFT=NAME,NAME` tries these drifts, `DRIFT_SEED=N` all of them in another order; `CLEAN_RUNS=N` looks N
//! times whether `check` finds what is not there.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test drives programs")]

use std::{collections::BTreeSet, time::Instant};

use pipeline_tests::{PHASES, events, node::Node, xorshift};
use serde_json::Value;

#[path = "drift/table.rs"]
mod table;
#[path = "drift/trace.rs"]
mod trace;

use table::{DRIFTS, Drift};

#[test]
fn plan_is_exact_and_a_second_apply_writes_nothing() {
    let node = Node::boot("k8sdrf", "plain");
    node.describe("[control-plane.audit]\nenabled = true");
    let mut misses = Vec::new();
    for phase in PHASES {
        misses.extend(exact(&node, phase).err().map(|why| format!("fresh {phase}: {why}")));
    }
    node.must("kprep dns");
    for phase in PHASES {
        settled(&node, phase);
    }

    a_second_apply_writes_nothing(&node);
    for _ in 0..runs_of_check() {
        for phase in PHASES {
            node.must(&format!("{phase} check"));
        }
    }

    for drift in chosen() {
        settled(&node, drift.phase);
        let began = Instant::now();
        let found = noticed(&node, drift).and_then(|noticed| {
            let planned = exact(&node, drift.phase)?;
            let same = noticed == planned;
            same.then_some(()).ok_or(format!("check: {noticed:?}; plan: {planned:?}"))
        });
        let (took, Drift { name, phase, .. }) = (began.elapsed().as_secs_f32(), drift);
        eprintln!(
            "{took:6.1} s  {phase}: {name}: {}",
            if found.is_ok() { "exact" } else { "MISS" }
        );
        misses.extend(found.err().map(|why| format!("DRIFT='{name}' ({phase}): {why}")));
    }
    assert!(misses.is_empty(), "{} not exact:\n{}", misses.len(), misses.join("\n"));

    for phase in PHASES {
        node.must(&format!("{phase} apply && {phase} check"));
    }
    node.probe();
    node.down();
}

/// Make the drift. `check` of the phase that mends it finds it: these steps.
fn noticed(node: &Node, drift: &Drift) -> Result<BTreeSet<String>, String> {
    let Drift { phase, make, .. } = drift;
    let (code, said) = node.run(&format!("{{ {make}; }} >/dev/null && {phase} check --json"));
    // 1: beside what differs, something does not work meanwhile.
    if ![1, 3].contains(&code) {
        return Err(format!("check {code}\n{said}"));
    }
    Ok(events(&said, "drifted").into_iter().collect())
}

/// `apply` changes what `plan` says, no more and no less, and nothing is left: these steps.
fn exact(node: &Node, phase: &str) -> Result<BTreeSet<String>, String> {
    let (code, planned) = node.run(&format!("{phase} plan --json"));
    let (applied_code, applied) = node.run(&format!("{phase} apply --json"));
    let (left_code, left) = node.run(&format!("{phase} plan"));
    if (code, applied_code) != (3, 0) {
        return Err(format!("plan {code}, apply {applied_code}\n{planned}\n{applied}"));
    }
    if left_code != 0 {
        return Err(format!("plan after apply {left_code}\n{left}"));
    }
    let set = |said: &str, event| events(said, event).into_iter().collect::<BTreeSet<_>>();
    let (planned, changed) = (set(&planned, "planned"), set(&applied, "changed"));
    if planned != changed || planned.is_empty() {
        let only =
            |one: &BTreeSet<String>, other| one.difference(other).cloned().collect::<Vec<_>>();
        let (unmade, unplanned) = (only(&planned, &changed), only(&changed, &planned));
        return Err(format!("planned, not made: {unmade:?}; made, not planned: {unplanned:?}"));
    }
    Ok(planned)
}

/// What another drift set going is over, as far as this phase looks at it; and what it left for
/// this phase is mended: files of a user that is another one now.
fn settled(node: &Node, phase: &str) {
    let until = format!("until {phase} plan; do {phase} apply; sleep 0.3; done");
    let (code, _) = node.run(&format!("timeout 120 bash -c '{until}' >/dev/null 2>&1"));
    assert_eq!(code, 0, "{phase} does not settle: {}", node.run(&format!("{phase} plan")).1);
}

/// How often `check` of all eight must find nothing on a node that is as it should be.
fn runs_of_check() -> u32 {
    std::env::var("CLEAN_RUNS").map_or(3, |runs| runs.parse().unwrap())
}

/// All of them, in an order drawn from the seed, or those that were asked for.
fn chosen() -> Vec<&'static Drift> {
    let mut drifts: Vec<_> = DRIFTS.iter().collect();
    if let Ok(names) = std::env::var("DRIFT") {
        let find = |name| drifts.iter().copied().find(|drift| drift.name == name);
        return names
            .split(',')
            .map(|name| find(name).unwrap_or_else(|| panic!("no drift is called `{name}`")))
            .collect();
    }
    // The same order each time, unless another is asked for: a verdict must not depend on luck.
    let seed: u64 = std::env::var("DRIFT_SEED").map_or(1, |seed| seed.parse().unwrap());
    eprintln!("DRIFT_SEED={seed}, {} drifts", drifts.len());
    let mut state = seed | 1;
    for last in (1..drifts.len()).rev() {
        drifts.swap(last, usize::try_from(xorshift(&mut state) % (last as u64 + 1)).unwrap());
    }
    drifts
}

const STARTS: &str = "systemctl show -p ActiveEnterTimestampMonotonic,MainPID etcd containerd kubelet; \
    for part in kube-apiserver kube-controller-manager kube-scheduler; do \
    crictl ps --quiet --name $part; done";

/// Every key that is not the API server's own; whose writes are in the audit log.
const STRANGE_KEYS: &str = "etcdctl.sh get '' --prefix --keys-only | grep -v -e '^$' -e ^/registry/ \
    -e ^compact_rev_key$; true";

fn a_second_apply_writes_nothing(node: &Node) {
    let starts = node.must(STARTS);
    node.must("kubectl create configmap drift-begin");
    let mut written = Vec::new();
    for phase in PHASES {
        node.ends(&trace::traced(phase), 0, "nothing to do");
        let traced = node.ends(&format!("cat {}", trace::FILE), 0, "execve(");
        let there = node.run("ls -d /tmp/*").1;
        written
            .extend(trace::writes(&traced, &there).iter().map(|line| format!("{phase}: {line}")));
    }
    node.must("kubectl create configmap drift-end");
    assert!(written.is_empty(), "a second apply writes:\n{}", written.join("\n"));
    assert_eq!(node.must(STARTS), starts, "something was started");
    assert_eq!(node.must(STRANGE_KEYS), "");

    let log = node.must("cat /var/log/kubernetes/audit/kube-apiserver-audit.log");
    let ours = ours(&log);
    let mark = |name: &str| ours.iter().position(|line| line.contains(name)).unwrap();
    let (begin, end) = (mark("drift-begin"), mark("drift-end"));
    assert_eq!(ours[begin + 1..end], [""; 0], "a second apply asks the API server for a change");
    node.must("kubectl delete configmap drift-begin drift-end");
}

/// What administrators, or programs that the tools run, asked the API server to change. Questions
/// that it answers by a POST or PATCH without a change are left out: dry runs, and reviews of access.
fn ours(log: &str) -> Vec<String> {
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    events
        .filter(|event| event["stage"] == "ResponseComplete")
        .filter(|event| !["get", "list", "watch"].contains(&text(&event["verb"]).as_str()))
        .filter(|event| {
            let (user, agent) = (text(&event["user"]["username"]), text(&event["userAgent"]));
            user.starts_with("kubernetes-")
                || ["k8steps", "kubectl", "kubeadm"].iter().any(|own| agent.starts_with(own))
        })
        .filter(|event| !text(&event["requestURI"]).contains("dryRun=All"))
        .filter(|event| !text(&event["objectRef"]["resource"]).ends_with("accessreviews"))
        .map(|event| {
            let name = text(&event["objectRef"]["name"]);
            format!("{} {} {name}", text(&event["verb"]), text(&event["requestURI"]))
        })
        .collect()
}
