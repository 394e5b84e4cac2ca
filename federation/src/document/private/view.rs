use crate::document::{GatewayAddress, GatewayHost};
use crate::finding::shown;
use crate::json::read_object;
use crate::knowledge::{DataplaneReason, ExchangeReason};
use fedgate_core::ServicePort;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a cluster sees of the reader of its private document, so that the reader's operator need
/// not ask. The document's sequence does not count changes of it: two clusters that see each
/// other's sequences would otherwise never come to rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct View {
    /// The sequence of the reader's private document that the cluster uses; `None` if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The reader's gateways as the cluster knows them, in order, at most
    /// [`View::MOST_GATEWAYS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<GatewayAddress>,
    /// How the last request for the reader's private document ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Outcome<ExchangeReason>>,
    /// How the last probe of the reader's gateways ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<Outcome<DataplaneReason>>,
    /// How many seconds the reader's clock is ahead of the cluster's, 0 if they agree; `None` if
    /// the cluster does not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead: Option<i64>,
}

/// How something ended the last time, as one stable word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome<T> {
    /// The word.
    pub reason: T,
    /// Since when it has been so, by the cluster's clock, to the second.
    pub since: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    #[serde(default)]
    sequence: Option<u64>,
    #[serde(default)]
    gateways: Vec<ReadGateway>,
    #[serde(default)]
    fetch: Option<ReadOutcome>,
    #[serde(default)]
    probe: Option<ReadOutcome>,
    #[serde(default)]
    clock_ahead: Option<i64>,
}

#[derive(Deserialize)]
struct ReadGateway {
    address: String,
    port: ServicePort,
}

#[derive(Deserialize)]
struct ReadOutcome {
    reason: String,
    since: Timestamp,
}

impl View {
    /// The most gateways that a view lists.
    pub const MOST_GATEWAYS: usize = 16;

    /// Returns the gateways that a view of a cluster with these ones lists.
    pub fn listed<'a>(
        gateways: impl IntoIterator<Item = &'a GatewayAddress>,
    ) -> Vec<GatewayAddress> {
        let mut gateways: Vec<_> = gateways.into_iter().cloned().collect();
        gateways.sort();
        gateways.dedup();
        gateways.truncate(Self::MOST_GATEWAYS);
        gateways
    }

    /// Returns how many bytes it adds to a document.
    pub(crate) fn written_bytes(&self) -> usize {
        const KEY: usize = br#","view":"#.len();
        let mut written = Counter(KEY);
        // Counting cannot fail.
        let _ = serde_json::to_writer(&mut written, self);
        written.0
    }

    /// Reads a peer's view of us. Unknown keys are ignored, and so are outcomes with an unknown
    /// word.
    pub(super) fn parse(text: &[u8]) -> Result<Self, String> {
        let read: Read = read_object(text).map_err(|error| error.to_string())?;
        if read.gateways.len() > Self::MOST_GATEWAYS {
            return Err(format!(
                "gateways has {} rows, at most {} are accepted",
                read.gateways.len(),
                Self::MOST_GATEWAYS
            ));
        }
        let gateways = read.gateways.iter().map(gateway).collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            sequence: read.sequence,
            gateways: Self::listed(&gateways),
            fetch: read.fetch.and_then(outcome),
            probe: read.probe.and_then(outcome),
            clock_ahead: read.clock_ahead,
        })
    }
}

/// Counts what is written.
struct Counter(usize);

impl std::io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn gateway(read: &ReadGateway) -> Result<GatewayAddress, String> {
    let address = GatewayHost::parse(&read.address)
        .map_err(|error| format!("{error} ({:?})", shown(&read.address)))?;
    Ok(GatewayAddress { address, port: read.port })
}

fn outcome<T: DeserializeOwned>(read: ReadOutcome) -> Option<Outcome<T>> {
    let reason = serde_json::from_value(Value::String(read.reason)).ok()?;
    Some(Outcome { reason, since: read.since })
}
