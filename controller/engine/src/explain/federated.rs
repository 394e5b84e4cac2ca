//! A call to a federated name: which member takes it, and why earlier ones do not.

use super::{Explainer, Explanation, Question, Sources};
use crate::federated::{FederatedServiceStatus, MemberStatus};

pub(crate) fn explain(
    sources: &Sources<'_>,
    question: &Question,
    service: &FederatedServiceStatus,
) -> Explanation {
    let mut explainer = Explainer::new(sources, question);
    let object = format!(
        "FederatedService {}/{} of this cluster defines it, as {}",
        service.namespace, service.name, service.protocol
    );
    explainer.step("name", true, object);
    explainer.own_caller();
    for member in &service.members {
        // A member that is passed over is no obstacle while another takes the calls.
        let holds = member.is_used() || service.taken().next().is_some();
        explainer.step(&check(member), holds, detail(member));
    }
    if service.members.is_empty() {
        explainer.step("members", false, "no peer offers the Service to this cluster");
    }
    local_port(&mut explainer, service);
    explainer.end(None)
}

fn check(member: &MemberStatus) -> String {
    let state = match (member.taken, member.is_used()) {
        (true, _) => "takes calls",
        (false, true) => "waits",
        (false, false) => "passed over",
    };
    format!("priority {} {state}", member.priority)
}

fn detail(member: &MemberStatus) -> String {
    let service = member.service.as_ref().map(|name| format!(" with {name}"));
    let service = service.unwrap_or_default();
    let weight =
        if member.weight == 1 { String::new() } else { format!(", weight {}", member.weight) };
    let message = match member.message.as_str() {
        "" => String::new(),
        message => format!(": {message}"),
    };
    let check = member.health_check.as_ref().map(|check| format!(", health check {check}"));
    let check = check.unwrap_or_default();
    format!("{}{service}{weight}{check}: {}{message}", member.place(), member.state)
}

fn local_port(explainer: &mut Explainer<'_>, service: &FederatedServiceStatus) {
    match (&service.obstacle, service.address) {
        (Some(obstacle), _) => explainer.step("local port", false, obstacle.as_str()),
        (None, Some(address)) => {
            explainer.step("local port", true, format!("{address}, of the egress Envoy"));
        }
        (None, None) => {
            let detail = format!("workloads of this mesh call {}", service.service);
            explainer.step("in the mesh", true, detail);
        }
    }
}
