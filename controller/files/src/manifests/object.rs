//! One document, read as one of the kinds that are used here.

use super::kind::{Kind, ObjectId, is_like_policy, mentions_policy};
use crate::yaml::{Entry, Node, TypeError, Value};
use fedgate_core::PeerName;
use fedgate_engine::service_object;
use fedgate_federation::form::FormError;
use fedgate_federation::object::{
    FederatedServiceObject, FederatedServiceSpec, FederationPolicySpec, IstioFederationSpec, Named,
    PeerSelection, PolicyBody, PolicyObject, ServiceObject, is_annotation_of_fedgate, is_dns_label,
    is_dns_name,
};
use fedgate_federation::{Finding, FindingReason, ObjectRef, shown};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use std::collections::BTreeMap;

/// An object that is valid for its kind.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) id: ObjectId,
    /// The line on which its document begins.
    pub(super) line: u64,
    /// File and line, as findings show them.
    pub(super) source: String,
    pub(super) object: Object,
    /// The document, to be kept over a restart.
    pub(super) json: serde_json::Value,
    /// Warnings about it.
    pub(super) findings: Vec<Finding>,
}

#[derive(Debug, Clone)]
pub(super) enum Object {
    Federation(Named<IstioFederationSpec>),
    Policy(PolicyObject),
    Service(ServiceObject),
    EndpointSlice(Box<EndpointSlice>),
    FederatedService(FederatedServiceObject),
}

/// A document that cannot be read as one of the kinds.
#[derive(Debug, Clone)]
pub(super) struct Broken {
    /// The object that it was meant to be, if that can be read.
    pub(super) id: Option<ObjectId>,
    /// If it is or may be a policy: the peers that it selects.
    pub(super) policy: Option<PeerSelection>,
    pub(super) finding: Finding,
}

/// The result of reading a document.
#[derive(Debug, Clone)]
pub(super) enum Read {
    Good(Box<Found>),
    Broken(Box<Broken>),
    /// Its kind is not used here.
    Unused(Finding),
}

/// The objects of a document; each row of a list is read independently. `file` is the name in
/// findings.
pub(super) fn read(node: &Node, file: &str) -> Vec<Read> {
    let kind = node.text(&["kind"]).unwrap_or_default();
    let of_rows = Kind::of_list(kind);
    match node.get(&["items"]).map(|items| &items.value) {
        // An empty list.
        Some(Value::Null) if kind == "List" => Vec::new(),
        Some(Value::Sequence(rows)) if kind == "List" || of_rows.is_some() => {
            rows.iter().flat_map(|row| read(&with_kind(row, of_rows), file)).collect()
        }
        _ => vec![read_one(node, file)],
    }
}

/// Adds version and kind to a row. The rows of a `ServiceList`, for example, may omit them.
fn with_kind(row: &Node, kind: Option<Kind>) -> Node {
    let mut row = row.clone();
    let (Some(kind), Value::Mapping(entries)) = (kind, &mut row.value) else { return row };
    for (key, text) in [("apiVersion", kind.api_version()), ("kind", kind.word())] {
        if !entries.iter().any(|entry| entry.key == key) {
            let node = Node { line: row.line, value: Value::String(text.to_owned()) };
            entries.push(Entry { key: key.to_owned(), line: row.line, node });
        }
    }
    row
}

fn read_one(node: &Node, file: &str) -> Read {
    let document = Document { node, file };
    match document.kind() {
        Ok(kind) => match document.read(kind) {
            Ok(found) => Read::Good(Box::new(found)),
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

    /// The kind, or the result for a document that has none of the kinds.
    fn kind(&self) -> Result<Kind, Box<Read>> {
        let (kind, version) = (self.text(&["kind"]), self.text(&["apiVersion"]));
        let known = Kind::ALL
            .into_iter()
            .find(|known| known.word() == kind && known.api_version() == version);
        known.ok_or_else(|| Box::new(self.no_kind(&kind, &version)))
    }

    fn no_kind(&self, kind: &str, version: &str) -> Read {
        let meant = Kind::ALL.into_iter().find(|known| known.word() == kind);
        let (field, message) = self.wrong_kind(kind, version, meant);
        let incomplete = kind.is_empty() || version.is_empty();
        // Without a kind, or in a list that cannot be read, anything may be a policy.
        let hidden = (incomplete || kind.ends_with("List"))
            && mentions_policy(&self.node.to_json().to_string());
        if is_like_policy(kind, version) || hidden {
            let id = self.id(Kind::Policy);
            let object = id.object(&self.source(self.node.line));
            let finding = Finding::error(FindingReason::InvalidPolicy, object, field, message);
            let id = Some(id).filter(|id| !id.name.is_empty() && !hidden);
            return Read::Broken(Box::new(Broken { id, policy: Some(self.selection()), finding }));
        }
        let object =
            ObjectRef::new("File", self.file).with_source(Some(self.source(self.node.line)));
        match meant.is_some() || incomplete || field == "items" {
            true => {
                let finding = Finding::error(FindingReason::InvalidObject, object, field, message);
                let id = meant.map(|kind| self.id(kind)).filter(|id| !id.name.is_empty());
                Read::Broken(Box::new(Broken { id, policy: None, finding }))
            }
            false => {
                let message = format!(
                    "{message}; it is not used: correct the kind, or move it to another folder"
                );
                Read::Unused(Finding::warning(FindingReason::UnknownKind, object, field, message))
            }
        }
    }

    /// The wrong field, and what was expected there.
    fn wrong_kind(&self, kind: &str, version: &str, meant: Option<Kind>) -> (&'static str, String) {
        const USED: &str = "a kind that is used here: IstioFederation, FederationPolicy, FederatedService, Service or EndpointSlice";
        let found = |field| match self.node.get(&[field]).map(|node| &node.value) {
            None => format!("no field {field}"),
            Some(value) => value.found(),
        };
        match (&self.node.value, meant) {
            (Value::Mapping(_), Some(meant)) => (
                "apiVersion",
                format!(
                    "expected {} of {kind}, found {}",
                    meant.api_version(),
                    found("apiVersion")
                ),
            ),
            (Value::Mapping(_), None) if kind == "List" || Kind::of_list(kind).is_some() => {
                ("items", format!("expected a list of objects, found {}", found("items")))
            }
            (Value::Mapping(_), None) if kind.is_empty() => {
                ("kind", format!("expected {USED}; found {}", found("kind")))
            }
            (Value::Mapping(_), None) => {
                let of = if version.is_empty() {
                    String::new()
                } else {
                    format!(" of {:?}", shown(version))
                };
                ("kind", format!("expected {USED}; found {:?}{of}", shown(kind)))
            }
            (other, _) => (
                "",
                format!(
                    "expected a Kubernetes object with apiVersion and kind, found {}",
                    other.found()
                ),
            ),
        }
    }

    fn id(&self, kind: Kind) -> ObjectId {
        let namespace = match (kind.has_namespace(), self.node.text(&["metadata", "namespace"])) {
            (true, namespace) => namespace.unwrap_or("default").to_owned(),
            (false, _) => String::new(),
        };
        ObjectId { kind, namespace, name: self.text(&["metadata", "name"]) }
    }

    fn selection(&self) -> PeerSelection {
        PeerSelection::of_spec(&self.node.get(&["spec"]).map(Node::to_json).unwrap_or_default())
    }

    fn read(&self, kind: Kind) -> Result<Found, Box<Broken>> {
        let id = self.id(kind);
        // Without a valid name, nobody can know which object the document was meant to be.
        self.check_names(&id).map_err(|error| Broken { id: None, ..self.broken(&id, error) })?;
        let json = self.node.to_json();
        let source = self.source(self.node.line);
        let object = self.object(&id, &json, &source).map_err(|error| self.broken(&id, error))?;
        let findings = self.findings(&id, &json);
        Ok(Found { id, line: self.node.line, source, object, json, findings })
    }

    fn object(
        &self,
        id: &ObjectId,
        json: &serde_json::Value,
        source: &str,
    ) -> Result<Object, TypeError> {
        let (name, source) = (id.name.clone(), Some(source.to_owned()));
        Ok(match id.kind {
            Kind::Federation => {
                let spec = IstioFederationSpec::of_object(json)
                    .map_err(|error| self.node.wrong(&error))?;
                let annotations = self.annotations()?;
                Object::Federation(Named { name, source, annotations, spec })
            }
            Kind::Policy => {
                let spec = FederationPolicySpec::of_object(json)
                    .map_err(|error| self.node.wrong(&error))?;
                Object::Policy(PolicyObject { name, source, body: PolicyBody::Spec(spec) })
            }
            Kind::Service => {
                let service = self.node.read()?;
                let read = service_object(service, &id.namespace, &id.name, source);
                Object::Service(read.map_err(|error| self.node.wrong(&error))?)
            }
            Kind::EndpointSlice => Object::EndpointSlice(Box::new(self.node.read()?)),
            Kind::FederatedService => {
                let spec = FederatedServiceSpec::of_object(json)
                    .map_err(|error| self.node.wrong(&error))?;
                let namespace = id.namespace.clone();
                Object::FederatedService(FederatedServiceObject { namespace, name, source, spec })
            }
        })
    }

    /// fedgate's annotations. A value of another kind than text could be a pin that the operator
    /// relies on, so it is not passed over.
    fn annotations(&self) -> Result<BTreeMap<String, String>, TypeError> {
        let path = "metadata.annotations";
        let wrong = |line, field, expected, found: &Value| {
            let message = format!("expected {expected}, found {}", found.found());
            TypeError { line, field, message }
        };
        let entries = match self.node.get(&["metadata", "annotations"]) {
            None | Some(Node { value: Value::Null, .. }) => return Ok(BTreeMap::new()),
            Some(Node { value: Value::Mapping(entries), .. }) => entries,
            Some(other) => {
                return Err(wrong(other.line, path.to_owned(), "fields", &other.value));
            }
        };
        let ours = entries.iter().filter(|entry| is_annotation_of_fedgate(&entry.key));
        let text = |entry: &Entry| match &entry.node.value {
            Value::String(text) => Ok((entry.key.clone(), text.clone())),
            other => {
                let field = format!("{path}[{}]", shown(&entry.key));
                Err(wrong(entry.line, field, "a text (put it in quotes)", other))
            }
        };
        ours.map(text).collect()
    }

    fn findings(&self, id: &ObjectId, json: &serde_json::Value) -> Vec<Finding> {
        let unknown = match id.kind {
            Kind::Federation => IstioFederationSpec::unknown_fields(json),
            _ => Vec::new(),
        };
        let finding = |error: FormError| {
            let error = self.node.wrong(&error);
            let object = id.object(&self.source(error.line));
            Finding::warning(FindingReason::UnknownField, object, error.field, error.message)
        };
        unknown.into_iter().map(finding).collect()
    }

    /// Rejects names that no API server would accept.
    fn check_names(&self, id: &ObjectId) -> Result<(), TypeError> {
        let wrong = |field: &str, expected: &str| {
            let node = self.node.get(&["metadata", field]);
            let found = node.map_or_else(|| "no such field".to_owned(), |node| node.value.found());
            let line = node.map_or(self.node.line, |node| node.line);
            let message = format!("expected {expected}, found {found}");
            Err(TypeError { line, field: format!("metadata.{field}"), message })
        };
        const LABEL: &str =
            "a name of lower-case letters, digits and '-', such as web-1 (RFC 1123 label)";
        const NAME: &str =
            "a name of lower-case letters, digits, '-' and '.', such as beta (RFC 1123 subdomain)";
        match id.kind {
            Kind::Service | Kind::FederatedService if !is_dns_label(&id.name) => {
                wrong("name", LABEL)
            }
            Kind::Federation if PeerName::parse(&id.name).is_err() => wrong("name", NAME),
            Kind::Policy | Kind::EndpointSlice if !is_dns_name(&id.name) => wrong("name", NAME),
            _ if id.kind.has_namespace() && !is_dns_label(&id.namespace) => {
                wrong("namespace", LABEL)
            }
            _ => Ok(()),
        }
    }

    fn broken(&self, id: &ObjectId, error: TypeError) -> Broken {
        let line = if error.line == 0 { self.node.line } else { error.line };
        let (reason, policy) = match id.kind {
            Kind::Policy => (FindingReason::InvalidPolicy, Some(self.selection())),
            _ => (FindingReason::InvalidObject, None),
        };
        let finding =
            Finding::error(reason, id.object(&self.source(line)), error.field, error.message);
        Broken { id: Some(id.clone()), policy, finding }
    }
}
