//! How Envoy asks a member of a federated name whether it works.

use fedgate_core::ServiceName;
use fedgate_federation::federate::{HealthCheck, HealthProbe};
use serde_json::{Value, json};

/// How long an answer may take: a TLS handshake and a request to another continent.
const TIMEOUT: &str = "1s";

/// Envoy's form of a check of `member`. Each address of the member's cluster is asked, with the TLS
/// settings of calls. So a check shows that the peer's gateway works, and the Service behind it.
///
/// One failure is no proof: a gateway may have picked the one workload that just ended.
pub fn health_check(check: &HealthCheck, member: &ServiceName) -> Value {
    let interval = format!("{}s", check.interval.as_secs_f64());
    let mut made = json!({
        "timeout": TIMEOUT,
        "interval": interval,
        // Without calls, Envoy would ask once a minute.
        "no_traffic_interval": interval,
        "unhealthy_threshold": 2,
        "healthy_threshold": 3,
    });
    match &check.probe {
        HealthProbe::Http { path, http2 } => {
            made["http_health_check"] = json!({
                "host": member.host,
                "path": path,
                "codec_client_type": if *http2 { "HTTP2" } else { "HTTP1" },
                "expected_statuses": [{ "start": 200, "end": 300 }],
                // Without it, one such answer would count as much as `unhealthy_threshold`.
                "retriable_statuses": [{ "start": 100, "end": 200 }, { "start": 300, "end": 600 }],
            });
        }
        HealthProbe::Tcp { send, expect } => {
            let mut exchange = json!({ "receive": [text(expect)] });
            match send {
                Some(send) => exchange["send"] = text(send),
                // A server that speaks first says nothing more on the same connection.
                None => made["reuse_connection"] = false.into(),
            }
            made["tcp_health_check"] = exchange;
        }
    }
    made
}

/// Envoy takes texts in hexadecimal digits.
fn text(text: &str) -> Value {
    json!({ "text": text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>() })
}
