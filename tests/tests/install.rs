//! `make install` and `make uninstall`, in a directory of the test's own.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test drives programs")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Files below `dir`, as paths from it, sorted.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from(dir)];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.push(path.strip_prefix(dir).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

fn make(target: &str, destdir: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new("make")
        .args(["--no-print-directory", target, "PREFIX=/opt/k8steps"])
        .arg(format!("DESTDIR={}", destdir.display()))
        .current_dir(root)
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "make {target}:\n{said}");
}

#[test]
fn install_honours_prefix_and_destdir_and_never_overwrites_a_configuration() {
    let dir = tempfile::tempdir().unwrap();
    make("install", dir.path());
    let installed = files(dir.path());
    for expected in [
        "etc/k8steps/artifacts.lock",
        "etc/k8steps/cluster.toml",
        "opt/k8steps/bin/kprep",
        "opt/k8steps/bin/kapps",
        "opt/k8steps/lib/systemd/system/k8steps-check.service",
        "opt/k8steps/share/bash-completion/completions/kcp",
        "opt/k8steps/share/k8steps/pipeline.mk",
        "opt/k8steps/share/man/man8/ketcd.8",
    ] {
        assert!(installed.iter().any(|file| file == expected), "{expected} in {installed:#?}");
    }
    let unit = dir.path().join("opt/k8steps/lib/systemd/system/k8steps-check.service");
    assert!(fs::read_to_string(unit).unwrap().contains("/opt/k8steps/bin"), "PREFIX in the unit");

    let config = dir.path().join("etc/k8steps/cluster.toml");
    let written = fs::read_to_string(&config).unwrap();
    kspec::Cluster::parse(&written).unwrap();
    fs::write(&config, "# mine\n").unwrap();
    make("install", dir.path());
    assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");

    make("uninstall", dir.path());
    let kept = ["etc/k8steps/artifacts.lock", "etc/k8steps/cluster.toml"];
    assert_eq!(files(dir.path()), kept);
}
