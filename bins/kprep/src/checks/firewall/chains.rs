//! Chains of the packet filter that drop what no rule accepts.

use super::{super::Outcome, Opening};

/// Chains of `nft list chains` (nft(8)) at the hooks that matter with the policy to drop, as
/// `FAMILY TABLE CHAIN (HOOK)`.
pub(super) fn of_nft(listed: &str) -> Vec<String> {
    let (mut table, mut chain, mut found) = ("", "", Vec::new());
    for line in listed.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ") {
            table = name.trim_end_matches('{').trim();
        } else if let Some(name) = line.strip_prefix("chain ") {
            chain = name.trim_end_matches('{').trim();
        } else if line.contains("policy drop") {
            for hook in ["input", "forward"] {
                if line.contains(&format!("hook {hook} ")) {
                    found.push(format!("{table} {chain} ({hook})"));
                }
            }
        }
    }
    found
}

/// The same of `iptables-save`.
pub(super) fn of_iptables(saved: &str) -> Vec<String> {
    let filter = saved.split("*filter").nth(1).unwrap_or_default();
    let lines = filter.lines().take_while(|line| *line != "COMMIT");
    let hook = |line: &str| match line.split_once(" DROP")?.0 {
        ":INPUT" => Some("filter INPUT (input)".into()),
        ":FORWARD" => Some("filter FORWARD (forward)".into()),
        _ => None,
    };
    lines.filter(|line| line.starts_with(':')).filter_map(hook).collect()
}

pub(super) fn judge(dropping: &[String], needed: &[Opening]) -> Outcome {
    if dropping.is_empty() {
        return Outcome::passed("no packet filter drops what it does not know");
    }
    let ports: Vec<_> = needed.iter().map(ToString::to_string).collect();
    Outcome::warning("a packet filter drops what none of its rules accepts")
        .seen(dropping.join("\n"))
        .remedy(format!(
            "see that its rules accept {} and all that pods send and are sent",
            ports.join(", ")
        ))
}

#[cfg(test)]
mod tests {
    use super::{super::super::Verdict, judge, of_iptables, of_nft};

    #[test]
    fn chains_of_nft() {
        let listed = "\
table inet filter {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t}
\tchain output {
\t\ttype filter hook output priority filter; policy drop;
\t}
\tchain forward {
\t\ttype filter hook forward priority filter; policy accept;
\t}
\tchain mine {
\t}
}
";
        assert_eq!(of_nft(listed), ["inet filter input (input)"]);
    }

    #[test]
    fn chains_of_iptables() {
        let saved = "*nat\n:INPUT DROP [0:0]\nCOMMIT\n*filter\n:INPUT ACCEPT [0:0]\n\
                     :FORWARD DROP [0:0]\n-A FORWARD -j DROP\nCOMMIT\n*mangle\n:INPUT DROP [0:0]\n";
        assert_eq!(of_iptables(saved), ["filter FORWARD (forward)"]);
    }

    #[test]
    fn one_that_drops_is_named() {
        assert_eq!(judge(&[], &[]).verdict, Verdict::Passed);
        let outcome = judge(&["inet filter input (input)".into()], &[]);
        assert_eq!(outcome.verdict, Verdict::Warning);
        assert_eq!(outcome.what, "a packet filter drops what none of its rules accepts");
        assert_eq!(outcome.evidence, "inet filter input (input)");
    }
}
