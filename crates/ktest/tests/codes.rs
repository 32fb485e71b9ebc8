//! Every refusal stands in a test, by its code.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Where a code stands first, as an argument.
const MAKES: [&str; 3] = ["Error::input(", "Error::host(", "found.add("];

/// Codes that no test can bring about, and why the error is there all the same.
const UNSHOWN: [(&str, &str); 14] = [
    ("cluster-dns-missing", "a description without such an address is refused before"),
    ("export-failed", "JSON is made of our own types, which can be written"),
    ("hostname-failed", "the kernel always knows a host name; the call may fail by its type"),
    ("init-failed", "TOML is made of our own types, which can be written"),
    ("join-failed", "JSON is made of our own types, which can be written"),
    ("man-failed", "a page is made in memory, which takes all of it"),
    ("no-randomness", "the kernel always has random bytes; the call may fail by its type"),
    ("processes-left", "it takes a process that no signal ends"),
    ("renewal-failed", "JSON, as before; and whoever signs is known of all that is renewed"),
    ("render-failed", "YAML and TOML are made of our own types, which can be written"),
    ("state-failed", "JSON is made of our own types, which can be written"),
    ("store-failed", "JSON is made of our own types, which can be written"),
    ("uname-failed", "the kernel always knows its name; the call may fail by its type"),
    ("user-lookup-failed", "it takes a directory of users that is broken"),
];

/// The directory of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every Rust file below `dir`.
fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// A file's own text, and that of the tests in it.
fn parted<'a>(path: &Path, text: &'a str) -> (&'a str, &'a str) {
    let is_test = path.ends_with("tests.rs") || path.iter().any(|part| part == "tests");
    if is_test {
        return ("", text);
    }
    let tests = text.rfind("#[cfg(test)]").filter(|at| text[*at..].contains("mod tests {"));
    text.split_at(tests.unwrap_or(text.len()))
}

/// The codes that `text` makes errors with.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    let after = MAKES.iter().flat_map(|call| text.split(call).skip(1));
    after.filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
}

/// Whether `text` has `code` as a word of its own.
fn names(text: &str, code: &str) -> bool {
    let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    text.match_indices(code)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + code.len()..].starts_with(part))
}

#[test]
fn every_refusal_is_shown() {
    let root = root();
    let mut files = Vec::new();
    for dir in ["bins", "crates", "tests/src", "tests/tests"] {
        sources(&root.join(dir), &mut files);
    }
    files.retain(|path| !path.ends_with("codes.rs"));
    let (mut made, mut tests) = (BTreeMap::new(), String::new());
    for path in &files {
        let text = fs::read_to_string(path).unwrap();
        let (own, test) = parted(path, &text);
        tests += test;
        let path = path.strip_prefix(&root).unwrap();
        made.extend(codes(own).map(|code| (code.to_owned(), path.to_owned())));
    }
    assert!(made.len() > 100, "only {} codes were found", made.len());
    let unshown: BTreeSet<_> = UNSHOWN.iter().map(|(code, _)| *code).collect();
    let lacks: Vec<_> = made
        .iter()
        .filter(|(code, _)| !unshown.contains(code.as_str()) && !names(&tests, code))
        .map(|(code, path)| format!("{code} ({})", path.display()))
        .collect();
    assert!(lacks.is_empty(), "no test shows {}", lacks.join(", "));
    for code in unshown {
        assert!(made.contains_key(code), "`{code}` is no code any more");
    }
}
