//! One document, read as one of the kinds that are used here.

use crate::yaml::{Node, TypeError};
use fedgate_federation::object::{
    ACCEPT_DOCUMENT_ANNOTATION, IstioFederationSpec, Named, PeerSelection, PolicyBody, PolicyObject, ServiceObject,
    ServicePortSpec, TransportProtocol,
};
use fedgate_federation::{Finding, FindingReason, ObjectRef, shown};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;

/// The kinds that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    Federation,
    Policy,
    Service,
    EndpointSlice,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Federation, Self::Policy, Self::Service, Self::EndpointSlice];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Federation => "IstioFederation",
            Self::Policy => "FederationPolicy",
            Self::Service => "Service",
            Self::EndpointSlice => "EndpointSlice",
        }
    }

    fn api_version(self) -> &'static str {
        match self {
            Self::Federation => "deckhouse.io/v1alpha1",
            Self::Policy => "fedgate.dev/v1alpha1",
            Self::Service => "v1",
            Self::EndpointSlice => "discovery.k8s.io/v1",
        }
    }

    fn has_namespace(self) -> bool {
        matches!(self, Self::Service | Self::EndpointSlice)
    }
}

/// What makes an object one object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ObjectId {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectId {
    /// How findings name it.
    pub(super) fn object(&self, source: &str) -> ObjectRef {
        let namespace = self.kind.has_namespace().then(|| self.namespace.clone());
        ObjectRef { namespace, ..ObjectRef::new(self.kind.word(), self.name.as_str()) }
            .from_source(Some(source.to_owned()))
    }
}

/// An object that has its kind's form.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: ObjectId,
    /// The line on which its document begins.
    pub(super) line: u64,
    /// The same with its file, as findings name it.
    pub(super) source: String,
    pub(super) object: Object,
    /// The document, to be kept over a restart.
    pub(super) json: serde_json::Value,
}

#[derive(Debug, Clone)]
pub(super) enum Object {
    Federation(Named<IstioFederationSpec>),
    Policy(PolicyObject),
    Service(ServiceObject),
    EndpointSlice(Box<EndpointSlice>),
}

/// A document that is none of that.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    /// Which object it would be, as far as that can be read.
    pub(super) id: Option<ObjectId>,
    /// When it is a policy, or may be one: whom it selects.
    pub(super) policy: Option<PeerSelection>,
    pub(super) finding: Finding,
}

/// What became of a document.
#[derive(Debug, Clone)]
pub(super) enum Read {
    Good(Box<Found>),
    Broken(Box<Broken>),
    /// It is of no kind that is used here.
    Unused(Finding),
}

/// The objects of a document, the rows of a `List` each for itself. `file` is the file as findings name it.
pub(super) fn read(node: &Node, file: &str) -> Vec<Read> {
    let items = match (node.text(&["kind"]), node.get(&["items"]).map(|items| &items.value)) {
        (Some("List"), Some(crate::yaml::Value::Sequence(items))) => items.as_slice(),
        _ => std::slice::from_ref(node),
    };
    items.iter().map(|item| read_one(item, file)).collect()
}

fn read_one(node: &Node, file: &str) -> Read {
    let document = Document { node, file };
    match document.kind() {
        Ok(kind) => match document.read(kind) {
            Ok((id, object)) => {
                let source = document.source(node.line);
                Read::Good(Box::new(Found { id, line: node.line, source, object, json: node.to_json() }))
            }
            Err(broken) => Read::Broken(broken),
        },
        Err(read) => *read,
    }
}

struct Document<'a> {
    node: &'a Node,
    file: &'a str,
}

impl Document<'_> {
    fn source(&self, line: u64) -> String {
        format!("{}:{line}", self.file)
    }

    fn text(&self, path: &[&str]) -> String {
        self.node.text(path).unwrap_or_default().to_owned()
    }

    fn name(&self) -> String {
        self.text(&["metadata", "name"])
    }

    /// Which kind it is, or what becomes of it since it is none.
    fn kind(&self) -> Result<Kind, Box<Read>> {
        let (kind, version) = (self.text(&["kind"]), self.text(&["apiVersion"]));
        let known = Kind::ALL.into_iter().find(|known| known.word() == kind && known.api_version() == version);
        known.ok_or_else(|| Box::new(self.no_kind(&kind, &version)))
    }

    fn no_kind(&self, kind: &str, version: &str) -> Read {
        let meant = Kind::ALL.into_iter().find(|known| known.word() == kind);
        let expected = match meant {
            Some(known) => format!("apiVersion {}", known.api_version()),
            None => "a kind that is used here: IstioFederation, FederationPolicy, Service or EndpointSlice".to_owned(),
        };
        let message = match (kind, version) {
            ("", _) | (_, "") => "expected apiVersion and kind of a Kubernetes object, found none".to_owned(),
            _ => format!("expected {expected}, found kind {:?} of apiVersion {:?}", shown(kind), shown(version)),
        };
        let field = if kind.is_empty() || meant.is_none() { "kind" } else { "apiVersion" };
        let object = self.file_object(self.node.line);
        if is_like_policy(kind, version) {
            let id = ObjectId { kind: Kind::Policy, namespace: String::new(), name: self.name() };
            let finding =
                Finding::error(FindingReason::InvalidPolicy, id.object(&self.source(self.node.line)), field, message);
            let id = Some(id).filter(|id| !id.name.is_empty());
            return Read::Broken(Box::new(Broken { id, policy: Some(self.selection()), finding }));
        }
        match meant.is_some() || kind.is_empty() || version.is_empty() {
            true => {
                let finding = Finding::error(FindingReason::InvalidObject, object, field, message);
                let id = meant.filter(|_| !self.name().is_empty()).map(|kind| self.id(kind));
                Read::Broken(Box::new(Broken { id, policy: None, finding }))
            }
            false => Read::Unused(Finding::warning(FindingReason::UnknownKind, object, field, message)),
        }
    }

    fn file_object(&self, line: u64) -> ObjectRef {
        ObjectRef::new("File", self.file).from_source(Some(self.source(line)))
    }

    fn id(&self, kind: Kind) -> ObjectId {
        let namespace = match (kind.has_namespace(), self.node.text(&["metadata", "namespace"])) {
            (true, namespace) => namespace.unwrap_or("default").to_owned(),
            (false, _) => String::new(),
        };
        ObjectId { kind, namespace, name: self.name() }
    }

    fn selection(&self) -> PeerSelection {
        let names = self.node.get(&["spec", "peers"]).and_then(|peers| peers.read::<Vec<String>>().ok());
        PeerSelection::readable(names.as_deref())
    }

    fn read(&self, kind: Kind) -> Result<(ObjectId, Object), Box<Broken>> {
        let id = self.id(kind);
        if id.name.is_empty() {
            let error = TypeError {
                line: 0,
                field: "metadata.name".into(),
                message: "expected the object's name, found none".into(),
            };
            return Err(Box::new(Broken { id: None, ..self.broken(&id, error) }));
        }
        let source = Some(self.source(self.node.line));
        let object = match kind {
            Kind::Federation => {
                let accepted_document =
                    self.node.text(&["metadata", "annotations", ACCEPT_DOCUMENT_ANNOTATION]).map(str::to_owned);
                self.spec()
                    .map(|spec| Object::Federation(Named { name: id.name.clone(), source, accepted_document, spec }))
            }
            Kind::Policy => self.spec().map(|spec| {
                Object::Policy(PolicyObject { name: id.name.clone(), source, body: PolicyBody::Spec(spec) })
            }),
            Kind::Service => {
                let read = |service| service_object(service, &id.namespace, &id.name, source);
                self.node.read().and_then(read).map(Object::Service)
            }
            Kind::EndpointSlice => self.node.read().map(Box::new).map(Object::EndpointSlice),
        };
        match object {
            Ok(object) => Ok((id, object)),
            Err(error) => Err(Box::new(self.broken(&id, error))),
        }
    }

    fn broken(&self, id: &ObjectId, error: TypeError) -> Broken {
        let line = if error.line == 0 { self.node.line } else { error.line };
        let (reason, policy) = match id.kind {
            Kind::Policy => (FindingReason::InvalidPolicy, Some(self.selection())),
            _ => (FindingReason::InvalidObject, None),
        };
        let finding = Finding::error(reason, id.object(&self.source(line)), error.field, error.message);
        Broken { id: Some(id.clone()), policy, finding }
    }

    fn spec<T: serde::de::DeserializeOwned>(&self) -> Result<T, TypeError> {
        let Some(spec) = self.node.get(&["spec"]) else {
            return Err(TypeError {
                line: 0,
                field: "spec".into(),
                message: "expected the object's spec, found none".into(),
            });
        };
        spec.read().map_err(|error| TypeError { field: join("spec", &error.field), ..error })
    }
}

fn join(outer: &str, inner: &str) -> String {
    match inner {
        "" => outer.to_owned(),
        inner => format!("{outer}.{inner}"),
    }
}

/// Whether somebody meant a policy: a wrong version, letter case or plural must not turn one into nothing.
fn is_like_policy(kind: &str, version: &str) -> bool {
    version.starts_with("fedgate.dev/") || mentions_policy(kind)
}

/// Whether a text that cannot be read may be a policy.
pub(super) fn mentions_policy(text: &str) -> bool {
    text.to_ascii_lowercase().contains("federationpolic")
}

/// What exports need of a Service.
///
/// # Errors
/// The field that is wrong, and what was expected.
pub(crate) fn service_object(
    service: Service,
    namespace: &str,
    name: &str,
    source: Option<String>,
) -> Result<ServiceObject, TypeError> {
    let spec = service.spec.unwrap_or_default();
    let ports = spec.ports.unwrap_or_default().into_iter().enumerate().map(|(place, port)| {
        let wrong = |field: &str, message: String| TypeError {
            line: 0,
            field: format!("spec.ports[{place}].{field}"),
            message,
        };
        let number = u16::try_from(port.port)
            .map_err(|_| wrong("port", format!("expected a port from 1 to 65535, found {}", port.port)))?;
        let protocol = match port.protocol.as_deref() {
            None | Some("TCP") => TransportProtocol::Tcp,
            Some("UDP") => TransportProtocol::Udp,
            Some("SCTP") => TransportProtocol::Sctp,
            Some(other) => {
                return Err(wrong("protocol", format!("expected TCP, UDP or SCTP, found {:?}", shown(other))));
            }
        };
        Ok(ServicePortSpec { name: port.name, port: number, protocol })
    });
    Ok(ServiceObject {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        source,
        service_type: spec.type_,
        labels: map(service.metadata.labels),
        annotations: map(service.metadata.annotations),
        selector: map(spec.selector),
        ports: ports.collect::<Result<_, _>>()?,
    })
}

fn map(map: Option<BTreeMap<String, String>>) -> BTreeMap<String, String> {
    map.unwrap_or_default()
}
