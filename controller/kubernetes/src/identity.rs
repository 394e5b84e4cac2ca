//! This cluster's identity towards its peers: a UUID and a key, created once and shared by all
//! replicas.

pub(super) mod stored;

use crate::api::client::told;
use crate::api::kind::Kind;
use crate::settings::ControllerSettings;
use crate::sources::memory::{self, Memory, STATE};
use anyhow::{Context, Result, bail};
use fedgate_exchange::new_key::{REPLACED_IS_SHOWN_FOR, new_key};
use fedgate_federation::document::ClusterUuid;
use fedgate_federation::key::SigningKey;
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ObjectReference, Secret};
use kube::api::PostParams;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::time::Duration;

/// The name of the Secret.
pub const SECRET: &str = "fedgate-identity";
/// The Secret's key for the private key, in PEM.
const AUTHN_KEY: &str = "authn.key";
/// The Secret's key for the cluster's UUID.
const CLUSTER_UUID: &str = "cluster-uuid";

/// The annotation with the time at which a new key replaced a lost one.
const REPLACED_AT: &str = "fedgate.dev/replaced-at";
const REPLACED: &str = "the Secret was gone, so a new key is made, and peers are told of another key (key_changed). Tell their operators; \
                        if nobody deleted the Secret knowingly, find out who did";
/// The pause between retries while the API server does not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// The cluster's UUID, and the key that signs its tokens.
#[derive(Debug, Clone)]
pub struct ClusterIdentity {
    /// The UUID by which peers know this cluster.
    pub cluster_uuid: ClusterUuid,
    /// The key that signs tokens.
    pub key: SigningKey,
    /// When this key replaced a lost one.
    pub replaced_at: Option<Timestamp>,
}

impl ClusterIdentity {
    /// The finding that reports a replaced key, for three days.
    pub fn replaced(&self, settings: &ControllerSettings, now: Timestamp) -> Option<Finding> {
        let at = self.replaced_at.filter(|at| now.duration_since(*at) < REPLACED_IS_SHOWN_FOR)?;
        let namespace = Some(settings.places.namespace.clone());
        let secret = ObjectRef { namespace, ..ObjectRef::new("Secret", SECRET) };
        Some(Finding::warning(
            FindingReason::IdentityReplaced,
            secret,
            "",
            format!("at {at}: {REPLACED}"),
        ))
    }
}

/// Reads the Secret, or creates it if it does not exist. If several replicas create it at once, the
/// first one wins and the others read its Secret. Retries while the API server does not answer.
///
/// If the Secret is gone although the cluster ran before, the new Secret has the former UUID and a
/// new key. An Event reports this before the Secret is created, and a finding reports it for three
/// days: see [`ClusterIdentity::replaced`].
///
/// # Errors
/// If the Secret exists but is invalid: it is never overwritten, because peers know its key. Also
/// if it is gone and the former UUID cannot be read.
pub async fn obtain(client: &Client, settings: &ControllerSettings) -> Result<ClusterIdentity> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &settings.places.namespace);
    loop {
        match try_obtain(client, &secrets, settings).await {
            Ok(Some(secret)) => return read(&secret, settings),
            // Another replica created it first.
            Ok(None) => {}
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Api(error)) => {
                let place = format!("{}/{SECRET}", settings.places.namespace);
                tracing::warn!(
                    "cannot get or make the Secret {place}, trying again: {}",
                    told(&error)
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Why there is no Secret yet.
enum Failure {
    /// Worth a retry.
    Api(kube::Error),
    /// An operator has to act.
    Final(anyhow::Error),
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

async fn try_obtain(
    client: &Client,
    secrets: &Api<Secret>,
    settings: &ControllerSettings,
) -> Result<Option<Secret>, Failure> {
    if let Some(secret) = secrets.get_opt(SECRET).await? {
        return Ok(Some(secret));
    }
    let state = Kind::ConfigMap.within(client, &settings.places.namespace).get_opt(STATE).await?;
    let before = state.map(memory::keep);
    let secret = new(settings, before.as_ref(), Timestamp::now()).map_err(Failure::Final)?;
    if before.is_some() {
        tell_replaced(client, settings).await?;
    }
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(secret) => {
            tracing::info!("made a UUID and a key for this cluster: Secret {SECRET}");
            Ok(Some(secret))
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reports that the Secret is gone and is about to be created again.
async fn tell_replaced(client: &Client, settings: &ControllerSettings) -> kube::Result<()> {
    let namespace = &settings.places.namespace;
    tracing::error!("Secret {namespace}/{SECRET}: {REPLACED}");
    let reporter =
        Reporter { controller: "fedgate".to_owned(), instance: Some(settings.pod_name.clone()) };
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Secret".to_owned()),
        namespace: Some(namespace.clone()),
        name: Some(SECRET.to_owned()),
        ..ObjectReference::default()
    };
    let event = Event {
        type_: EventType::Warning,
        reason: FindingReason::IdentityReplaced.camel_case(),
        note: Some(REPLACED.to_owned()),
        action: "Federate".to_owned(),
        secondary: None,
    };
    Recorder::new(client.clone(), reporter).publish(&event, &regarding).await
}

/// A new Secret. `before` is what this cluster wrote down when it last ran.
fn new(settings: &ControllerSettings, before: Option<&Memory>, now: Timestamp) -> Result<Secret> {
    let uuid = match (&settings.cluster_uuid, before) {
        (Some(uuid), _) => uuid.to_string(),
        (None, None) => uuid::Uuid::new_v4().to_string(),
        (None, Some(Memory::Cluster { record: Some(record), .. })) => {
            record.cluster_uuid().to_string()
        }
        (None, Some(_)) => bail!(
            "Secret {0}/{SECRET} is gone though this cluster ran before (ConfigMap {0}/{STATE} is there), and the ConfigMap does not say its \
             UUID: restore the Secret, or set --cluster-uuid to the UUID that the peers know. To begin as a new cluster delete the ConfigMap",
            settings.places.namespace
        ),
    };
    let data = BTreeMap::from([
        (AUTHN_KEY.to_owned(), ByteString(new_key()?.to_pem().into_bytes())),
        (CLUSTER_UUID.to_owned(), ByteString(uuid.into_bytes())),
    ]);
    let mut secret = Secret { data: Some(data), ..Secret::default() };
    secret.metadata.name = Some(SECRET.to_owned());
    secret.metadata.labels = Some(BTreeMap::from([crate::api::owner::managed_by()]));
    secret.metadata.annotations =
        before.map(|_| BTreeMap::from([(REPLACED_AT.to_owned(), now.to_string())]));
    Ok(secret)
}

fn read(secret: &Secret, settings: &ControllerSettings) -> Result<ClusterIdentity> {
    let place = || format!("Secret {}/{SECRET}", settings.places.namespace);
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let bytes = bytes.with_context(|| {
            format!("{} has no key {key}; restore it, or delete the Secret and pair anew", place())
        })?;
        std::str::from_utf8(&bytes.0)
            .ok()
            .with_context(|| format!("{}, key {key}: it is no text", place()))
    };
    let key = SigningKey::from_pem(text(AUTHN_KEY)?).with_context(|| {
        format!("{}, key {AUTHN_KEY}: expected an Ed25519 private key in PEM", place())
    })?;
    let cluster_uuid = ClusterUuid::parse(text(CLUSTER_UUID)?.trim())
        .with_context(|| format!("{}, key {CLUSTER_UUID}", place()))?;
    match &settings.cluster_uuid {
        Some(wanted) if *wanted != cluster_uuid => bail!(
            "{} says that this cluster's UUID is {cluster_uuid}, and --cluster-uuid says {wanted}: peers know the former; \
             leave the flag out, or delete the Secret and pair anew",
            place()
        ),
        _ => {
            let annotations = secret.metadata.annotations.as_ref();
            let replaced_at =
                annotations.and_then(|annotations| annotations.get(REPLACED_AT)?.parse().ok());
            Ok(ClusterIdentity { cluster_uuid, key, replaced_at })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::read as flags;
    use crate::sources::Seen;
    use crate::sources::memory::ClusterRecord;
    use jiff::SignedDuration;

    fn settings(more: &[&str]) -> ControllerSettings {
        flags(more).unwrap()
    }

    #[test]
    fn what_was_made_is_read_and_a_contradiction_is_told() {
        let secret = new(&settings(&[]), None, Timestamp::UNIX_EPOCH).unwrap();
        let identity = read(&secret, &settings(&[])).unwrap();
        let other = "11111111-aaaa-4aaa-8aaa-111111111111";
        let said = read(&secret, &settings(&["--cluster-uuid", other])).unwrap_err().to_string();
        assert!(said.contains(identity.cluster_uuid.as_str()) && said.contains(other));
        let named =
            new(&settings(&["--cluster-uuid", other]), None, Timestamp::UNIX_EPOCH).unwrap();
        let named = read(&named, &settings(&[])).unwrap();
        assert_eq!((named.cluster_uuid.as_str(), named.replaced_at), (other, None));
    }

    #[test]
    fn a_secret_that_is_gone_is_made_with_the_uuid_of_before_and_told() {
        let first =
            read(&new(&settings(&[]), None, Timestamp::UNIX_EPOCH).unwrap(), &settings(&[]))
                .unwrap();
        let (cluster, _) = Seen::default().cluster(&settings(&[]), &first);
        let record = Some(Box::new(ClusterRecord::of(&cluster, &settings(&[]), &[])));
        let before = Memory::Cluster { published: Default::default(), record };
        let now = Timestamp::UNIX_EPOCH;
        let second =
            read(&new(&settings(&[]), Some(&before), now).unwrap(), &settings(&[])).unwrap();
        assert_eq!(second.cluster_uuid, first.cluster_uuid);
        assert_ne!(second.key.public(), first.key.public());
        let later = |hours| now + SignedDuration::from_hours(hours);
        let told = second.replaced(&settings(&[]), later(71)).unwrap();
        assert_eq!(told.reason, FindingReason::IdentityReplaced);
        assert_eq!(second.replaced(&settings(&[]), later(72)), None);
        assert_eq!(first.replaced(&settings(&[]), later(0)), None);
        // Without the former UUID, an operator has to decide.
        let said = new(&settings(&[]), Some(&Memory::Nothing), now).unwrap_err().to_string();
        assert!(said.contains("--cluster-uuid") && said.contains("fedgate-state"), "{said}");
    }

    #[test]
    fn a_broken_secret_is_named_and_not_quoted() {
        let mut secret = new(&settings(&[]), None, Timestamp::UNIX_EPOCH).unwrap();
        let pem = String::from_utf8(secret.data.as_ref().unwrap()[AUTHN_KEY].0.clone()).unwrap();
        let body = pem.lines().nth(1).unwrap().to_owned();
        let broken = ByteString(pem.replace("BEGIN", "BEGUN").into_bytes());
        secret.data.as_mut().unwrap().insert(AUTHN_KEY.to_owned(), broken);
        let said = format!("{:#}", read(&secret, &settings(&[])).unwrap_err());
        assert!(
            said.contains("fedgate-system/fedgate-identity") && !said.contains(&body),
            "{said}"
        );
        secret.data.as_mut().unwrap().remove(AUTHN_KEY);
        assert!(
            read(&secret, &settings(&[])).unwrap_err().to_string().contains("has no key authn.key")
        );
    }
}
