//! Settings of the connections of an Envoy.

use serde_json::{Value, json};
use std::time::Duration;

/// How many bytes Envoy buffers in each direction while one side does not read. This is Envoy's own
/// advice for listeners that strangers reach. With the default of 1 MiB, a few thousand connections
/// would use up all memory.
pub(super) const BUFFER: u32 = 32 * 1024;
/// How many bytes of a client Envoy takes on before the back end is connected. Below this limit,
/// nothing has to stop and start reading from the client again, which costs some 3 % of the CPU time
/// of a new connection (Envoy 1.40). Nothing is read into tcp_proxy before the filter has let the
/// connection pass.
pub const EARLY_DATA: u32 = BUFFER;

/// How many probes in a row may stay unanswered.
const PROBES: u32 = 3;

/// How connections on which nothing is sent are kept, and when they end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quiet {
    /// How long a connection is silent before TCP asks whether the other side is still there. A load
    /// balancer or firewall in between sees these packets, and does not forget the connection.
    pub keepalive: Duration,
    /// How long a connection may be silent, as programs see it; zero for ever.
    pub idle_timeout: Duration,
}

impl Quiet {
    /// The default of [`Self::keepalive`]. The shortest common limits of balancers are a minute.
    pub const KEEPALIVE: Duration = Duration::from_secs(30);
    /// The default of [`Self::idle_timeout`], which is Envoy's own.
    pub const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

    /// The seconds before the first probe.
    pub fn keepalive_seconds(&self) -> u64 {
        self.keepalive.as_secs().max(1)
    }

    /// The seconds between probes: a third of that, so a vanished peer is noticed after twice the
    /// time.
    pub fn interval_seconds(&self) -> u64 {
        (self.keepalive_seconds() / 3).clamp(1, 60)
    }

    /// How many probes in a row may stay unanswered.
    pub fn probes(&self) -> u32 {
        PROBES
    }

    /// The idle timeout as Envoy and Istio write it.
    pub fn idle_timeout_text(&self) -> String {
        format!("{}s", self.idle_timeout.as_secs())
    }

    /// A cluster's options for the connections that Envoy opens.
    pub(super) fn upstream(&self) -> Value {
        json!({ "tcp_keepalive": {
            "keepalive_time": self.keepalive_seconds(),
            "keepalive_interval": self.interval_seconds(),
            "keepalive_probes": PROBES,
        } })
    }

    /// A listener's socket options, with Linux's names and numbers. Accepted connections inherit
    /// them.
    pub fn downstream(&self) -> Vec<Value> {
        const SOL_SOCKET: u32 = 1;
        const IPPROTO_TCP: u32 = 6;
        let option = |level: u32, name: u32, value: u64, description: &str| json!({ "level": level, "name": name, "int_value": value, "description": description });
        vec![
            option(SOL_SOCKET, 9, 1, "SO_KEEPALIVE"),
            option(IPPROTO_TCP, 4, self.keepalive_seconds(), "TCP_KEEPIDLE"),
            option(IPPROTO_TCP, 5, self.interval_seconds(), "TCP_KEEPINTVL"),
            option(IPPROTO_TCP, 6, PROBES.into(), "TCP_KEEPCNT"),
        ]
    }
}

impl Default for Quiet {
    fn default() -> Self {
        Self { keepalive: Self::KEEPALIVE, idle_timeout: Self::IDLE_TIMEOUT }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_come_three_times_as_often_as_the_first_but_not_all_the_time() {
        let seconds = |keepalive| {
            let quiet = Quiet { keepalive: Duration::from_secs(keepalive), ..Quiet::default() };
            (quiet.keepalive_seconds(), quiet.interval_seconds())
        };
        assert_eq!(seconds(30), (30, 10));
        assert_eq!(seconds(1), (1, 1));
        assert_eq!(seconds(3600), (3600, 60));
    }
}
