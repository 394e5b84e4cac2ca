//! What was seen since the last compilation: the reasons for the next one.

use crate::change::{Change, PEER};
use crate::{Origin, Tracer};
use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, SpanBuilder, SpanKind};
use std::time::SystemTime;

/// How many causes of a change are recorded if they are peers' answers. Changes that come together
/// are compiled together, and peers decide how many there are.
const MOST: usize = 16;

/// A peer's answer that carries a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    at: SystemTime,
    origin: Option<Origin>,
}

impl Received {
    /// An answer whose first bytes have just come. `traceparent` is what the peer says about its
    /// trace.
    pub fn now(traceparent: Option<&[u8]>) -> Self {
        Self { at: SystemTime::now(), origin: traceparent.and_then(Origin::parse) }
    }
}

/// One reason to compile, and the time that it took to read.
#[derive(Debug)]
struct Cause {
    name: &'static str,
    began: SystemTime,
    ended: SystemTime,
    peer: Option<String>,
    origin: Option<Origin>,
}

impl Cause {
    fn span(&self) -> SpanBuilder {
        let kind = if self.peer.is_some() { SpanKind::Client } else { SpanKind::Internal };
        let attributes = self.peer.iter().map(|peer| KeyValue::new(PEER, peer.clone()));
        let links = self.origin.iter().map(|origin| Link::with_context(origin.context().clone()));
        SpanBuilder::from_name(self.name)
            .with_kind(kind)
            .with_start_time(self.began)
            .with_attributes(attributes)
            .with_links(links.collect())
    }
}

/// The causes of the next compilation.
#[derive(Debug, Default)]
pub struct Causes {
    tracer: Tracer,
    seen: Vec<Cause>,
    omitted: i64,
}

impl Causes {
    /// No causes yet.
    pub fn new(tracer: Tracer) -> Self {
        Self { tracer, ..Self::default() }
    }

    /// The time, if causes are recorded.
    pub fn now(&self) -> Option<SystemTime> {
        self.tracer.is_on().then(SystemTime::now)
    }

    /// Notes a change of this cluster's own objects or files. `began` is what [`Causes::now`] said
    /// when it was noticed. Several with the same name become one.
    pub fn own(&mut self, name: &'static str, began: Option<SystemTime>) {
        let Some(began) = began else { return };
        let ended = SystemTime::now();
        match self.seen.iter_mut().find(|seen| seen.name == name && seen.peer.is_none()) {
            Some(before) => before.ended = ended,
            None => self.seen.push(Cause { name, began, ended, peer: None, origin: None }),
        }
    }

    /// Notes what a peer has answered, unless there are too many answers. `peer` is the name of the
    /// peer's object here.
    pub fn answer(&mut self, peer: &str, received: Received) {
        if !self.tracer.is_on() {
            return;
        }
        if self.seen.len() >= MOST {
            self.omitted += 1;
            return;
        }
        let (Received { at: began, origin }, ended) = (received, SystemTime::now());
        let peer = Some(peer.to_owned());
        self.seen.push(Cause { name: "fetch", began, ended, peer, origin });
    }

    /// Forgets what was seen.
    pub fn clear(&mut self) {
        self.seen.clear();
        self.omitted = 0;
    }

    /// Returns true if a peer's answer is among them.
    pub fn has_answers(&self) -> bool {
        self.seen.iter().any(|cause| cause.peer.is_some())
    }

    /// Begins the trace of what was seen before the compilation that began at `compiled`, and waits
    /// for the next causes. A compilation that only time causes has no trace.
    pub fn change(&mut self, compiled: SystemTime) -> Change {
        let (seen, omitted) = (std::mem::take(&mut self.seen), std::mem::take(&mut self.omitted));
        let began = seen.iter().map(|cause| cause.began).min();
        let Some((recorder, began)) = self.tracer.recorder().zip(began) else {
            return Change::default();
        };
        let change = Change::begin(recorder, began);
        for cause in &seen {
            change.past(cause.span(), cause.ended);
        }
        if let Some(ready) = seen.iter().map(|cause| cause.ended).min() {
            change.past(SpanBuilder::from_name("wait").with_start_time(ready), compiled);
        }
        if omitted > 0 {
            change.set("fedgate.omitted_causes", omitted);
        }
        change
    }
}
