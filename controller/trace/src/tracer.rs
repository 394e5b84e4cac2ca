//! The connection to the collector: started once, stopped at the end.

use crate::Endpoint;
use crate::collector::Collector;
use crate::roots::RootsError;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// How long the last spans may take to leave when the process ends.
const FAREWELL: Duration = Duration::from_secs(1);

/// Records spans, or nothing. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

#[derive(Debug)]
pub(crate) struct Recorder {
    provider: SdkTracerProvider,
    pub(crate) tracer: SdkTracer,
}

/// Who records: the resource of all spans.
#[derive(Debug, Clone, Copy)]
pub struct Instance<'a> {
    /// The trust domain of the cluster.
    pub trust_domain: &'a str,
    /// What tells replicas apart; the trust domain if there is only one.
    pub name: &'a str,
    /// The version of fedgate.
    pub version: &'a str,
}

impl Tracer {
    /// Starts to send spans to `endpoint`; without one, nothing is recorded.
    ///
    /// Spans wait in a queue of 2,048 and leave in batches, every five seconds. If the collector
    /// does not take them, they are dropped. The environment variables of OpenTelemetry's SDK apply
    /// (`OTEL_BSP_…`, `OTEL_TRACES_SAMPLER`, `OTEL_RESOURCE_ATTRIBUTES`,
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_CERTIFICATE`), except for those that name
    /// the endpoint or the protocol.
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If the endpoint is `https` and the system has no CAs, or an environment variable is wrong.
    pub fn start(endpoint: Option<&Endpoint>, instance: Instance<'_>) -> Result<Self, StartError> {
        let Some(endpoint) = endpoint else { return Ok(Self::default()) };
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(endpoint)?)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint.traces())
            .build()?;
        tracing::info!(%endpoint, "changes are traced");
        Ok(Self::of(
            SdkTracerProvider::builder()
                .with_batch_exporter(exporter)
                .with_resource(resource(instance))
                .build(),
        ))
    }

    pub(crate) fn of(provider: SdkTracerProvider) -> Self {
        let tracer = provider.tracer("fedgate");
        Self(Some(Arc::new(Recorder { provider, tracer })))
    }

    /// Returns true if spans are recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn recorder(&self) -> Option<&Arc<Recorder>> {
        self.0.as_ref()
    }

    /// Sends what is left, for at most a second.
    pub async fn stop(self) {
        let Some(recorder) = self.0 else { return };
        let farewell = move || recorder.provider.shutdown_with_timeout(FAREWELL);
        let _ = timeout(FAREWELL, tokio::task::spawn_blocking(farewell)).await;
    }
}

/// Why tracing cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The HTTP client cannot be built.
    #[error("the client for the OTLP endpoint cannot start: {0}")]
    Client(#[from] reqwest::Error),
    /// The CAs of the endpoint's certificate cannot be read.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The exporter refuses its settings.
    #[error("an OTEL_ environment variable is wrong: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
}

fn resource(Instance { trust_domain, name, version }: Instance<'_>) -> Resource {
    let text = |key: &'static str, value: &str| KeyValue::new(key, value.to_owned());
    Resource::builder()
        .with_service_name("fedgate")
        .with_attributes([
            text("service.version", version),
            text("service.instance.id", name),
            text("fedgate.trust_domain", trust_domain),
        ])
        .build()
}
