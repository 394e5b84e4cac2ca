//! What an API server was asked for, by its own audit log: one line of JSON for each request.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The verbs that change something.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// One request. What was not said is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asked, for example `system:serviceaccount:fedgate-system:fedgate`.
    pub user: String,
    /// RBAC's verb, for example `get`, `list`, `watch` or `patch`; a server-side apply is a `patch`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, in plural; empty when it was no request for a resource.
    pub resource: String,
    /// For example `status`.
    pub subresource: String,
    /// The namespace; empty for all of them and for cluster-scoped resources.
    pub namespace: String,
    /// The object's name; empty when it was a request for several.
    pub name: String,
    /// The status code of the answer.
    pub status: u16,
}

impl Request {
    /// Whether it would change something.
    pub fn writes(&self) -> bool {
        WRITES.contains(&self.verb.as_str())
    }

    /// Whether the answer was a success.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The requests that the API server received after a point in time. The place in the file would not do: the line of a
/// request is written after its answer, which may be after a watch has shown what it changed.
#[derive(Debug, Clone)]
pub struct AuditLog {
    file: PathBuf,
    start: jiff::Timestamp,
}

impl AuditLog {
    pub(super) fn from_now(file: &Path) -> Self {
        Self { file: file.into(), start: jiff::Timestamp::now() }
    }

    /// The requests since then, in the order of their answers. A watch is there from its start.
    pub fn requests(&self) -> Vec<Request> {
        let text = complete_lines(&self.file);
        let mut requests: BTreeMap<String, (usize, Request)> = BTreeMap::new();
        // A request that lasts has a line for its start and one for its end; it is one request.
        for (number, line) in text.lines().enumerate() {
            if let Ok(event) = serde_json::from_str::<Event>(line)
                && event.request_received_timestamp >= self.start
            {
                requests.entry(event.audit_id.clone()).or_insert((number, event.into()));
            }
        }
        let mut requests: Vec<_> = requests.into_values().collect();
        requests.sort_by_key(|(number, _)| *number);
        requests.into_iter().map(|(_, request)| request).collect()
    }

    /// The requests since then that `matches` says yes to.
    pub fn matching(&self, matches: impl Fn(&Request) -> bool) -> Vec<Request> {
        self.requests().into_iter().filter(matches).collect()
    }

    /// What a user tried to change since then, refused requests included.
    pub fn writes_by(&self, user: &str) -> Vec<Request> {
        self.matching(|request| request.user == user && request.writes())
    }
}

/// The file up to its last line break: the API server may be in the middle of a line.
fn complete_lines(file: &Path) -> String {
    let mut text = std::fs::read_to_string(file).unwrap_or_default();
    text.truncate(text.rfind('\n').map_or(0, |end| end + 1));
    text
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    request_received_timestamp: jiff::Timestamp,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Object,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Object {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl From<Event> for Request {
    fn from(event: Event) -> Self {
        let Object { api_group, resource, subresource, namespace, name } = event.object_ref;
        let (user, status) = (event.user.username, event.response_status.code);
        Self { user, verb: event.verb, group: api_group, resource, subresource, namespace, name, status }
    }
}
