//! What gateways count and log, read from their own text. Pure: whoever can reach a gateway passes
//! the text in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How many peers are kept. The filter counts a hundred of a table by name.
const MOST_PEERS: usize = 1_000;
/// How many refusals are kept.
const MOST_REFUSALS: usize = 100;
/// The longest text taken from a log, in bytes.
const LONGEST: usize = 300;

/// Decided connections since the gateways started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All gateways together.
    pub totals: Totals,
    /// By outcome and reason, each the word of the metric.
    pub by_reason: BTreeMap<(String, String), u64>,
    /// By peer, for the peers that the gateway counts by name.
    pub by_peer: BTreeMap<String, Counts>,
}

/// Decided connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Granted.
    pub allowed: u64,
    /// Denied by a policy in Audit, and let through.
    pub audited: u64,
    /// Refused.
    pub refused: u64,
}

/// The totals of all connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// By outcome.
    #[serde(flatten)]
    pub counts: Counts,
    /// Open connections that a new table closed.
    pub revoked: u64,
    /// Connections that ended before the client showed an identity.
    pub undecided: u64,
}

impl Traffic {
    /// Adds what one gateway serves at `/stats/prometheus`. Unknown lines are skipped.
    pub fn add(&mut self, text: &str) {
        for line in text.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let Ok(value) = value.trim().parse::<u64>() else { continue };
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let label = |name: &str| label(labels, name);
            match name {
                "fedgate_connections" => {
                    let (Some(outcome), Some(reason)) = (label("outcome"), label("reason")) else {
                        continue;
                    };
                    self.totals.counts.add(outcome, value);
                    let key = (outcome.to_owned(), reason.to_owned());
                    // Outcomes and reasons are words of ours, so there are few.
                    if self.by_reason.len() < 100 || self.by_reason.contains_key(&key) {
                        *self.by_reason.entry(key).or_default() += value;
                    }
                }
                "fedgate_peer_connections" => {
                    let (Some(outcome), Some(peer)) = (label("outcome"), label("peer")) else {
                        continue;
                    };
                    if self.by_peer.len() < MOST_PEERS || self.by_peer.contains_key(peer) {
                        self.by_peer.entry(peer.to_owned()).or_default().add(outcome, value);
                    }
                }
                "fedgate_revoked_connections" => self.totals.revoked += value,
                "fedgate_undecided_connections" => self.totals.undecided += value,
                _ => {}
            }
        }
    }
}

impl Counts {
    fn add(&mut self, outcome: &str, value: u64) {
        match outcome {
            "allowed" => self.allowed += value,
            "audited" => self.audited += value,
            "refused" => self.refused += value,
            _ => {}
        }
    }
}

/// The value of a label. The values here are names and words, so none has an escape.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = labels;
    loop {
        let (found, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        if found.trim_start_matches([',', ' ']) == name {
            return Some(value);
        }
        rest = after;
    }
}

/// A refused or audited connection, from the gateway's access log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// When the connection began.
    pub at: Option<Timestamp>,
    /// `refused` or `audited`.
    pub outcome: String,
    /// The reason word.
    pub reason: String,
    /// The peer, if it was recognised.
    pub peer: Option<String>,
    /// `host:port`, if it is known.
    pub service: Option<String>,
    /// The caller's identity, as the client showed it.
    pub caller: Option<String>,
    /// The client's address.
    pub client: Option<String>,
}

#[derive(Deserialize)]
struct Line {
    outcome: Option<String>,
    reason: Option<String>,
    peer: Option<String>,
    service: Option<String>,
    sni: Option<String>,
    client_uri_san: Option<String>,
    client: Option<String>,
    time: Option<String>,
}

/// The refused and audited connections in the end of an access log, newest first. What is not a
/// line of the gateway's log, such as a line that is cut, is skipped.
pub fn refusals(log: &[u8]) -> Vec<Refusal> {
    let lines = log.split(|byte| *byte == b'\n').rev();
    lines.filter_map(refusal).take(MOST_REFUSALS).collect()
}

fn refusal(line: &[u8]) -> Option<Refusal> {
    // A client chooses some of the bytes. Those that are no text must not hide its line.
    let line: Line = serde_json::from_str(&String::from_utf8_lossy(line)).ok()?;
    let outcome = line.outcome.filter(|word| matches!(word.as_str(), "refused" | "audited"))?;
    let text = |text: Option<String>| {
        let text = text.filter(|text| !text.is_empty() && text != "-")?;
        Some(text[..text.floor_char_boundary(LONGEST)].to_owned())
    };
    Some(Refusal {
        at: line.time.and_then(|time| time.parse().ok()),
        outcome,
        reason: text(line.reason)?,
        peer: text(line.peer),
        service: text(line.service).or(text(line.sni)),
        caller: text(line.client_uri_san),
        client: text(line.client),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_several_gateways_add_up() {
        let text = "# TYPE fedgate_connections counter\n\
            fedgate_connections{outcome=\"allowed\",reason=\"granted\"} 3\n\
            fedgate_connections{outcome=\"refused\",reason=\"not_granted\"} 2\n\
            fedgate_peer_connections{outcome=\"refused\",peer=\"beta.two\"} 2\n\
            fedgate_revoked_connections{} 1\nenvoy_other{peer=\"beta\"} 7\nbroken\n";
        let mut traffic = Traffic::default();
        traffic.add(text);
        traffic.add(text);
        assert_eq!(traffic.totals.counts, Counts { allowed: 6, audited: 0, refused: 4 });
        assert_eq!(traffic.totals.revoked, 2);
        assert_eq!(traffic.by_peer["beta.two"].refused, 4);
        let reason = ("refused".to_owned(), "not_granted".to_owned());
        assert_eq!(traffic.by_reason[&reason], 4);
    }

    #[test]
    fn the_newest_refusals_of_a_log_come_first() {
        let log = b"d\",\"outcome\":\"refused\"}\n\
            {\"outcome\":\"refused\",\"reason\":\"bad_sni\",\"sni\":\"x\",\"time\":\"2026-01-01T00:00:00Z\"}\n\
            {\"outcome\":\"allowed\",\"reason\":\"granted\"}\n\
            {\"outcome\":\"audited\",\"reason\":\"not_granted\",\"peer\":\"beta\",\"client_uri_san\":\"-\"}\n";
        let found = refusals(log);
        let reasons: Vec<_> = found.iter().map(|one| one.reason.as_str()).collect();
        assert_eq!(reasons, ["not_granted", "bad_sni"]);
        assert_eq!((found[0].peer.as_deref(), found[0].caller.as_deref()), (Some("beta"), None));
        assert!(found[1].at.is_some() && found[1].service.as_deref() == Some("x"));
    }

    #[test]
    fn bytes_that_are_no_text_hide_no_refusal_and_long_text_is_cut() {
        let long = "\u{e9}".repeat(40_000);
        let mut log =
            format!("{{\"outcome\":\"refused\",\"reason\":\"bad_sni\",\"sni\":\"{long}\"}}\n")
                .into_bytes();
        log.extend(b"{\"outcome\":\"refused\",\"reason\":\"no_sni\",\"client\":\"\xff\xc3<b>\"}\n");
        let found = refusals(&log);
        assert_eq!(found[0].client.as_deref(), Some("\u{fffd}\u{fffd}<b>"));
        assert_eq!(found[1].service.as_deref().map(str::len), Some(300));
    }
}
