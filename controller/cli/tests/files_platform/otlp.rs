//! A collector: it takes OTLP over HTTP as OpenTelemetry's own does, and keeps the spans.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

/// A span, and the trust domain of the cluster that recorded it.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) cluster: String,
    pub(crate) span: Span,
}

impl Recorded {
    pub(crate) fn attribute(&self, key: &str) -> Option<String> {
        attribute(&self.span.attributes, key)
    }
}

#[derive(Clone)]
pub(crate) struct Collector {
    pub(crate) url: String,
    spans: Arc<Mutex<Vec<Recorded>>>,
    connections: Arc<Mutex<usize>>,
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::listen(None)
    }

    /// A collector with a certificate of this CA.
    pub(crate) fn start_with_tls(ca: &CertifiedIssuer<'_, KeyPair>) -> Self {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, ca).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = ServerConfig::builder_with_provider(provider);
        let config = versions.with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key);
        Self::listen(Some(Arc::new(config.unwrap())))
    }

    fn listen(tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let collector = Self {
            url: format!("{scheme}://{}", listener.local_addr().unwrap()),
            spans: Arc::default(),
            connections: Arc::default(),
        };
        let accepting = collector.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                *accepting.connections.lock().unwrap() += 1;
                let (serving, tls) = (accepting.clone(), tls.clone());
                thread::spawn(move || match tls {
                    None => while serving.answer(&mut stream).is_some() {},
                    Some(tls) => {
                        let connection = ServerConnection::new(tls).unwrap();
                        let mut stream = StreamOwned::new(connection, stream);
                        while serving.answer(&mut stream).is_some() {}
                    }
                });
            }
        });
        collector
    }

    /// How many connections there have been.
    pub(crate) fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    pub(crate) fn spans(&self) -> Vec<Recorded> {
        self.spans.lock().unwrap().clone()
    }

    /// Answers one request. `None` at the end of the connection.
    fn answer(&self, stream: &mut (impl Read + Write)) -> Option<()> {
        let mut reader = BufReader::new(&mut *stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok().filter(|size| *size > 0)?;
            match line.trim().to_ascii_lowercase() {
                line if line.is_empty() => break,
                line => head.push(line),
            }
        }
        let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name));
        assert_eq!(head[0], "post /v1/traces http/1.1");
        assert_eq!(header("content-type: "), Some("application/x-protobuf"));
        let mut body = vec![0; header("content-length: ")?.parse().unwrap()];
        reader.read_exact(&mut body).ok()?;
        self.keep(ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).ok()
    }

    fn keep(&self, request: ExportTraceServiceRequest) {
        let mut spans = self.spans.lock().unwrap();
        for of_resource in request.resource_spans {
            let resource = of_resource.resource.unwrap().attributes;
            assert_eq!(attribute(&resource, "service.name").as_deref(), Some("fedgate"));
            let cluster = attribute(&resource, "fedgate.trust_domain").unwrap();
            let all = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.extend(all.map(|span| Recorded { cluster: cluster.clone(), span }));
        }
    }
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|one| one.key == key)?;
    Some(text(found.value.as_ref()?.value.as_ref()?))
}

fn text(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(all) => {
            let all = all.values.iter().filter_map(|one| one.value.as_ref());
            all.map(text).collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    }
}
