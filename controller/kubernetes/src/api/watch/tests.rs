//! Tests watches against the fake API server.

use super::follow::WATCH;
use super::{Key, Rollbacks, Watch, Watched};
use crate::api::client::describe;
use crate::api::kind::Kind;
use crate::fake::{Call, FakeApi, Fault, Verb};
use fedgate_process::tasks::Tasks;
use kube::ResourceExt;
use kube::api::{DynamicObject, Patch, PatchParams, WatchEvent};
use kube::runtime::watcher::Config;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// What is kept of a ConfigMap: a field whose changes are news, and one whose changes are not.
type Kept = (String, String);

fn keep(object: DynamicObject) -> Kept {
    let data = |key: &str| object.data["data"][key].as_str().unwrap_or_default().to_owned();
    (data("news"), data("other"))
}

struct Rig {
    server: FakeApi,
    watched: Watched<Kept>,
    news: Arc<Notify>,
    other: Arc<Notify>,
    rollbacks: Rollbacks,
    tasks: Tasks,
}

impl Rig {
    /// A watch of the namespace `a`, in which `x` was written at version 1.
    async fn new() -> Self {
        let server = FakeApi::new();
        server.put(Kind::ConfigMap, config_map("x", "1", "1"));
        Self::of(server).await
    }

    async fn of(server: FakeApi) -> Self {
        let (news, other, rollbacks) =
            (Arc::<Notify>::default(), Arc::<Notify>::default(), Rollbacks::default());
        let mut tasks = Tasks::default();
        let watched = Self::watch(&server, &news, &other, &rollbacks, &mut tasks);
        let rig = Self { server, watched, news, other, rollbacks, tasks };
        rig.until(|rig| rig.watched.is_listed()).await;
        rig.news.notified().await;
        rig
    }

    fn watch(
        server: &FakeApi,
        news: &Arc<Notify>,
        other: &Arc<Notify>,
        rollbacks: &Rollbacks,
        tasks: &mut Tasks,
    ) -> Watched<Kept> {
        let watch = Watch {
            name: "ConfigMaps",
            api: Kind::ConfigMap.within(&server.client(), "a"),
            config: Config::default(),
            keep,
            is_news: |before: &Kept, after: &Kept| before.0 != after.0,
            wake: Arc::clone(news),
            otherwise: Arc::clone(other),
            rollbacks: rollbacks.clone(),
        };
        Watched::start(watch, tasks)
    }

    /// Waits for at most an hour of the paused clock.
    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(3600), wait).await.expect("it does not happen");
    }

    fn kept(&self, name: &str) -> Option<Kept> {
        self.watched.get(&key(name))
    }

    async fn until_kept(&self, name: &str, news: &str) {
        self.until(|rig| rig.kept(name).is_some_and(|kept| kept.0 == news)).await;
    }

    /// How often everything was listed.
    fn lists(&self) -> usize {
        self.server.calls(|call| call.verb == Verb::List)
    }

    /// Writes `other` of `x` as the writer does, while the watch is silent; `meanwhile` happens
    /// before the answer is taken.
    async fn write(&self, meanwhile: impl AsyncFnOnce()) {
        let api = Kind::ConfigMap.within(&self.server.client(), "a");
        let patch = Patch::Merge(json!({ "data": { "other": "ours" } }));
        let sent = self.watched.sending();
        let object = api.patch("x", &PatchParams::default(), &patch).await.unwrap();
        meanwhile().await;
        self.watched.wrote(sent, object, |kept| kept.1 == "ours");
    }
}

fn key(name: &str) -> Key {
    Key { namespace: "a".into(), name: name.into() }
}

fn config_map(name: &str, news: &str, other: &str) -> Value {
    json!({ "metadata": { "namespace": "a", "name": name }, "data": { "news": news, "other": other } })
}

async fn is_woken(notify: &Notify) -> bool {
    timeout(Duration::from_secs(1), notify.notified()).await.is_ok()
}

fn lists(call: &Call) -> bool {
    call.verb == Verb::List
}

#[tokio::test(start_paused = true)]
async fn changes_notify_the_inputs_or_the_outputs() {
    let rig = Rig::new().await;
    rig.server.put(Kind::ConfigMap, config_map("y", "1", "1"));
    rig.news.notified().await;
    rig.server.put(Kind::ConfigMap, config_map("y", "1", "2"));
    rig.other.notified().await;
    rig.server.delete(Kind::ConfigMap, "a", "x");
    rig.news.notified().await;
    assert_eq!(rig.watched.all().into_keys().collect::<Vec<_>>(), [key("y")]);
    rig.server.put(Kind::ConfigMap, json!({ "metadata": { "namespace": "b", "name": "z" } }));
    assert!(!is_woken(&rig.news).await && !is_woken(&rig.other).await, "another namespace");
}

#[tokio::test(start_paused = true)]
async fn a_list_of_many_pages_appears_at_once() {
    let server = FakeApi::new();
    for number in 0..1203 {
        server.put(Kind::ConfigMap, config_map(&format!("x{number}"), "1", "1"));
    }
    let rig = Rig::of(server).await;
    assert_eq!((rig.watched.all().len(), rig.lists()), (1203, 3));
}

#[tokio::test(start_paused = true)]
async fn a_write_as_intended_notifies_nothing() {
    let rig = Rig::new().await;
    rig.write(async || {}).await;
    assert_eq!(rig.kept("x").unwrap().1, "ours", "before the watch says so");
    assert!(!is_woken(&rig.news).await && !is_woken(&rig.other).await);
}

#[tokio::test(start_paused = true)]
async fn an_edit_inside_the_answer_to_a_write_notifies() {
    let rig = Rig::new().await;
    rig.server.silence(true);
    rig.server.patch(Kind::ConfigMap, "a", "x", &json!({ "data": { "news": "2" } }));
    rig.write(async || {}).await;
    assert!(is_woken(&rig.news).await, "the watch will bring nothing new");
    rig.server.silence(false);
    assert!(!is_woken(&rig.news).await);
    assert_eq!(rig.kept("x").unwrap(), ("2".into(), "ours".into()));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_undo_newer_reports() {
    let rig = Rig::new().await;
    let edit = async || {
        rig.server.patch(Kind::ConfigMap, "a", "x", &json!({ "data": { "news": "3" } }));
        rig.until_kept("x", "3").await;
    };
    rig.write(edit).await;
    assert_eq!(rig.kept("x").unwrap().0, "3");
    let delete = async || {
        rig.server.delete(Kind::ConfigMap, "a", "x");
        rig.until(|rig| rig.kept("x").is_none()).await;
    };
    rig.write(delete).await;
    assert_eq!(rig.kept("x"), None);
}

#[tokio::test(start_paused = true)]
async fn our_deletion_holds_until_the_watch_reports_it() {
    let rig = Rig::new().await;
    rig.server.silence(true);
    rig.server.patch(Kind::ConfigMap, "a", "x", &json!({ "data": { "news": "2" } }));
    rig.server.delete(Kind::ConfigMap, "a", "x");
    rig.watched.deleted(&key("x"), |_| true);
    rig.server.silence(false);
    assert!(!is_woken(&rig.news).await, "neither an edit from before nor the deletion is news");
    assert_eq!(rig.kept("x"), None);
    rig.server.put(Kind::ConfigMap, config_map("x", "5", "5"));
    rig.until_kept("x", "5").await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_on_time_resumes() {
    let rig = Rig::new().await;
    sleep(WATCH * 10).await;
    rig.server.put(Kind::ConfigMap, config_map("x", "2", "1"));
    rig.until_kept("x", "2").await;
    assert_eq!(rig.lists(), 1);
    assert!(rig.server.calls(|call| call.verb == Verb::Watch) >= 10);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_early_is_followed_by_a_list() {
    let rig = Rig::new().await;
    rig.server.end_watches();
    rig.server.put(Kind::ConfigMap, config_map("x", "2", "1"));
    rig.until_kept("x", "2").await;
    assert_eq!(rig.lists(), 2);
    assert!(rig.watched.is_listed() && rig.watched.failure().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_expired_version_is_followed_by_a_list() {
    let rig = Rig::new().await;
    rig.server.fail(2, Fault::Refused(503, "etcd is away"), |call| call.verb == Verb::Watch);
    rig.server.end_watches();
    rig.until(|rig| rig.watched.failure().is_some()).await;
    rig.server.put(Kind::ConfigMap, config_map("x", "2", "1"));
    rig.server.compact();
    rig.server.put(Kind::ConfigMap, config_map("x", "3", "1"));
    rig.until_kept("x", "3").await;
    rig.until(|rig| rig.watched.failure().is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_silently_dead_connection_is_noticed() {
    let rig = Rig::new().await;
    let began = Instant::now();
    rig.server.silence(true);
    rig.server.put(Kind::ConfigMap, config_map("x", "2", "1"));
    rig.server.fail(1, Fault::Swallowed, |call| call.verb == Verb::Watch);
    sleep(WATCH + Duration::from_secs(6)).await;
    rig.server.silence(false);
    rig.until_kept("x", "2").await;
    assert!(began.elapsed() < WATCH * 2, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_unanswered_list_is_repeated() {
    let server = FakeApi::new();
    server.put(Kind::ConfigMap, config_map("x", "1", "1"));
    server.fail(1, Fault::Swallowed, lists);
    let began = Instant::now();
    let rig = Rig::of(server).await;
    assert_eq!(rig.kept("x").unwrap().0, "1");
    assert!(
        began.elapsed() < Duration::from_secs(40) && rig.server.connections() > 1,
        "over another connection"
    );
}

#[tokio::test(start_paused = true)]
async fn the_failure_is_the_servers_message() {
    let server = FakeApi::new();
    server.fail(1000, Fault::Refused(403, "configmaps is forbidden"), lists);
    let mut tasks = Tasks::default();
    let watched =
        Rig::watch(&server, &Arc::default(), &Arc::default(), &Rollbacks::default(), &mut tasks);
    timeout(Duration::from_secs(60), async {
        while watched.failure().is_none() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(watched.failure().unwrap(), "the API server says 403: configmaps is forbidden");
    assert!(!watched.is_listed());
}

/// Restores the state before `x` was edited and `y` created; then a little happens.
async fn restore(rig: &Rig) {
    let snapshot = rig.server.snapshot();
    for edit in 2..20 {
        rig.server.put(Kind::ConfigMap, config_map("x", &edit.to_string(), "1"));
    }
    rig.server.put(Kind::ConfigMap, config_map("y", "1", "1"));
    rig.until(|rig| rig.kept("y").is_some()).await;
    rig.server.restore(&snapshot);
    rig.server.put(Kind::ConfigMap, config_map("z", "1", "1"));
}

#[tokio::test(start_paused = true)]
async fn a_restore_is_noticed_when_the_watch_ends() {
    let rig = Rig::new().await;
    restore(&rig).await;
    rig.server.end_watches();
    rig.until_kept("z", "1").await;
    assert_eq!((rig.kept("x").unwrap().0.as_str(), rig.kept("y")), ("1", None));
    assert_eq!(rig.rollbacks.count(), 1);
    rig.server.put(Kind::ConfigMap, config_map("z", "2", "1"));
    rig.until_kept("z", "2").await;
    assert_eq!(rig.rollbacks.count(), 1, "once");
}

#[tokio::test(start_paused = true)]
async fn a_restore_that_another_watch_noticed_interrupts_open_watches() {
    let rig = Rig::new().await;
    restore(&rig).await;
    sleep(WATCH * 5).await;
    assert!(rig.kept("y").is_some() && rig.kept("z").is_none(), "the server says nothing");
    rig.server.fail(1, Fault::Late(Duration::from_secs(3)), lists);
    rig.rollbacks.noticed(0, "the Lease");
    assert!(!rig.watched.is_listed() && rig.watched.is_relisting(), "at once");
    assert!(rig.kept("y").is_some(), "what is known stays until there is something better");
    rig.until(|rig| rig.watched.is_listed()).await;
    assert_eq!(
        (rig.kept("x").unwrap().0.as_str(), rig.kept("y"), rig.kept("z").is_some()),
        ("1", None, true)
    );
}

/// Watches that an API server keeps open during a restore report versions from before.
#[tokio::test(start_paused = true)]
async fn a_report_of_an_older_version_is_a_restore() {
    let rig = Rig::new().await;
    let object: DynamicObject =
        serde_json::from_value(rig.server.get(Kind::ConfigMap, "a", "x").unwrap()).unwrap();
    rig.server.put(Kind::ConfigMap, config_map("x", "2", "1"));
    rig.until_kept("x", "2").await;
    let newest = rig.server.get(Kind::ConfigMap, "a", "x").unwrap();
    assert!(
        rig.watched.event(WatchEvent::Modified(serde_json::from_value(newest).unwrap())).is_ok()
    );
    assert_eq!(rig.rollbacks.count(), 0, "the same once more is none");
    assert!(rig.watched.event(WatchEvent::Modified(object)).is_err());
    assert_eq!((rig.rollbacks.count(), rig.kept("x").unwrap().0.as_str()), (1, "2"));
    rig.until(|rig| rig.watched.is_listed() && rig.lists() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_restore_whose_versions_have_been_overtaken_is_noticed() {
    let rig = Rig::new().await;
    let snapshot = rig.server.snapshot();
    rig.server.put(Kind::ConfigMap, config_map("y", "1", "1"));
    rig.until(|rig| rig.kept("y").is_some()).await;
    rig.server.restore(&snapshot);
    for edit in 2..9 {
        rig.server.put(Kind::ConfigMap, config_map("x", &edit.to_string(), "1"));
    }
    rig.server.end_watches();
    rig.until_kept("x", "8").await;
    assert_eq!(rig.kept("y"), None, "though versions have grown beyond what was seen");
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_restore_is_ignored() {
    let rig = Rig::new().await;
    let snapshot = rig.server.snapshot();
    for edit in 2..20 {
        rig.server.put(Kind::ConfigMap, config_map("x", &edit.to_string(), "1"));
    }
    let go_back = async || {
        rig.server.restore(&snapshot);
        rig.server.end_watches();
        rig.until_kept("x", "1").await;
    };
    rig.write(go_back).await;
    rig.server.put(Kind::ConfigMap, config_map("x", "new", "1"));
    rig.until_kept("x", "new").await;
}

#[tokio::test(start_paused = true)]
async fn a_panicking_watch_ends_the_tasks_with_its_name() {
    let mut rig = Rig::new().await;
    let watch = Watch {
        name: "Nodes",
        api: Kind::Node.everywhere(&rig.server.client()),
        config: Config::default(),
        keep: |object: DynamicObject| -> () { panic!("no node is like {}", object.name_any()) },
        is_news: |(), ()| true,
        wake: Arc::default(),
        otherwise: Arc::default(),
        rollbacks: Rollbacks::default(),
    };
    Watched::start(watch, &mut rig.tasks);
    assert!(timeout(WATCH, rig.tasks.ended()).await.is_err());
    rig.server.put(Kind::Node, json!({ "metadata": { "name": "n1" } }));
    let ended = rig.tasks.ended().await.to_string();
    assert!(
        ended.starts_with("the watch of Nodes: ") && ended.contains("no node is like n1"),
        "{ended}"
    );
}

#[tokio::test(start_paused = true)]
async fn each_request_has_a_time_limit() {
    let server = FakeApi::new();
    server.put(Kind::ConfigMap, config_map("x", "1", "1"));
    let api = Kind::ConfigMap.within(&server.client(), "a");
    server.fail(1, Fault::NoAnswer, Call::writes);
    let began = Instant::now();
    let patch = Patch::Merge(json!({ "data": { "news": "2" } }));
    let error = api.patch("x", &PatchParams::default(), &patch).await.unwrap_err();
    assert_eq!(
        (describe(&error).as_str(), began.elapsed().as_secs()),
        ("the API server has not answered within 15s", 15)
    );
    assert_eq!(
        server.get(Kind::ConfigMap, "a", "x").unwrap()["data"]["news"],
        "2",
        "it was carried out all the same"
    );
    assert_eq!(server.connections(), 1);
    assert!(api.get("x").await.is_ok());
    assert_eq!(
        server.connections(),
        2,
        "the next request does not go by a connection that may be dead"
    );
    server.fail(1, Fault::LateAnswer(Duration::from_secs(10)), |call| call.verb == Verb::Get);
    assert!(api.get("x").await.is_ok(), "a slow server is no dead one");
    assert_eq!(server.connections(), 2);
}
