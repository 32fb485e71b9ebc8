//! One key in an INI file of others, as `dnf.conf` is one.

use std::{os::unix::fs::MetadataExt as _, path::PathBuf};

use crate::{
    Change, Context, Detail, Host, Result, Status, Step, Thing,
    fs::{self, Attributes},
    steps::file::{diff, make_parents, missing_parents},
};

/// A key of one section has a value, or is not there. Every other byte of the file stays.
#[derive(Debug, Clone)]
pub struct Ini {
    path: PathBuf,
    section: String,
    key: String,
    value: Option<String>,
}

impl Ini {
    /// `key=value` in `[section]`, or for an empty section before the first of them, of the file
    /// at the host's absolute `path`, which is made, 0644, when it is missing.
    pub fn set(path: impl Into<PathBuf>, section: &str, key: &str, value: &str) -> Self {
        let value = Some(value.into());
        Self { path: path.into(), section: section.into(), key: key.into(), value }
    }

    /// No `key` in `[section]` of the file at `path`. Fine when there is no file.
    pub fn unset(path: impl Into<PathBuf>, section: &str, key: &str) -> Self {
        Self { path: path.into(), section: section.into(), key: key.into(), value: None }
    }

    /// What the file says, and what it shall say.
    fn texts(&self, host: &Host) -> Result<(String, String)> {
        let found = fs::text_of(&fs::read(&host.path(&self.path))?.unwrap_or_default());
        let wanted = edited(&found, &self.section, &self.key, self.value.as_deref());
        Ok((found, wanted))
    }
}

impl Step for Ini {
    fn id(&self) -> String {
        format!("ini:{}:{}", self.path.display(), self.key)
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let (found, wanted) = self.texts(context.host)?;
        if found == wanted {
            return Ok(Status::Done);
        }
        let (key, path) = (&self.key, self.path.display());
        let what = match &self.value {
            Some(_) => format!("set {key} in {path}"),
            None => format!("take {key} out of {path}"),
        };
        Ok(Status::Differs(Change {
            what,
            detail: Some(Detail::Diff(diff(&fs::shown(&found), &fs::shown(&wanted)))),
        }))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = missing_parents(context.host, &self.path)?;
        things.push(Thing::File(self.path.clone()));
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let (_, wanted) = self.texts(host)?;
        make_parents(host, &self.path)?;
        let real = host.path(&self.path);
        let attributes = match fs::look(&real)? {
            Some(found) => Attributes {
                mode: fs::mode(&found),
                owner: host.is_live().then(|| (found.uid(), found.gid())),
            },
            None => Attributes { mode: 0o644, owner: host.is_live().then_some((0, 0)) },
        };
        fs::write(&real, &fs::bytes_of(&wanted), attributes)
    }
}

/// `text` with `key` of `section` at `value`, or without it. A line that has the value already
/// stays as it is written; a second one of the same key goes. Lines that continue either go, too.
fn edited(text: &str, section: &str, key: &str, value: Option<&str>) -> String {
    let header = format!("[{section}]");
    let (mut out, mut inside) = (String::new(), section.is_empty());
    let (mut dropping, mut pending) = (false, value);
    // Where a new line goes: after the last line of the section that says something.
    let mut end = None;
    for line in text.split_inclusive('\n') {
        let continues = line.starts_with([' ', '\t']) && !line.trim().is_empty();
        if continues && dropping {
            continue;
        }
        dropping = false;
        if line.starts_with('[') {
            inside = line.trim_end() == header;
        } else if inside && !continues && is_key(line, key) {
            dropping = true;
            match pending.take() {
                Some(value) if value_of(line) == value => {}
                Some(value) => {
                    out.extend([key, "=", value, "\n"]);
                    continue;
                }
                None => continue,
            }
        }
        out += line;
        if inside && !line.trim().is_empty() {
            end = Some(out.len());
        }
    }
    let Some(value) = pending else { return out };
    let line = format!("{key}={value}\n");
    match end {
        Some(at) if out[..at].ends_with('\n') => out.insert_str(at, &line),
        Some(at) => out.insert_str(at, &format!("\n{line}")),
        None if section.is_empty() => out.insert_str(0, &line),
        None => {
            let gap = if out.is_empty() || out.ends_with('\n') { "" } else { "\n" };
            out.extend([gap, &header, "\n", &line]);
        }
    }
    out
}

fn is_key(line: &str, key: &str) -> bool {
    line.split_once('=').is_some_and(|(name, _)| name.trim() == key)
}

fn value_of(line: &str) -> &str {
    line.split_once('=').map_or("", |(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::edited;

    const TEXT: &str =
        "# dnf\n[main]\ngpgcheck = 1\nproxy = http://old:1\n  more\n\n[other]\nproxy=x\n";

    #[test]
    fn a_key_is_set_in_its_section_alone() {
        let set = edited(TEXT, "main", "proxy", Some("http://new:2"));
        assert_eq!(set, TEXT.replace("proxy = http://old:1\n  more", "proxy=http://new:2"));
        assert_eq!(edited(&set, "main", "proxy", Some("http://new:2")), set);
        let spaced = "[main]\nproxy = http://new:2\n";
        assert_eq!(edited(spaced, "main", "proxy", Some("http://new:2")), spaced);
    }

    #[test]
    fn a_key_goes_with_what_continues_it() {
        let gone = edited(TEXT, "main", "proxy", None);
        assert_eq!(gone, TEXT.replace("proxy = http://old:1\n  more\n", ""));
        assert_eq!(edited(&gone, "main", "proxy", None), gone);
        assert_eq!(edited("", "main", "proxy", None), "");
    }

    #[test]
    fn a_new_key_ends_its_section() {
        let without = "[main]\na=1\n\n[other]\nb=2\n";
        let with = "[main]\na=1\nproxy=p\n\n[other]\nb=2\n";
        assert_eq!(edited(without, "main", "proxy", Some("p")), with);
        assert_eq!(edited("[main]\na=1", "main", "proxy", Some("p")), "[main]\na=1\nproxy=p\n");
        assert_eq!(edited("", "main", "proxy", Some("p")), "[main]\nproxy=p\n");
    }

    #[test]
    fn a_file_without_sections_is_one() {
        let text = "# SELINUX=\nSELINUX=enforcing\nSELINUXTYPE=targeted\n";
        let wanted = text.replace("=enforcing", "=permissive");
        assert_eq!(edited(text, "", "SELINUX", Some("permissive")), wanted);
        assert_eq!(edited("", "", "SELINUX", Some("permissive")), "SELINUX=permissive\n");
    }

    #[test]
    fn a_comment_is_no_key_and_a_second_one_goes() {
        let text = "[main]\n#proxy=a\nproxy=b\nproxy=c\n";
        assert_eq!(edited(text, "main", "proxy", Some("d")), "[main]\n#proxy=a\nproxy=d\n");
    }

    #[test]
    fn a_value_that_goes_on_in_the_next_line_is_another() {
        let text = "[main]\nproxy = p\n  more\n";
        assert_eq!(edited(text, "main", "proxy", Some("p")), "[main]\nproxy = p\n");
    }

    #[test]
    fn before_the_first_section_is_at_the_head() {
        let text = "[main]\na=1\n";
        assert_eq!(edited(text, "", "b", Some("2")), "b=2\n[main]\na=1\n");
    }

    /// Lines of which some are of the sections and keys that are asked for.
    fn ini() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            Just("[main]".to_owned()),
            Just("[other]".to_owned()),
            "proxy ?= ?[ab]{0,2}",
            "[ \t][a-z=]{0,4}",
            "[#;]?[a-z\\[\\]= \t\r]{0,6}",
            any::<String>(),
        ];
        (prop::collection::vec(line, 0..12), "\n?").prop_map(|(lines, end)| lines.join("\n") + &end)
    }

    proptest! {
        #[test]
        fn twice_is_once_and_other_lines_stay(
            text in ini(),
            section in "(main|other|third)?",
            value in prop::option::of("[ab]{1,2}"),
        ) {
            let once = edited(&text, &section, "proxy", value.as_deref());
            prop_assert_eq!(&edited(&once, &section, "proxy", value.as_deref()), &once);
            let is_other = |line: &&str| {
                !(line.is_empty()
                    || super::is_key(line, "proxy")
                    || line.starts_with([' ', '\t']) // may go on with a value of ours
                    || *line == format!("[{section}]")) // may be new
            };
            let others = |text| str::split(text, '\n').filter(is_other).collect::<Vec<_>>();
            prop_assert_eq!(others(&once), others(&text));
        }
    }

    #[test]
    fn fuzz_ini() {
        let seed = "a=1\n[main]\nproxy = one\n  two\n# proxy=\n[other]\nproxy=\n";
        fuzz::target([seed], |bytes| {
            let text = crate::fs::text_of(bytes);
            for (section, value) in [("main", Some("b")), ("", Some("b")), ("main", None)] {
                let once = edited(&text, section, "proxy", value);
                assert_eq!(edited(&once, section, "proxy", value), once);
            }
        });
    }
}
