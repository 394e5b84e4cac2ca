//! Checks that istiod leaves the Multi-Cluster Services API to fedgate.

use super::facts::{Istiod, is};
use super::report::Check;
use crate::inspect::snapshot::Snapshot;

pub(super) const NAME: &str = "mcs-istiod";
pub(super) const TITLE: &str = "istiod leaves the Multi-Cluster Services API to fedgate";

/// Returns true if fedgate uses the API in this cluster.
pub(super) fn is_used(snapshot: &Snapshot) -> bool {
    snapshot.record.mcs_exports || snapshot.record.mcs_imports
}

pub(super) fn check(snapshot: &Snapshot, istiods: &[Istiod]) -> Check {
    let clashes = [
        (
            snapshot.record.mcs_exports,
            "ENABLE_MCS_AUTO_EXPORT",
            "istiod creates a ServiceExport for every Service of the mesh, and each is exported to peers",
        ),
        (
            snapshot.record.mcs_imports,
            "ENABLE_MCS_HOST",
            "istiod makes hosts of its own from ServiceImports, which compete with those of FederatedServices",
        ),
    ];
    let is_set = |variable: &str| {
        let found =
            |istiod: &&Istiod| is(istiod.environment.get(variable).map(String::as_str), "true");
        istiods.iter().find(found)
    };
    let clash = clashes.into_iter().filter(|(matters, ..)| *matters);
    let mut found = clash.filter_map(|(_, variable, why)| Some((is_set(variable)?, variable, why)));
    match found.next() {
        None => Check::ok(NAME, TITLE, ""),
        Some((istiod, variable, why)) => {
            let detail = format!("{} has {variable}=true: {why}", istiod.name);
            Check::failed(
                NAME,
                TITLE,
                detail,
                format!("remove {variable} from istiod's environment"),
            )
        }
    }
}
