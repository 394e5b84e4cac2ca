//! The election of the leader: the replica that holds the Lease leads.
//!
//! A replica takes the Lease if its holder has not renewed it for [`DURATION`]. It measures this by
//! its own clock, from the moment at which it saw the last renewal, so clocks need not agree. Every
//! write carries the resource version that was read, so of two concurrent attempts one fails.
//!
//! A leader that cannot renew for `DEADLINE` stops leading by itself, before another replica may
//! take the Lease. Together with requests that end within `PATIENCE`, this ensures that two
//! replicas never lead at once.
//!
//! The libraries for this (kube-lease-manager 0.13, kube-leader-election 0.44) take over without a
//! resource version, so two replicas may believe for a while that they lead.
//! `kubert::lease` writes with a resource version, but compares the holder's clock with its own: with
//! clocks that differ, two replicas lead. It also cannot write the confirmations, which are an
//! annotation of the Lease.

use crate::api::client::describe;
use crate::api::owner::managed_by;
use crate::api::watch::{Rollbacks, Version};
use crate::leader::confirmations;
use fedgate_engine::confirmations::Confirmations;
use fedgate_process::words::spell;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::PostParams;
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// The name of the Lease.
pub(crate) const LEASE: &str = "fedgate-controller";
/// The time without a renewal after which another replica takes over.
pub(crate) const DURATION: Duration = Duration::from_secs(10);
/// The time without a renewal after which a leader stops leading.
const DEADLINE: Duration = Duration::from_secs(7);
/// How often the Lease is read, and renewed by its holder.
const PERIOD: Duration = Duration::from_secs(2);
/// A Lease with an older renewal than this was restored from a backup, or there was no leader for
/// as long.
const GAP: SignedDuration = SignedDuration::from_secs(60);
/// The time limit for a request.
const PATIENCE: Duration = Duration::from_secs(2);

/// Shows whether this replica leads; clones show the same.
#[derive(Clone)]
pub(crate) struct Leadership {
    began: Instant,
    /// Milliseconds after `began` until which this replica leads.
    until: Arc<AtomicU64>,
    after_gap: Arc<AtomicBool>,
    changes: watch::Receiver<bool>,
}

impl Leadership {
    /// Returns true if this replica leads now. Ask before each write.
    pub(crate) fn leads(&self) -> bool {
        self.began.elapsed().as_millis() < u128::from(self.until.load(Ordering::Acquire))
    }

    /// Returns true if apparently there was no leader for a while before this replica. Then the
    /// data may come from a backup, and be older than what gateways and peers have seen.
    pub(crate) fn began_after_gap(&self) -> bool {
        self.after_gap.load(Ordering::Acquire)
    }

    /// Waits until this replica begins or stops leading.
    pub(crate) async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until this replica does not lead: because the election says so, or because its time
    /// has run out.
    pub(crate) async fn ended(&self) {
        let mut leadership = self.clone();
        while self.leads() {
            let until = self.began + Duration::from_millis(self.until.load(Ordering::Acquire));
            tokio::select! {
                () = sleep_until(until) => {}
                () = leadership.changed() => {}
            }
        }
    }
}

/// A participant in the election.
pub(crate) struct Election {
    leases: Api<Lease>,
    identity: String,
    confirmations: Confirmations,
    leadership: Leadership,
    changes: watch::Sender<bool>,
    /// The last version of another holder's Lease, and when this replica first saw it.
    last_renewal: Option<(String, Instant)>,
    /// The last version of the Lease, by any writer.
    version: Version,
    rollbacks: Rollbacks,
}

impl Election {
    /// Creates a participant. `identity` must be unique for each process; each renewal writes
    /// `confirmations`.
    pub(crate) fn new(
        client: &Client,
        namespace: &str,
        identity: String,
        confirmations: Confirmations,
    ) -> (Self, Leadership) {
        let (changes, receiver) = watch::channel(false);
        let leadership = Leadership {
            began: Instant::now(),
            until: Arc::default(),
            after_gap: Arc::default(),
            changes: receiver,
        };
        let leases = Api::namespaced(client.clone(), namespace);
        let (version, rollbacks) = (Version::default(), Rollbacks::default());
        let election = Self {
            leases,
            identity,
            confirmations,
            leadership: leadership.clone(),
            changes,
            last_renewal: None,
            version,
            rollbacks,
        };
        (election, leadership)
    }

    /// Reports to `rollbacks` when the Lease's version goes back. No other object is read as often.
    pub(crate) fn noticing(self, rollbacks: Rollbacks) -> Self {
        Self { rollbacks, ..self }
    }

    /// Runs until `stop` is ready. Then releases the Lease, so that another replica need not wait.
    pub(crate) async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            self.round().await;
            tokio::select! {
                () = sleep(PERIOD) => {}
                () = &mut stop => break,
            }
        }
        self.release().await;
    }

    /// Takes the Lease from its holder, outside the election, because an operator wants it. The
    /// former holder stops leading when it next reads the Lease, and at the latest after
    /// [`DURATION`].
    ///
    /// # Errors
    /// The API server's error.
    pub(crate) async fn seize(&mut self) -> kube::Result<()> {
        loop {
            // The holder may renew it in between.
            let taken = match self.leases.get_opt(LEASE).await? {
                None => self.try_hold().await?,
                Some(lease) => self.take(lease).await?,
            };
            if taken {
                return Ok(());
            }
        }
    }

    /// Renews the Lease, which must be ours.
    ///
    /// # Errors
    /// The API server's error.
    pub(crate) async fn renew(&mut self) -> kube::Result<()> {
        self.try_hold().await.map(drop)
    }

    /// Renews the Lease until the future is dropped, and leaves it held.
    pub(crate) async fn hold(&mut self) -> std::convert::Infallible {
        loop {
            self.round().await;
            sleep(PERIOD).await;
        }
    }

    async fn round(&mut self) {
        let began = Instant::now();
        match timeout(PATIENCE, self.try_hold()).await {
            Ok(Ok(true)) => self.lead_until(began + DEADLINE),
            Ok(Ok(false)) => self.lead_until(began),
            Ok(Err(error)) => {
                tracing::warn!(
                    "the Lease {LEASE} cannot be renewed or read, trying again: {}",
                    describe(&error)
                )
            }
            Err(_) => tracing::warn!(
                "the Lease {LEASE}: the API server has not answered within {}; trying again",
                spell(PATIENCE)
            ),
        }
        self.publish();
    }

    /// Returns true if the Lease is ours now.
    async fn try_hold(&mut self) -> kube::Result<bool> {
        let Some(lease) = self.leases.get_opt(LEASE).await? else {
            let mut lease = Lease::default();
            lease.metadata.name = Some(LEASE.to_owned());
            lease.metadata.labels = Some(BTreeMap::from([managed_by()]));
            lease.spec = Some(self.spec(None));
            let created = self.leases.create(&PostParams::default(), &lease).await;
            return self.won(created);
        };
        self.saw(&lease);
        match self.may_take(&lease) {
            true => self.take(lease).await,
            false => Ok(false),
        }
    }

    fn may_take(&mut self, lease: &Lease) -> bool {
        let holder = lease
            .spec
            .as_ref()
            .and_then(|spec| spec.holder_identity.as_deref())
            .unwrap_or_default();
        if holder.is_empty() || holder == self.identity {
            return true;
        }
        // Every write by the holder changes the version.
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match &self.last_renewal {
            Some((before, since)) if *before == version => since.elapsed() >= DURATION,
            _ => {
                self.last_renewal = Some((version, Instant::now()));
                false
            }
        }
    }

    async fn take(&mut self, mut lease: Lease) -> kube::Result<bool> {
        if !self.leadership.leads() {
            self.leadership
                .after_gap
                .store(follows_gap(&lease, Timestamp::now()), Ordering::Release);
        }
        lease.spec = Some(self.spec(lease.spec.as_ref()));
        confirmations::write(&self.confirmations, &mut lease);
        let replaced = self.leases.replace(LEASE, &PostParams::default(), &lease).await;
        self.won(replaced)
    }

    /// A conflict means that another replica was first.
    fn won(&mut self, result: kube::Result<Lease>) -> kube::Result<bool> {
        match result {
            Ok(lease) => {
                self.saw(&lease);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn saw(&mut self, lease: &Lease) {
        let version = Version::of(lease);
        if version.is_before(self.version) {
            self.rollbacks.noticed(self.rollbacks.count(), "the Lease");
        }
        self.version = version;
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = Some(MicroTime(Timestamp::now()));
        let same = before.filter(|spec| spec.holder_identity.as_ref() == Some(&self.identity));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: same.map_or(now.clone(), |spec| spec.acquire_time.clone()),
            renew_time: now,
            lease_transitions: Some(if same.is_some() {
                transitions
            } else {
                transitions.saturating_add(1)
            }),
            ..LeaseSpec::default()
        }
    }

    fn lead_until(&self, until: Instant) {
        let until = until.saturating_duration_since(self.leadership.began).as_millis();
        self.leadership.until.store(u64::try_from(until).unwrap_or(u64::MAX), Ordering::Release);
    }

    fn publish(&self) {
        let leads = self.leadership.leads();
        let changed =
            self.changes.send_if_modified(|before| std::mem::replace(before, leads) != leads);
        match (changed, leads) {
            (true, true) => tracing::info!("this replica leads"),
            (true, false) => {
                tracing::warn!("this replica no longer leads; another one does, or will")
            }
            (false, _) => {}
        }
    }

    async fn release(&mut self) {
        if !self.leadership.leads() {
            return;
        }
        self.lead_until(self.leadership.began);
        self.publish();
        let free = async {
            let mut lease = self.leases.get(LEASE).await?;
            let spec = lease.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() == Some(&self.identity) {
                spec.holder_identity = Some(String::new());
                self.leases.replace(LEASE, &PostParams::default(), &lease).await?;
            }
            Ok::<(), kube::Error>(())
        };
        // The result does not matter: the Lease expires anyway.
        let _ = timeout(PATIENCE, free).await;
    }
}

/// Returns true if the Lease was last renewed long ago.
fn follows_gap(lease: &Lease, now: Timestamp) -> bool {
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    renewed.is_none_or(|renewed| now.duration_since(renewed.0) >= GAP)
}
