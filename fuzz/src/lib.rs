//! Tests that a fuzzer can drive.
//!
//! A test whose name begins with `fuzz_` gives [`target`] a few seeds and what is to be done with
//! bytes. `cargo test` tries the seeds. `make fuzz` builds the same test so that libFuzzer sees
//! which way the code takes, and lets it look for bytes that make it panic, stop or fill the memory.

#[cfg(fuzzing)]
mod driver;

use std::path::PathBuf;

/// Try `run` with each of `seeds`, or with all that libFuzzer thinks of when `fuzz/run` asks for it.
pub fn target<S: AsRef<[u8]>>(
    seeds: impl IntoIterator<Item = S>,
    run: impl Fn(&[u8]) + Send + Sync + 'static,
) {
    let seeds: Vec<S> = seeds.into_iter().collect();
    #[cfg(fuzzing)]
    if let Some(arguments) = std::env::var_os("FUZZ_ARGUMENTS") {
        return driver::run(&seeds, Box::new(run), &arguments.to_string_lossy());
    }
    for seed in &seeds {
        run(seed.as_ref());
    }
}

/// As [`target`], for what reads text: bytes that are none are passed over.
pub fn text_target<S: AsRef<[u8]>>(
    seeds: impl IntoIterator<Item = S>,
    run: impl Fn(&str) + Send + Sync + 'static,
) {
    target(seeds, move |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            run(text);
        }
    });
}

/// Where directories are made and removed a thousand times a second: in memory, if there is a place.
/// `fuzz/run` names one that it removes, as a fuzzer that ends leaves what it has.
pub fn memory() -> PathBuf {
    let named = std::env::var_os("FUZZ_MEMORY").map(PathBuf::from);
    let memory = named.unwrap_or_else(|| PathBuf::from("/dev/shm"));
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}
