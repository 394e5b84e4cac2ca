//! This cluster, from its settings and the files that they name.

mod credentials;

use crate::cluster_identity;
use crate::own;
use crate::settings::Settings;
use crate::state::StateFolder;
use anyhow::{Context, Result};
use fedgate_core::ServicePort;
use fedgate_exchange::new_key::new_key;
use fedgate_federation::LocalCluster;
use fedgate_federation::bundle::{Root, roots_from_pem};
use fedgate_federation::credentials::{Credentials, leaf_identities};
use fedgate_federation::document::{
    Advertised, ClusterUuid, GatewayAddress, GatewayHost, Limits, WorkloadIdentity,
};
use fedgate_federation::federate::{Passthrough, Reach};
use fedgate_federation::key::{PublicKeys, SigningKeys};
use fedgate_federation::{Finding, Severity};
use std::path::Path;

/// A site without Istio has no sidecars to which trusted roots could be distributed.
const NO_PASSTHROUGH: &str = "here TLS always ends at the gateway, and passing it through needs a cluster with Istio: remove the annotation";

/// The cluster, and the keys that it signs with.
pub(crate) struct Local {
    /// What peers may know.
    pub(crate) cluster: LocalCluster,
    /// What peers must not know.
    pub(crate) keys: SigningKeys,
    /// What is wrong with the second key, which is not among `keys` then.
    pub(crate) other_key: Option<Finding>,
}

/// Reads the files that the settings name. The UUID (in `state/`) and the key (`keyFile`) are
/// created at the first start.
///
/// # Errors
/// When a file cannot be read or has the wrong content. The message names the file and what to do.
pub(crate) fn read(settings: &Settings, state: &StateFolder) -> Result<Local> {
    let (cluster_uuid, key) = cluster_identity::load_or_create(settings, state)?;
    let path = &settings.identity.roots;
    let roots = roots(path)
        .map_err(|why| anyhow::anyhow!("identity.roots {}: {}", path.display(), why.join("; ")))?;
    let identities = identities(&settings.identity.certificate_chain)?;
    let (other, other_key) = match cluster_identity::read_other(settings, &key) {
        Ok(other) => (other, None),
        Err(finding) => (None, Some(*finding)),
    };
    let keys = SigningKeys::new(key, other);
    let cluster = cluster(settings, cluster_uuid, keys.public(), &roots, identities);
    Ok(Local { cluster, keys, other_key })
}

/// This cluster as its settings describe it, for a check that writes nothing. UUID and key may be
/// placeholders.
///
/// # Errors
/// When a placeholder UUID or key cannot be made. Unreadable files become findings.
pub fn placeholder(settings: &Settings) -> Result<LocalCluster> {
    let made_up =
        || ClusterUuid::parse(&uuid::Uuid::new_v4().to_string()).context("a new UUID is not one");
    let uuid = settings.cluster_uuid.clone().map_or_else(made_up, Ok)?;
    let found = roots(&settings.identity.roots);
    // If the leaf cannot be read, the findings about the credentials say why.
    let identities = identities(&settings.identity.certificate_chain).unwrap_or_default();
    let key = new_key()?;
    let mut cluster = cluster(
        settings,
        uuid,
        key.public().into(),
        found.as_deref().unwrap_or_default(),
        identities,
    );
    if let Err(why) = found {
        credentials::without_roots(settings, &mut cluster.credentials, &why);
    }
    Ok(cluster)
}

fn cluster(
    settings: &Settings,
    cluster_uuid: ClusterUuid,
    keys: PublicKeys,
    roots: &[Root],
    gateway_identities: Vec<WorkloadIdentity>,
) -> LocalCluster {
    let (gateways, localities) = Reach::split(&gateways(settings));
    LocalCluster {
        credentials: credentials::read(settings, roots),
        trust_domain: settings.trust_domain.clone(),
        cluster_uuid,
        authn_key: keys.current,
        other_key: keys.other,
        roots: roots.to_vec(),
        network: settings.network.clone(),
        gateways,
        reach: Reach { localities, for_peers: settings.gateway.advertise_to.clone() },
        gateway_identities,
        health_name: settings.gateway.health_name,
        passthrough: Passthrough::Impossible(NO_PASSTHROUGH.to_owned()),
        own_addresses: own::addresses(settings),
        federated_suffix: settings.federated_suffix.clone(),
    }
}

/// Appends a remark to the errors about the files that these settings name. Returns true if there
/// are any. The remark says what stays in force, so it needs no second finding.
pub(crate) fn add_to_faults(credentials: &mut Credentials, fields: &[&str], remark: &str) -> bool {
    let is_of = |fault: &&mut Finding| {
        let field = fault.field.as_deref();
        fault.severity == Severity::Error && field.is_some_and(|field| fields.contains(&field))
    };
    let faults: Vec<_> = credentials.faults.iter_mut().filter(is_of).collect();
    let has_some = !faults.is_empty();
    faults.into_iter().for_each(|fault| fault.message = format!("{}; {remark}", fault.message));
    has_some
}

/// The roots, or everything that is wrong with their file.
fn roots(path: &Path) -> Result<Vec<Root>, Vec<String>> {
    let bytes = credentials::bytes(path).map_err(|why| vec![why])?;
    let read =
        roots_from_pem(&String::from_utf8_lossy(&bytes), Limits::default().certificate_bytes);
    let (mut roots, mut wrong) = (Vec::new(), Vec::new());
    for (number, root) in (1..).zip(read) {
        match root {
            Ok(root) => roots.push(root),
            Err(error) => wrong.push(format!(
                "block {number}: expected CA certificates in PEM and nothing else: {error}; replace or remove that block"
            )),
        }
    }
    if wrong.is_empty() { Ok(roots) } else { Err(wrong) }
}

/// Where peers connect to: the advertised addresses, else the gateway's single listen address.
fn gateways(settings: &Settings) -> Vec<Advertised> {
    let listen = settings.gateway.listen;
    match settings.gateway.advertise.is_empty() && !listen.ip().is_unspecified() {
        true => ServicePort::new(listen.port())
            .map(|port| GatewayAddress { address: GatewayHost::Ip(listen.ip()), port }.into())
            .into_iter()
            .collect(),
        false => settings.gateway.advertise.clone(),
    }
}

/// The SPIFFE ID of the gateway's certificate, so that peers expect exactly that one. Other
/// problems of the certificate are among the findings about this cluster's credentials.
fn identities(path: &Path) -> Result<Vec<WorkloadIdentity>> {
    let named = || format!("identity.certificateChain {}", path.display());
    let bytes = credentials::bytes(path).map_err(|why| anyhow::anyhow!("{}: {why}", named()))?;
    leaf_identities(&bytes).map_err(|why| anyhow::anyhow!("{}: {why}", named()))
}
