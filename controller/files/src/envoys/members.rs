//! Asks the egress which members of federated names it finds alive.
//!
//! Envoy checks the members itself, and takes dead ones out of rotation within two seconds. Its
//! listener for that (`fedgate_envoy::members`) answers on a local socket, so no admin address has
//! to be known.

use super::watch::status;
use fedgate_core::ServiceName;
use fedgate_engine::federated::MemberHealth;
use fedgate_envoy::{EnvoyFiles, members};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::{sync::watch, task::JoinSet, time::sleep};

/// How often to ask.
const INTERVAL: Duration = Duration::from_secs(1);

/// Asks until it is dropped.
pub(crate) struct MemberWatch {
    wanted: watch::Sender<BTreeSet<ServiceName>>,
    found: watch::Receiver<MemberHealth>,
    _task: JoinSet<()>,
}

impl MemberWatch {
    pub(crate) fn start(files: &EnvoyFiles) -> Self {
        let (wanted, asked) = watch::channel(BTreeSet::new());
        let (sender, found) = watch::channel(MemberHealth::new());
        let mut task = JoinSet::new();
        task.spawn(observe(files.members_socket(), asked, sender));
        Self { wanted, found, _task: task }
    }

    /// Asks about these members from now on.
    pub(crate) fn follow(&self, members: BTreeSet<ServiceName>) {
        self.wanted.send_if_modified(|wanted| {
            let is_new = *wanted != members;
            *wanted = members;
            is_new
        });
    }

    /// Waits for the next change.
    pub(crate) async fn changed(&mut self) -> MemberHealth {
        match self.found.changed().await {
            Ok(()) => self.found.borrow_and_update().clone(),
            // The task ends only through a bug of ours.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn observe(
    socket: String,
    mut asked: watch::Receiver<BTreeSet<ServiceName>>,
    sender: watch::Sender<MemberHealth>,
) {
    loop {
        let members = asked.borrow_and_update().clone();
        let mut health = MemberHealth::new();
        for member in &members {
            match status(&socket, &members::path(member)).await {
                Some(200) => drop(health.insert(member.clone(), true)),
                Some(503) => drop(health.insert(member.clone(), false)),
                // The egress does not run, or does not have the member yet.
                _ => {}
            }
        }
        sender.send_if_modified(|last| std::mem::replace(last, health.clone()) != health);
        if members.is_empty() {
            if asked.changed().await.is_err() {
                return;
            }
        } else {
            sleep(INTERVAL).await;
        }
    }
}
