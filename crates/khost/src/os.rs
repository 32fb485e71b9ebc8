//! Which operating system: `/etc/os-release` (os-release(5)).
//!
//! The file decides, not the programs that are there: an rpm may be installed on Debian, and dpkg
//! on Rocky.

use kspec::state::{Family, Os};

use crate::{Error, Host, Result, fs};

/// Which system `host` is. A tree without an os-release counts as Debian 12.
///
/// # Errors
/// When neither `ID` nor `ID_LIKE` names a distribution these tools can manage:
/// `os-unsupported`.
pub fn operating_system(host: &Host) -> Result<Os> {
    let found = fs::read_text(&host.path("/etc/os-release"))?;
    if found.is_none() && !host.is_live() {
        let [id, version, name] = ["debian", "12", "Debian GNU/Linux 12"].map(Into::into);
        return Ok(Os { id, version, name, family: Family::Debian });
    }
    parse(&found.unwrap_or_default())
}

/// Read the text of os-release.
fn parse(text: &str) -> Result<Os> {
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        found.map(unquoted).unwrap_or_default()
    };
    let (id, like) = (value("ID"), value("ID_LIKE"));
    let family = std::iter::once(id.as_str()).chain(like.split_whitespace()).find_map(family);
    let family = family.ok_or_else(|| {
        Error::host("os-unsupported", format!("`{id}` is no operating system kprep can prepare"))
            .because("`/etc/os-release` names neither Debian nor Red Hat as its kind")
            .hint("use Debian, Ubuntu, Rocky, RHEL or Alma")
    })?;
    Ok(Os { id, version: value("VERSION_ID"), name: value("PRETTY_NAME"), family })
}

/// The family of a distribution by its identifier.
fn family(id: &str) -> Option<Family> {
    match id {
        "debian" | "ubuntu" => Some(Family::Debian),
        "rhel" | "rocky" | "almalinux" | "centos" | "fedora" => Some(Family::RedHat),
        _ => None,
    }
}

/// A value without the quotes and escapes that the shell would take away.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let mut chars = value.chars();
    let inner = match (chars.next(), chars.next_back()) {
        (Some('"'), Some('"')) => chars.as_str(),
        (Some('\''), Some('\'')) => return chars.as_str().to_owned(), // nothing is escaped there
        _ => value,
    };
    let mut plain = String::with_capacity(inner.len());
    let mut letters = inner.chars().peekable();
    while let Some(letter) = letters.next() {
        let escaped = letters.next_if(|next| letter == '\\' && "\"$`\\".contains(*next));
        plain.push(escaped.unwrap_or(letter));
    }
    plain
}

#[cfg(test)]
mod tests {
    use kspec::state::Family;
    use proptest::prelude::*;

    use super::parse;

    #[test]
    fn known_systems() {
        let cases = [
            (
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
                ("debian", "12", "Debian GNU/Linux 12 (bookworm)", Family::Debian),
            ),
            (
                "NAME='Rocky Linux'\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n\
                 VERSION_ID=\"10.1\"\nPRETTY_NAME=\"Rocky Linux 10.1 (Red Quartz)\"\n",
                ("rocky", "10.1", "Rocky Linux 10.1 (Red Quartz)", Family::RedHat),
            ),
            ("ID=mint\nID_LIKE=\"ubuntu debian\"\n", ("mint", "", "", Family::Debian)),
        ];
        for (text, (id, version, name, family)) in cases {
            let os = parse(text).unwrap();
            assert_eq!((&*os.id, &*os.version, &*os.name, os.family), (id, version, name, family));
        }
    }

    #[test]
    fn an_unknown_system_is_refused_by_name() {
        for text in ["ID=alpine\n", "", "ID_LIKE=\n"] {
            assert_eq!(parse(text).unwrap_err().code(), "os-unsupported", "{text}");
        }
        assert!(parse("ID=alpine\n").unwrap_err().to_string().contains("`alpine`"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_and_a_quoted_value_is_as_it_was_meant(
            noise in any::<String>(), value in "[ -~é]{0,8}",
        ) {
            if let Err(error) = parse(&noise) {
                prop_assert_eq!(error.code(), "os-unsupported");
            }
            let escaped: String = value
                .chars()
                .flat_map(|letter| {
                    "\"$`\\".contains(letter).then_some('\\').into_iter().chain([letter])
                })
                .collect();
            let os = parse(&format!("ID=debian\nPRETTY_NAME=\"{escaped}\"\n{noise}")).unwrap();
            prop_assert_eq!(os.name, value);
        }
    }

    #[test]
    fn fuzz_os_release() {
        let seed =
            "ID=debian\nVERSION_ID=\"12\"\nID_LIKE='rhel fedora'\nPRETTY_NAME=\"a \\\"b\\$\"\n";
        fuzz::text_target([seed], |text| drop(parse(text)));
    }
}
