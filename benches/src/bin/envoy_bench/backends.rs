//! Back ends: a port for each service, which answers with the service's name.

use anyhow::Result;
use fedgate_core::ServiceName;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// What a client sends for one answer.
pub(crate) const ONCE: &[u8; 5] = b"once\n";
/// What a client sends to get an answer, and then everything back that it sends.
pub(crate) const STAY: &[u8; 5] = b"stay\n";

/// The number of connections that a back end serves at once. Some gateways connect before they
/// decide, so a refused client may hold a place for a moment.
const PLACES: usize = 8;

/// What the back end of a service answers.
pub(crate) fn answer(service: &ServiceName) -> String {
    format!("this is {service}\n")
}

/// Starts a back end for each service, on threads that end with the process. Returns their
/// addresses.
pub(crate) fn start(
    services: impl IntoIterator<Item = ServiceName>,
) -> Result<BTreeMap<ServiceName, BTreeSet<SocketAddr>>> {
    let mut addresses = BTreeMap::new();
    for service in services {
        let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
        let address = listener.local_addr()?;
        for _ in 0..PLACES {
            let (listener, answer) = (Arc::clone(&listener), answer(&service));
            std::thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    // The client checks what it gets, and so notices a failure here.
                    let _ = serve(stream, &answer);
                }
            });
        }
        addresses.insert(service, [address].into());
    }
    Ok(addresses)
}

/// The back end closes first, so the proxy closes the client's connection, and the ports of both
/// are free again at once.
fn serve(mut stream: TcpStream, answer: &str) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut word = [0; ONCE.len()];
    stream.read_exact(&mut word)?;
    stream.write_all(answer.as_bytes())?;
    if word == *STAY {
        std::io::copy(&mut stream.try_clone()?, &mut stream)?;
    }
    Ok(())
}
