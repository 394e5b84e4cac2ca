//! What an operator should know, as values rather than log lines.
//!
//! Whatever is refused, dropped or noteworthy becomes a [`Finding`]. It names the object, the
//! field, one stable word ([`FindingReason`]), and a message: what was expected, what was found,
//! and what to do. Findings end up in statuses and terminals, so untrusted text enters them only
//! through [`shown`].

mod reason;
mod text;

pub use reason::FindingReason;
pub(crate) use text::messages;
pub(crate) use text::shown_long;
pub use text::{Shown, shown};

use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The object that a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Its Kubernetes kind; `Cluster` for this cluster's own settings, `File` for a file that could
    /// not be read.
    pub kind: Cow<'static, str>,
    /// Its namespace, if it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The file that it comes from, in files mode.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub source: Option<String>,
}

impl ObjectRef {
    /// An object of a cluster-scoped kind.
    pub fn new(kind: &'static str, name: impl Into<String>) -> Self {
        Self { kind: Cow::Borrowed(kind), namespace: None, name: name.into(), source: None }
    }

    /// The `IstioFederation` of a peer.
    pub fn federation(name: impl Into<String>) -> Self {
        Self::new("IstioFederation", name)
    }

    /// A `FederationPolicy`.
    pub fn policy(name: impl Into<String>) -> Self {
        Self::new("FederationPolicy", name)
    }

    /// A `Service`.
    pub fn service(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::new("Service", name) }
    }

    /// A `FederatedService`.
    pub fn federated_service(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: Some(namespace.into()), ..Self::new("FederatedService", name) }
    }

    /// This cluster's own settings.
    pub fn cluster(name: impl Into<String>) -> Self {
        Self::new("Cluster", name)
    }

    /// Returns the same object with the file that it comes from.
    pub fn with_source(self, source: Option<String>) -> Self {
        Self { source, ..self }
    }
}

impl std::fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{}/", shown(namespace))?;
        }
        write!(f, "{}", shown(&self.name))?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

/// How serious a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Something was refused or dropped, and does not work until the operator acts.
    Error,
    /// It works but needs attention.
    Warning,
    /// For information only.
    Info,
}

/// Something that an operator should know about one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is about.
    pub object: ObjectRef,
    /// The path of the field, as in `kubectl explain`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub field: Option<String>,
    /// The stable word for what was found.
    pub reason: FindingReason,
    /// How serious it is.
    pub severity: Severity,
    /// What was expected, what was found, and what to do.
    pub message: String,
}

impl Finding {
    /// Creates a finding about `field` of `object`; `field` may be empty.
    pub fn new(
        severity: Severity,
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        let field = Some(field.into()).filter(|field: &String| !field.is_empty());
        Self { object, field, reason, severity, message: message.into() }
    }

    /// Creates an error.
    pub fn error(
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Error, reason, object, field, message)
    }

    /// Creates a warning.
    pub fn warning(
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Warning, reason, object, field, message)
    }

    /// Creates a finding for information.
    pub fn info(
        reason: FindingReason,
        object: ObjectRef,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self::new(Severity::Info, reason, object, field, message)
    }

    /// Returns the message, preceded by the field if there is one. Use it where the object is
    /// known.
    pub(crate) fn with_field(&self) -> String {
        match &self.field {
            Some(field) => format!("{field}: {}", self.message),
            None => self.message.clone(),
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.object)?;
        if let Some(field) = &self.field {
            write!(f, " {field}")?;
        }
        write!(f, ": {}: {}", self.reason, self.message)
    }
}

/// Collects findings about one document, up to a limit, because the sender decides how many there
/// would be.
#[derive(Debug)]
pub(crate) struct Findings {
    object: ObjectRef,
    most: usize,
    kept: Vec<Finding>,
    dropped: usize,
}

impl Findings {
    pub(crate) fn new(object: ObjectRef, most: usize) -> Self {
        Self { object, most, kept: Vec::new(), dropped: 0 }
    }

    pub(crate) fn add(
        &mut self,
        severity: Severity,
        reason: FindingReason,
        field: impl Into<String>,
        message: impl Into<String>,
    ) {
        match self.kept.len() < self.most {
            true => {
                self.kept.push(Finding::new(severity, reason, self.object.clone(), field, message))
            }
            false => self.dropped += 1,
        }
    }

    pub(crate) fn into_vec(mut self) -> Vec<Finding> {
        if self.dropped > 0 {
            let message = format!(
                "{} more rows were dropped or changed; fix those listed first",
                self.dropped
            );
            self.kept.push(Finding::warning(FindingReason::MoreFindings, self.object, "", message));
        }
        self.kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_findings_is_limited() {
        let mut findings = Findings::new(ObjectRef::federation("beta"), 2);
        for _ in 0..5 {
            findings.add(Severity::Error, FindingReason::ForeignName, "x", "y");
        }
        let kept = findings.into_vec();
        assert_eq!(kept.len(), 3);
        assert_eq!(kept[2].reason, FindingReason::MoreFindings);
        assert!(kept[2].message.starts_with("3 more"));
    }
}
