//! The Pods of exported Services, by name: `POD.SERVICE.NAMESPACE.svc.DOMAIN`.
//!
//! The owner of a headless Service asks for them by an annotation. A Pod is offered and granted
//! exactly as its Service is: it has the same ports, the same lists of grants and the same row in
//! each document. A Pod that cannot be offered is left out; its Service and the other Pods stay.

use super::offer::Offer;
use crate::finding::{Finding, FindingReason, shown};
use crate::object::{GatewayMode, PODS_ANNOTATION, PodNames, ServiceObject, is_dns_label};
use fedgate_core::{Hostname, MeshHost, ServiceName};
use std::sync::Arc;

/// How many Pods of one Service are offered by name.
pub const MOST_PODS: usize = 128;

/// How many Pods a finding names.
const NAMED: usize = 3;

/// A Pod that can be called by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedPod {
    /// Its name: `endpoints[].hostname` of the Service's EndpointSlices.
    pub name: String,
    /// Whether the gateway calls it without TLS, because it is not part of the mesh.
    pub plain: bool,
}

/// Returns the offers of a Service's Pods; none if its owner does not ask for them.
pub(super) fn offers(
    service: &ServiceObject,
    offer: &Offer,
    findings: &mut Vec<Finding>,
) -> Vec<Offer> {
    let plain = match asked(service, offer) {
        Ok(PodNames::No) => return Vec::new(),
        Ok(names) => names == PodNames::Plain,
        Err(finding) => {
            findings.push(*finding);
            return Vec::new();
        }
    };
    let mut left_out = LeftOut::default();
    let mut offers = Vec::new();
    for name in in_order(service) {
        match hostname(name, offer) {
            Err(why) => left_out.add(why, name),
            Ok(_) if offers.len() == MOST_PODS => left_out.add(Why::TooMany, name),
            Ok(hostname) => {
                let pod = Some(Arc::new(ExportedPod { name: name.to_owned(), plain }));
                let (service, ports) = (offer.service.clone(), offer.ports.clone());
                offers.push(Offer { hostname, service, pod, mode: offer.mode, ports });
            }
        }
    }
    findings.extend(left_out.findings(service));
    if service.pods.is_empty() {
        let unknown = if service.pods_refused { pods_refused } else { no_pods };
        findings.push(unknown(service));
    }
    offers
}

/// Reads the annotation. Until a fault is corrected, the Service is exported without its Pods.
fn asked(service: &ServiceObject, offer: &Offer) -> Result<PodNames, Box<Finding>> {
    let refused = |why: String| {
        let message =
            format!("{why}; until this is corrected the Service is exported without its Pods");
        let field = format!("metadata.annotations[{PODS_ANNOTATION}]");
        let reason = FindingReason::InvalidAnnotation;
        Err(Box::new(Finding::error(reason, service.object(), field, message)))
    };
    let names = match service.annotations.get(PODS_ANNOTATION).map(String::as_str) {
        None | Some("false") => return Ok(PodNames::No),
        Some("true") => PodNames::Mutual,
        Some("plain") => PodNames::Plain,
        Some(other) => {
            return refused(format!(
                "expected \"true\", or \"plain\" for Pods without a sidecar, found {:?}",
                shown(other)
            ));
        }
    };
    if !service.headless {
        return refused(
            "expected a headless Service, one without a cluster IP, found one that has one"
                .to_owned(),
        );
    }
    match offer.mode {
        GatewayMode::Terminate => Ok(names),
        GatewayMode::Passthrough => refused(
            "Pods cannot be called by name where TLS passes through the gateway; remove one of the two annotations"
                .to_owned(),
        ),
    }
}

/// Returns the Pods' names in the order in which a StatefulSet numbers them, so that the limit
/// leaves out the last ones, and always the same ones.
fn in_order(service: &ServiceObject) -> Vec<&str> {
    let mut names: Vec<_> = service.pods.iter().map(String::as_str).collect();
    names.sort_by_key(|name| (name.len(), *name));
    names
}

/// Why a Pod is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Name,
    Length,
    Namespace,
    TooMany,
}

fn hostname(pod: &str, offer: &Offer) -> Result<Hostname, Why> {
    if !is_dns_label(pod) {
        return Err(Why::Name);
    }
    let hostname =
        Hostname::parse(&format!("{pod}.{}", offer.hostname)).map_err(|_| Why::Length)?;
    if MeshHost::parse(&hostname).and_then(|host| host.pod) != Some(pod) {
        return Err(Why::Namespace);
    }
    let fits = |port: &super::offer::OfferedPort| {
        ServiceName::new(hostname.clone(), port.row.port).is_ok()
    };
    if !offer.ports.iter().all(fits) {
        return Err(Why::Length);
    }
    Ok(hostname)
}

/// The Pods that are left out, by reason.
#[derive(Default)]
struct LeftOut<'a>(Vec<(Why, Vec<&'a str>)>);

impl<'a> LeftOut<'a> {
    fn add(&mut self, why: Why, name: &'a str) {
        match self.0.iter_mut().find(|(other, _)| *other == why) {
            Some((_, names)) => names.push(name),
            None => self.0.push((why, vec![name])),
        }
    }

    /// One finding for each reason, however many Pods there are.
    fn findings(self, service: &ServiceObject) -> impl Iterator<Item = Finding> {
        self.0.into_iter().map(|(why, names)| {
            let message = format!("left out {}: {}", listed(&names), text(why));
            Finding::warning(FindingReason::PodsLeftOut, service.object(), "", message)
        })
    }
}

fn text(why: Why) -> String {
    match why {
        Why::Name => "expected names of lower-case letters, digits and '-' (RFC 1123 label); correct hostname in the EndpointSlices"
            .to_owned(),
        Why::Length => {
            "the name of the Pod is too long for a server name in TLS (255 bytes with Service, namespace and trust domain); shorten one of them"
                .to_owned()
        }
        Why::Namespace => "Pods of a namespace called svc cannot be told apart from Services; move the Service to another namespace"
            .to_owned(),
        Why::TooMany => format!(
            "expected at most {MOST_PODS} Pods of one Service; the others can be called by name. Spread them over several Services"
        ),
    }
}

fn listed(names: &[&str]) -> String {
    let first: Vec<_> = names.iter().take(NAMED).map(|name| shown(name).to_string()).collect();
    match names.len().saturating_sub(NAMED) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn no_pods(service: &ServiceObject) -> Finding {
    let message = format!(
        "it has the annotation {PODS_ANNOTATION}, and none of its Pods has a name: expected endpoints with a hostname in its EndpointSlices, \
         found none; use a StatefulSet with serviceName: {}, or set hostname and subdomain of the Pods",
        service.name
    );
    Finding::warning(FindingReason::NoPods, service.object(), "", message)
}

fn pods_refused(service: &ServiceObject) -> Finding {
    let message = format!(
        "it has the annotation {PODS_ANNOTATION}, and the API server does not let the controller read EndpointSlices (403), so its Pods are \
         not known: allow list and watch of endpointslices.discovery.k8s.io in the ClusterRole fedgate, as in the chart"
    );
    Finding::warning(FindingReason::PodsRefused, service.object(), "", message)
}
