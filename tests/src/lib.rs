//! Whole-pipeline tests live in this package's `tests/` targets; the lab they use is in `lab/`.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests drive programs")]
#![expect(clippy::print_stderr, clippy::missing_panics_doc, reason = "only tests call this")]

pub mod node;
