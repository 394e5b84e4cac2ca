//! Checks whether the Secret still holds the identity that this process uses.
//!
//! Each process reads the Secret once, at its start, and signs with that key until it ends. So a
//! deleted or damaged Secret would show only at the next start, which creates a new key or fails.
//! This check reports it while it can still be repaired.

use super::{AUTHN_KEY, CLUSTER_UUID, ClusterIdentity, SECRET};
use crate::settings::ControllerSettings;
use fedgate_federation::document::ClusterUuid;
use fedgate_federation::key::{PublicKey, SigningKey};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DynamicObject;

/// The content of the Secret, without the private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// There is no Secret.
    Gone,
    /// A valid identity.
    Identity(ClusterUuid, PublicKey),
    /// Invalid content, with the key of the Secret that is wrong.
    Damaged(&'static str),
}

/// Extracts what is needed from the Secret.
pub(crate) fn keep(object: DynamicObject) -> Stored {
    let secret = object.try_parse::<Secret>().unwrap_or_default();
    let text =
        |key| secret.data.as_ref().and_then(|data| std::str::from_utf8(&data.get(key)?.0).ok());
    let Some(key) = text(AUTHN_KEY).and_then(|pem| SigningKey::from_pem(pem).ok()) else {
        return Stored::Damaged(AUTHN_KEY);
    };
    match text(CLUSTER_UUID).and_then(|uuid| ClusterUuid::parse(uuid.trim()).ok()) {
        Some(uuid) => Stored::Identity(uuid, key.public()),
        None => Stored::Damaged(CLUSTER_UUID),
    }
}

impl ClusterIdentity {
    /// The finding while the Secret does not hold this identity.
    pub(crate) fn lost(
        &self,
        stored: Option<&Stored>,
        settings: &ControllerSettings,
    ) -> Option<Finding> {
        let (field, found, next) = match stored? {
            Stored::Identity(uuid, public)
                if *uuid == self.cluster_uuid && *public == self.key.public() =>
            {
                return None;
            }
            Stored::Gone => (
                "",
                "no such Secret",
                "creates a new key, and peers report a changed key (key_changed)",
            ),
            Stored::Damaged(key) => (*key, "invalid content", "fails"),
            Stored::Identity(..) => {
                ("data", "another UUID or key", "uses that, and peers report a change")
            }
        };
        let message = format!(
            "expected the UUID and the key that this controller uses, found {found}; restore the Secret from a backup: the next controller \
             that starts {next}"
        );
        let namespace = Some(settings.namespaces.own.clone());
        let secret = ObjectRef { namespace, ..ObjectRef::new("Secret", SECRET) };
        Some(Finding::error(FindingReason::IdentityLost, secret, field, message))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{new, read};
    use super::*;
    use crate::settings::tests::read as flags;
    use jiff::Timestamp;
    use k8s_openapi::ByteString;

    fn stored(secret: &Secret) -> Stored {
        keep(serde_json::from_value(serde_json::to_value(secret).unwrap()).unwrap())
    }

    #[test]
    fn a_changed_secret_is_reported() {
        let settings = flags(&[]).unwrap();
        let secret = || new(&settings, None, Timestamp::UNIX_EPOCH).unwrap();
        let mut first = secret();
        let identity = read(&first, &settings).unwrap();
        let report = |stored: Option<Stored>| {
            identity
                .lost(stored.as_ref(), &settings)
                .map(|finding| format!("{}: {finding}", finding.reason.word()))
        };
        assert_eq!((report(None), report(Some(stored(&first)))), (None, None));
        let gone = report(Some(Stored::Gone)).unwrap();
        assert!(gone.contains("identity_lost") && gone.contains("found no such Secret"), "{gone}");
        let other = report(Some(stored(&secret()))).unwrap();
        assert!(other.contains("another UUID or key"), "{other}");
        let secret_text =
            String::from_utf8(first.data.as_ref().unwrap()[AUTHN_KEY].0.clone()).unwrap();
        for key in [CLUSTER_UUID, AUTHN_KEY] {
            first.data.as_mut().unwrap().insert(key.to_owned(), ByteString(vec![0xff, 0xfe]));
            let damaged = report(Some(stored(&first))).unwrap();
            assert!(damaged.contains(key), "{damaged}");
            assert!(!damaged.contains(secret_text.lines().nth(1).unwrap()));
        }
        assert_eq!(stored(&Secret::default()), Stored::Damaged(AUTHN_KEY));
    }
}
