//! The trace of one change: a root span, and a child for each step.

use crate::Origin;
use crate::tracer::Recorder;
use opentelemetry::trace::{Span, SpanBuilder, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::Span as SdkSpan;
use std::sync::Arc;
use std::time::SystemTime;

/// The attribute with the name of a peer's object.
pub(crate) const PEER: &str = "fedgate.peer";

/// A change that is being compiled, written and published. Clones are of the same trace. Empty if
/// no traces are recorded.
#[derive(Debug, Clone, Default)]
pub struct Change(Option<Arc<Traced>>);

#[derive(Debug)]
struct Traced {
    recorder: Arc<Recorder>,
    /// Holds the root span, which ends with this at the latest.
    context: Context,
}

impl Change {
    pub(crate) fn begin(recorder: &Arc<Recorder>, began: SystemTime) -> Self {
        let root = SpanBuilder::from_name("change").with_start_time(began);
        let root = recorder.tracer.build_with_context(root, &Context::new());
        let context = Context::new().with_span(root);
        Self(Some(Arc::new(Traced { recorder: Arc::clone(recorder), context })))
    }

    /// Returns true if its spans are recorded.
    pub fn is_traced(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a step, which ends when it is dropped.
    #[must_use]
    pub fn step(&self, name: &'static str) -> Step {
        let child = |traced: &Arc<Traced>| traced.child(SpanBuilder::from_name(name));
        Step { _span: self.0.as_ref().map(child) }
    }

    /// Records a step that began at `began` and has ended now.
    pub fn done(&self, name: &'static str, began: SystemTime) {
        self.past(SpanBuilder::from_name(name).with_start_time(began), SystemTime::now());
    }

    /// Records that a peer has got what was published at `published`.
    pub fn answered(&self, peer: &str, published: SystemTime) {
        let span = SpanBuilder::from_name("answer")
            .with_kind(SpanKind::Server)
            .with_start_time(published)
            .with_attributes([KeyValue::new(PEER, peer.to_owned())]);
        self.past(span, SystemTime::now());
    }

    /// Records a span that has ended already.
    pub(crate) fn past(&self, span: SpanBuilder, ended: SystemTime) {
        if let Some(traced) = &self.0 {
            traced.child(span).end_with_timestamp(ended);
        }
    }

    /// Sets an attribute of the whole change.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(traced) = &self.0 {
            traced.context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// The same, for an attribute with several values.
    pub fn set_list(&self, key: &'static str, values: Vec<String>) {
        let values = values.into_iter().map(StringValue::from).collect();
        self.set(key, Value::Array(Array::String(values)));
    }

    /// What peers may know about it.
    pub fn origin(&self) -> Option<Origin> {
        self.0.as_ref().map(|traced| Origin::new(traced.context.span().span_context()))
    }

    /// Ends the root span. Peers may still be answered later.
    pub fn end(&self) {
        if let Some(traced) = &self.0 {
            traced.context.span().end();
        }
    }
}

impl Traced {
    fn child(&self, span: SpanBuilder) -> SdkSpan {
        self.recorder.tracer.build_with_context(span, &self.context)
    }
}

/// A step of a change. Dropping it ends it.
#[derive(Debug)]
pub struct Step {
    _span: Option<SdkSpan>,
}
