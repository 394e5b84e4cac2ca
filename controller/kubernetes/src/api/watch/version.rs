//! Resource versions, and noticing that they went back.
//!
//! Within one kind a version that is written later is a larger number; Kubernetes says so since 1.35, and its storage has always done so.
//! So a smaller one after a larger one means that the data went back: etcd was restored from a snapshot. A watch that goes on from a
//! version of the lost past gets nothing, without any error, until versions have grown beyond it.

use kube::ResourceExt;
use std::sync::Arc;
use tokio::sync::watch;

/// A resource version. One that is no number is neither older nor newer than any other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version(Option<u64>);

impl Version {
    /// Reads one.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.parse().ok())
    }

    /// That of an object.
    pub(crate) fn of(object: &impl ResourceExt) -> Self {
        object.resource_version().map_or(Self(None), |version| Self::parse(&version))
    }

    /// Whether this one is certainly older than that.
    pub(crate) fn is_before(self, that: Self) -> bool {
        self.0.zip(that.0).is_some_and(|(this, that)| this < that)
    }

    /// Whether this one is certainly not newer than that.
    pub(super) fn is_within(self, that: Self) -> bool {
        self.0.zip(that.0).is_some_and(|(this, that)| this <= that)
    }
}

/// How often the API server's data went back since the start; clones show the same.
#[derive(Debug, Clone, Default)]
pub struct Rollbacks(Arc<watch::Sender<u64>>);

impl Rollbacks {
    /// The number.
    pub(crate) fn count(&self) -> u64 {
        *self.0.borrow()
    }

    /// Takes that they went back; `known` is the number that the caller knows of, so that what several notice is counted once. Returns the
    /// number now.
    pub(crate) fn noticed(&self, known: u64, what: &str) -> u64 {
        let news = self.0.send_if_modified(|count| {
            let news = *count == known;
            *count += u64::from(news);
            news
        });
        if news {
            tracing::warn!(
                "{what}: resource versions went back, as after a restore of etcd: everything is listed again, and this replica is not \
                 ready until that is done"
            );
        }
        self.count()
    }

    /// Ready when it is another number than `known`.
    pub(super) async fn more_than(&self, known: u64) {
        // The sender is here, so there is no end.
        let _ = self.0.subscribe().wait_for(|count| *count != known).await;
    }
}
