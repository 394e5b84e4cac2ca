//! Who calls a name of a peer, or one that several clusters serve: only programs of this cluster.

use super::{Caller, Explainer};
use fedgate_core::{PeerName, SpiffeId};

impl Explainer<'_> {
    /// Says whether the caller that the question names, if any, can be one.
    pub(super) fn own_caller(&mut self) {
        match &self.question.from {
            Caller::Unknown => {}
            Caller::Peer(peer) => self.step("caller", false, self.elsewhere(peer)),
            Caller::Identity(uri) => match self.own_identity(uri) {
                Ok(detail) => self.step("caller", true, detail),
                Err(detail) => self.step("caller", false, detail),
            },
        }
    }

    /// Why no program of a peer calls the name here.
    fn elsewhere(&self, peer: &PeerName) -> String {
        let (host, peers) = (&self.question.to.host, &self.sources.federation.peers);
        match peers.iter().any(|report| report.peer.name == *peer) {
            true => format!(
                "only programs of this cluster call {host} here, not those of peer {peer}; leave the caller out"
            ),
            false => format!(
                "there is no valid IstioFederation {peer}, and no peer calls {host} here; leave the caller out"
            ),
        }
    }

    /// What to say of an identity, and of one that cannot call the name here as an error.
    fn own_identity(&self, uri: &str) -> Result<String, String> {
        let id = SpiffeId::parse(uri)
            .map_err(|error| format!("expected a workload's SPIFFE ID: {error}"))?;
        let ours = self.sources.table.trust_domain();
        match id.trust_domain() == ours {
            true => Ok(format!("{id} is of this cluster; the gateway of a peer judges it")),
            false => Err(format!(
                "only programs of this cluster call {} here, so expected an identity of {ours}, found {id}",
                self.question.to.host
            )),
        }
    }
}
