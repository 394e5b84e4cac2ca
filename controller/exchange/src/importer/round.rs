//! One round with one peer: its public document and then, with a fresh token, its private one. If
//! the peer can wait, a request for a change of the private one follows.

use super::{
    FetchFailure, ImporterSettings,
    client::Connector,
    fetch::{Answer, Fetched, Get, get},
    patience::{Pace, Patience},
    poll_backoff::RoundOutcome,
    token_decision::DecisionWatch,
};
use crate::lookup::{LookUps, look_up_now};
use fedgate_federation::{
    document::{ClusterUuid, PRIVATE_PATH, PUBLIC_PATH},
    key::PublicKey,
    knowledge::{
        Absorbed, Blame, Delivery, DocumentKind, ExchangeReason, LookupOutcome, PeerKnowledge,
        ProbeResult,
    },
    object::Peer,
    token::{SigningFailed, TokenSource},
};
use fedgate_trace::Received;
use reqwest::Client;
use std::{future::pending, sync::Arc, time::Duration};

/// The status that a peer returns until it has our object and has read our key.
const UNAUTHORIZED: u16 = 401;

/// One peer, and what is known of it.
pub(super) struct Poller {
    pub(super) settings: Arc<ImporterSettings>,
    pub(super) lookups: Arc<LookUps>,
    pub(super) peer: Arc<Peer>,
    pub(super) knowledge: PeerKnowledge,
    pub(super) tokens: TokenSource,
    pub(super) decisions: DecisionWatch,
    /// The decision that the last round acted on.
    pub(super) decision: Option<bool>,
    /// How to connect to the peer's endpoint, from the last round.
    pub(super) connector: Option<Connector>,
    /// Whether tokens are signed with the other key, because the peer refuses the current one.
    pub(super) by_other_key: bool,
    /// Whether the last answer said that the peer can wait.
    pub(super) waits: bool,
    /// The entity tag of the private document that was refused last, because a key signs it that is
    /// held. A request waits until that changes: the peer may go back, or announce the key properly.
    pub(super) refused: Option<String>,
    /// The open connection, while the peer can wait.
    pub(super) client: Option<Client>,
    /// When the last answer came, until its document is handed on, if that is noted.
    pub(super) received: Option<Received>,
    pub(super) patience: Patience,
    pub(super) pace: Pace,
}

/// A token, and the key that signed it.
pub(super) struct Token {
    pub(super) text: String,
    pub(super) key: PublicKey,
}

impl Poller {
    /// Asks for both documents. The knowledge records how each attempt ended.
    pub(super) async fn round(&mut self) -> RoundOutcome {
        self.knowledge.follow(&self.peer);
        self.refused = None;
        let ended = self.fetch_both().await;
        if self.goes_on(ended) {
            return ended;
        }
        if ended == RoundOutcome::Failed {
            self.connector = None;
        }
        self.hang_up();
        ended
    }

    /// Returns true if there is something to wait for after a round that ended like this.
    pub(super) fn goes_on(&self, ended: RoundOutcome) -> bool {
        ended == RoundOutcome::Succeeded || self.refused.is_some()
    }

    /// Returns true if nobody answered at the last attempt.
    pub(super) fn was_silent(&self) -> bool {
        let exchange = self.knowledge.public_exchange.as_ref();
        exchange.is_some_and(|exchange| exchange.reason == ExchangeReason::FetchFailed)
    }

    async fn fetch_both(&mut self) -> RoundOutcome {
        let client = match self.client() {
            Ok(client) => client,
            Err(failure) => return self.unreachable(&failure),
        };
        let public = match self.fetch_public(&client).await {
            Err(failure) if failure.is_silence() => return self.unreachable(&failure),
            other => other.is_ok_and(|good| good),
        };
        let private = self.fetch_private(&client).await;
        self.look_up_new_names().await;
        match (public, private) {
            (true, other) => other,
            (false, _) => RoundOutcome::Failed,
        }
    }

    /// A client for this round: the one that is open, or one with the TLS sessions of the last
    /// round.
    pub(super) fn client(&mut self) -> Result<Client, FetchFailure> {
        let open = self.client.take();
        let certificate = self.settings.client_certificates.of(&self.peer.name)?;
        let last = self.connector.take().filter(|last| last.fits(certificate.as_ref()));
        if let (Some(client), Some(_)) = (open, &last) {
            self.connector = last;
            return Ok(client);
        }
        let connector = match last {
            Some(last) => last,
            None => {
                self.patience = Patience::new(&self.settings.times);
                let proxy = self.settings.proxies.to(&self.peer.endpoint.document(PUBLIC_PATH));
                Connector::new(&self.peer.tls, &self.settings.roots, proxy, certificate)?
            }
        };
        self.connector.insert(connector).client(&self.settings.limits)
    }

    /// Closes the connection. The peer is polled from now on.
    pub(super) fn hang_up(&mut self) {
        (self.waits, self.client) = (false, None);
    }

    /// Records the outcome of a probe of the peer's gateways.
    pub(super) fn probed(&mut self, probed: &ProbeResult) {
        self.knowledge.record_probe(probed, self.settings.clock.now());
        if let Some(dataplane) = &self.knowledge.dataplane {
            self.settings.metrics.probed(dataplane.reason);
        }
    }

    /// Records the outcome of looking up the names of the peer's gateways.
    pub(super) fn looked_up(&mut self, outcomes: Vec<LookupOutcome>) {
        self.knowledge.record_lookups(outcomes, self.settings.clock.now());
    }

    /// Looks up names that the peer announces for the first time. Until this is done, what it
    /// announced before stays in force.
    pub(super) async fn look_up_new_names(&mut self) {
        let names = self.knowledge.new_names();
        if !names.is_empty() {
            let outcomes = look_up_now(&self.lookups, &names).await;
            self.looked_up(outcomes);
        }
    }

    /// Waits until the decision differs from the one in this round.
    pub(super) fn decision_changed(&self) -> impl Future<Output = ()> + use<> {
        let (mut decisions, decision) = (self.decisions.clone(), self.decision);
        let (peer, claimed) = (self.peer.clone(), self.knowledge.cluster_uuid().cloned());
        async move {
            match claimed {
                Some(claimed) => decisions.changed(&peer.name, &claimed, decision).await,
                None => pending().await,
            }
        }
    }

    /// The message of a failure, which says so if a client certificate may be the cause.
    fn explain(&self, failure: &FetchFailure) -> String {
        let connector = self.connector.as_ref();
        match connector.and_then(|connector| connector.what_to_do(failure)) {
            Some(what_to_do) => format!("{failure}; {what_to_do}"),
            None => failure.to_string(),
        }
    }

    /// Records that the peer cannot be reached. The private document is not requested, because that
    /// would only take as long to fail.
    fn unreachable(&mut self, failure: &FetchFailure) -> RoundOutcome {
        let proxy = self.connector.as_ref().and_then(|connector| connector.proxy.as_ref());
        let message = match proxy {
            Some(proxy) => format!("through the proxy {proxy}: {}", self.explain(failure)),
            None => self.explain(failure),
        };
        for kind in [DocumentKind::Public, DocumentKind::Private] {
            self.failed(kind, failure.reason(), &message);
        }
        RoundOutcome::Failed
    }

    /// Fetches the public document. Returns true if it is good.
    async fn fetch_public(&mut self, client: &Client) -> Result<bool, FetchFailure> {
        let get_public = Get {
            url: self.peer.endpoint.document(PUBLIC_PATH),
            bearer: None,
            known: self.knowledge.etag(DocumentKind::Public),
            limit: self.settings.limits.public_bytes,
            wait: None,
            traced: self.settings.traced,
        };
        let mut fetched = get(client, get_public, &*self.settings.clock).await;
        self.received = fetched.received.take();
        match self.read_clock(fetched) {
            Ok(answer) => {
                let uuid = self.knowledge.cluster_uuid().cloned();
                let good = self.take(DocumentKind::Public, answer).await;
                if self.knowledge.cluster_uuid() != uuid.as_ref() {
                    // No more tokens are needed for the old UUID.
                    self.tokens = TokenSource::default();
                }
                Ok(good)
            }
            Err(failure) => {
                self.failed(DocumentKind::Public, failure.reason(), &self.explain(&failure));
                Err(failure)
            }
        }
    }

    /// Issues the next token for the peer with this UUID.
    pub(super) fn issue_token(&mut self, audience: &ClusterUuid) -> Result<Token, SigningFailed> {
        let (identity, now) = (&self.settings.identity, self.settings.clock.now());
        let keys = identity.keyring.keys().ok_or(SigningFailed)?;
        let other = keys.other.as_ref().filter(|_| self.by_other_key);
        let key = other.unwrap_or(&keys.current);
        let text = self.tokens.issue(key, &identity.cluster_uuid, audience, now)?;
        Ok(Token { text, key: key.public() })
    }

    /// Records by which key the peer has accepted a token.
    pub(super) fn accepted(&mut self, token: &PublicKey) {
        self.knowledge.record_accepted_key(token);
    }

    /// During a rotation of our keys, a peer may know only the other one: it has not read our
    /// public document since the switch, or holds the new key. Returns true if it can be asked with
    /// that one.
    fn try_other_key(&mut self) -> bool {
        let keys = self.settings.identity.keyring.keys();
        let has_other = keys.is_some_and(|keys| keys.other.is_some());
        !std::mem::replace(&mut self.by_other_key, true) && has_other
    }

    async fn fetch_private(&mut self, client: &Client) -> RoundOutcome {
        let kind = DocumentKind::Private;
        let Some(audience) = self.knowledge.cluster_uuid().cloned() else {
            self.failed(
                kind,
                ExchangeReason::AwaitingPublic,
                "the peer's public document is not known yet",
            );
            return RoundOutcome::Failed;
        };
        self.decision = self.decisions.may_send_token(&self.peer.name, &audience);
        match self.decision {
            Some(true) => {}
            Some(false) => {
                let message =
                    "the peer is refused for the UUID that it claims, so no token is sent to it";
                self.failed(kind, ExchangeReason::TokenGenerationFailed, message);
                return RoundOutcome::NoToken;
            }
            None => {
                self.failed(
                    kind,
                    ExchangeReason::AwaitingPublic,
                    "the peer's UUID is new, and compared with the others",
                );
                return RoundOutcome::NoToken;
            }
        }
        self.by_other_key = false;
        loop {
            let ended = self.fetch_private_with(client, &audience).await;
            if ended != RoundOutcome::Pairing || !self.try_other_key() {
                return ended;
            }
        }
    }

    async fn fetch_private_with(
        &mut self,
        client: &Client,
        audience: &ClusterUuid,
    ) -> RoundOutcome {
        let kind = DocumentKind::Private;
        let token = match self.issue_token(audience) {
            Ok(token) => token,
            Err(error) => {
                self.failed(kind, ExchangeReason::TokenGenerationFailed, &error.to_string());
                return RoundOutcome::Failed;
            }
        };
        let get_private = Get {
            url: self.peer.endpoint.document(PRIVATE_PATH),
            bearer: Some(&token.text),
            known: self.knowledge.etag(kind),
            limit: self.settings.documents.body_bytes,
            wait: Some(Duration::ZERO),
            traced: self.settings.traced,
        };
        let mut fetched = get(client, get_private, &*self.settings.clock).await;
        self.received = fetched.received.take().or(self.received.take());
        self.waits = fetched.waits;
        self.client = fetched.can_go_on().then(|| client.clone());
        match self.read_clock(fetched) {
            Ok(answer) => {
                self.accepted(&token.key);
                let etag = answer.etag().map(str::to_owned);
                if self.take(kind, answer).await {
                    return RoundOutcome::Succeeded;
                }
                let is_held = self.knowledge.held_trust.is_some();
                self.refused = etag.filter(|_| is_held && self.is_refusing());
                RoundOutcome::Failed
            }
            Err(FetchFailure::Status(refused)) if refused.status == UNAUTHORIZED => {
                self.failed(kind, ExchangeReason::NonOkResponse, &self.unauthorized());
                RoundOutcome::Pairing
            }
            Err(failure) => {
                self.failed(kind, failure.reason(), &self.explain(&failure));
                RoundOutcome::Failed
            }
        }
    }

    /// Why a peer refuses our token, as far as it can be known here.
    fn unauthorized(&self) -> String {
        let known = self.knowledge.public.as_ref().map(|known| &known.document.cluster_uuid);
        let held = self.knowledge.held_trust.as_ref().map(|held| &held.cluster_uuid);
        let has_new_uuid = held.is_some() && held != known;
        match self.knowledge.clock.and_then(|clock| clock.warning(Blame::Unknown)) {
            Some(trouble) => format!("401: the peer refuses the token: {trouble}"),
            None if has_new_uuid => "401: the peer has a new UUID, which is held here, and tokens are for the one before: compare the \
                                     change with its operator, then approve it"
                .to_owned(),
            None => "401: the peer does not know us yet: it needs an IstioFederation for this cluster, and some minutes to read \
                     our key"
                .to_owned(),
        }
    }

    /// Reads the peer's clock from an answer, even from a refusal: a difference between the clocks
    /// may be its cause.
    fn read_clock(&mut self, fetched: Fetched) -> Result<Answer, FetchFailure> {
        if let Some(reading) = fetched.clock {
            self.knowledge.record_clock(reading);
        }
        fetched.answer
    }

    /// Merges an answer into the knowledge. Returns true if the document is good.
    pub(super) async fn take(&mut self, kind: DocumentKind, answer: Answer) -> bool {
        let now = self.settings.clock.now();
        let reader = Some(self.settings.identity.cluster_uuid.clone());
        let (body, delivery) = match answer {
            Answer::Fresh { body, delivery } => (body, Delivery { reader, ..delivery }),
            Answer::NotModified(delivery) => {
                let delivery = Delivery { reader, ..delivery };
                let peer = self.peer.clone();
                let absorbed = self.knowledge.absorb_not_modified(&peer, kind, &delivery, now);
                self.notice(absorbed);
                return self.ended(kind);
            }
        };
        let (settings, peer, mut knowledge) =
            (self.settings.clone(), self.peer.clone(), self.knowledge.clone());
        // Reading a large document could block other tasks, so it runs on a blocking thread.
        let absorbing = tokio::task::spawn_blocking(move || {
            let absorbed = match kind {
                DocumentKind::Public => {
                    knowledge.absorb_public(&peer, &body, delivery, &settings.documents, now)
                }
                DocumentKind::Private => knowledge.absorb_private(
                    &peer,
                    &body,
                    delivery,
                    &settings.documents,
                    &settings.times,
                    now,
                ),
            };
            (knowledge, absorbed)
        });
        match absorbing.await {
            Ok((knowledge, absorbed)) => {
                self.knowledge = knowledge;
                // The rest of the document is still to come. Held trust waits for an operator, whose
                // approval starts a round.
                let held = kind == DocumentKind::Private && matches!(absorbed, Absorbed::Held(_));
                if absorbed.is_taken() {
                    self.settings.metrics.taken(kind);
                }
                self.notice(absorbed);
                self.ended(kind) && !held
            }
            // Only a bug of ours gets here. It must not end the peer's task.
            Err(error) => {
                tracing::error!(peer = %self.peer.name, %error, "reading a document failed");
                self.failed(
                    kind,
                    ExchangeReason::FetchFailed,
                    "reading the document failed because of a bug in fedgate; please report it",
                );
                false
            }
        }
    }

    /// Findings about rows stay in the knowledge. The ones here would be gone by the next round, so
    /// they are counted now.
    fn notice(&self, absorbed: Absorbed) {
        for finding in absorbed.into_findings() {
            self.settings.metrics.noticed(&self.peer.name, finding.reason);
        }
    }

    /// Returns true if the last private document was refused.
    fn is_refusing(&self) -> bool {
        let exchange = self.knowledge.private_exchange.as_ref();
        exchange.is_some_and(|last| last.reason == ExchangeReason::InvalidPrivateMetadata)
    }

    fn failed(&mut self, kind: DocumentKind, reason: ExchangeReason, message: &str) {
        self.knowledge.record_failure(kind, reason, message, self.settings.clock.now());
        self.ended(kind);
    }

    /// Counts an attempt. Returns true if it succeeded.
    fn ended(&self, kind: DocumentKind) -> bool {
        let exchange = match kind {
            DocumentKind::Public => &self.knowledge.public_exchange,
            DocumentKind::Private => &self.knowledge.private_exchange,
        };
        let Some(exchange) = exchange else { return false };
        self.settings.metrics.ended(kind, exchange.reason);
        exchange.reason == ExchangeReason::Succeeded
    }
}
