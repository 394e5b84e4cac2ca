//! Parses what fedgate adds to a private document, under the key `fedgate`.

use super::rows::{Reader, gateway, parse_row};
use super::{LocatedGateway, PrivateExtension, View};
use crate::bundle::Fingerprint;
use crate::document::{Limits, Locality, Network, WorkloadIdentity};
use crate::finding::{FindingReason, Severity, shown};
use fedgate_core::{Hostname, TrustDomain};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The longest entity tag of a public document, in bytes.
const MAX_TAG: usize = 128;
/// The longest name of a network, in bytes.
const MAX_NETWORK: usize = 253;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadExtension<'a> {
    sequence: u64,
    service_count: u64,
    #[serde(default)]
    network: Network,
    #[serde(default)]
    gateway_identities: Vec<String>,
    #[serde(borrow, default)]
    gateway_localities: Vec<&'a RawValue>,
    #[serde(default)]
    passthrough_hosts: Vec<String>,
    #[serde(default)]
    applied_roots: Option<Vec<String>>,
    #[serde(default)]
    applied_keys: Option<Vec<String>>,
    #[serde(default)]
    public_tag: Option<String>,
    #[serde(default)]
    stale_after_seconds: Option<u64>,
    /// Read on its own, so that a bad view does not affect the rest.
    #[serde(borrow, default)]
    view: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ReadLocality {
    locality: String,
}

impl Reader<'_> {
    /// Returns what fedgate has added. If it cannot be understood or is too large, all of it is
    /// left out and reported.
    pub(super) fn extension(&mut self, raw: &RawValue) -> Option<PrivateExtension> {
        match read(self.body, raw, self.limits) {
            Ok(read) => Some(self.checked(read)),
            Err(why) => {
                self.leave_out("fedgate", &why);
                None
            }
        }
    }

    fn checked(&mut self, read: ReadExtension<'_>) -> PrivateExtension {
        let ReadExtension {
            sequence,
            service_count,
            network,
            gateway_identities,
            gateway_localities,
            passthrough_hosts,
            applied_roots,
            applied_keys,
            public_tag,
            stale_after_seconds,
            view,
        } = read;
        PrivateExtension {
            sequence,
            service_count,
            network,
            passthrough_hosts: self.hosts(&passthrough_hosts),
            gateway_identities: self.identities(&gateway_identities),
            gateway_localities: self.localities(&gateway_localities),
            applied_roots: applied_roots.map(|roots| self.fingerprints("appliedRoots", &roots)),
            applied_keys: applied_keys.map(|keys| self.fingerprints("appliedKeys", &keys)),
            public_tag,
            stale_after_seconds,
            view: view.and_then(|raw| self.view(raw)),
        }
    }

    fn leave_out(&mut self, field: &str, why: &str) {
        let message = format!("it was left out: {why}; ask the peer's operator to correct it");
        self.findings.add(Severity::Warning, FindingReason::InvalidExtension, field, message);
    }

    fn view(&mut self, raw: &RawValue) -> Option<View> {
        let read = View::parse(raw.get().as_bytes());
        read.map_err(|why| self.leave_out("fedgate.view", &why)).ok()
    }

    /// For a host that is dropped here, the gateway is expected to answer. So its calls fail, and
    /// no other server is trusted.
    fn hosts(&mut self, texts: &[String]) -> Vec<Hostname> {
        let ours = self.trust_domain;
        let reason = FindingReason::ForeignName;
        self.list("fedgate.passthroughHosts", reason, texts, |text| host(text, ours))
    }

    fn identities(&mut self, uris: &[String]) -> Vec<WorkloadIdentity> {
        let ours = self.trust_domain;
        let reason = FindingReason::ForeignIdentity;
        self.list("fedgate.gatewayIdentities", reason, uris, |uri| identity(uri, ours))
    }

    fn fingerprints(&mut self, list: &str, texts: &[String]) -> Vec<Fingerprint> {
        let list = format!("fedgate.{list}");
        self.list(&list, FindingReason::InvalidExtension, texts, |text| fingerprint(text))
    }

    /// A gateway whose row is dropped here may be anywhere.
    fn localities(&mut self, rows: &[&RawValue]) -> Vec<LocatedGateway> {
        let mut localities = BTreeMap::new();
        for (index, row) in rows.iter().enumerate() {
            match located(self.body, row) {
                Ok(LocatedGateway { gateway, locality }) => {
                    localities.entry(gateway).or_insert(locality);
                }
                Err(why) => {
                    let field = format!("fedgate.gatewayLocalities[{index}]");
                    self.drop_row(FindingReason::InvalidExtension, field, why);
                }
            }
        }
        let located = |(gateway, locality)| LocatedGateway { gateway, locality };
        localities.into_iter().map(located).collect()
    }
}

/// Reads the object and checks how large it is.
fn read<'a>(body: &[u8], raw: &'a RawValue, limits: &Limits) -> Result<ReadExtension<'a>, String> {
    let read: ReadExtension<'a> = parse_row(body, raw)?;
    let lists = [
        read.gateway_identities.len(),
        read.gateway_localities.len(),
        read.network.pod_cidrs.len(),
        read.network.service_cidrs.len(),
    ];
    lists.into_iter().try_for_each(|rows| at_most("a list", rows, limits.extension_rows))?;
    if read.network.name.as_ref().is_some_and(|name| !(1..=MAX_NETWORK).contains(&name.len())) {
        return Err(format!("a network's name has 1 to {MAX_NETWORK} bytes"));
    }
    at_most("appliedRoots", read.applied_roots.as_ref().map_or(0, Vec::len), limits.roots)?;
    at_most("appliedKeys", read.applied_keys.as_ref().map_or(0, Vec::len), limits.roots)?;
    at_most("passthroughHosts", read.passthrough_hosts.len(), limits.services)?;
    if read.public_tag.as_ref().is_some_and(|tag| tag.len() > MAX_TAG) {
        return Err(format!("publicTag has more than {MAX_TAG} bytes"));
    }
    Ok(read)
}

fn at_most(list: &str, rows: usize, most: usize) -> Result<(), String> {
    match rows <= most {
        true => Ok(()),
        false => Err(format!("{list} has {rows} rows, at most {most} are accepted")),
    }
}

fn host(text: &str, ours: &TrustDomain) -> Result<Hostname, String> {
    let host = Hostname::parse(text).ok().filter(|host| ours.owns(host));
    host.ok_or_else(|| format!("expected <name>.<namespace>.svc.{ours}, found {:?}", shown(text)))
}

fn identity(uri: &str, ours: &TrustDomain) -> Result<WorkloadIdentity, String> {
    let identity = WorkloadIdentity::parse(uri).ok();
    identity
        .filter(|identity| identity.trust_domain() == ours.as_str())
        .ok_or_else(|| format!("expected spiffe://{ours}/<path>, found {:?}", shown(uri)))
}

fn fingerprint(text: &str) -> Result<Fingerprint, String> {
    Fingerprint::parse(text).map_err(|error| format!("{error}, found {:?}", shown(text)))
}

fn located(body: &[u8], row: &RawValue) -> Result<LocatedGateway, String> {
    let read: ReadLocality = parse_row(body, row)?;
    let refused = |error| format!("{error}, found {:?}", shown(&read.locality));
    let locality = Locality::parse(&read.locality).map_err(refused)?;
    Ok(LocatedGateway { gateway: gateway(body, row)?, locality })
}
