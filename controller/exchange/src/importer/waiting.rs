//! Waits at a peer until its private document changes, so that a change is known at once.
//!
//! A fedgate peer says in its answers that it knows the preference ([`crate::prefer`]); any other
//! peer is polled. The waiting request is the only one on its connection, and it holds no permit
//! while it waits.

use super::{
    FetchFailure,
    client::Connector,
    fetch::{Fetched, Get, answer, received, send, waits},
    poll_backoff::RoundOutcome,
    round::Poller,
};
use fedgate_federation::{document::PRIVATE_PATH, key::PublicKey, knowledge::DocumentKind};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

/// How a request that waited ended.
pub(super) struct Waited {
    fetched: Fetched,
    time: Duration,
    /// The key that signed the token.
    key: PublicKey,
    /// Bounds how many bodies are read at once.
    _permit: Option<OwnedSemaphorePermit>,
}

/// What follows a request that waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Another one.
    Wait,
    /// A round, at once.
    Round,
    /// A pause, as after a round that ended like this.
    Pause(RoundOutcome),
}

impl Poller {
    /// Returns true if the last answer said that the peer can wait, and nothing stands in between.
    pub(super) fn can_wait(&self) -> bool {
        let private = self.knowledge.private.as_ref();
        let says_tag = private.and_then(|known| known.document.extension.as_ref());
        self.waits
            && self.patience.wait().is_some()
            && says_tag.is_some_and(|extension| extension.public_tag.is_some())
    }

    /// Makes a request that the peer answers when its private document changes. `None` if the peer
    /// cannot wait, or may no longer be sent tokens.
    pub(super) fn wait_for_change(
        &mut self,
        reading: Arc<Semaphore>,
    ) -> Option<impl Future<Output = Waited> + use<>> {
        let wait = self.patience.wait()?;
        let audience = self.knowledge.cluster_uuid()?.clone();
        if self.decisions.may_send_token(&self.peer.name, &audience) != Some(true) {
            return None;
        }
        let client = self.client().ok()?;
        self.client = Some(client.clone());
        let (token, settings) = (self.issue_token(&audience).ok()?, self.settings.clone());
        let known = self.refused.as_deref().or(self.knowledge.etag(DocumentKind::Private));
        let known = known.map(str::to_owned);
        let url = self.peer.endpoint.document(PRIVATE_PATH);
        Some(async move {
            let get = Get {
                url,
                bearer: Some(&token.text),
                known: known.as_deref(),
                limit: settings.documents.body_bytes,
                wait: Some(wait),
                traced: settings.traced,
            };
            let (began, limit) = (Instant::now(), settings.limits.fetch);
            let sent = send(&client, &get, Some(wait + limit)).await;
            let time = began.elapsed();
            let (answer, waits, permit, received) = match sent {
                Err(failure) => (Err(failure), false, None, None),
                Ok(response) => {
                    let (waits, received) = (waits(&response), received(&response, &get));
                    let permit = reading.acquire_owned().await.ok();
                    let read = timeout(limit, answer(response, &get)).await;
                    let late = FetchFailure::Timeout("while fetching");
                    (read.unwrap_or(Err(late)), waits, permit, received)
                }
            };
            let fetched = Fetched { answer, clock: None, waits, received };
            Waited { fetched, time, key: token.key, _permit: permit }
        })
    }

    /// Takes the answer to a request that waited. A failure is not recorded: the peer may be well,
    /// and only something in between lost patience. The round that follows shows it.
    pub(super) async fn waited(&mut self, waited: Waited) -> Then {
        let Waited { fetched, time, key, _permit } = waited;
        self.waits = fetched.waits;
        if !fetched.can_go_on() {
            self.client = None;
        }
        let answer = match fetched.answer {
            Ok(answer) => answer,
            Err(failure) => {
                tracing::debug!(peer = %self.peer.name, %failure, "waiting for a change failed");
                self.patience.failed(time);
                return Then::Round;
            }
        };
        self.received = fetched.received;
        self.patience.answered();
        self.accepted(&key);
        // A round begins with the public document, which says whether the key is still held.
        if self.refused.is_some() {
            return Then::Round;
        }
        let good = self.take(DocumentKind::Private, answer).await;
        self.look_up_new_names().await;
        match (good, self.waits) {
            (false, _) => self.no_longer(RoundOutcome::Failed),
            _ if !self.confirm_public() => Then::Round,
            _ if self.connector.as_ref().is_none_or(Connector::is_old) => Then::Round,
            // A newer request of ours ended this one, perhaps of another replica.
            (true, false) => self.no_longer(RoundOutcome::Succeeded),
            (true, true) => Then::Wait,
        }
    }

    fn no_longer(&mut self, ended: RoundOutcome) -> Then {
        self.hang_up();
        Then::Pause(ended)
    }

    /// Records that the known public document is current, if the private one says so.
    fn confirm_public(&mut self) -> bool {
        let private = self.knowledge.private.as_ref();
        let said =
            private.and_then(|known| known.document.extension.as_ref()?.public_tag.as_deref());
        let known = self.knowledge.etag(DocumentKind::Public);
        let opaque = known.map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
        let is_current = said.is_some() && said == opaque;
        if is_current {
            self.knowledge.record_not_modified(DocumentKind::Public, self.settings.clock.now());
        }
        is_current
    }
}
