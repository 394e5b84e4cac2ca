//! What happens after the handshake: whether the gateway accepts our certificate and, with the
//! health name, whether a call gets through.
//!
//! In TLS 1.3 a client finishes before the server has looked at its certificate, so a refusal
//! arrives later, as an alert.

use super::failure::ProbeFailure;
use fedgate_core::ServiceName;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

/// The shortest and the longest wait for a refusal, which takes one round trip.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(2);
/// The wait, as a multiple of the time that the handshake took.
const TIMES: u32 = 4;
/// The most bytes of an answer that are read.
const ANSWER: usize = 512;

/// Waits for a refusal. Silence or data mean consent: the server waits for us, or has spoken first.
pub(super) async fn wait_for_refusal(
    stream: &mut TlsStream<TcpStream>,
    handshake: Duration,
    service: &ServiceName,
) -> Result<(), ProbeFailure> {
    let time = (handshake * TIMES).clamp(SHORTEST, LONGEST);
    match timeout(time, stream.read_u8()).await {
        Err(_) | Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(ProbeFailure::after_handshake(&error, service)),
    }
}

/// Calls the health name as a peer does (peer protocol, section 4).
pub(super) async fn ask_health(
    stream: &mut TlsStream<TcpStream>,
    service: &ServiceName,
) -> Result<(), ProbeFailure> {
    let request =
        format!("GET /healthz HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", service.host);
    let failed = |error| ProbeFailure::after_handshake(&error, service);
    stream.write_all(request.as_bytes()).await.map_err(failed)?;
    let line = first_line(stream).await.map_err(failed)?;
    match status(&line) {
        Some(200) => Ok(()),
        Some(status) => Err(ProbeFailure::Status { service: service.clone(), status }),
        None => Err(ProbeFailure::NoHttp(service.clone())),
    }
}

/// The bytes up to the end of the first line, or to the limit.
async fn first_line(stream: &mut TlsStream<TcpStream>) -> std::io::Result<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < ANSWER {
        match stream.read_u8().await? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    Ok(line)
}

fn status(line: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(line).ok()?;
    line.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.trim().parse().ok()
}
