//! Checks what this cluster offers to its peers.

use super::report::{Check, Section};
use crate::inspect::snapshot::Snapshot;
use fedgate_engine::in_force::InForce;
use fedgate_federation::credentials::CertificateRole;
use fedgate_federation::{Finding, FindingReason, Severity};
use jiff::{SignedDuration, Timestamp};

/// The remaining validity of a root below which there is a warning: a new root needs time to reach
/// all peers.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

pub(super) fn section(snapshot: &Snapshot, now: Timestamp) -> Section {
    let in_force = &snapshot.in_force;
    let checks = vec![
        trust_domain(in_force),
        roots(in_force, now),
        gateway_certificate(in_force),
        metadata_certificate(in_force),
        gateways(in_force),
        objects(in_force),
    ];
    Section { name: format!("cluster {}", in_force.local.trust_domain), checks }
}

fn trust_domain(in_force: &InForce) -> Check {
    const TITLE: &str = "the trust domain identifies this cluster to its peers";
    let reasons = [FindingReason::ClusterLocal, FindingReason::InvalidTrustDomain];
    let wrong = in_force
        .federation
        .findings
        .iter()
        .find(|finding| finding.object.kind == "Cluster" && reasons.contains(&finding.reason));
    match wrong {
        None => Check::ok("trust-domain", TITLE, in_force.local.trust_domain.as_str()),
        Some(finding) => {
            let hint = "set the mesh's trust domain, the cluster domain and --trust-domain to a DNS name of your own";
            Check::failed("trust-domain", TITLE, &finding.message, hint)
        }
    }
}

fn roots(in_force: &InForce, now: Timestamp) -> Check {
    const TITLE: &str = "the root certificates are valid";
    let rotate =
        "create the next root, publish both, and switch when the peers have acknowledged it";
    if let Some(finding) = missing(in_force, FindingReason::NoRoots) {
        return Check::failed(
            "roots",
            TITLE,
            finding.to_string(),
            "check that istiod runs, and --roots-configmap",
        );
    }
    let useless = [
        FindingReason::IntermediateRoot,
        FindingReason::TooManyRoots,
        FindingReason::CertificateNotYetValid,
    ];
    let is_useless = |finding: &&Finding| {
        finding.object.kind == "ConfigMap"
            && finding.severity == Severity::Error
            && useless.contains(&finding.reason)
    };
    if let Some(finding) = in_force.federation.findings.iter().find(is_useless) {
        return Check::failed(
            "roots",
            TITLE,
            &finding.message,
            "give istiod a self-signed root, or publish the root of its CA",
        );
    }
    let roots = &in_force.local.roots;
    let expired: Vec<_> = roots.iter().filter(|root| root.is_expired(now)).collect();
    let good = roots.iter().filter(|root| !root.is_expired(now));
    let Some(last) = good.max_by_key(|root| root.not_after()) else {
        return Check::failed("roots", TITLE, "all of them have expired", rotate);
    };
    let left = last.not_after().duration_since(now);
    let detail = format!("{} for {} days", last.fingerprint(), left.as_hours() / 24);
    match (left < SOON, expired.first()) {
        (true, _) => Check::warning("roots", TITLE, detail, rotate),
        (false, Some(root)) => {
            let detail = format!("{detail}, but {} has expired", root.fingerprint());
            Check::warning(
                "roots",
                TITLE,
                detail,
                "remove the expired root from istiod's root certificates",
            )
        }
        (false, None) => Check::ok("roots", TITLE, detail),
    }
}

/// What the gateway's Pods show, as the leader has seen it.
fn gateway_certificate(in_force: &InForce) -> Check {
    const NAME: &str = "gateway-certificate";
    const TITLE: &str = "the gateway presents a certificate that peers accept";
    // All findings about Pods are about their certificates.
    let of_pod = |finding: &&Finding| finding.object.kind == "Pod";
    let detail = |finding: &Finding| format!("{}: {}", finding.object, finding.message);
    let hint = "`istioctl proxy-config secret` shows what the Pod has; `fedgate status` lists all findings";
    // Errors come first.
    match in_force.federation.findings.iter().find(of_pod) {
        Some(finding) if finding.severity == Severity::Error => {
            return Check::failed(NAME, TITLE, detail(finding), hint);
        }
        Some(finding) => return Check::warning(NAME, TITLE, detail(finding), hint),
        None => {}
    }
    let of_pods = in_force.local.credentials.of_pods().validities;
    let leaves = of_pods.iter().filter(|validity| validity.role == CertificateRole::Leaf);
    match leaves.map(|validity| validity.not_after).min() {
        Some(end) => Check::ok(NAME, TITLE, format!("valid until {end}")),
        None => Check::skipped(
            NAME,
            TITLE,
            "the controller has seen none yet: no Pod is ready, nothing is exported, or it cannot reach the port",
        ),
    }
}

/// What peers see of it, except its names: the peers know the URL, and this cluster does not.
fn metadata_certificate(in_force: &InForce) -> Check {
    const NAME: &str = "metadata-certificate";
    const TITLE: &str = "peers accept the metadata endpoint's certificate";
    let hint = "put another certificate and its key into the Secret that --metadata-tls mounts";
    let of_endpoint = |finding: &&Finding| finding.field.as_deref() == Some("--metadata-tls");
    // Errors come first.
    match in_force.federation.findings.iter().find(of_endpoint) {
        Some(finding) if finding.severity == Severity::Error => {
            return Check::failed(NAME, TITLE, &finding.message, hint);
        }
        Some(finding) => return Check::warning(NAME, TITLE, &finding.message, hint),
        None => {}
    }
    let mut endpoint = in_force.local.credentials.validities.iter();
    match endpoint.find(|validity| validity.role == CertificateRole::Endpoint) {
        Some(validity) => Check::ok(NAME, TITLE, format!("valid until {}", validity.not_after)),
        None => Check::skipped(
            NAME,
            TITLE,
            "the endpoint is plain HTTP; the proxy in front of it is responsible for TLS",
        ),
    }
}

fn gateways(in_force: &InForce) -> Check {
    const TITLE: &str = "the gateway has addresses to announce to peers";
    if let Some(finding) = missing(in_force, FindingReason::NoGatewayAddress) {
        return Check::failed(
            "gateway-addresses",
            TITLE,
            finding.object.to_string(),
            &finding.message,
        );
    }
    let gateways: Vec<_> = in_force.local.gateways.iter().map(ToString::to_string).collect();
    Check::ok("gateway-addresses", TITLE, gateways.join(", "))
}

fn missing(in_force: &InForce, reason: FindingReason) -> Option<&Finding> {
    in_force.federation.findings.iter().find(|finding| finding.reason == reason)
}

/// All other errors, except those of peers, which have their own sections.
fn objects(in_force: &InForce) -> Check {
    const TITLE: &str = "no exported Service and no policy has an error";
    let shown_elsewhere = ["IstioFederation", "Cluster", "ConfigMap", "Pod"];
    let errors = in_force.federation.findings.iter().filter(|finding| {
        finding.severity == Severity::Error
            && !shown_elsewhere.contains(&finding.object.kind.as_ref())
            && finding.reason != FindingReason::NoGatewayAddress
    });
    let errors: Vec<_> = errors.map(ToString::to_string).collect();
    match errors.split_first() {
        None => Check::ok("objects", TITLE, ""),
        Some((first, [])) => Check::failed("objects", TITLE, first, "fix it"),
        Some((first, more)) => {
            let detail = format!("{first}; and {} more", more.len());
            Check::failed("objects", TITLE, detail, "`fedgate status` lists them all")
        }
    }
}
