//! A tracer that keeps its spans, for tests.

use crate::Tracer;
use opentelemetry::Value;
use opentelemetry::trace::SpanId;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use std::sync::{Arc, Mutex, PoisonError};

/// The spans that have ended.
#[derive(Debug, Clone, Default)]
pub struct Recorded(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Recorded {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(batch);
        Ok(())
    }
}

impl Recorded {
    /// A tracer, and the spans that it records.
    pub fn tracer() -> (Tracer, Self) {
        let recorded = Self::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(recorded.clone()).build();
        (Tracer::of(provider), recorded)
    }

    /// All spans, in the order in which they ended.
    pub fn spans(&self) -> Vec<SpanData> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The root span of the change that is about an object, such as `Service shop/web`, and the
    /// names of the spans below it.
    pub fn change_of(&self, object: &str) -> Option<(SpanData, Vec<String>)> {
        let spans = self.spans();
        let is_about = |span: &&SpanData| {
            span.attributes.iter().any(|one| match &one.value {
                Value::Array(_) => {
                    one.key.as_str() == "fedgate.objects" && one.value.as_str().contains(object)
                }
                _ => false,
            })
        };
        let root =
            spans.iter().find(is_about).filter(|root| root.parent_span_id == SpanId::INVALID);
        let root = root?.clone();
        let parent = root.span_context.span_id();
        let below = spans.iter().filter(|span| span.parent_span_id == parent);
        let below = below.map(|span| span.name.to_string()).collect();
        Some((root, below))
    }
}
