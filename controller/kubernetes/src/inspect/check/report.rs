//! What `fedgate check` says, as values: sections of lines, each with its outcome and, when it is bad, what to do.

use jiff::SignedDuration;
use serde::Serialize;

/// Everything that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In order.
    pub sections: Vec<Section>,
}

/// Lines about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What it is.
    pub name: String,
    /// The lines.
    pub checks: Vec<Check>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The stable word, for scripts.
    pub name: &'static str,
    /// What must hold.
    pub title: String,
    /// Whether it does.
    pub outcome: Outcome,
    /// What was found; may be empty.
    pub detail: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It does.
    Ok,
    /// It works for now, or cannot be told.
    Warning,
    /// It does not.
    Failed,
    /// It need not be asked, or nobody may ask.
    Skipped,
}

impl Report {
    /// How many lines have this outcome.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.sections.iter().flat_map(|section| &section.checks).filter(|check| check.outcome == outcome).count()
    }
}

impl Check {
    /// It holds.
    pub fn ok(name: &'static str, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name, title: title.into(), outcome: Outcome::Ok, detail: detail.into(), hint: None }
    }

    /// It need not be asked, or nobody may ask.
    pub fn skipped(name: &'static str, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Skipped, ..Self::ok(name, title, detail) }
    }

    /// It works for now, or cannot be told.
    pub fn warning(
        name: &'static str,
        title: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { outcome: Outcome::Warning, hint: Some(hint.into()), ..Self::ok(name, title, detail) }
    }

    /// It does not hold.
    pub fn failed(
        name: &'static str,
        title: impl Into<String>,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { outcome: Outcome::Failed, ..Self::warning(name, title, detail, hint) }
    }
}

/// A duration for people, in whole seconds.
pub(super) fn rounded(duration: SignedDuration) -> String {
    format!("{:#}", SignedDuration::from_secs(duration.as_secs()))
}
