//! HTTP/2 without TLS, and gRPC on top of it: a back end that answers with its name, and clients.

use crate::backend::identity;
use crate::client::PATIENCE;
use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, TE};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

const GRPC: &str = "application/grpc";
const GRPC_STATUS: &str = "grpc-status";

/// The reply of a healthy server to `grpc.health.v1.Health/Check`: one message of two bytes, in
/// which field 1 is 1 (SERVING).
const SERVING: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];

/// The request of `grpc.health.v1.Health/Check`: one empty message.
const CHECK: [u8; 5] = [0; 5];

/// A server for HTTP/2 only. Stops when dropped.
pub struct Http2Backend {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl Http2Backend {
    /// Starts a server that answers every path with [`identity`], and gRPC's health check with
    /// SERVING.
    ///
    /// # Errors
    /// When there is no free port.
    pub async fn start_at(address: Ipv4Addr, service: &str, cluster: &str) -> Result<Self> {
        let listener = TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let name = identity(service, cluster);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let name = name.clone();
                connections.spawn(async move {
                    let service =
                        hyper::service::service_fn(|request| answer(request, name.clone()));
                    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Ok(Self { address, _tasks: tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

async fn answer(request: Request<Incoming>, name: String) -> Result<Response<Body>, Infallible> {
    if request.headers().get(CONTENT_TYPE).is_none_or(|kind| kind != GRPC) {
        return Ok(Response::new(Full::new(Bytes::from(name)).boxed()));
    }
    // Read the whole request, as a real server does.
    let _ = request.into_body().collect().await;
    let trailers = HeaderMap::from_iter([(
        hyper::header::HeaderName::from_static(GRPC_STATUS),
        HeaderValue::from(0),
    )]);
    let body = Full::new(Bytes::from_static(&SERVING)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    Ok(response)
}

/// Requests `/` over HTTP/2 and returns the body.
///
/// # Errors
/// When the answer is not HTTP/2 with status 200.
pub async fn get(address: SocketAddr, host: &str) -> Result<String> {
    let request = Request::get(format!("http://{host}/")).body(Full::default())?;
    let (body, _) = call(address, request).await?;
    Ok(String::from_utf8(body.to_vec())?)
}

/// Calls gRPC's health check.
///
/// # Errors
/// When the server does not report SERVING, or its trailers do not report success.
pub async fn grpc_check(address: SocketAddr, host: &str) -> Result<()> {
    let request = Request::post(format!("http://{host}/grpc.health.v1.Health/Check"))
        .header(CONTENT_TYPE, GRPC)
        .header(TE, "trailers")
        .body(Full::new(Bytes::from_static(&CHECK)))?;
    let (body, trailers) = call(address, request).await?;
    ensure!(body.as_ref() == SERVING, "the message is {body:?}");
    let status = trailers.get(GRPC_STATUS).context("there is no grpc-status in the trailers")?;
    ensure!(status == "0", "grpc-status is {status:?}");
    Ok(())
}

async fn call(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<(Bytes, HeaderMap)> {
    let call = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await?;
        let connection = tokio::spawn(connection);
        let response = sender.send_request(request).await?;
        let (status, version) = (response.status(), response.version());
        ensure!(status == 200 && version == Version::HTTP_2, "the answer is {version:?} {status}");
        let body = response.into_body().collect().await?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        connection.abort();
        Ok((body.to_bytes(), trailers))
    };
    timeout(PATIENCE, call).await.context("no answer came")?
}
