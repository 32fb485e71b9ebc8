//! Writing things again, so that the API server stores them as it is told to now.

use std::time::Duration;

use khost::{Context, Error, Result, kubectl::Kubectl, wait::nap};

/// Longest time for all objects of one resource.
const LIMIT: Duration = Duration::from_secs(600);
/// Something may change between reading and writing it: it is then read again.
const ATTEMPTS: u32 = 5;

/// Every object of `resources`, as it is. The API server stores an object again, although nothing
/// in it changed, when it was stored with another key than the first.
pub(super) fn all(context: &Context<'_>, resources: &[String]) -> Result<()> {
    for resource in resources {
        context.report.say(&format!("writing all {resource} again"));
        let mut attempt = 1;
        while let Some(left) = once(resource)? {
            if attempt == ATTEMPTS {
                let message = format!("not all {resource} were written again");
                return Err(Error::host("rewrite-incomplete", message)
                    .because(left)
                    .hint("run `kcp apply` again; nothing is unreadable meanwhile"));
            }
            attempt += 1;
            nap(Duration::from_millis(200));
        }
    }
    Ok(())
}

/// What could not be written because it changed meanwhile, if anything. The objects go from
/// kubectl to kubectl through memory, on no disk and in no argument.
fn once(resource: &str) -> Result<Option<String>> {
    let kubectl = Kubectl::admin();
    let list = kubectl.cmd(&["get", resource, "--all-namespaces", "--output=json"]);
    let list = list.limit(LIMIT).run()?.stdout;
    if list.contains("\"items\": []") {
        return Ok(None); // kubectl has nothing to replace, and calls that an error
    }
    let replace = kubectl.cmd(&["replace", "--filename=-"]).limit(LIMIT);
    let output = replace.input(list).accept(&[0, 1]).run()?;
    if output.code == 0 {
        return Ok(None);
    }
    let lines: Vec<_> = output.stderr.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.iter().all(|line| line.contains("(Conflict)") || line.contains("(NotFound)")) {
        return Ok(Some(lines.join("\n")));
    }
    Err(Error::host("rewrite-failed", format!("cannot write {resource} again"))
        .because(lines.join("\n"))
        .hint("mend the cause and run `kcp apply` again"))
}
