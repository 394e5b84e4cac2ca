use crate::finding::{Finding, FindingReason, shown};
use crate::object::{PEERS_ANNOTATION, ServiceObject};
use fedgate_core::PeerName;
use std::collections::BTreeSet;

/// The peers that a Service's owner admits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Admitted {
    /// There is no annotation: all.
    All,
    /// Those that the annotation names.
    Only(BTreeSet<PeerName>),
}

impl Admitted {
    /// Reads a Service's annotation. What cannot be read in it admits nobody. `known` are the names of all peers' objects.
    pub(crate) fn read(service: &ServiceObject, known: &BTreeSet<&str>, findings: &mut Vec<Finding>) -> Self {
        let Some(text) = service.annotations.get(PEERS_ANNOTATION) else { return Self::All };
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

fn field() -> String {
    format!("metadata.annotations[{PEERS_ANNOTATION}]")
}

fn unknown(service: &ServiceObject, name: &str) -> Finding {
    let message = format!("there is no IstioFederation {name:?}; mend the name, or create the object");
    Finding::warning(FindingReason::UnknownPeer, service.object(), field(), message)
}

fn invalid(service: &ServiceObject, name: &str) -> Finding {
    let message = format!(
        "expected names of IstioFederations separated by commas, found {:?}, which admits nobody; to admit all peers remove the \
         annotation",
        shown(name)
    );
    Finding::error(FindingReason::InvalidAnnotation, service.object(), field(), message)
}
