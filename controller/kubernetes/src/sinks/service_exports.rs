//! Decides which `ServiceExport`s need a new status.

use super::statuses::Kept;
use crate::api::watch::Key;
use crate::replica::compiled::Compiled;
use crate::sources::mcs::McsObject;
use crate::status::DesiredStatus;
use crate::status::service_export::{Facts, desired};
use fedgate_federation::federate::Export;
use fedgate_federation::{Finding, FindingReason, Severity};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Namespace and name.
type Named<'a> = (&'a str, &'a str);

/// The statuses that differ from what is wanted. `too_large` is the finding about a table that no
/// object can hold.
pub(crate) fn to_write(
    compiled: &Compiled,
    too_large: Option<&Finding>,
    objects: &BTreeMap<Key, McsObject>,
    kept: &Kept,
    now: Timestamp,
) -> Vec<(Key, DesiredStatus)> {
    if objects.is_empty() {
        return Vec::new();
    }
    let federation = &compiled.in_force.federation;
    let (exports, refusals) = (exports(&federation.exports), refusals(&federation.findings));
    let not_built =
        federation.findings.iter().find(|finding| finding.reason == FindingReason::TableNotBuilt);
    let status = |(key, object): (&Key, &McsObject)| {
        let known = compiled.service_exports.get(key)?;
        if object.is_ending || known.generation != object.generation {
            // The object is about to go, or newer; the next compilation handles it.
            return None;
        }
        let named = (key.namespace.as_str(), key.name.as_str());
        let facts = Facts {
            has_service: known.has_service,
            exports: exports.get(&named).map(Vec::as_slice).unwrap_or_default(),
            refused: refusals.get(&named).copied(),
            no_table: too_large.or(not_built),
        };
        let wanted = desired(object, &facts, now);
        (!kept.is_settled(key, object.status, wanted.fingerprint)).then(|| (key.clone(), wanted))
    };
    objects.iter().filter_map(status).collect()
}

/// The exported ports of each Service.
fn exports(all: &[Export]) -> BTreeMap<Named<'_>, Vec<&Export>> {
    let mut exports: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for export in all {
        exports.entry((export.namespace.as_str(), export.name.as_str())).or_default().push(export);
    }
    exports
}

/// The first finding that keeps each Service from being exported.
fn refusals(findings: &[Finding]) -> BTreeMap<Named<'_>, &Finding> {
    let is_refusal = |finding: &&Finding| {
        finding.severity == Severity::Error || finding.reason == FindingReason::LabelNotEmpty
    };
    let mut refusals = BTreeMap::new();
    for finding in findings.iter().filter(is_refusal) {
        let object = &finding.object;
        if let Some(namespace) = object.namespace.as_deref().filter(|_| object.kind == "Service") {
            refusals.entry((namespace, object.name.as_str())).or_insert(finding);
        }
    }
    refusals
}
