//! A node in the lab that is disturbed in the middle of `make up` or `make down`: tools killed, power
//! cut. It always comes to a cluster that works, and always goes without a trace.
//!
//! `LIVE=KIND:SECONDS[,...]` tries these points, `LIVE_SEED=N` draws others, `LIVE_POINTS=N` another
//! number of them. `LIVE_FLAVOUR=rocky` takes another flavour of node (`tests/lab/lab --help`).

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test drives programs")]

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    thread::sleep,
    time::{Duration, Instant},
};

use pipeline_tests::node::Node;
use serde_json::Value;

#[path = "live/machine.rs"]
mod machine;
#[path = "live/points.rs"]
mod points;

use machine::Machine;
use points::{Kind, Point, Spans};

const MAKE: &str = "make --no-print-directory -C /root/k8steps";
const EVENTS: &str = "/root/live/events";

#[test]
fn a_node_disturbed_at_any_moment_comes_up_and_goes_without_a_trace() {
    let (mut node, mut before) = fresh();
    let mut missed = Vec::new();
    let points = chosen(&node, &before);
    for (nth, point) in points.iter().enumerate() {
        let began = Instant::now();
        let found = catch_unwind(AssertUnwindSafe(|| live(&node, *point, &before)));
        let took = began.elapsed().as_secs();
        let (nth, all) = (nth + 1, points.len());
        if found.is_ok() {
            eprintln!("live: {nth} of {all}, {point}: good, {took} s");
            continue;
        }
        let env = format!("LIVE={point} LIVE_FLAVOUR={}", flavour());
        let replay = format!("{env} cargo test -p pipeline-tests --test live");
        eprintln!("live: {nth} of {all}, {point}: MISSED\n{replay}\n{}", look(&node));
        missed.push(replay);
        // Another one does not begin where this one stopped.
        drop(node);
        (node, before) = fresh();
    }
    eprintln!("live: {} points, {} missed", points.len(), missed.len());
    assert!(missed.is_empty(), "missed:\n{}", missed.join("\n"));
    node.down();
}

/// A node that nothing was done to, and how it is. It has been off once, as others will be.
fn fresh() -> (Node, Machine) {
    let node = Node::boot("k8slive", &flavour());
    let files = concat!(env!("CARGO_MANIFEST_DIR"), "/chaos/live/");
    node.must("mkdir /root/live");
    for script in ["operator", "snapshot", "kill"] {
        node.copy(&format!("{files}{script}"), &format!("/root/live/{script}"));
    }
    node.must("/root/live/operator");
    power_cut(&node);
    let before = Machine::of(&node);
    (node, before)
}

fn flavour() -> String {
    std::env::var("LIVE_FLAVOUR").unwrap_or_else(|_| "plain".to_owned())
}

/// The points that were asked for, or those of the seed.
fn chosen(node: &Node, before: &Machine) -> Vec<Point> {
    if let Ok(points) = std::env::var("LIVE") {
        return points.split(',').map(|point| point.parse().unwrap()).collect();
    }
    let number = |name, usual| std::env::var(name).map_or(usual, |it| it.parse().unwrap());
    let (seed, count) = (number("LIVE_SEED", 1), number("LIVE_POINTS", 54));
    let spans = undisturbed(node, before);
    eprintln!("LIVE_SEED={seed}, {count} points, up {:.0} s, down {:.0} s", spans.up, spans.down);
    points::drawn(seed, usize::try_from(count).unwrap(), spans)
}

/// A life that nobody disturbs leaves no trace either. How long its parts take.
fn undisturbed(node: &Node, before: &Machine) -> Spans {
    let took = |script: &str| {
        let began = Instant::now();
        node.must(&format!("{MAKE} {script}"));
        began.elapsed().as_secs_f64()
    };
    let spans = Spans { up: took("up"), down: took("down") };
    as_before(node, before);
    spans
}

/// One life with the disturbance; panics when it does not go on as it should.
fn live(node: &Node, point: Point, before: &Machine) {
    let Point { kind, at } = point;
    if kind.of_down() {
        node.must(&format!("{MAKE} up"));
    }
    let target = if kind.of_down() { "down" } else { "up" };
    node.must(&format!(
        "rm -f {EVENTS}; systemctl reset-failed; systemd-run --quiet --unit=live --collect \
         --setenv=HOME=/root --setenv=K8STEPS_EVENTS={EVENTS} --property=KillMode=process \
         {MAKE} {target} EVENTS={EVENTS}"
    ));
    until_the_moment(at);
    if kind.cuts() {
        power_cut(node);
    } else {
        let tools = "make sh bash kprep kfetch kpki ketcd knode kcp kcni kapps";
        let which = if kind == Kind::KillAll { "" } else { tools };
        node.must(&format!("/root/live/kill live {which}"));
    }
    eprintln!("{point}: {}", last_words(&node.run(&format!("cat {EVENTS}")).1));
    if kind.ends_up() {
        for target in ["up", "plan", "status"] {
            node.must(&format!("{MAKE} {target}"));
        }
        node.probe();
    }
    node.must(&format!("{MAKE} down"));
    as_before(node, before);
}

/// What each phase said last: `knode ran images`. A line may be cut off.
fn last_words(events: &str) -> String {
    let mut last = BTreeMap::new();
    for event in events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let text = |key: &str| event[key].as_str().map(str::to_owned);
        let about = text("step").or_else(|| text("parent")).unwrap_or_default();
        let phase = text("phase").unwrap_or_default();
        last.insert(phase.clone(), format!("{phase} {} {about}", event["event"]));
    }
    last.into_values().filter(|words| !words.contains("\"ended\"")).collect::<Vec<_>>().join(", ")
}

#[expect(clippy::disallowed_methods, reason = "nothing is waited for but the moment itself")]
fn until_the_moment(at: f64) {
    sleep(Duration::from_secs_f64(at));
}

fn power_cut(node: &Node) {
    node.lab(&["crash", "node1"]);
    node.lab(&["up", "node1"]);
}

fn as_before(node: &Node, before: &Machine) {
    let changes = Machine::of(node).changes(before);
    assert!(changes.is_empty(), "left behind by reset:\n{}", changes.join("\n"));
}

/// What is worth knowing of a node on which something failed.
fn look(node: &Node) -> String {
    node.run(
        "systemctl --failed --no-legend --plain; journalctl --no-pager -n 15 -p warning; \
         kubectl --kubeconfig /etc/kubernetes/admin.conf get pods -A; ps -eo pid,etimes,args | cut -c 1-120",
    )
    .1
}
