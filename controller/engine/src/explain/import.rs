//! A call to a peer's service: what this cluster does, up to the peer's gateway.

use super::evidence::not_announced;
use super::{Explainer, Explanation};
use fedgate_federation::federate::{
    ConditionStatus, ConditionType, Import, PeerReport, ServerIdentity, Standing,
};

impl Explainer<'_> {
    pub(super) fn import(mut self) -> Explanation {
        let host = &self.question.to.host;
        let owner =
            self.sources.federation.peers.iter().find(|report| report.peer.trust_domain.owns(host));
        let Some(report) = owner else {
            self.step("owner", false, self.without_owner());
            return self.end(None);
        };
        self.step("owner", true, format!("{host} belongs to peer {}", report.peer.name));
        self.own_caller();
        if let Standing::Refused { message, .. } = &report.standing {
            self.step("peer accepted", false, message.clone());
            return self.end(None);
        }
        self.trust(report);
        match self.sources.federation.imports.find(&self.question.to) {
            Some((_, import)) => self.route(report, import),
            None => self.step("announced", false, not_announced(report)),
        }
        self.end(None)
    }

    /// Why a name outside of all trust domains leads nowhere.
    fn without_owner(&self) -> String {
        let host = &self.question.to.host;
        let services = &self.sources.federation.federated_services;
        let Some(service) = services.iter().find(|service| service.host == *host) else {
            return format!(
                "{host} is in no trust domain, a peer's or ours, and no FederatedService in force has it; `fedgate status` lists the names"
            );
        };
        let ports: Vec<_> =
            service.ports.iter().map(|port| port.service.port.to_string()).collect();
        format!(
            "FederatedService {}/{} has this host, but not port {}; its ports: {}",
            service.namespace,
            service.name,
            self.question.to.port,
            ports.join(", ")
        )
    }

    fn route(&mut self, report: &PeerReport, import: &Import) {
        self.step(
            "announced",
            true,
            format!("peer {} offers it, as {}", import.peer, import.protocol.word()),
        );
        self.gateway(report, import);
        let server = match import.server.as_ref() {
            ServerIdentity::AnyOf(trust_domain) if import.passthrough => {
                format!(
                    "the workload, any identity of {trust_domain} (TLS goes through the gateway)"
                )
            }
            ServerIdentity::AnyOf(trust_domain) => format!("any identity of {trust_domain}"),
            ServerIdentity::Exactly(identities) => {
                identities.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ")
            }
        };
        self.step(
            "server identity",
            true,
            format!("{server}, signed by a root of {}", import.trust_domain),
        );
        self.local_port(import);
    }

    /// The peer's gateways, and what the last probe found.
    fn gateway(&mut self, report: &PeerReport, import: &Import) {
        let gateways: Vec<_> = import.gateways.iter().map(ToString::to_string).collect();
        let route = format!("{} with server name {}", gateways.join(", "), import.service.sni());
        let probe = report
            .conditions
            .iter()
            .find(|condition| condition.kind == ConditionType::DataplaneConnectionReady);
        let found = probe.map(|condition| (condition.status, condition.message.as_str()));
        match found {
            Some((ConditionStatus::False, why)) => {
                self.step("gateway", false, format!("{route}; no call gets through: {why}"))
            }
            Some((_, remark)) if !remark.is_empty() => {
                self.step("gateway", true, format!("{route} ({remark})"))
            }
            _ => self.step("gateway", true, route),
        }
    }

    fn local_port(&mut self, import: &Import) {
        let stopped = self.sources.running.is_some_and(|running| !running.egress);
        match self.sources.egress.map(|egress| egress.get(&import.service)) {
            Some(Some(address)) if stopped => {
                self.step(
                    "local port",
                    false,
                    format!("{address}, of the egress Envoy, which does not run; start it"),
                );
            }
            None => self.step(
                "in the mesh",
                true,
                format!("workloads of this mesh call {}", import.service),
            ),
            Some(Some(address)) => {
                self.step("local port", true, format!("{address}, of the egress Envoy"))
            }
            Some(None) => self.step(
                "local port",
                false,
                "the range of egress ports is exhausted; widen egress.ports",
            ),
        }
    }
}
