//! This cluster's identity towards its peers: a UUID and a key, created once and shared by all
//! replicas.

pub(super) mod stored;

use crate::api::client::describe;
use crate::api::kind::Kind;
use crate::settings::ControllerSettings;
use crate::sources::memory::{self, Memory, STATE};
use anyhow::{Context, Result, bail};
use fedgate_exchange::new_key::{REPLACED_IS_SHOWN_FOR, new_key};
use fedgate_federation::document::ClusterUuid;
use fedgate_federation::key::{SigningKey, SigningKeys};
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
pub(crate) const SECRET: &str = "fedgate-identity";
/// The Secret's key for the private key, in PEM.
const AUTHN_KEY: &str = "authn.key";
/// The Secret's key for the second private key, during a rotation: the next key, or the last.
const OTHER_KEY: &str = "authn-other.key";
/// The Secret's key for the cluster's UUID.
const CLUSTER_UUID: &str = "cluster-uuid";

/// The annotation with the time at which a new key replaced a lost one.
const REPLACED_AT: &str = "fedgate.dev/replaced-at";
const REPLACED: &str = "the Secret was missing, so a new key was created, and peers hold it (key_changed) until their operators approve it. Inform them; \
                        if the Secret was not deleted on purpose, find out who deleted it";
/// The pause between retries while the API server does not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// The cluster's UUID, and the keys that it signs with.
#[derive(Debug, Clone)]
pub(crate) struct ClusterIdentity {
    /// The UUID by which peers know this cluster.
    pub cluster_uuid: ClusterUuid,
    /// The keys that it signs with.
    pub keys: SigningKeys,
    /// When this key replaced a lost one.
    pub replaced_at: Option<Timestamp>,
}

impl ClusterIdentity {
    /// The finding that reports a replaced key, for three days.
    pub(crate) fn replaced(
        &self,
        settings: &ControllerSettings,
        now: Timestamp,
    ) -> Option<Finding> {
        let at = self.replaced_at.filter(|at| now.duration_since(*at) < REPLACED_IS_SHOWN_FOR)?;
        let namespace = Some(settings.namespaces.own().to_owned());
        let secret = ObjectRef { namespace, ..ObjectRef::new("Secret", SECRET) };
        Some(Finding::warning(
            FindingReason::IdentityReplaced,
            secret,
            "",
            format!("at {at:.0}: {REPLACED}"),
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
pub(crate) async fn obtain(
    client: &Client,
    settings: &ControllerSettings,
) -> Result<ClusterIdentity> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), settings.namespaces.own());
    loop {
        match try_obtain(client, &secrets, settings).await {
            Ok(Some(secret)) => return read(&secret, settings),
            // Another replica created it first.
            Ok(None) => {}
            Err(Failure::Final(error)) => return Err(error),
            Err(Failure::Api(error)) => {
                let name = format!("{}/{SECRET}", settings.namespaces.own());
                tracing::warn!(
                    "cannot get or create the Secret {name}, trying again: {}",
                    describe(&error)
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
    let state = Kind::ConfigMap.within(client, settings.namespaces.own()).get_opt(STATE).await?;
    let before = state.map(memory::keep);
    let secret = new(settings, before.as_ref(), Timestamp::now()).map_err(Failure::Final)?;
    if before.is_some() {
        report_replaced(client, settings).await?;
    }
    match secrets.create(&PostParams::default(), &secret).await {
        Ok(secret) => {
            tracing::info!("created a UUID and a key for this cluster: Secret {SECRET}");
            Ok(Some(secret))
        }
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reports that the Secret is gone and is about to be created again.
async fn report_replaced(client: &Client, settings: &ControllerSettings) -> kube::Result<()> {
    let namespace = settings.namespaces.own();
    tracing::error!("Secret {namespace}/{SECRET}: {REPLACED}");
    let reporter =
        Reporter { controller: "fedgate".to_owned(), instance: Some(settings.pod_name.clone()) };
    let regarding = ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Secret".to_owned()),
        namespace: Some(namespace.to_owned()),
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
            "Secret {0}/{SECRET} is missing although this cluster ran before (ConfigMap {0}/{STATE} exists), and the ConfigMap does not contain its \
             UUID: restore the Secret, or set --cluster-uuid to the UUID that the peers know. To begin as a new cluster, delete the ConfigMap",
            settings.namespaces.own()
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
    let name = || format!("Secret {}/{SECRET}", settings.namespaces.own());
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key));
        let bytes = bytes.with_context(|| {
            format!("{} has no key {key}; restore it, or delete the Secret and pair again", name())
        })?;
        std::str::from_utf8(&bytes.0)
            .ok()
            .with_context(|| format!("{}, key {key}: expected text", name()))
    };
    let key = SigningKey::from_pem(text(AUTHN_KEY)?).with_context(|| {
        format!("{}, key {AUTHN_KEY}: expected an Ed25519 private key in PEM", name())
    })?;
    let cluster_uuid = ClusterUuid::parse(text(CLUSTER_UUID)?.trim())
        .with_context(|| format!("{}, key {CLUSTER_UUID}", name()))?;
    match &settings.cluster_uuid {
        Some(wanted) if *wanted != cluster_uuid => bail!(
            "{} has the UUID {cluster_uuid}, but --cluster-uuid is {wanted}: peers know the former; \
             remove the flag, or delete the Secret and pair again",
            name()
        ),
        _ => {
            let annotations = secret.metadata.annotations.as_ref();
            let replaced_at =
                annotations.and_then(|annotations| annotations.get(REPLACED_AT)?.parse().ok());
            // A second key that cannot be used is reported by the watch of the Secret.
            let other = stored::other_key(secret, &key).ok().flatten();
            let keys = SigningKeys::new(key, other);
            Ok(ClusterIdentity { cluster_uuid, keys, replaced_at })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::read as flags;
    use crate::sources::Observed;
    use crate::sources::memory::ClusterRecord;
    use jiff::SignedDuration;

    fn settings(more: &[&str]) -> ControllerSettings {
        flags(more).unwrap()
    }

    #[test]
    fn a_created_secret_is_readable_and_another_uuid_is_an_error() {
        let secret = new(&settings(&[]), None, Timestamp::UNIX_EPOCH).unwrap();
        let identity = read(&secret, &settings(&[])).unwrap();
        let other = "11111111-aaaa-4aaa-8aaa-111111111111";
        let error = read(&secret, &settings(&["--cluster-uuid", other])).unwrap_err().to_string();
        assert!(error.contains(identity.cluster_uuid.as_str()) && error.contains(other));
        let named =
            new(&settings(&["--cluster-uuid", other]), None, Timestamp::UNIX_EPOCH).unwrap();
        let named = read(&named, &settings(&[])).unwrap();
        assert_eq!((named.cluster_uuid.as_str(), named.replaced_at), (other, None));
    }

    #[test]
    fn a_lost_secret_is_replaced_with_the_former_uuid_and_reported() {
        let first =
            read(&new(&settings(&[]), None, Timestamp::UNIX_EPOCH).unwrap(), &settings(&[]))
                .unwrap();
        let (cluster, _) = Observed::default().cluster(&settings(&[]), &first);
        let record = Some(Box::new(ClusterRecord::of(&cluster, &settings(&[]), &[])));
        let before = Memory::Cluster { published: Default::default(), record };
        let now = Timestamp::UNIX_EPOCH;
        let second =
            read(&new(&settings(&[]), Some(&before), now).unwrap(), &settings(&[])).unwrap();
        assert_eq!(second.cluster_uuid, first.cluster_uuid);
        assert_ne!(second.keys.public(), first.keys.public());
        let later = |hours| now + SignedDuration::from_hours(hours);
        let finding = second.replaced(&settings(&[]), later(71)).unwrap();
        assert_eq!(finding.reason, FindingReason::IdentityReplaced);
        assert_eq!(second.replaced(&settings(&[]), later(72)), None);
        assert_eq!(first.replaced(&settings(&[]), later(0)), None);
        // Without the former UUID, an operator has to decide.
        let error = new(&settings(&[]), Some(&Memory::Nothing), now).unwrap_err().to_string();
        assert!(error.contains("--cluster-uuid") && error.contains("fedgate-state"), "{error}");
    }

    #[test]
    fn an_invalid_secret_is_named_but_not_quoted() {
        let mut secret = new(&settings(&[]), None, Timestamp::UNIX_EPOCH).unwrap();
        let pem = String::from_utf8(secret.data.as_ref().unwrap()[AUTHN_KEY].0.clone()).unwrap();
        let body = pem.lines().nth(1).unwrap().to_owned();
        let broken = ByteString(pem.replace("BEGIN", "BEGUN").into_bytes());
        secret.data.as_mut().unwrap().insert(AUTHN_KEY.to_owned(), broken);
        let error = format!("{:#}", read(&secret, &settings(&[])).unwrap_err());
        assert!(
            error.contains("fedgate-system/fedgate-identity") && !error.contains(&body),
            "{error}"
        );
        secret.data.as_mut().unwrap().remove(AUTHN_KEY);
        assert!(
            read(&secret, &settings(&[])).unwrap_err().to_string().contains("has no key authn.key")
        );
    }
}
