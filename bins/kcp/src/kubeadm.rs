//! Running kubeadm: its environment, its lock, its words.

use std::{path::Path, time::Duration};

use khost::{Cmd, Context, Error, Result, cmd::Output};

use crate::kubeadm_config;

const PROGRAM: &str = "/usr/local/bin/kubeadm";
const CONFIG: &str = "--config=/etc/kubernetes/kubeadm-config.yaml";
/// flock's own failure, told apart from kubeadm's codes.
const LOCKED: i32 = 75;
/// Seconds that a kubeadm of an interrupted run is waited for; `--timeout` makes them fewer.
const PATIENCE: u64 = 60;

/// `kubeadm ARGS --config=...`, telling people its phases as they begin. `limit` in seconds.
pub(crate) fn run(context: &Context<'_>, args: &[&str], limit: u64) -> Result<()> {
    let report = context.report;
    let mut tell = |line: &str| {
        if is_public(line) && !report.is_json() {
            report.say(line);
        }
    };
    unless_busy(&alone(context, args, CONFIG, limit).run_telling(&mut tell)?)
}

/// `kubeadm ARGS` with the configuration `config`, which may hold secrets: it goes in through a
/// pipe. `limit` in seconds.
pub(crate) fn run_with(
    context: &Context<'_>,
    args: &[&str],
    config: &str,
    limit: u64,
) -> Result<()> {
    let report = context.report;
    let mut tell = |line: &str| {
        if is_public(line) && !report.is_json() {
            report.say(line);
        }
    };
    let command = alone(context, args, "--config=/dev/stdin", limit).input(config);
    unless_busy(&command.run_telling(&mut tell)?)
}

/// What `kubeadm ARGS`, which reads no configuration, prints: a secret.
pub(crate) fn ask(args: &[&str], limit: Duration) -> Result<String> {
    let output = Cmd::new(PROGRAM).args(args.iter().copied()).limit(limit).run()?;
    Ok(output.stdout)
}

/// What `kubeadm ARGS` prints, from the configuration at `config`. For phases that change nothing:
/// files they write go to `dir`.
pub(crate) fn render(args: &[&str], config: &Path, dir: &Path) -> Result<String> {
    let config = format!("--config={}", config.display());
    let command = cmd(Cmd::new(PROGRAM), args, &config).env("KUBEADM_INIT_DRYRUN_DIR", dir);
    let output = command.limit(Duration::from_secs(60)).run().map_err(|error| {
        Error::host("render-failed", "kubeadm cannot say what it would make")
            .because(error.chain())
            .hint("correct [control-plane] or [kubeadm] in cluster.toml")
    })?;
    Ok(output.stdout)
}

fn unless_busy(output: &Output) -> Result<()> {
    if output.code == LOCKED {
        return Err(Error::host("kubeadm-busy", "another kubeadm is still at work")
            .because("an interrupted run can leave one behind; it was waited for in vain")
            .hint("see `pgrep -a kubeadm`; run `kcp apply` again when it has ended"));
    }
    Ok(())
}

/// kubeadm reads the configuration at `config` strictly here; `init` would only warn of an unknown
/// field.
///
/// # Errors
/// `kubeadm-config-invalid`.
pub(crate) fn validate(config: &Path) -> Result<()> {
    let config = format!("--config={}", config.display());
    let command = cmd(Cmd::new(PROGRAM), &["config", "validate"], &config);
    let asked = command.limit(Duration::from_secs(30)).run();
    asked.map(drop).map_err(|error| match error.code() {
        "program-failed" => {
            let path = kubeadm_config::PATH;
            Error::input("kubeadm-config-invalid", format!("kubeadm does not accept `{path}`"))
                .because(error.chain())
                .hint("correct what cluster.toml says in [control-plane] or [kube-proxy] extra")
        }
        _ => error,
    })
}

/// What went wrong, without the lock's part of the command and the phases that were passed over.
pub(crate) fn words(error: &Error) -> String {
    let chain = error.chain();
    let Some((before, rest)) = chain.split_once("flock --no-fork") else { return chain };
    let twice = format!("{PROGRAM} {PROGRAM}");
    let Some((_, after)) = rest.split_once(&twice) else { return chain };
    let Some((command, others)) = after.split_once(" --skip-phases=") else {
        return format!("{before}kubeadm{after}");
    };
    let end = others.find([' ', '`']).unwrap_or(others.len());
    format!("{before}kubeadm{command}{}", &others[end..])
}

/// `kubeadm ARGS` for phases that change something: one at a time.
///
/// A killed kcp leaves its kubeadm running for a while; two of them must never work at once. The
/// lock is on kubeadm's own file, so it leaves nothing behind, and `flock --no-fork` becomes
/// kubeadm, so the limit, in seconds, ends kubeadm itself.
fn alone(context: &Context<'_>, args: &[&str], config: &str, limit: u64) -> Cmd {
    let patience = context.limit.map_or(PATIENCE, |limit| limit.as_secs()).min(PATIENCE).min(limit);
    let lock = ["--no-fork", &format!("--timeout={patience}"), "--conflict-exit-code=75"];
    let flock = Cmd::new("flock").args(lock).args([PROGRAM, PROGRAM]).accept(&[0, LOCKED]);
    // A second more, so that a lock that is not had in time is not taken for a slow kubeadm.
    cmd(flock, args, config).limit(Duration::from_secs(limit + 1))
}

/// `program ARGS`, in kubeadm's environment.
fn cmd(program: Cmd, args: &[&str], config: &str) -> Cmd {
    let mut cmd = program
        .args(args.iter().copied())
        .arg(config)
        .env("PATH", "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin");
    // kubeadm hands proxies on to the static pods, where they break what talks inside the cluster.
    for proxy in ["http_proxy", "https_proxy", "no_proxy", "all_proxy"] {
        cmd = cmd.env(proxy, "").env(&proxy.to_uppercase(), "");
    }
    cmd
}

/// Whether a line may be shown: phases begin with a bracket; what speaks of a token may hold one.
fn is_public(line: &str) -> bool {
    line.starts_with('[') && !line.to_ascii_lowercase().contains("token:")
}

#[cfg(test)]
mod tests {
    use khost::Error;

    use super::{is_public, words};

    #[test]
    fn the_lock_is_not_told_of() {
        let line = "`flock --no-fork --timeout=60 --conflict-exit-code=75 /usr/local/bin/kubeadm \
                    /usr/local/bin/kubeadm init --x` failed with code 1";
        let error = Error::host("program-failed", line).because("it said nothing");
        assert!(words(&error).starts_with("`kubeadm init --x` failed"), "{}", words(&error));
        let line = line.replace("--x", "--skip-phases=certs,wait-control-plane --x");
        let error = Error::host("program-failed", line).because("it said nothing");
        assert!(words(&error).starts_with("`kubeadm init --x` failed"), "{}", words(&error));
        let other = Error::host("program-failed", "`ss` failed");
        assert_eq!(words(&other), other.chain());
    }

    #[test]
    fn phases_are_told_and_tokens_are_not() {
        assert!(is_public("[certs] Generating \"ca\" certificate and key"));
        assert!(!is_public("[bootstrap-token] Using token: abcdef.0123456789abcdef"));
        assert!(!is_public("kubeadm join 192.0.2.11:6443 --token abcdef.0123456789abcdef"));
    }
}
