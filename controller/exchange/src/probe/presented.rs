//! Reads the certificates that one of our own gateways shows. The caller checks them, so any are
//! accepted here, and nothing else follows from them.

use super::handshake::{connector, server_name, verified_by};
use crate::tls::{VerifyCertificate, alert_name};
use fedgate_core::ServiceName;
use fedgate_federation::proxy_header::LOCAL;
use fedgate_process::words;
use rustls::Error as TlsError;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use std::io::{self, ErrorKind};
use std::mem;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// The certificates in DER, leaf first, that the gateway at `address` shows to a client that asks
/// for `service`: 64 KiB at most. To the gateway this looks like a peer's probe: a client that
/// shows no certificate and hangs up. If the gateway is behind a load balancer that sends the PROXY
/// protocol, this connection does the same, since it does not go through the balancer.
///
/// # Errors
/// Why there are none. Returns after `time` at the latest.
pub async fn presented(
    address: SocketAddr,
    service: &ServiceName,
    proxy_protocol: bool,
    time: Duration,
) -> Result<Vec<Vec<u8>>, String> {
    let name = server_name(service)?;
    let recorder = Recorder::default();
    let config = verified_by(recorder.clone(), &[&TLS13, &TLS12])?.with_no_client_auth();
    let connector = connector(config);
    let shaken = timeout(time, shake(&connector, (address, proxy_protocol), name)).await;
    // They arrive before the server looks at its client, so a handshake that fails later has shown
    // enough.
    let certificates = recorder.certificates();
    if !certificates.is_empty() {
        return Ok(certificates);
    }
    Err(match shaken {
        Err(_) => format!("it has not answered within {time:?}"),
        Ok(Err(error)) => describe(&error),
        Ok(Ok(())) => "it shows no certificate".to_owned(),
    })
}

async fn shake(
    connector: &TlsConnector,
    (address, proxy_protocol): (SocketAddr, bool),
    name: ServerName<'static>,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    if proxy_protocol {
        stream.write_all(&LOCAL).await?;
    }
    let mut stream = connector.connect(name, stream).await?;
    // A friendly end; nothing depends on it.
    let _ = stream.shutdown().await;
    Ok(())
}

fn describe(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(TlsError::AlertReceived(alert)) => {
            format!("it ended the handshake with the alert {}", alert_name(*alert))
        }
        Some(TlsError::InvalidMessage(_)) => "it speaks no TLS".to_owned(),
        Some(_) => "the TLS handshake failed".to_owned(),
        None => match error.kind() {
            ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                "it hung up in the handshake".to_owned()
            }
            _ => words::io(error),
        },
    }
}

/// Accepts every certificate, and keeps what the server shows. Clones share it.
#[derive(Clone, Debug, Default)]
struct Recorder(Arc<Mutex<Vec<Vec<u8>>>>);

impl Recorder {
    fn certificates(&self) -> Vec<Vec<u8>> {
        mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl VerifyCertificate for Recorder {
    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: UnixTime,
    ) -> Result<(), TlsError> {
        let all = [end_entity].into_iter().chain(intermediates);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            all.map(|certificate| certificate.to_vec()).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loopback::{Server, TestCa};

    const TIME: Duration = Duration::from_secs(5);

    async fn of(address: SocketAddr) -> Result<Vec<Vec<u8>>, String> {
        presented(address, &"web.shop.svc.alpha.example:80".parse().unwrap(), false, TIME).await
    }

    #[tokio::test]
    async fn a_gateway_that_demands_a_certificate_shows_its_own() {
        let ca = TestCa::new();
        for leaf in [ca.leaf_of(&["spiffe://x.example/a"]), ca.expired_leaf(), ca.itself()] {
            for versions in [&[&TLS13][..], &[&TLS12]] {
                let server = Server::gateway(&leaf, versions).await;
                assert_eq!(of(server.address).await, Ok(leaf.der()));
            }
        }
    }

    #[tokio::test]
    async fn the_reason_for_no_certificate_is_described() {
        let closed = Server::tcp(|stream| async move { drop(stream) }).await;
        assert_eq!(of(closed.address).await.unwrap_err(), "it hung up in the handshake");
        let plain = Server::tcp(|mut stream| async move {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        });
        assert_eq!(of(plain.await.address).await.unwrap_err(), "it speaks no TLS");
        // It is closed as soon as it is dropped, and its port is free.
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert_eq!(of(gone).await.unwrap_err(), "connection refused");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_gateway_times_out() {
        let silent = Server::tcp(|mut stream| async move {
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        })
        .await;
        assert_eq!(of(silent.address).await.unwrap_err(), "it has not answered within 5s");
    }
}
