//! How spans get to the collector: one bounded POST at a time, on the process's own runtime.

use crate::tracer::StartError;
use crate::{Endpoint, roots};
use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use reqwest::redirect::Policy;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;

/// The time limit of one request.
const LIMIT: Duration = Duration::from_secs(5);

/// The size limit of an answer in bytes. A collector says little.
const ANSWER: usize = 64 << 10;

/// What rustls says of a certificate whose CA is not known, or only has the name of a known one.
const UNTRUSTED: [&str; 2] = ["UnknownIssuer", "BadSignature"];

/// The collector's client.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    client: reqwest::Client,
    /// The exporter's own thread has no runtime.
    runtime: Handle,
    endpoint: Endpoint,
    /// Whether the last request failed, so that an outage is logged once.
    fails: Arc<AtomicBool>,
}

impl Collector {
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, StartError> {
        let builder = reqwest::Client::builder()
            .timeout(LIMIT)
            .connect_timeout(LIMIT)
            .redirect(Policy::none())
            .no_proxy();
        let client = match roots::named(|name| std::env::var_os(name))? {
            Some(only) => builder.tls_certs_only(only),
            None if endpoint.is_https() => builder,
            // A system without CAs is no obstacle.
            None => builder.tls_certs_only([]),
        };
        let client = client.build()?;
        let (runtime, fails) = (Handle::current(), Arc::default());
        Ok(Self { client, runtime, endpoint: endpoint.clone(), fails })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let sent = self.client.execute(request.try_into()?).await;
        // The URL is in the log line already.
        let mut response = sent.map_err(reqwest::Error::without_url)?;
        let (status, mut body) = (response.status(), Vec::new());
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > ANSWER {
                return Err(format!("its answer has more than {ANSWER} bytes").into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response::builder().status(status).body(body.into())?)
    }

    /// Logs the first failure of an outage, and its end.
    fn report(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let why = match outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(words(error.as_ref()) + hint(error.as_ref())),
        };
        match (why, &self.endpoint) {
            (None, endpoint) => {
                if self.fails.swap(false, Ordering::Relaxed) {
                    tracing::info!(%endpoint, "the OTLP endpoint takes spans again");
                }
            }
            (Some(why), endpoint) => {
                if !self.fails.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%endpoint, "spans are dropped until the OTLP endpoint takes them: {why}");
                }
            }
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let this = self.clone();
        let sending = self.runtime.spawn(async move { this.send(request).await });
        let outcome = sending.await.unwrap_or_else(|error| Err(error.into()));
        self.report(&outcome);
        outcome
    }
}

/// What to do about a certificate that is not believed.
fn hint(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let mut causes = std::iter::successors(Some(error), |cause| cause.source());
    let is_untrusted = |text: &str| UNTRUSTED.iter().any(|word| text.contains(word));
    match causes.any(|cause| is_untrusted(&cause.to_string())) {
        true => "; set OTEL_EXPORTER_OTLP_CERTIFICATE to a file with the CA of its certificate",
        false => "",
    }
}

/// An error with its causes.
fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
