//! One gateway: its name, its address, its certificate.

use super::{failure::ProbeFailure, handshake::Handshake};
use fedgate_federation::document::{GatewayAddress, GatewayHost};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};

/// How many addresses of a name are tried, one after the other.
const ADDRESSES: usize = 4;

/// Connects to a gateway; without a `handshake` by TCP only.
pub(super) async fn probe_gateway(
    gateway: &GatewayAddress,
    handshake: Option<&Handshake>,
    time: Duration,
) -> Result<(), ProbeFailure> {
    let deadline = Instant::now() + time;
    let late = |what| move |_| ProbeFailure::Late { what, time };
    let stream = timeout_at(deadline, connect(gateway)).await.map_err(late("TCP connection"))??;
    match handshake {
        Some(handshake) => timeout_at(deadline, handshake.shake(stream)).await.map_err(late("TLS handshake"))?,
        None => Ok(()),
    }
}

async fn connect(gateway: &GatewayAddress) -> Result<TcpStream, ProbeFailure> {
    let addresses = addresses(gateway).await?;
    TcpStream::connect(addresses.as_slice()).await.map_err(|error| ProbeFailure::connect(&error))
}

/// Where a gateway is. A name leads to no address that a peer may not announce either.
async fn addresses(gateway: &GatewayAddress) -> Result<Vec<SocketAddr>, ProbeFailure> {
    let port = gateway.port.get();
    let name = match &gateway.address {
        GatewayHost::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
        GatewayHost::Name(name) => name,
    };
    let found = lookup_host((name.as_str(), port)).await.map_err(|error| ProbeFailure::lookup(&error))?;
    let allowed = |address: &SocketAddr| GatewayHost::parse(&address.ip().to_string()).is_ok();
    let addresses: Vec<_> = found.filter(allowed).take(ADDRESSES).collect();
    match addresses.is_empty() {
        true => Err(ProbeFailure::NoAddress),
        false => Ok(addresses),
    }
}
