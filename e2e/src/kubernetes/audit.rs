//! The requests that an API server received, from its audit log: one line of JSON for each.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The verbs that change objects.
const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];

/// One request. Fields missing from the log are empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The user, for example `system:serviceaccount:fedgate-system:fedgate`.
    pub user: String,
    /// The verb as in RBAC, for example `get`, `list`, `watch` or `patch`; a server-side apply is a
    /// `patch`.
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The resource, in plural; empty if the request was not about a resource.
    pub resource: String,
    /// The subresource, for example `status`.
    pub subresource: String,
    /// The namespace; empty for requests about all namespaces or cluster-scoped resources.
    pub namespace: String,
    /// The object's name; empty for requests about several objects.
    pub name: String,
    /// The status code of the response.
    pub status: u16,
}

impl Request {
    /// Returns true if the request could change something.
    pub fn writes(&self) -> bool {
        WRITES.contains(&self.verb.as_str())
    }

    /// Returns true if the response was a success.
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The requests that the API server received after a point in time. A position in the file would
/// not do: a request's line is written after its response, perhaps even after a watch has shown the
/// change.
#[derive(Debug, Clone)]
pub struct AuditLog {
    file: PathBuf,
    start: jiff::Timestamp,
}

impl AuditLog {
    pub(super) fn from_now(file: &Path) -> Self {
        Self { file: file.into(), start: jiff::Timestamp::now() }
    }

    /// The requests since then, in the order of their responses. A watch appears when it starts.
    pub fn requests(&self) -> Vec<Request> {
        let text = complete_lines(&self.file);
        let mut requests: BTreeMap<String, (usize, Request)> = BTreeMap::new();
        // A long-running request has a line for its start and one for its end, but counts once.
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

    /// The requests since then for which `matches` returns true.
    pub fn matching(&self, matches: impl Fn(&Request) -> bool) -> Vec<Request> {
        self.requests().into_iter().filter(matches).collect()
    }

    /// What a user tried to change since then, including refused requests.
    pub fn writes_by(&self, user: &str) -> Vec<Request> {
        self.matching(|request| request.user == user && request.writes())
    }
}

/// The file up to its last line break: the API server may be in the middle of writing a line.
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
        Self {
            user,
            verb: event.verb,
            group: api_group,
            resource,
            subresource,
            namespace,
            name,
            status,
        }
    }
}
