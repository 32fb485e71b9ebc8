//! Whole-pipeline tests live in this package's `tests/` targets; the lab they use is in `lab/`.
