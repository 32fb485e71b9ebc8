//! How names, ports and amounts are written.

use std::net::IpAddr;

/// RFC 1123 subdomain, as Kubernetes requires of node names.
pub(super) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().last()];
        ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// A subject alternative name: an address, or a DNS name whose first label may be `*`.
pub(super) fn is_san(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok() || is_dns_name(name.strip_prefix("*.").unwrap_or(name))
}

/// The key of a label or taint: `NAME` or `DOMAIN/NAME` (Kubernetes, "Labels and Selectors").
pub(super) fn is_qualified_name(key: &str) -> bool {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    domain.is_none_or(is_dns_name) && !name.is_empty() && is_label_value(name)
}

/// The value of a label or taint: nothing, or at most 63 characters (the same page).
pub(super) fn is_label_value(value: &str) -> bool {
    let ends = [value.bytes().next(), value.bytes().last()];
    value.len() <= 63
        && ends.iter().flatten().all(u8::is_ascii_alphanumeric)
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// `http://HOST[:PORT][/]` or the same with https.
pub(super) fn is_proxy(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else { return false };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]_".contains(letter);
    !host.is_empty() && !host.starts_with(':') && host.chars().all(allowed)
}

/// The first and the last port of a range.
pub(super) fn ports(range: &str) -> Option<(u16, u16)> {
    let (first, last) = range.split_once('-')?;
    let ports: (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (ports.0 > 0 && ports.0 < ports.1).then_some(ports)
}

/// A package of dpkg (Debian policy, "Source"; with `:ARCH`) or rpm: nothing that the package
/// manager could take for an option, a file or a version.
pub(super) fn is_package(name: &str) -> bool {
    name.starts_with(|at: char| at.is_ascii_alphanumeric())
        && name.chars().all(|at| at.is_ascii_alphanumeric() || "+-._:".contains(at))
}

/// A kernel parameter with dots: nothing that could lead out of `/proc/sys`.
pub(super) fn is_sysctl(key: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    key.contains('.') && key.split('.').all(part)
}

/// The tag of an image (OCI distribution specification 1.1, "Pulling manifests").
pub(super) fn is_tag(tag: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !tag.is_empty() && tag.len() <= 128 && !tag.starts_with(['.', '-']) && tag.bytes().all(inner)
}

/// The full name of an image: `REGISTRY/REPOSITORY:TAG`, with or instead of a tag `@sha256:HEX`.
pub(super) fn is_image(image: &str) -> bool {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let Some((registry, rest)) = name.split_once('/') else { return false };
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    let part = |part: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        !part.is_empty() && part.bytes().all(inner)
    };
    let host =
        |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b));
    (registry.contains(['.', ':']) || registry == "localhost")
        && host(registry)
        && repository.split('/').all(part)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(|digest| digest.parse::<crate::Sha256>().is_ok())
        && (tag.is_some() || digest.is_some())
}

/// A duration as Go's `time.ParseDuration` reads it, longer than none: `1h30m`, `40s`.
pub(super) fn is_duration(text: &str) -> bool {
    let mut rest = text;
    let mut any = false;
    while !rest.is_empty() {
        let end = rest.find(|at: char| !at.is_ascii_digit()).unwrap_or(rest.len());
        let (number, unit) = rest.split_at(end);
        let Some(unit) = ["ms", "h", "m", "s"].into_iter().find(|known| unit.starts_with(known))
        else {
            return false;
        };
        let Ok(number) = number.parse::<u32>() else { return false };
        any |= number > 0;
        rest = &rest[end + unit.len()..];
    }
    any
}

/// An amount of a resource (Kubernetes API, `resource.Quantity`), not below zero.
pub(super) fn is_quantity(amount: &str) -> bool {
    let end = amount.find(|at: char| !at.is_ascii_digit() && at != '.').unwrap_or(amount.len());
    let (number, suffix) = amount.split_at(end);
    let exponent = suffix.strip_prefix(['e', 'E']).filter(|power| !power.is_empty());
    number.parse::<f64>().is_ok()
        && match exponent {
            Some(power) => power.parse::<i32>().is_ok() || power == "i",
            None => ["", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi"]
                .contains(&suffix),
        }
}

#[cfg(test)]
mod tests {
    use super::{
        is_image, is_label_value, is_package, is_qualified_name, is_quantity, is_san, is_sysctl,
    };

    #[track_caller]
    fn tells(is: impl Fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(is(text), "`{text}` is refused");
        }
        for text in bad {
            assert!(!is(text), "`{text}` is accepted");
        }
    }

    #[test]
    fn keys_and_values_of_labels() {
        let long = "a".repeat(64);
        tells(
            is_qualified_name,
            &["rack", "node.kubernetes.io/role", "a_b.C-d"],
            &["", "-rack", "a/b/c", "/a", "a/", "A.example/x", "a b", &long],
        );
        tells(is_label_value, &["", "7", "a.b_c-D"], &["-", "a-", "a b", "a/b", &long]);
    }

    #[test]
    fn names_in_certificates() {
        tells(
            is_san,
            &["api.example", "*.example.com", "192.0.2.1", "2001:db8::1"],
            &["", "*", "a.*.b", "https://api", "Api", "192.0.2.1:6443"],
        );
    }

    #[test]
    fn what_a_package_manager_would_misread_is_no_package() {
        tells(
            is_package,
            &["vim", "g++", "libc6:i386", "python3.11"],
            &["", "-y", "--force", "./x.deb", "a b", "vim=1", "@core"],
        );
    }

    #[test]
    fn kernel_parameters_stay_below_proc_sys() {
        tells(
            is_sysctl,
            &["vm.swappiness", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.enP1s0.log_martians"],
            &["", "swappiness", "/etc/passwd", "net/ipv4", "net..x", ".x", "net.ipv4 = 1"],
        );
    }

    #[test]
    fn images_have_a_registry_and_a_tag_or_digest() {
        let digest = format!("r.example/a@sha256:{}", "0".repeat(64));
        tells(
            is_image,
            &["registry.k8s.io/coredns/coredns:v1.12.0", "10.0.0.1:5000/a:1", &digest],
            &["", "coredns", "coredns:1", "library/coredns:1", "r.example/a", "r.example/A:1"],
        );
        tells(is_image, &[], &["r.example/a:1@sha256:0", "r.example/a:b c", "r.example//a:1"]);
    }

    #[test]
    fn amounts() {
        tells(
            is_quantity,
            &["1", "100m", "0.5", "512Mi", "2G", "1e3", "1Ei", "1E"],
            &["", "Mi", "-1", "1 Mi", "1KiB", "1K", "1.2.3", "much"],
        );
    }
}
