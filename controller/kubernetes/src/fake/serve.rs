//! Turns requests into answers.

use super::request::{Call, Verb};
use super::store::{Change, Refusal, Written};
use super::{FakeApi, Fault, State, merge};
use axum::body::Body as AnswerBody;
use futures_util::future::BoxFuture;
use futures_util::stream::unfold;
use hyper::{Request, Response};
use kube::client::Body;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{BoxError, Service};

/// How long before its end a watch sends a bookmark.
const BEFORE_THE_END: Duration = Duration::from_secs(2);

/// A connection to the server.
pub(super) struct Connection(pub(super) FakeApi, pub(super) &'static str);

impl Service<Request<Body>> for Connection {
    type Response = Response<AnswerBody>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.clone().answer(request, self.1))
    }
}

impl FakeApi {
    async fn answer(
        self,
        request: Request<Body>,
        who: &'static str,
    ) -> Result<Response<AnswerBody>, BoxError> {
        let (parts, body) = request.into_parts();
        let call = Call::read(&parts, who)
            .ok_or_else(|| format!("this server does not have {}", parts.uri))?;
        let body = body.collect_bytes().await?;
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        let fault = self.lock().fault(&call);
        match fault {
            Some(Fault::Late(time)) => sleep(time).await,
            Some(Fault::Swallowed) => std::future::pending().await,
            Some(Fault::Panic) => panic!("out of cheese"),
            Some(Fault::Refused(code, message)) => {
                return Ok(refusal(&Refusal(code, "Refused", message.to_owned())));
            }
            _ => {}
        }
        if call.verb == Verb::Watch {
            return Ok(self.watch(call));
        }
        let answer = self.lock().carry_out(&call, body);
        self.wake();
        match fault {
            Some(Fault::LateAnswer(time)) => sleep(time).await,
            Some(Fault::LostAnswer) => return Err("the connection was reset".into()),
            Some(Fault::NoAnswer) => std::future::pending().await,
            _ => {}
        }
        Ok(answer.map_or_else(|why| refusal(&why), |object| json_answer(200, &object)))
    }

    fn watch(self, call: Call) -> Response<AnswerBody> {
        let from = call.parameter("resourceVersion").parse().unwrap_or_default();
        let limit = Duration::from_secs(call.parameter("timeoutSeconds").parse().unwrap_or(300));
        let (mut changed, cuts) = (self.0.changed.subscribe(), self.lock().cuts);
        changed.mark_changed();
        let (ends, bookmarks) =
            (Instant::now() + limit, call.parameter("allowWatchBookmarks") == "true");
        let watching = Watching { server: self, call, from, cuts, ends, bookmarks };
        let lines = unfold((watching, changed), |(mut watching, mut changed)| async move {
            loop {
                if let Some(line) = watching.next()? {
                    return Some((Ok::<_, Infallible>(line), (watching, changed)));
                }
                tokio::select! {
                    _ = changed.changed() => {}
                    () = sleep_until(watching.bookmark_at()) => {}
                    () = sleep_until(watching.ends) => {}
                }
            }
        });
        Response::new(AnswerBody::from_stream(lines))
    }
}

struct Watching {
    server: FakeApi,
    call: Call,
    from: u64,
    cuts: u64,
    ends: Instant,
    bookmarks: bool,
}

impl Watching {
    fn bookmark_at(&self) -> Instant {
        if self.bookmarks { self.ends - BEFORE_THE_END } else { self.ends }
    }

    /// The next lines; `None` if the watch is over.
    fn next(&mut self) -> Option<Option<String>> {
        let now = Instant::now();
        let state = self.server.lock();
        if state.cuts != self.cuts || now >= self.ends {
            return None;
        }
        let is_due = self.bookmarks && now >= self.ends - BEFORE_THE_END;
        if state.silent {
            self.bookmarks &= !is_due;
            return Some(None);
        }
        let Some(changes) = state.store.since(self.from) else {
            let gone = status(&Refusal(
                410,
                "Expired",
                format!("too old resource version: {}", self.from),
            ));
            self.from = u64::MAX;
            return Some(Some(line("ERROR", &gone)));
        };
        let lines: String = changes.filter_map(|change| event(&self.call, change)).collect();
        let is_behind = state.store.revision() < self.from;
        self.from = self.from.max(state.store.revision());
        drop(state);
        if !lines.is_empty() {
            return Some(Some(lines));
        }
        if is_due {
            self.bookmarks = false;
            // No bookmark while the server is behind the start of the watch, as after a restore.
            return Some((!is_behind).then(|| bookmark(self.from)));
        }
        Some(None)
    }
}

fn event(call: &Call, change: &Change) -> Option<String> {
    if change.key.resource != call.resource {
        return None;
    }
    let selected = |object: &Value| call.selects(&change.key, object);
    let was = change.before.as_ref().is_some_and(selected);
    match (was, selected(&change.after) && !change.is_deletion) {
        (false, true) => Some(line("ADDED", &change.after)),
        (true, true) => Some(line("MODIFIED", &change.after)),
        (true, false) => Some(line("DELETED", &change.after)),
        (false, false) => None,
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

fn bookmark(version: u64) -> String {
    let metadata = json!({ "resourceVersion": version.to_string(), "creationTimestamp": null });
    line("BOOKMARK", &json!({ "kind": "Bookmark", "apiVersion": "v1", "metadata": metadata }))
}

impl State {
    fn fault(&mut self, call: &Call) -> Option<Fault> {
        self.calls.push(call.clone());
        let (_, fault, times) =
            self.faults.iter_mut().find(|(matches, _, times)| *times > 0 && matches(call))?;
        *times -= 1;
        Some(fault.clone())
    }

    fn carry_out(&mut self, call: &Call, body: Value) -> Written {
        let (mut key, manager) = (call.key(), call.manager());
        if key.name.is_empty() {
            key.name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        }
        let part =
            |object: &Value| if call.metadata_only { metadata(object) } else { object.clone() };
        let store = &mut self.store;
        match call.verb {
            Verb::Get => {
                let not_found = || {
                    Refusal(404, "NotFound", format!("{} {:?} not found", call.plural, key.name))
                };
                store.get(&key).map(part).ok_or_else(not_found)
            }
            Verb::List => self.list(call, part),
            Verb::Watch => unreachable!("a watch is a stream"),
            Verb::Create => store.create(&key, body, manager),
            Verb::Replace => store.replace(&key, body, manager),
            Verb::Apply => store.apply(&key, &body, manager, call.parameter("force") == "true"),
            Verb::Delete => store.delete(&key, &body),
            Verb::JsonPatch => store
                .patch(&key, call.of_status, manager, |object| merge::json_patch(object, &body)),
            Verb::MergePatch if call.of_status => store.patch(&key, true, manager, |object| {
                merge::merge(object, &body);
                Ok(())
            }),
            Verb::MergePatch => store.merge(&key, &body, manager),
        }
    }

    /// A page of a list. A write between two pages expires the list.
    fn list(&self, call: &Call, part: impl Fn(&Value) -> Value) -> Written {
        let revision = self.store.revision();
        let (of, from) = call.parameter("continue").split_once(':').unwrap_or(("", "0"));
        if !of.is_empty() && of != revision.to_string() {
            return Err(Refusal(410, "Expired", "the continue parameter is too old".to_owned()));
        }
        let (from, limit) =
            (from.parse().unwrap_or(0), call.parameter("limit").parse().unwrap_or(usize::MAX));
        let selected =
            self.store.of(&call.resource).filter(|(key, object)| call.selects(key, object));
        let mut selected = selected.skip(from);
        let items: Vec<_> = selected.by_ref().take(limit).map(|(_, object)| part(object)).collect();
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if selected.next().is_some() {
            metadata["continue"] = format!("{revision}:{}", from + items.len()).into();
        }
        Ok(json!({ "kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items }))
    }
}

fn metadata(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

fn status(Refusal(code, reason, message): &Refusal) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": code, "reason": reason, "message": message,
    })
}

fn refusal(why: &Refusal) -> Response<AnswerBody> {
    json_answer(why.0, &status(why))
}

fn json_answer(code: u16, object: &Value) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::from(object.to_string()));
    *answer.status_mut() = hyper::StatusCode::from_u16(code).unwrap_or_default();
    answer
}
