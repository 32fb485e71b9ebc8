//! resolv.conf(5): a text in, what it says out.

use std::net::IpAddr;

/// What a resolv.conf says that matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    /// Nameservers, the first to ask first; an interface after a link-local one is left out.
    pub(crate) servers: Vec<IpAddr>,
    /// Domains in which a short name is looked for.
    pub(crate) searches: Vec<String>,
    /// Options, such as `ndots:2`.
    pub(crate) options: Vec<String>,
}

impl ResolvConf {
    /// Read `text`. Of several lists of domains the last one counts; options add up.
    pub(crate) fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => conf.servers.extend(words.next().and_then(address)),
                Some("search" | "domain") => conf.searches = names(words),
                Some("options") => {
                    conf.options.extend(words.filter(|word| is_option(word)).map(str::to_owned));
                }
                _ => {}
            }
        }
        for list in [&mut conf.searches, &mut conf.options] {
            *list = unique(std::mem::take(list));
        }
        conf.servers = unique(conf.servers);
        conf
    }

    /// Its lines, each after `prefix`.
    pub(crate) fn lines(&self, prefix: &str) -> String {
        let servers = self.servers.iter().map(|server| format!("{prefix}nameserver {server}\n"));
        let lists = [("search", &self.searches), ("options", &self.options)];
        let lists = lists
            .into_iter()
            .filter(|(_, list)| !list.is_empty())
            .map(|(word, list)| format!("{prefix}{word} {}\n", list.join(" ")));
        servers.chain(lists).collect()
    }
}

/// An address, without the interface that may follow a link-local one: `fe80::1%eth0`.
pub(crate) fn address(word: &str) -> Option<IpAddr> {
    word.split('%').next()?.parse().ok()
}

/// Whether a line is one whose last or summed-up occurrence counts, not its first.
pub(crate) fn is_search_or_options(line: &str) -> bool {
    matches!(line.split_whitespace().next(), Some("search" | "domain" | "options"))
}

/// Domains, as far as they are names: what a DHCP server says is written into files.
fn names<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    words
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| is_name(word))
        .map(Into::into)
        .collect()
}

/// Whether `word` is a domain and nothing that means something else in some file.
fn is_name(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !word.is_empty() && word.len() <= 253 && word.chars().all(fits)
}

/// Whether `word` is an option, likewise.
fn is_option(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_:".contains(c);
    !word.is_empty() && word.chars().all(fits)
}

/// Every thing once, where it comes first.
pub(crate) fn unique<T: PartialEq>(things: Vec<T>) -> Vec<T> {
    let mut kept = Vec::new();
    for thing in things {
        if !kept.contains(&thing) {
            kept.push(thing);
        }
    }
    kept
}

/// `first`, then those of `second` that set another option: `ndots:2` and `ndots:5` are one.
pub(crate) fn options(first: &[String], second: &[String]) -> Vec<String> {
    let name = |option: &str| option.split(':').next().unwrap_or_default().to_owned();
    let mut all = unique(first.to_vec());
    for option in second {
        if !all.iter().any(|known| name(known) == name(option)) {
            all.push(option.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ResolvConf, is_name, is_option, options};

    #[test]
    fn only_what_is_valid_counts() {
        let text = "# nameserver 192.0.2.9\nnameserver 192.0.2.1\nnameserver  fe80::1%eth0\n\
                    nameserver somewhere\nnameserver\nnameserver 192.0.2.1\ndomain old.example\n\
                    search example.com. $(reboot) corp\noptions edns0 ndots:1 $(reboot)\noptions edns0\n";
        let conf = ResolvConf::parse(text);
        let servers: Vec<_> = conf.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1", "fe80::1"]);
        assert_eq!(conf.searches, ["example.com", "corp"]);
        assert_eq!(conf.options, ["edns0", "ndots:1"]);
        assert_eq!(ResolvConf::parse(&conf.lines("")), conf);
    }

    #[test]
    fn nothing_that_a_shell_or_a_quote_would_see() {
        for word in ["a b", "a\"", "$HOME", "a;b", "", "a\n"] {
            assert!(!is_name(word) && !is_option(word), "{word}");
        }
        assert!(is_name("corp.example-1.com") && is_option("timeout:2"));
    }

    #[test]
    fn an_option_is_set_once() {
        let list = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let all = options(&list("ndots:2 timeout:2"), &list("edns0 ndots:5 trust-ad"));
        assert_eq!(all, list("ndots:2 timeout:2 edns0 trust-ad"));
    }

    proptest! {
        /// What a DHCP server says goes into files that shells and others read.
        #[test]
        fn any_text_says_what_reads_back_and_nothing_else(
            lines in prop::collection::vec(
                "\\PC{0,12}|(nameserver|search|domain|options)( [a-f0-9.:%$(;'\"]{0,9}){0,4}", 0..8,
            ),
        ) {
            let conf = ResolvConf::parse(&lines.join("\n"));
            let text = conf.lines("");
            let fits = |c: char| c.is_ascii_alphanumeric() || "-_.: \n".contains(c);
            prop_assert!(text.chars().all(fits), "{:?}", text);
            prop_assert_eq!(ResolvConf::parse(&text), conf);
        }
    }

    #[test]
    fn fuzz_resolv_conf() {
        let seed = "nameserver 192.0.2.1\nsearch a.example b\noptions ndots:5 edns0\ndomain c\n";
        fuzz::text_target([seed], |text| {
            let conf = ResolvConf::parse(text);
            assert_eq!(ResolvConf::parse(&conf.lines("")), conf);
        });
    }
}
