//! The annotation of an `IstioFederation` that says which gateway addresses this peer is told.

use super::Named;
use super::peer::IstioFederationSpec;
use super::trust::list_of;
use crate::document::{Advertised, Limits};
use crate::finding::{Finding, Severity};

/// The annotation with the gateway addresses that the peer is told, in place of those that all
/// peers are told.
pub const ADVERTISE_ANNOTATION: &str = "fedgate.dev/advertise";

/// Reads the addresses. What cannot be read changes nothing: the peer is told what all are told.
pub(super) fn parse(
    named: &Named<IstioFederationSpec>,
    findings: &mut Vec<Finding>,
) -> Option<Vec<Advertised>> {
    let text = named.annotation(ADVERTISE_ANNOTATION)?;
    let read = |text: &str| Advertised::parse(text).map_err(|error| error.to_string());
    let refused = |error| {
        let message =
            format!("{error}; until this is corrected the peer is told what all peers are told");
        named.refused(Severity::Error, ADVERTISE_ANNOTATION, message)
    };
    list_of(text, Limits::DEFAULT.gateways, read).map_err(|why| findings.push(refused(why))).ok()
}
