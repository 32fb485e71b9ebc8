//! A kernel parameter's running value. What it is after a reboot is a [`super::file::File`].

use std::path::PathBuf;

use crate::{Change, Context, Error, Host, Result, Status, Step, Thing, fs, steps::module::Module};

/// The running value of a parameter.
#[derive(Debug, Clone)]
pub struct Sysctl {
    key: String,
    value: String,
    module: Option<String>,
}

impl Sysctl {
    /// `key` (dotted, e.g. `net.ipv4.ip_forward`) has `value`.
    pub fn new(key: &str, value: &str) -> Self {
        Self { key: key.into(), value: value.into(), module: None }
    }

    /// The kernel has the parameter once the module `name` is loaded, by an earlier step.
    #[must_use]
    pub fn brought_by(mut self, name: &str) -> Self {
        self.module = Some(name.into());
        self
    }
}

impl Step for Sysctl {
    fn id(&self) -> String {
        format!("sysctl:{}", self.key)
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let (key, wanted) = (&self.key, &self.value);
        Ok(match read(context.host, key)? {
            Some(found) if words(&found) == words(wanted) => Status::Done,
            Some(found) => Status::Differs(Change::values(format!("set {key}"), found, wanted)),
            // In a plan, where nothing is loaded yet.
            None if self.module.iter().any(|name| context.changes(&Module::id_of(name))) => {
                Status::Differs(Change::values(format!("set {key}"), "absent", wanted))
            }
            None => {
                return Err(Error::host("sysctl-missing", format!("this kernel has no `{key}`"))
                    .hint("take it out of [host] sysctls, or load the module that brings it"));
            }
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::Sysctl(self.key.clone())])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        write(context.host, &self.key, &self.value)
    }
}

/// Whether the kernel has the parameter `key`.
pub fn exists(host: &Host, key: &str) -> bool {
    fs::exists(&path(host, key))
}

/// proc(5): dots are slashes.
fn path(host: &Host, key: &str) -> PathBuf {
    host.path("/proc/sys").join(key.replace('.', "/"))
}

fn words(value: &str) -> Vec<&str> {
    value.split_whitespace().collect()
}

/// The running value; none when the kernel has no such parameter.
pub fn read(host: &Host, key: &str) -> Result<Option<String>> {
    Ok(fs::read_text(&path(host, key))?.map(|value| value.trim().to_owned()))
}

/// Set the running value.
#[expect(clippy::disallowed_methods, reason = "a kernel interface is no file to replace")]
pub(crate) fn write(host: &Host, key: &str, value: &str) -> Result<()> {
    let path = path(host, key);
    // The line end matters where the value is empty: nothing written is nothing set.
    std::fs::write(&path, format!("{value}\n")).map_err(|error| {
        Error::host("sysctl-refused", format!("the kernel did not take {key} = {value}"))
            .because(error)
            .hint("a container may not set it: set it on the machine that runs the container")
    })
}

#[cfg(test)]
mod tests {
    use crate::Host;

    #[test]
    fn a_value_that_the_kernel_does_not_take() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/sys/vm/max_map_count")).unwrap();
        let error = super::write(&Host::new(root.path()), "vm.max_map_count", "1").unwrap_err();
        assert_eq!(error.code(), "sysctl-refused");
        assert!(error.chain().contains("the kernel did not take vm.max_map_count = 1"));
        assert!(error.next().unwrap().starts_with("a container may not set it"));
    }
}
