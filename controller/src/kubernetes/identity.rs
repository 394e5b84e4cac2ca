//! Who this cluster is to its peers: a UUID and a key, made once, whatever the number of replicas.

use super::client::told;
use super::settings::ControllerSettings;
use crate::local::new_key;
use anyhow::{Context, Result, bail};
use fedgate_federation::document::ClusterUuid;
use fedgate_federation::key::SigningKey;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::time::Duration;

/// The Secret's name.
pub const SECRET: &str = "fedgate-identity";
/// Its key for the private key, in PEM.
const AUTHN_KEY: &str = "authn.key";
/// Its key for the cluster's UUID.
const CLUSTER_UUID: &str = "cluster-uuid";

/// How often to try while the API server does not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// The cluster's UUID, and the key that its tokens are signed with.
#[derive(Debug, Clone)]
pub struct ClusterIdentity {
    /// What peers know the cluster by.
    pub cluster_uuid: ClusterUuid,
    /// What tokens are signed with.
    pub key: SigningKey,
}

/// Reads the Secret, and makes it when there is none. Of several replicas that do so the first one wins, and the others read
/// what it made. While the API server does not answer, it goes on trying.
///
/// # Errors
/// When the Secret is there and holds something else: it is never overwritten, since peers know the key.
pub async fn obtain(client: &Client, settings: &ControllerSettings) -> Result<ClusterIdentity> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &settings.places.namespace);
    loop {
        match try_obtain(&secrets, settings).await {
            Ok(Some(secret)) => return read(&secret, settings),
            // Another replica was first.
            Ok(None) => {}
            Err(error) => {
                let place = format!("{}/{SECRET}", settings.places.namespace);
                tracing::warn!("cannot get or make the Secret {place}, trying again: {}", told(&error));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn try_obtain(secrets: &Api<Secret>, settings: &ControllerSettings) -> kube::Result<Option<Secret>> {
    if let Some(secret) = secrets.get_opt(SECRET).await? {
        return Ok(Some(secret));
    }
    let Ok(secret) = new(settings) else { return Ok(None) };
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(secret) => {
            tracing::info!("made a UUID and a key for this cluster: Secret {SECRET}");
            Ok(Some(secret))
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(error) => Err(error),
    }
}

fn new(settings: &ControllerSettings) -> Result<Secret> {
    let uuid = settings.cluster_uuid.as_ref().map_or_else(|| uuid::Uuid::new_v4().to_string(), ToString::to_string);
    let data = BTreeMap::from([
        (AUTHN_KEY.to_owned(), ByteString(new_key()?.to_pem().into_bytes())),
        (CLUSTER_UUID.to_owned(), ByteString(uuid.into_bytes())),
    ]);
    let mut secret = Secret { data: Some(data), ..Secret::default() };
    secret.metadata.name = Some(SECRET.to_owned());
    secret.metadata.labels = Some(BTreeMap::from([super::owner::managed_by()]));
    Ok(secret)
}

fn read(secret: &Secret, settings: &ControllerSettings) -> Result<ClusterIdentity> {
    let place = || format!("Secret {}/{SECRET}", settings.places.namespace);
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let bytes = bytes
            .with_context(|| format!("{} has no key {key}; restore it, or delete the Secret and pair anew", place()))?;
        std::str::from_utf8(&bytes.0).ok().with_context(|| format!("{}, key {key}: it is no text", place()))
    };
    let key = SigningKey::from_pem(text(AUTHN_KEY)?)
        .with_context(|| format!("{}, key {AUTHN_KEY}: expected an Ed25519 private key in PEM", place()))?;
    let cluster_uuid =
        ClusterUuid::parse(text(CLUSTER_UUID)?.trim()).with_context(|| format!("{}, key {CLUSTER_UUID}", place()))?;
    match &settings.cluster_uuid {
        Some(wanted) if *wanted != cluster_uuid => bail!(
            "{} says that this cluster's UUID is {cluster_uuid}, and --cluster-uuid says {wanted}: peers know the former; \
             leave the flag out, or delete the Secret and pair anew",
            place()
        ),
        _ => Ok(ClusterIdentity { cluster_uuid, key }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::settings::tests::read as flags;

    fn settings(more: &[&str]) -> ControllerSettings {
        flags(more).unwrap()
    }

    #[test]
    fn what_was_made_is_read_and_a_contradiction_is_told() {
        let secret = new(&settings(&[])).unwrap();
        let identity = read(&secret, &settings(&[])).unwrap();
        let other = "11111111-aaaa-4aaa-8aaa-111111111111";
        let said = read(&secret, &settings(&["--cluster-uuid", other])).unwrap_err().to_string();
        assert!(said.contains(identity.cluster_uuid.as_str()) && said.contains(other));
        assert_eq!(
            read(&new(&settings(&["--cluster-uuid", other])).unwrap(), &settings(&[])).unwrap().cluster_uuid.as_str(),
            other
        );
    }

    #[test]
    fn a_broken_secret_is_named_and_not_quoted() {
        let mut secret = new(&settings(&[])).unwrap();
        let pem = String::from_utf8(secret.data.as_ref().unwrap()[AUTHN_KEY].0.clone()).unwrap();
        let body = pem.lines().nth(1).unwrap().to_owned();
        let broken = ByteString(pem.replace("BEGIN", "BEGUN").into_bytes());
        secret.data.as_mut().unwrap().insert(AUTHN_KEY.to_owned(), broken);
        let said = format!("{:#}", read(&secret, &settings(&[])).unwrap_err());
        assert!(said.contains("fedgate-system/fedgate-identity") && !said.contains(&body), "{said}");
        secret.data.as_mut().unwrap().remove(AUTHN_KEY);
        assert!(read(&secret, &settings(&[])).unwrap_err().to_string().contains("has no key authn.key"));
    }
}
