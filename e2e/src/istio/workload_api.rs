//! What istiod sends to ztunnels: Istio's workload API, queried as a ztunnel does
//! (`type.googleapis.com/istio.workload.Address` over incremental xDS).
//!
//! The messages contain only the fields that we need of Istio's `pkg/workloadapi/workload.proto`
//! and Envoy's `discovery.proto`.

use crate::client::PATIENCE;
use anyhow::{Context, Result, ensure};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_TYPE, TE};
use hyper::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use tokio::net::TcpStream;
use tokio::time::timeout;

const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
const ADDRESS: &str = "type.googleapis.com/istio.workload.Address";

/// The prefix of each gRPC message: one byte for compression, and four bytes for the length.
const PREFIX: usize = 5;

/// What a mesh's ztunnels know.
#[derive(Debug, Default)]
pub struct AddressBook {
    /// Services, by namespace and host (`NAMESPACE/HOST`).
    pub services: BTreeMap<String, Service>,
    /// Workloads: Pods, and the endpoints of ServiceEntries.
    pub workloads: Vec<Workload>,
}

/// A service. istiod makes one for each host of a ServiceEntry.
#[derive(Clone, PartialEq, Message)]
pub struct Service {
    /// The namespace of its object.
    #[prost(string, tag = "2")]
    pub namespace: String,
    /// Its host.
    #[prost(string, tag = "3")]
    pub hostname: String,
    /// The waypoint for its calls, if it has one. Its fields are not read.
    #[prost(message, optional, tag = "7")]
    pub waypoint: Option<Empty>,
    /// How a call chooses an endpoint.
    #[prost(message, optional, tag = "8")]
    pub load_balancing: Option<LoadBalancing>,
}

/// How a call chooses an endpoint.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct LoadBalancing {
    /// 3 (`PASSTHROUGH`) chooses none: the call goes to the address that was requested.
    #[prost(int32, tag = "2")]
    pub mode: i32,
}

/// An endpoint.
#[derive(Clone, PartialEq, Message)]
pub struct Workload {
    /// Its addresses, 4 or 16 bytes each.
    #[prost(bytes = "vec", repeated, tag = "3")]
    pub addresses: Vec<Vec<u8>>,
    /// Its network.
    #[prost(string, tag = "4")]
    pub network: String,
    /// 1 (`HBONE`): it is called through a tunnel with mutual TLS. 0: it is called directly.
    #[prost(int32, tag = "5")]
    pub tunnel_protocol: i32,
    /// The gateway to its network, if it has one. Its fields are not read.
    #[prost(message, optional, tag = "19")]
    pub network_gateway: Option<Empty>,
    /// Its services, by namespace and host, with their ports.
    #[prost(btree_map = "string, message", tag = "22")]
    pub services: BTreeMap<String, PortList>,
}

/// The ports of a service at an endpoint.
#[derive(Clone, PartialEq, Message)]
pub struct PortList {
    /// The ports.
    #[prost(message, repeated, tag = "1")]
    pub ports: Vec<Port>,
}

/// A port of a service at an endpoint.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Port {
    /// The port number of the service.
    #[prost(uint32, tag = "1")]
    pub service_port: u32,
    /// The port number of the endpoint.
    #[prost(uint32, tag = "2")]
    pub target_port: u32,
}

/// A message whose fields are not read.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Empty {}

#[derive(Clone, PartialEq, Message)]
struct Address {
    #[prost(oneof = "AddressType", tags = "1, 2")]
    kind: Option<AddressType>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum AddressType {
    #[prost(message, tag = "1")]
    Workload(Workload),
    #[prost(message, tag = "2")]
    Service(Service),
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct DeltaDiscoveryRequest {
    #[prost(message, optional, tag = "1")]
    node: Option<Node>,
    #[prost(string, tag = "2")]
    type_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct DeltaDiscoveryResponse {
    #[prost(message, repeated, tag = "2")]
    resources: Vec<Resource>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, optional, tag = "2")]
    resource: Option<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

impl AddressBook {
    /// Requests everything from istiod's port without TLS, as a ztunnel does when it starts.
    ///
    /// # Errors
    /// When no valid answer arrives.
    pub async fn ask(istiod: SocketAddr) -> Result<Self> {
        let node = Node {
            id: "ztunnel~10.0.0.1~ztunnel.istio-system~istio-system.svc.cluster.local".to_owned(),
        };
        let request = DeltaDiscoveryRequest { node: Some(node), type_url: ADDRESS.to_owned() };
        let response = timeout(PATIENCE, first_message(istiod, &request.encode_to_vec())).await;
        let response = response.context("istiod has not answered")??;
        let mut book = Self::default();
        for resource in DeltaDiscoveryResponse::decode(response)?.resources {
            book.add(Address::decode(resource.resource.unwrap_or_default().value.as_slice())?);
        }
        Ok(book)
    }

    fn add(&mut self, address: Address) {
        match address.kind {
            Some(AddressType::Service(service)) => {
                let name = format!("{}/{}", service.namespace, service.hostname);
                self.services.insert(name, service);
            }
            Some(AddressType::Workload(workload)) => self.workloads.push(workload),
            None => {}
        }
    }
}

/// Sends one message and returns the first reply. The request stays open until then, as an xDS
/// stream does.
async fn first_message(server: SocketAddr, message: &[u8]) -> Result<Bytes> {
    let stream = TcpStream::connect(server).await?;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let sent = stream::iter([Ok::<_, Infallible>(Frame::data(prefixed(message)?))])
        .chain(stream::pending());
    let uri = Uri::builder()
        .scheme("http")
        .authority(server.to_string())
        .path_and_query(METHOD)
        .build()?;
    let request = Request::post(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(StreamBody::new(sent));
    let mut response = sender.send_request(request?).await?.into_body();
    let mut received = Vec::new();
    let message = loop {
        let frame =
            response.frame().await.context("istiod closed the stream without an answer")??;
        if let Some(trailers) = frame.trailers_ref() {
            anyhow::bail!("istiod refused the request: {trailers:?}");
        }
        received.extend(frame.into_data().unwrap_or_default());
        if let Some(message) = whole(&received)? {
            break message;
        }
    };
    connection.abort();
    Ok(message)
}

fn prefixed(message: &[u8]) -> Result<Bytes> {
    let length = u32::try_from(message.len())?.to_be_bytes();
    Ok([&[0][..], &length, message].concat().into())
}

/// The first message in these bytes, if it is complete.
fn whole(received: &[u8]) -> Result<Option<Bytes>> {
    let Some((prefix, rest)) = received.split_at_checked(PREFIX) else { return Ok(None) };
    ensure!(prefix[0] == 0, "istiod sent a compressed message");
    let length = u32::from_be_bytes(prefix[1..].try_into()?) as usize;
    Ok(rest.get(..length).map(Bytes::copy_from_slice))
}
