//! This cluster, from its settings and the files that they name.

mod credentials;

use crate::cluster_identity;
use crate::own;
use crate::settings::Settings;
use crate::state::StateFolder;
use anyhow::{Context, Result};
use fedgate_core::ServicePort;
use fedgate_federation::LocalCluster;
use fedgate_federation::bundle::{Root, roots_from_pem};
use fedgate_federation::credentials::leaf_identities;
use fedgate_federation::document::{ClusterUuid, GatewayAddress, GatewayHost, Limits, WorkloadIdentity};
use fedgate_federation::federate::Passthrough;
use fedgate_federation::key::SigningKey;
use std::fs;
use std::path::Path;

/// On a site without Istio there are no sidecars that could be told whose roots to believe.
const NO_PASSTHROUGH: &str =
    "here TLS always ends at the gateway, and passing it through needs a cluster with Istio: remove the annotation";

/// The cluster, and the key that its tokens are signed with.
pub struct Local {
    /// What peers may know of it.
    pub cluster: LocalCluster,
    /// What they may not.
    pub key: SigningKey,
}

/// Reads what the settings name. The UUID and the key are made at the first start, and kept in `state/`.
///
/// # Errors
/// When a file cannot be read or does not hold what it should; the message names the file and what to do.
pub fn read(settings: &Settings, state: &StateFolder) -> Result<Local> {
    let (cluster_uuid, key) = cluster_identity::obtain(settings, state)?;
    let cluster = cluster(settings, cluster_uuid, &key)?;
    Ok(Local { cluster, key })
}

/// This cluster as far as its settings say, for a check that writes nothing: UUID and key may be made up.
///
/// # Errors
/// As [`read`].
pub fn stand_in(settings: &Settings) -> Result<LocalCluster> {
    let made_up = || ClusterUuid::parse(&uuid::Uuid::new_v4().to_string()).context("a new UUID is not one");
    let uuid = settings.cluster_uuid.clone().map_or_else(made_up, Ok)?;
    cluster(settings, uuid, &new_key()?)
}

fn cluster(settings: &Settings, cluster_uuid: ClusterUuid, key: &SigningKey) -> Result<LocalCluster> {
    let roots = roots(&settings.identity.roots)?;
    Ok(LocalCluster {
        credentials: credentials::read(settings, &roots),
        trust_domain: settings.trust_domain.clone(),
        cluster_uuid,
        authn_key: key.public(),
        roots,
        network: settings.network.clone(),
        gateways: gateways(settings),
        gateway_identities: identities(&settings.identity.certificate_chain)?,
        health_name: settings.gateway.health_name,
        passthrough: Passthrough::Impossible(NO_PASSTHROUGH.to_owned()),
        own: own::addresses(settings),
    })
}

/// A new key, from the system's randomness.
///
/// # Errors
/// When the system has none.
pub fn new_key() -> Result<SigningKey> {
    let mut seed = [0; 32];
    rustls::crypto::aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut seed)
        .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    Ok(SigningKey::from_seed(&seed)?)
}

fn roots(path: &Path) -> Result<Vec<Root>> {
    let pem = fs::read_to_string(path).with_context(|| format!("cannot read identity.roots {}", path.display()))?;
    let limits = Limits::default();
    let roots = roots_from_pem(&pem, limits.certificate_bytes).into_iter().collect::<Result<Vec<_>, _>>();
    let roots = roots.with_context(|| {
        format!("identity.roots {}: expected CA certificates in PEM and nothing else", path.display())
    })?;
    Ok(roots)
}

/// Where peers connect to: the advertised addresses, else the one that the gateway listens on.
fn gateways(settings: &Settings) -> Vec<GatewayAddress> {
    let listen = settings.gateway.listen;
    match settings.gateway.advertise.is_empty() && !listen.ip().is_unspecified() {
        true => ServicePort::new(listen.port())
            .map(|port| GatewayAddress { address: GatewayHost::Ip(listen.ip()), port })
            .into_iter()
            .collect(),
        false => settings.gateway.advertise.clone(),
    }
}

/// The SPIFFE ID of the certificate that the gateway shows, so that peers expect it and no other. What is wrong with it otherwise is among
/// the findings about this cluster's credentials.
fn identities(path: &Path) -> Result<Vec<WorkloadIdentity>> {
    let named = || format!("identity.certificateChain {}", path.display());
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", named()))?;
    leaf_identities(&bytes).map_err(|why| anyhow::anyhow!("{}: {why}", named()))
}
