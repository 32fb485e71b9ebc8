//! Ports that a node's programs listen at must be free, or theirs already.

use khost::{
    Host, Result, fs,
    sockets::{Process, listening, processes},
};
use kspec::{Node, Role, cluster::Backend};

use super::{Found, Outcome, Subject};

/// A port and the program that listens there on a node.
type Port = (u16, &'static str);

const CONTROL_PLANE: [Port; 3] =
    [(6443, "kube-apiserver"), (10257, "kube-controller-manager"), (10259, "kube-scheduler")];
const ETCD: [Port; 2] = [(2379, "etcd"), (2380, "etcd")];
const NODE: [Port; 4] =
    [(10248, "kubelet"), (10249, "kube-proxy"), (10250, "kubelet"), (10256, "kube-proxy")];

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Holder {
    /// A process of this name (as the kernel keeps it, at most 15 bytes).
    Named(String),
    /// Nobody tells an ordinary user; whether a process named like the port's own program runs.
    Hidden {
        /// It runs.
        own_runs: bool,
    },
}

/// One finding for each port that somebody else has, or one that says all are free. Until kprep
/// has been here, a program of the right name is not ours.
pub(super) fn free(subject: &Subject<'_>) -> Found {
    let Subject { host, cluster, node, prepared, .. } = subject;
    let listening = listening(host)?;
    let wanted = wanted(node);
    let taken = wanted.iter().filter_map(|port| Some((*port, *listening.get(&port.0)?)));
    let taken: Vec<_> = taken.collect();
    let processes = if taken.is_empty() { Vec::new() } else { processes(host)? };
    let holder = |inode: u64, program: &str| {
        let has = |process: &&Process| process.sockets.contains(&inode);
        match processes.iter().find(has) {
            Some(process) => Holder::Named(process.name.clone()),
            None => Holder::Hidden {
                own_runs: processes.iter().any(|process| process.name == kept(program)),
            },
        }
    };
    let mut found: Vec<_> = taken
        .into_iter()
        .filter_map(|(port, inode)| judge(port, &holder(inode, port.1), *prepared))
        .collect();
    let flannel = &cluster.network.flannel;
    if flannel.backend == Backend::Vxlan && !prepared && datagrams(host)?.contains(&flannel.port) {
        found.push(
            Outcome::problem(format!("UDP port {} is taken, which flannel needs", flannel.port))
                .seen("a program or an interface of the kind vxlan has it")
                .remedy("look with `ss -ulnp` and `ip -d link show type vxlan`, and remove it"),
        );
    }
    if !found.is_empty() {
        return Ok(found);
    }
    let numbers: Vec<_> = wanted.iter().map(|(number, _)| number.to_string()).collect();
    Outcome::passed("its ports are free or its own").seen(numbers.join(" ")).only()
}

/// A `NodePort` that a program of the machine has does not answer for its Service.
pub(super) fn node_ports_free(subject: &Subject<'_>) -> Found {
    let range = &subject.cluster.network.node_ports;
    let ends = range
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?)));
    let within = |port: &u16| ends.is_some_and(|(first, last)| (first..=last).contains(port));
    let taken: Vec<_> = listening(subject.host)?.into_keys().filter(within).collect();
    if taken.is_empty() {
        return Outcome::passed(format!("nobody listens at the node ports, {range}")).only();
    }
    let taken: Vec<_> = taken.iter().map(ToString::to_string).collect();
    Outcome::warning("a program listens at ports that Services may be given")
        .seen(taken.join(" "))
        .remedy("look with `ss -tlnp`, and stop it or change node-ports in [network]")
        .only()
}

/// UDP ports that are bound.
fn datagrams(host: &Host) -> Result<Vec<u16>> {
    let mut bound = Vec::new();
    for table in ["/proc/net/udp", "/proc/net/udp6"] {
        let text = fs::read_text(&host.path(table))?.unwrap_or_default();
        let port = |line: &str| {
            let local = line.split_whitespace().nth(1)?;
            u16::from_str_radix(local.rsplit(':').next()?, 16).ok()
        };
        bound.extend(text.lines().filter_map(port));
    }
    Ok(bound)
}

fn wanted(node: &Node) -> Vec<Port> {
    let mut wanted = Vec::new();
    if node.is(Role::ControlPlane) {
        wanted.extend(CONTROL_PLANE);
    }
    if node.is(Role::Etcd) {
        wanted.extend(ETCD);
    }
    if node.is(Role::ControlPlane) || node.is(Role::Worker) {
        wanted.extend(NODE);
    }
    wanted
}

/// The problem with a port that `holder` has; none when it is the node's own program.
fn judge((number, program): Port, holder: &Holder, prepared: bool) -> Option<Outcome> {
    let own = match holder {
        Holder::Named(name) => name == kept(program),
        Holder::Hidden { own_runs } => *own_runs,
    };
    if own && prepared {
        return None;
    }
    let who = match holder {
        Holder::Named(name) => format!("`{name}` listens at it"),
        Holder::Hidden { .. } => "a program listens at it; run as root to learn which".into(),
    };
    Some(
        Outcome::problem(format!("port {number} is taken, which {program} needs"))
            .seen(who)
            .remedy(format!("look with `ss -tlnp 'sport = :{number}'` and stop that program")),
    )
}

/// As much of a program's name as the kernel keeps (proc(5), `/proc/PID/comm`).
fn kept(program: &str) -> &str {
    program.get(..15).unwrap_or(program)
}

#[cfg(test)]
mod tests {
    use super::{super::sample::Sample, Holder, judge, kept};

    #[test]
    fn whose_port_it_is() {
        let named = |name: &str| Holder::Named(name.into());
        let port = (10257, "kube-controller-manager");
        for (holder, prepared, fine) in [
            (named("kube-controller"), true, true),
            (named("kube-controller"), false, false),
            (named("nginx"), true, false),
            (Holder::Hidden { own_runs: true }, true, true),
            (Holder::Hidden { own_runs: false }, true, false),
        ] {
            assert_eq!(judge(port, &holder, prepared).is_none(), fine, "{holder:?}");
        }
        assert_eq!(kept(port.1).len(), 15);
    }

    #[test]
    fn taken_ports_are_told_of_one_by_one() {
        let line =
            |port: u16| format!("   0: 00000000:{port:04X} 0:0 0A 0:0 00:0 0 0 0 {port} 1\n");
        let mut sample = Sample::new(&[
            ("/proc/net/tcp", &(line(6443) + &line(2379) + &line(31000))),
            ("/proc/net/udp", &line(8472).replace(" 0A ", " 07 ")),
        ]);
        insta::assert_snapshot!(sample.says("port-taken"), @"
        problem[port-taken]: port 6443 is taken, which kube-apiserver needs
            seen: a program listens at it; run as root to learn which
            hint: look with `ss -tlnp 'sport = :6443'` and stop that program
        problem[port-taken]: port 2379 is taken, which etcd needs
            seen: a program listens at it; run as root to learn which
            hint: look with `ss -tlnp 'sport = :2379'` and stop that program
        problem[port-taken]: UDP port 8472 is taken, which flannel needs
            seen: a program or an interface of the kind vxlan has it
            hint: look with `ss -ulnp` and `ip -d link show type vxlan`, and remove it
        ");
        insta::assert_snapshot!(sample.says("node-port-taken"), @"
        warning[node-port-taken]: a program listens at ports that Services may be given
            seen: 31000
            hint: look with `ss -tlnp`, and stop it or change node-ports in [network]
        ");
        sample.prepared = true;
        assert!(!sample.says("port-taken").contains("8472"), "it may be flannel's own");
        sample.cluster.network.node_ports = "32000-32767".into();
        assert!(sample.says("node-port-taken").starts_with("good"));
    }
}
