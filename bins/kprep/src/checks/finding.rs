//! What a check came to, with what was seen and what to do.

use khost::{Error, Result};

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// It is good.
    Passed,
    /// It works, but not as well as it could.
    Warning,
    /// No node can be made of this.
    Problem,
    /// It could not be looked at, or was not to be.
    Skipped,
}

/// What one check found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Outcome {
    #[serde(rename = "event")]
    pub(crate) verdict: Verdict,
    /// In `cluster.toml`, the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) key: String,
    /// What is wanted, or what is wrong.
    pub(crate) what: String,
    /// What was seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) evidence: String,
    /// What to do about it.
    #[serde(rename = "hint", skip_serializing_if = "String::is_empty")]
    pub(crate) remedy: String,
}

/// An outcome under the name of its check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Finding {
    /// A stable name: of the check, and of its failure.
    pub(crate) code: &'static str,
    #[serde(flatten)]
    pub(crate) outcome: Outcome,
}

impl Outcome {
    fn new(verdict: Verdict, what: impl Into<String>) -> Self {
        let [key, evidence, remedy] = [const { String::new() }; 3];
        Self { verdict, key, what: what.into(), evidence, remedy }
    }

    /// All is well: what was looked at.
    pub(crate) fn passed(what: impl Into<String>) -> Self {
        Self::new(Verdict::Passed, what)
    }

    /// A warning: what is not as it should be.
    pub(crate) fn warning(what: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, what)
    }

    /// A problem: what is wrong.
    pub(crate) fn problem(what: impl Into<String>) -> Self {
        Self::new(Verdict::Problem, what)
    }

    /// Not looked at: what.
    pub(crate) fn skipped(what: impl Into<String>) -> Self {
        Self::new(Verdict::Skipped, what)
    }

    /// What was seen.
    pub(crate) fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }

    /// What to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Where in `cluster.toml`.
    pub(crate) fn at(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }

    /// Under the name `code`.
    pub(crate) fn called(self, code: &'static str) -> Finding {
        Finding { code, outcome: self }
    }

    /// As all that its check found.
    #[expect(clippy::unnecessary_wraps, reason = "what a check that can fail returns")]
    pub(super) fn only(self) -> Result<Vec<Self>> {
        Ok(vec![self])
    }
}

impl Finding {
    pub(crate) fn is(&self, verdict: Verdict) -> bool {
        self.outcome.verdict == verdict
    }
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            causes.push(source.to_string());
            cause = source.source();
        }
        let outcome = Outcome::problem(error.to_string()).seen(causes.join(": "));
        outcome.remedy(error.next().unwrap_or_default()).called(error.code())
    }
}
