//! One fetch from servers that lie, hang, flood or break. Each refusal has a counterpart that is
//! accepted.

mod answers;
mod certificates;
mod messages;
mod sessions;

use super::{
    FetchFailure, FetchLimits, SystemRoots,
    client::Connector,
    failure::Refused,
    fetch::{Answer, Fetched, Get, get},
};
use crate::loopback::{Leaf, Server, TestCa, TestClock};
use fedgate_federation::{knowledge::Delivery, object::EndpointTls};
use fedgate_process::clock::Clock;
use reqwest::Client;
use std::{future::pending, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

const LIMIT: usize = 1000;

fn limits() -> FetchLimits {
    FetchLimits {
        connect: Duration::from_millis(500),
        fetch: Duration::from_millis(900),
        ..FetchLimits::default()
    }
}

fn no_roots() -> SystemRoots {
    SystemRoots::only([]).unwrap()
}

fn client(tls: &EndpointTls, roots: &SystemRoots) -> Client {
    Connector::new(tls, roots, None, None).unwrap().client(&limits()).unwrap()
}

async fn fetch_with(
    server: &Server,
    tls: &EndpointTls,
    roots: &SystemRoots,
) -> Result<Answer, FetchFailure> {
    fetched_with(server, tls, roots, &TestClock::new()).await.answer
}

async fn fetched_with(
    server: &Server,
    tls: &EndpointTls,
    roots: &SystemRoots,
    clock: &TestClock,
) -> Fetched {
    let client = client(tls, roots);
    get(&client, get_x(server), clock).await
}

/// A request without anything special.
fn get_x(server: &Server) -> Get<'_> {
    Get {
        url: server.url("/x"),
        bearer: None,
        known: None,
        limit: LIMIT,
        wait: None,
        traced: false,
    }
}

async fn fetch(server: &Server, ca: &TestCa) -> Result<Answer, FetchFailure> {
    fetch_with(server, &EndpointTls::SystemAnd(vec![ca.der()]), &no_roots()).await
}

/// A server that sends `response`, then closes.
async fn answering(leaf: &Leaf, response: impl Into<Vec<u8>>) -> Server {
    let response = response.into();
    Server::tls(leaf, move |_, stream| send(stream, response.clone())).await
}

async fn send(mut stream: TlsStream<TcpStream>, response: Vec<u8>) {
    let _ = stream.write_all(&response).await;
    let _ = stream.shutdown().await;
    // Closing with unread bytes would reset the connection, and the client might lose the response.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

/// The outcome for a server with a good certificate that sends `response`.
async fn answer_to(response: impl Into<Vec<u8>>) -> Result<Answer, FetchFailure> {
    let ca = TestCa::new();
    fetch(&answering(&ca.leaf(), response).await, &ca).await
}

fn fresh(body: &str) -> Result<Answer, FetchFailure> {
    Ok(Answer::Fresh { body: body.into(), delivery: Delivery::default() })
}
