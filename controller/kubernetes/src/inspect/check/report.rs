//! The report of `fedgate check`, as values: sections of checks, each with its outcome and, if it
//! is bad, a hint.

use jiff::SignedDuration;
use serde::Serialize;

/// Everything that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The sections, in order.
    pub sections: Vec<Section>,
}

/// Checks about one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// The subject.
    pub name: String,
    /// The checks.
    pub checks: Vec<Check>,
}

/// A check: one line of the report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The stable word, for scripts.
    pub name: &'static str,
    /// The condition that must hold.
    pub title: String,
    /// Whether it holds.
    pub outcome: CheckOutcome,
    /// What was found; may be empty.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// The outcome of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// The condition holds.
    Ok,
    /// It works for now, or is unknown.
    Warning,
    /// The condition does not hold.
    Failed,
    /// The check is not needed, or the user may not ask.
    Skipped,
}

impl Report {
    /// How many checks have this outcome.
    pub fn count(&self, outcome: CheckOutcome) -> usize {
        self.sections
            .iter()
            .flat_map(|section| &section.checks)
            .filter(|check| check.outcome == outcome)
            .count()
    }
}

impl Check {
    /// The condition holds.
    pub fn ok(name: &'static str, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            name,
            title: title.into(),
            outcome: CheckOutcome::Ok,
            detail: detail.into(),
            hint: None,
        }
    }

    /// The check is not needed, or the user may not ask.
    pub fn skipped(
        name: &'static str,
        title: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { outcome: CheckOutcome::Skipped, ..Self::ok(name, title, detail) }
    }

    /// It works for now, or is unknown.
    pub fn warning(
        name: &'static str,
        title: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            outcome: CheckOutcome::Warning,
            hint: Some(hint.into()),
            ..Self::ok(name, title, detail)
        }
    }

    /// The condition does not hold.
    pub fn failed(
        name: &'static str,
        title: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { outcome: CheckOutcome::Failed, ..Self::warning(name, title, detail, hint) }
    }
}

/// A duration for people, in whole seconds.
pub(super) fn rounded(duration: SignedDuration) -> String {
    format!("{:#}", SignedDuration::from_secs(duration.as_secs()))
}
