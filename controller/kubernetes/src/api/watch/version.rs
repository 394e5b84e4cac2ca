//! Resource versions, and detecting that they went back.
//!
//! Within one kind, a later write has a larger version. Kubernetes guarantees this since 1.35, and
//! its storage has always worked this way. So a smaller version after a larger one means that the
//! data went back: etcd was restored from a snapshot. A watch that resumes from a version of the
//! lost past gets nothing, and no error, until versions have grown beyond it.

use kube::ResourceExt;
use std::sync::Arc;
use tokio::sync::watch;

/// A resource version. One that is not a number is neither older nor newer than any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Version(Option<u64>);

impl Version {
    /// Parses a version.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.parse().ok())
    }

    /// The version of an object.
    pub(crate) fn of(object: &impl ResourceExt) -> Self {
        object.resource_version().map_or(Self(None), |version| Self::parse(&version))
    }

    /// Returns true if this version is certainly older than `that`.
    pub(crate) fn is_before(self, that: Self) -> bool {
        self.0.zip(that.0).is_some_and(|(this, that)| this < that)
    }

    /// Returns true if this version is certainly not newer than `that`.
    pub(super) fn is_within(self, that: Self) -> bool {
        self.0.zip(that.0).is_some_and(|(this, that)| this <= that)
    }
}

/// How often the API server's data went back since the start; clones show the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rollbacks(Arc<watch::Sender<u64>>);

impl Rollbacks {
    /// The number of rollbacks.
    pub(crate) fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Records a rollback; returns the new number. `known` is the number that the caller knows, so
    /// that a rollback which several callers detect counts once.
    pub(crate) fn noticed(&self, known: u64, what: &str) -> u64 {
        let news = self.0.send_if_modified(|count| {
            let news = *count == known;
            *count += u64::from(news);
            news
        });
        if news {
            tracing::warn!(
                "{what}: resource versions went back, as after a restore of etcd; listing everything again, and this replica is not ready \
                 until then"
            );
        }
        self.count()
    }

    /// Waits until the number differs from `known`.
    pub(super) async fn more_than(&self, known: u64) {
        // `self` owns the sender, so the channel never closes.
        let _ = self.0.subscribe().wait_for(|count| *count != known).await;
    }
}
