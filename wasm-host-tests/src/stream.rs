//! One downstream connection: what the filter can see and do, and how it affects the service behind
//! the gateway.

use crate::certificate::Certificate;
use crate::plugin::{HandshakeProperty, ListenerSettings};
use crate::process::Clusters;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A connection's number, which the proxy never reuses. (The number of a stream *context* may be
/// reused.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A connecting client.
#[derive(Debug, Clone, Default)]
pub struct Client {
    pub(crate) server_name: Option<String>,
    pub(crate) certificate: Option<Certificate>,
}

impl Client {
    /// A client that sends this server name and no certificate.
    pub fn calling(server_name: &str) -> Self {
        Self { server_name: Some(server_name.to_owned()), ..Self::default() }
    }

    /// A client that sends no server name.
    pub fn without_server_name() -> Self {
        Self::default()
    }

    /// Gives the client this certificate.
    pub fn with(self, certificate: &Certificate) -> Self {
        Self { certificate: Some(certificate.clone()), ..self }
    }
}

/// The progress of the TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handshake {
    /// `tls_inspector` has read the ClientHello, and nothing else has been read.
    Hello,
    /// The client's certificate has been read and is visible to filters. The client has not yet
    /// proved that it holds the key.
    CertificateRead,
    /// It is finished.
    Finished,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The filter closed it.
    ByFilter,
    /// The filter's VM has failed, which closes its connections.
    ByFailedVm,
    /// tcp_proxy found no cluster of that name (response flag `NC`).
    NoCluster,
    /// tcp_proxy found no endpoint in the cluster (response flag `UH`).
    NoEndpoint,
    /// The client disconnected.
    ByClient,
    /// The server disconnected, or both ends were finished.
    ByServer,
}

/// A connection to the gateway.
#[derive(Debug)]
pub struct Stream {
    pub(crate) id: ConnectionId,
    pub(crate) context: u32,
    pub(crate) root: u32,
    pub(crate) client: Client,
    pub(crate) listener: Rc<ListenerSettings>,
    pub(crate) handshake: Handshake,
    /// What has arrived of the client's handshake, read or not.
    pub(crate) arrived: Handshake,
    /// Reads from the socket are disabled. tcp_proxy disables them until the upstream is connected,
    /// unless it may accept early data.
    pub(crate) reads_disabled: bool,
    /// `proxy_on_new_connection` has been called.
    pub(crate) filter_started: bool,
    /// Sent by the client, but not yet read.
    pub(crate) unread: Vec<u8>,
    pub(crate) unread_end: bool,
    /// Read, but not yet taken by a filter.
    pub(crate) read_buffer: Vec<u8>,
    pub(crate) read_end: bool,
    pub(crate) read_end_raised: bool,
    /// What the filter may read in `proxy_on_upstream_data`.
    pub(crate) write_buffer: Vec<u8>,
    pub(crate) filter_state: BTreeMap<String, Vec<u8>>,
    pub(crate) tcp_proxy: TcpProxy,
    pub(crate) to_client: Vec<u8>,
    pub(crate) lost_to_client: usize,
    pub(crate) server_ended: bool,
    pub(crate) ending: Option<Ending>,
    pub(crate) callbacks: Vec<&'static str>,
}

/// The terminal filter.
#[derive(Debug, Default)]
pub(crate) struct TcpProxy {
    /// Set once it has started; after that, no filter state changes the cluster.
    pub(crate) upstream: Option<Upstream>,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) cluster: String,
    pub(crate) connected: bool,
    pub(crate) received: Vec<u8>,
    pub(crate) end_received: bool,
}

/// The result of tcp_proxy's start.
pub(crate) enum Route {
    To(String),
    Nowhere(Ending),
}

impl TcpProxy {
    /// `onNewConnection`: picks the cluster, once.
    pub(crate) fn route(
        default: &str,
        filter_state: &BTreeMap<String, Vec<u8>>,
        clusters: &Clusters,
    ) -> Route {
        let chosen = filter_state.get("envoy.tcp_proxy.cluster");
        let cluster =
            chosen.map_or(default.to_owned(), |name| String::from_utf8_lossy(name).into_owned());
        if clusters.unknown.contains(&cluster) {
            Route::Nowhere(Ending::NoCluster)
        } else if clusters.empty.contains(&cluster) {
            Route::Nowhere(Ending::NoEndpoint)
        } else {
            Route::To(cluster)
        }
    }
}

impl Stream {
    pub(crate) fn new(
        id: ConnectionId,
        context: u32,
        root: u32,
        client: Client,
        listener: Rc<ListenerSettings>,
    ) -> Self {
        let passed_through = listener.passed_through_key.as_ref();
        let filter_state =
            passed_through.map(|key| (key.to_string(), b"passed".to_vec())).into_iter().collect();
        // A listener without TLS has no handshake to wait for.
        let handshake =
            if passed_through.is_some() { Handshake::Finished } else { Handshake::Hello };
        Self {
            id,
            context,
            root,
            client,
            reads_disabled: !listener.takes_early_data,
            listener,
            handshake,
            arrived: handshake,
            filter_started: false,
            unread: Vec::new(),
            unread_end: false,
            read_buffer: Vec::new(),
            read_end: false,
            read_end_raised: false,
            write_buffer: Vec::new(),
            filter_state,
            tcp_proxy: TcpProxy::default(),
            to_client: Vec::new(),
            lost_to_client: 0,
            server_ended: false,
            ending: None,
            callbacks: Vec::new(),
        }
    }

    /// Advances the handshake to what has arrived. Filters that are notified of its end (ours is
    /// not) act on it.
    pub(crate) fn handshake_goes_on(&mut self) {
        self.handshake = self.arrived;
        if self.handshake == Handshake::Finished
            && let Some(value) = self.handshake_property()
        {
            self.filter_state.entry("fedgate.handshake".to_owned()).or_insert(value);
        }
    }

    fn handshake_property(&self) -> Option<Vec<u8>> {
        match self.listener.handshake_property {
            _ if self.listener.passed_through_key.is_some() => None,
            HandshakeProperty::Nothing => None,
            HandshakeProperty::Finished => Some(b"finished".to_vec()),
            HandshakeProperty::PeerUriSans => {
                let names = self.client.certificate.as_ref().map(Certificate::joined_uri_sans);
                Some(names.unwrap_or_else(|| "-".to_owned()).into_bytes())
            }
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    /// The connection's number.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// The number of its stream context in the VM.
    pub fn context(&self) -> u32 {
        self.context
    }

    /// How it ended; `None` while it is open.
    pub fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// The progress of the handshake.
    pub fn handshake(&self) -> Handshake {
        self.handshake
    }

    /// The cluster that tcp_proxy connected to, and so the service that the connection reached.
    /// `None` if tcp_proxy never started.
    pub fn upstream(&self) -> Option<&str> {
        self.tcp_proxy.upstream.as_ref().map(|upstream| upstream.cluster.as_str())
    }

    /// What the service received.
    pub fn at_server(&self) -> &[u8] {
        self.tcp_proxy.upstream.as_ref().map_or(&[], |upstream| &upstream.received)
    }

    /// Returns true if the service received the end of the client's half.
    pub fn end_at_server(&self) -> bool {
        self.tcp_proxy.upstream.as_ref().is_some_and(|upstream| upstream.end_received)
    }

    /// What the client received.
    pub fn at_client(&self) -> &[u8] {
        &self.to_client
    }

    /// The number of bytes from the service that were lost because the filter answered
    /// `proxy_on_upstream_data` with a pause.
    pub fn lost_to_client(&self) -> usize {
        self.lost_to_client
    }

    /// A filter state value, as the access log operator `%FILTER_STATE(<key>:PLAIN)%` prints it.
    pub fn filter_state(&self, key: &str) -> Option<&str> {
        self.filter_state.get(key).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The callbacks that the module received for this connection, in order.
    pub fn callbacks(&self) -> &[&'static str] {
        &self.callbacks
    }
}
