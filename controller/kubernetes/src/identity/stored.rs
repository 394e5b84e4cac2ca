//! Checks whether the Secret still holds the identity that this process uses.
//!
//! Each process reads the Secret at its start. Later it takes from it only what a rotation may
//! change: other keys, as long as one of them is the same, so that peers believe the change. With
//! anything else it goes on with what it has, and a deleted or damaged Secret would show only at the
//! next start, which creates a new key or fails. This check reports it while it can still be
//! repaired.

use super::{AUTHN_KEY, CLUSTER_UUID, ClusterIdentity, OTHER_KEY, SECRET};
use crate::settings::ControllerSettings;
use fedgate_federation::document::ClusterUuid;
use fedgate_federation::key::{SigningKey, SigningKeys};
use fedgate_federation::{Finding, FindingReason, ObjectRef};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DynamicObject;

/// The content of the Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    /// There is no Secret.
    Gone,
    /// A valid identity.
    Identity(ClusterUuid, SigningKeys),
    /// A valid identity, but for the second key; why that cannot be used.
    WithoutOther(ClusterUuid, SigningKey, &'static str),
    /// Invalid content, with the key of the Secret that is wrong.
    Damaged(&'static str),
}

/// Extracts what is needed from the Secret.
pub(crate) fn keep(object: DynamicObject) -> Stored {
    let secret = object.try_parse::<Secret>().unwrap_or_default();
    let Some(key) = text(&secret, AUTHN_KEY).and_then(|pem| SigningKey::from_pem(pem).ok()) else {
        return Stored::Damaged(AUTHN_KEY);
    };
    let uuid = text(&secret, CLUSTER_UUID).and_then(|uuid| ClusterUuid::parse(uuid.trim()).ok());
    let Some(uuid) = uuid else { return Stored::Damaged(CLUSTER_UUID) };
    match other_key(&secret, &key) {
        Ok(other) => Stored::Identity(uuid, SigningKeys::new(key, other)),
        Err(why) => Stored::WithoutOther(uuid, key, why),
    }
}

fn text<'s>(secret: &'s Secret, key: &str) -> Option<&'s str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()
}

/// Reads the second key; `None` if the slot is empty.
///
/// # Errors
/// What was found in place of another key.
pub(super) fn other_key(
    secret: &Secret,
    current: &SigningKey,
) -> Result<Option<SigningKey>, &'static str> {
    if !secret.data.as_ref().is_some_and(|data| data.contains_key(OTHER_KEY)) {
        return Ok(None);
    }
    let pem = text(secret, OTHER_KEY).unwrap_or_default();
    match SigningKey::from_pem(pem) {
        Ok(key) if key == *current => Err("the same key"),
        Ok(key) => Ok(Some(key)),
        Err(_) => Err("no Ed25519 private key in PEM"),
    }
}

impl ClusterIdentity {
    /// Takes the keys that the Secret has now, if peers that know the former ones will believe
    /// them. Returns true if they differ.
    pub(crate) fn follow(&mut self, stored: Option<&Stored>) -> bool {
        let Some(Stored::Identity(uuid, keys)) = stored else { return false };
        let follows =
            *uuid == self.cluster_uuid && *keys != self.keys && keys.continue_from(&self.keys);
        if follows {
            self.keys = keys.clone();
        }
        follows
    }

    /// The finding while the Secret does not hold this identity.
    pub(crate) fn lost(
        &self,
        stored: Option<&Stored>,
        settings: &ControllerSettings,
    ) -> Option<Finding> {
        let namespace = Some(settings.namespaces.own().to_owned());
        let secret = ObjectRef { namespace, ..ObjectRef::new("Secret", SECRET) };
        let (field, found, next) = match stored? {
            Stored::Identity(uuid, keys) if *uuid == self.cluster_uuid && *keys == self.keys => {
                return None;
            }
            Stored::WithoutOther(uuid, key, found)
                if *uuid == self.cluster_uuid && self.keys.iter().any(|own| own == key) =>
            {
                let message = format!(
                    "expected another key than that in {AUTHN_KEY}, found {found}; the previous version stays in force: put the other key there, \
                     or remove {OTHER_KEY} if there is none"
                );
                let reason = FindingReason::InvalidKey;
                return Some(Finding::error(reason, secret, OTHER_KEY, message));
            }
            Stored::Gone => (
                "",
                "no such Secret",
                "creates a new key, and peers report a changed key (key_changed)",
            ),
            Stored::Damaged(key) => (*key, "invalid content", "fails"),
            Stored::Identity(..) | Stored::WithoutOther(..) => {
                ("data", "another UUID or key", "uses that, and peers report a change")
            }
        };
        let message = format!(
            "expected the UUID and the key that this controller uses, found {found}; restore the Secret from a backup: the next controller \
             that starts {next}"
        );
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
