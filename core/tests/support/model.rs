//! A model of the table: maps, and the decision written as plainly as possible.

use fedgate_core::{
    CallerPattern, Callers, Grant, Hostname, Mode, Outcome, Peer, PeerIndex, Reason, ServiceName,
    SpiffeId, TableBuilder,
};
use std::collections::BTreeMap;

/// The callers that may reach a service, by trust domain.
pub type Grants = BTreeMap<String, Callers>;

#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Name and mode, by trust domain.
    pub peers: BTreeMap<String, (String, Mode)>,
    /// Grants by host and port; `None` for passthrough.
    pub exports: BTreeMap<(String, u16), Option<Grants>>,
}

impl Model {
    /// A builder for the model's table, filled in an order that depends on `shuffle`.
    pub fn builder(&self, shuffle: u64) -> TableBuilder {
        let mut rng = fastrand::Rng::with_seed(shuffle);
        let mut builder = TableBuilder::new("alpha.example".parse().unwrap());
        let mut peers: Vec<_> = self.peers.iter().collect();
        rng.shuffle(&mut peers);
        let mut indices: BTreeMap<&str, PeerIndex> = BTreeMap::new();
        for (trust_domain, (name, mode)) in peers {
            let peer = Peer {
                name: name.parse().unwrap(),
                trust_domain: trust_domain.parse().unwrap(),
                mode: *mode,
            };
            indices.insert(trust_domain, builder.peer(peer).unwrap());
        }
        let mut exports: Vec<_> = self.exports.iter().collect();
        rng.shuffle(&mut exports);
        for ((host, port), grants) in exports {
            let service = ServiceName::parse(&format!("{host}:{port}")).unwrap();
            let Some(grants) = grants else {
                builder.passthrough(service).unwrap();
                continue;
            };
            let grant = |(peer, callers): (&String, &Callers)| Grant {
                peer: indices[peer.as_str()],
                callers: callers.clone(),
            };
            let mut grants: Vec<Grant> = grants.iter().map(grant).collect();
            rng.shuffle(&mut grants);
            builder.export(service, grants).unwrap();
        }
        builder
    }

    /// The expected decision, and the trust domain of the recognised peer.
    pub fn decide(
        &self,
        server_name: Option<&str>,
        uri_san: Option<&str>,
    ) -> (Outcome, Reason, Option<String>) {
        let refused = |reason| (Outcome::Refused, reason, None);
        let Some(server_name) = server_name.filter(|name| !name.is_empty()) else {
            return refused(Reason::NoSni);
        };
        let Some(service) = service(server_name) else { return refused(Reason::BadSni) };
        let Some(Some(grants)) = self.exports.get(&service) else {
            return refused(Reason::UnknownService);
        };
        let Some(uri) = uri_san.filter(|uri| !uri.is_empty()) else {
            return refused(Reason::NoIdentity);
        };
        let Ok(id) = SpiffeId::parse(uri) else { return refused(Reason::BadIdentity) };
        let trust_domain = id.trust_domain().to_owned();
        let Some((_, mode)) = self.peers.get(&trust_domain) else {
            return refused(Reason::UnknownPeer);
        };
        let outcome = if *mode == Mode::Audit { Outcome::Audited } else { Outcome::Refused };
        let (outcome, reason) = match grants.get(&trust_domain) {
            None => (Outcome::Refused, Reason::NotGranted),
            Some(Callers::Any) => (Outcome::Allowed, Reason::Granted),
            Some(Callers::Only(patterns)) if patterns.is_empty() => (outcome, Reason::NotGranted),
            Some(Callers::Only(patterns)) => {
                match patterns.iter().any(|pattern| matches(pattern, uri)) {
                    true => (Outcome::Allowed, Reason::Granted),
                    false => (outcome, Reason::CallerNotGranted),
                }
            }
        };
        (outcome, reason, Some(trust_domain))
    }
}

impl Model {
    /// The expected decision for a connection whose TLS is passed through.
    pub fn decide_passthrough(&self, server_name: Option<&str>) -> (Outcome, Reason) {
        let Some(server_name) = server_name.filter(|name| !name.is_empty()) else {
            return (Outcome::Refused, Reason::NoSni);
        };
        let Some(service) = service(server_name) else { return (Outcome::Refused, Reason::BadSni) };
        match self.exports.get(&service) {
            Some(None) => (Outcome::Allowed, Reason::Granted),
            Some(Some(_)) | None => (Outcome::Refused, Reason::UnknownService),
        }
    }
}

/// The host and port of a server name.
fn service(server_name: &str) -> Option<(String, u16)> {
    // The longest that Envoy and other TLS libraries accept (RFC 6066, section 3, allows more).
    if server_name.len() > 255 {
        return None;
    }
    let parts: Vec<&str> = server_name.splitn(4, "_.").collect();
    let ["outbound", port, subset, host] = parts[..] else { return None };
    let number: u16 = port.parse().ok()?;
    let subset_is_good = subset.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    if number == 0
        || number.to_string() != port
        || !subset_is_good
        || Hostname::parse(host).is_err()
    {
        return None;
    }
    Some((host.to_ascii_lowercase(), number))
}

fn matches(pattern: &CallerPattern, uri: &str) -> bool {
    let segments: Vec<&str> = uri.split('/').collect();
    let ["spiffe:", "", _, "ns", namespace, "sa", service_account] = segments[..] else {
        return false;
    };
    is_like(pattern.namespace.as_str().as_bytes(), namespace.as_bytes())
        && is_like(pattern.service_account.as_str().as_bytes(), service_account.as_bytes())
}

fn is_like(pattern: &[u8], name: &[u8]) -> bool {
    match pattern {
        [] => name.is_empty(),
        [b'*', rest @ ..] => (0..=name.len()).any(|taken| is_like(rest, &name[taken..])),
        [first, rest @ ..] => name.first() == Some(first) && is_like(rest, &name[1..]),
    }
}
