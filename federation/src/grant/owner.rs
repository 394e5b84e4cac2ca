use crate::finding::{Finding, FindingReason, shown};
use crate::object::{GATEWAY_MODE_ANNOTATION, PEERS_ANNOTATION, PODS_ANNOTATION, ServiceObject};
use crate::spelling::nearest;
use fedgate_core::PeerName;
use std::collections::BTreeSet;

/// The peers that a Service's owner admits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AdmittedPeers {
    /// There is no annotation: all peers.
    All,
    /// The peers that the annotation names.
    Only(BTreeSet<PeerName>),
}

impl AdmittedPeers {
    /// Reads a Service's annotation. Invalid names are reported and admit no peer. `known` are the
    /// names of all peers' objects.
    pub(crate) fn read(
        service: &ServiceObject,
        known: &BTreeSet<&str>,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let misspelt = misspelt(service);
        findings
            .extend(misspelt.iter().map(|(key, meant)| unknown_annotation(service, key, *meant)));
        let Some(text) = service.annotations.get(PEERS_ANNOTATION) else {
            // The owner wanted to narrow the export, so it must not stay open to all.
            let narrows = misspelt
                .iter()
                .any(|(key, meant)| *meant == Some(PEERS_ANNOTATION) || key.contains("peer"));
            return if narrows { Self::Only(BTreeSet::new()) } else { Self::All };
        };
        let mut peers = BTreeSet::new();
        for name in text.split(',').map(str::trim) {
            match PeerName::parse(name) {
                Ok(peer) => {
                    if !known.contains(name) {
                        findings.push(unknown(service, name));
                    }
                    peers.insert(peer);
                }
                Err(_) => findings.push(invalid(service, name)),
            }
        }
        Self::Only(peers)
    }

    pub(crate) fn admits(&self, peer: &PeerName) -> bool {
        match self {
            Self::All => true,
            Self::Only(peers) => peers.contains(peer),
        }
    }
}

/// The prefix of fedgate's annotations.
const OURS: &str = "fedgate.dev/";

/// Returns unknown annotations with our prefix, each with the one that was probably meant.
fn misspelt(service: &ServiceObject) -> Vec<(&str, Option<&'static str>)> {
    const KNOWN: [&str; 3] = [PEERS_ANNOTATION, GATEWAY_MODE_ANNOTATION, PODS_ANNOTATION];
    let keys = service
        .annotations
        .keys()
        .map(String::as_str)
        .filter(|key| key.to_ascii_lowercase().starts_with(OURS));
    let meant = |key: &str| {
        let name = key.get(OURS.len()..).unwrap_or_default();
        let known = KNOWN.iter().filter_map(|known| known.strip_prefix(OURS));
        let near = nearest(name, known)?;
        KNOWN.into_iter().find(|known| known.strip_prefix(OURS) == Some(near))
    };
    keys.filter(|key| !KNOWN.contains(key)).map(|key| (key, meant(key))).collect()
}

fn unknown_annotation(service: &ServiceObject, key: &str, meant: Option<&str>) -> Finding {
    let field = format!("metadata.annotations[{}]", shown(key));
    let message = match meant {
        Some(PEERS_ANNOTATION) => {
            format!(
                "there is no such annotation; did you mean {PEERS_ANNOTATION:?}? Until then the Service is offered to no peer"
            )
        }
        Some(meant) => format!("there is no such annotation; did you mean {meant:?}?"),
        None => format!(
            "there is no such annotation; expected {PEERS_ANNOTATION}, {GATEWAY_MODE_ANNOTATION} or {PODS_ANNOTATION}"
        ),
    };
    Finding::error(FindingReason::InvalidAnnotation, service.object(), field, message)
}

fn peers_field() -> String {
    format!("metadata.annotations[{PEERS_ANNOTATION}]")
}

fn unknown(service: &ServiceObject, name: &str) -> Finding {
    let message =
        format!("there is no IstioFederation {name:?}; fix the name, or create the object");
    Finding::warning(FindingReason::UnknownPeer, service.object(), peers_field(), message)
}

fn invalid(service: &ServiceObject, name: &str) -> Finding {
    let message = format!(
        "expected names of IstioFederations separated by commas, found {:?}, which admits no peer; to admit all peers remove the \
         annotation",
        shown(name)
    );
    Finding::error(FindingReason::InvalidAnnotation, service.object(), peers_field(), message)
}
