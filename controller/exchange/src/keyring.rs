//! The keys that this cluster signs with, shared by importer and exporter.

use arc_swap::ArcSwapOption;
use fedgate_federation::key::SigningKeys;
use std::sync::Arc;

/// The keys that sign this cluster's tokens and documents. They may be set after the exporter has
/// started, before which nothing is published, and replaced at any time. Clones share them.
///
/// Replace the keys before the public document that announces them: a document that is signed with
/// one key more than it announces is good, and one with a key less may be held.
#[derive(Clone, Default)]
pub struct Keyring(Arc<ArcSwapOption<SigningKeys>>);

impl Keyring {
    /// A keyring with these keys.
    pub fn new(keys: impl Into<SigningKeys>) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(keys.into())))
    }

    /// Signs with these keys from now on.
    pub fn use_keys(&self, keys: impl Into<SigningKeys>) {
        self.0.store(Some(Arc::new(keys.into())));
    }

    /// The keys; `None` before the first.
    pub(crate) fn keys(&self) -> Option<Arc<SigningKeys>> {
        self.0.load_full()
    }
}

/// It shows no key.
impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keyring(..)")
    }
}
