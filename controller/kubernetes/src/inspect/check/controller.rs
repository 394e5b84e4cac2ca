//! Checks whether a controller leads.

use super::facts::Facts;
use super::report::{Check, Section};
use crate::inspect::snapshot::Snapshot;
use crate::leader::election::{DURATION, LEASE};
use jiff::{SignedDuration, Timestamp};

pub(super) fn section(facts: &Facts) -> Section {
    const TITLE: &str = "a controller has stored this cluster's state";
    let name = format!("controller in the namespace {}", facts.namespace);
    let checks = match &facts.snapshot {
        Ok(snapshot) => {
            let cluster = &snapshot.in_force.local;
            let detail = format!("for {}, cluster {}", cluster.trust_domain, cluster.cluster_uuid);
            vec![
                Check::ok("controller-state", TITLE, detail),
                leads(snapshot, &facts.namespace, facts.now),
            ]
        }
        Err(why) => {
            let hint = "nothing else can be checked without it; if the controller cannot write it, its log says why";
            vec![Check::failed("controller-state", TITLE, why, hint)]
        }
    };
    Section { name, checks }
}

/// Without a leader the gateway keeps what it has, and nothing new is learned or written.
fn leads(snapshot: &Snapshot, namespace: &str, now: Timestamp) -> Check {
    const TITLE: &str = "one replica leads";
    let spec = snapshot.lease.as_ref().and_then(|lease| lease.spec.as_ref());
    let holder =
        spec.and_then(|spec| spec.holder_identity.as_deref()).filter(|holder| !holder.is_empty());
    let renewed = spec.and_then(|spec| spec.renew_time.as_ref());
    let failed = |detail: String| {
        let hint = format!(
            "until then, peers are not polled and nothing is written; check that the controller runs in {namespace} and reaches the API server"
        );
        Check::failed("controller-leads", TITLE, detail, hint)
    };
    let (Some(holder), Some(renewed)) = (holder, renewed) else {
        return failed(format!("no replica holds the Lease {namespace}/{LEASE}"));
    };
    // The part behind the Pod's name distinguishes processes.
    let pod = holder.rsplit_once('_').map_or(holder, |(pod, _)| pod);
    let age = now.duration_since(renewed.0);
    match age <= SignedDuration::try_from(DURATION).unwrap_or(SignedDuration::MAX) {
        true => Check::ok("controller-leads", TITLE, pod),
        false => failed(format!(
            "{pod} has not renewed the Lease {namespace}/{LEASE} for {}",
            super::report::rounded(age)
        )),
    }
}
