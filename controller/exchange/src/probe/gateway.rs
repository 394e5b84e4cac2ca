//! Probes one gateway: its addresses and its certificate.

use super::{failure::ProbeFailure, handshake::Handshake};
use fedgate_federation::federate::Gateway;
use std::time::Duration;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout_at},
};

/// How many addresses of a gateway are tried in turn.
const ADDRESSES: usize = 4;

/// Connects to a gateway. Without a `handshake`, only by TCP.
pub(super) async fn probe_gateway(
    gateway: &Gateway,
    handshake: Option<&Handshake>,
    time: Duration,
) -> Result<(), ProbeFailure> {
    let deadline = Instant::now() + time;
    let late = |what| move |_| ProbeFailure::Late { what, time };
    let stream = timeout_at(deadline, connect(gateway)).await.map_err(late("TCP connection"))??;
    match handshake {
        Some(handshake) => {
            timeout_at(deadline, handshake.shake(stream)).await.map_err(late("TLS handshake"))?
        }
        None => Ok(()),
    }
}

async fn connect(gateway: &Gateway) -> Result<TcpStream, ProbeFailure> {
    let addresses: Vec<_> = gateway.addresses.iter().take(ADDRESSES).copied().collect();
    TcpStream::connect(addresses.as_slice()).await.map_err(|error| ProbeFailure::connect(&error))
}
