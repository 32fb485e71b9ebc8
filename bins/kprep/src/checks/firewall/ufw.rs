//! ufw, by its files: its settings are for everybody to read, its rules for root (ufw(8)).

use khost::{Host, Result, fs};
use kspec::Cidr;

use super::{
    super::{Outcome, Subject},
    Opening,
};

const CONF: &str = "/etc/ufw/ufw.conf";
const DEFAULTS: &str = "/etc/default/ufw";
const RULES: &str = "/etc/ufw/user.rules";

pub(super) fn is_enabled(host: &Host) -> Result<bool> {
    let conf = fs::read_text(&host.path(CONF))?.unwrap_or_default();
    Ok(setting(&conf, "ENABLED").eq_ignore_ascii_case("yes"))
}

pub(super) fn judge(subject: &Subject<'_>, needed: &[Opening]) -> Result<Outcome> {
    let pods = &subject.cluster.network.pod_cidr;
    let defaults = fs::read_text(&subject.host.path(DEFAULTS))?.unwrap_or_default();
    let accepts = |key: &str| setting(&defaults, key) == "ACCEPT";
    let Ok(rules) = fs::read_text(&subject.host.path(RULES)) else {
        return Ok(Outcome::warning("ufw is at work, and may drop the node's traffic")
            .seen("only root sees what it lets through")
            .remedy(format!("what a node needs: {}", commands(needed, Some(pods), true))));
    };
    let rules: Vec<_> =
        rules.as_deref().unwrap_or_default().lines().filter_map(Rule::read).collect();
    let input = accepts("DEFAULT_INPUT_POLICY");
    let let_in = |opening: &Opening| input || rules.iter().any(|rule| rule.lets_in(opening));
    let closed: Vec<_> = needed.iter().copied().filter(|opening| !let_in(opening)).collect();
    let pods_in = input || rules.iter().any(|rule| rule.lets_in_all_of(pods));
    let forwards = accepts("DEFAULT_FORWARD_POLICY");
    if closed.is_empty() && pods_in && forwards {
        return Ok(Outcome::passed("ufw lets the node's traffic through"));
    }
    let mut dropped: Vec<_> = closed.iter().map(ToString::to_string).collect();
    if !pods_in {
        dropped.push(format!("what pods send to the node ({pods})"));
    }
    if !forwards {
        dropped.push("what is forwarded, to and from pods".into());
    }
    Ok(Outcome::problem(format!("ufw drops {}", dropped.join(", ")))
        .seen(format!("`{CONF}`, `{DEFAULTS}`, `{RULES}`"))
        .remedy(commands(&closed, (!pods_in).then_some(pods), !forwards)))
}

fn commands(closed: &[Opening], pods: Option<&Cidr>, forward: bool) -> String {
    let port = |opening: &Opening| format!("ufw allow {}", opening.to_string().replace('-', ":"));
    let mut commands: Vec<_> = closed.iter().map(port).collect();
    commands.extend(pods.map(|pods| format!("ufw allow from {pods}")));
    commands.extend(forward.then(|| "ufw default allow routed".to_owned()));
    format!("`{}`", commands.join(" && "))
}

/// The value of a shell variable, without quotes.
fn setting<'a>(text: &'a str, key: &str) -> &'a str {
    let value = |line: &'a str| line.trim().strip_prefix(key)?.strip_prefix('=');
    text.lines().find_map(value).unwrap_or_default().trim().trim_matches('"')
}

/// What ufw notes beside each rule that it makes.
struct Rule<'a> {
    protocol: &'a str,
    ports: &'a str,
    source: &'a str,
}

impl<'a> Rule<'a> {
    /// `### tuple ### ACTION PROTOCOL PORTS TO PORTS FROM DIRECTION`.
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<_> = line.strip_prefix("### tuple ### ")?.split_whitespace().collect();
        let [action, protocol, ports, _, _, source, direction, ..] = fields.as_slice() else {
            return None;
        };
        let lets_in = matches!(*action, "allow" | "limit") && direction.starts_with("in");
        lets_in.then_some(Self { protocol, ports, source })
    }

    /// Whoever may send: the operator knows where the nodes are.
    fn lets_in(&self, opening: &Opening) -> bool {
        let covers = |range: &str| {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            let (first, last) = (first.parse::<u16>(), last.parse::<u16>());
            first.is_ok_and(|first| first <= opening.first)
                && last.is_ok_and(|last| opening.last <= last)
        };
        (self.protocol == "any" || self.protocol == opening.protocol)
            && (self.ports == "any" && self.source == "0.0.0.0/0"
                || self.ports.split(',').any(covers))
    }

    fn lets_in_all_of(&self, pods: &Cidr) -> bool {
        let source = self.source.parse::<Cidr>();
        self.protocol == "any"
            && self.ports == "any"
            && source.is_ok_and(|net| net.overlaps(pods) && net.prefix() <= pods.prefix())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Opening, Rule};

    #[test]
    fn what_a_rule_lets_in() {
        let opening = Opening { first: 2379, last: 2380, protocol: "tcp" };
        for (rule, lets_in) in [
            ("allow tcp 2379:2380 0.0.0.0/0 any 0.0.0.0/0 in", true),
            ("allow tcp 80,2379:2380 0.0.0.0/0 any 10.0.0.0/8 in_eth0", true),
            ("limit any any 0.0.0.0/0 any 0.0.0.0/0 in", true),
            ("allow any any 0.0.0.0/0 any 10.233.64.0/18 in", false),
            ("allow udp 2379:2380 0.0.0.0/0 any 0.0.0.0/0 in", false),
            ("allow tcp 2379 0.0.0.0/0 any 0.0.0.0/0 in", false),
            ("allow tcp 2379:2380 0.0.0.0/0 any 0.0.0.0/0 out", false),
            ("deny tcp 2379:2380 0.0.0.0/0 any 0.0.0.0/0 in", false),
        ] {
            let line = format!("### tuple ### {rule}");
            let found = Rule::read(&line).is_some_and(|rule| rule.lets_in(&opening));
            assert_eq!(found, lets_in, "{rule}");
        }
    }
}
