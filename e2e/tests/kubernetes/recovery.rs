//! Killed programs recover, and nothing flickers meanwhile.

use crate::events::Events;
use crate::fixture::{Pair, exported, import_objects, peer};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::dns;
use fedgate_e2e::kubernetes::{CONTROLLER, Key, NAMESPACE, SHOP};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::name_server::NameServer;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// The range of the imports' addresses.
const RANGE: &str = "240.96.0.0/24";

/// DNS's code for a server that cannot answer now.
const SERVER_FAILURE: u8 = 2;

/// How long it may take to replace a lost leader.
const TAKEOVER: Duration = Duration::from_secs(15);

impl Pair {
    /// Exports another Service in beta, and waits until alpha has imported it.
    async fn import_another(&self, name: &str) -> Result<()> {
        let service: Service = exported(name);
        self.beta().put_service(&service).await?;
        let host = service.host(&self.beta().trust_domain());
        for object in import_objects(&host) {
            self.alpha().objects().wait_present(object).await?;
        }
        Ok(())
    }

    /// The address of an import in alpha.
    async fn address(&self, name: &str) -> Result<Ipv4Addr> {
        let host = exported(name).host(&self.beta().trust_domain());
        let entry = self.alpha().objects().wait_present(import_objects(&host)[0]).await?;
        let address = entry["spec"]["addresses"][0].as_str().context("it has no address")?;
        Ok(address.parse()?)
    }

    async fn uid(&self, key: Key<'_>) -> Result<Value> {
        Ok(self.alpha().objects().wait_present(key).await?["metadata"]["uid"].clone())
    }

    /// Checks that the controller has deleted nothing since the audit started.
    fn nothing_was_deleted(&self, audit: &fedgate_e2e::kubernetes::AuditLog) -> Result<()> {
        let deleted =
            audit.matching(|request| request.user == CONTROLLER && request.verb == "delete");
        ensure!(deleted.is_empty(), "{deleted:#?}");
        Ok(())
    }
}

#[test]
fn the_controller_survives_a_killed_api_server_and_a_compacted_etcd() {
    scenario("api-server", async |run: &RunFolder| {
        let mut pair = Pair::start_with(run, &[("FEDGATE_IMPORT_ADDRESSES", RANGE)]).await?;
        let entry = pair.web.clone();
        let uid = pair.uid(import_objects(&entry)[0]).await?;
        let audit = pair.alpha().plane().audit();
        let (local, kubeconfig) =
            (Ipv4Addr::LOCALHOST.into(), NameServer::install(pair.alpha()).await?);
        let mut names = NameServer::start(run, "dns", local, kubeconfig.clone()).await?;
        names.wait_readiness(200).await?;
        let address = dns::resolve(names.address(), &entry).await?;
        pair.alpha_mut().plane_mut().kill_api_server()?;
        // The controller keeps running.
        let leader = &pair.alpha_mut().replicas()[0];
        leader.get("/healthz").await?;
        // Names are still answered, by a Pod that knows them. One that starts now says that it
        // knows none.
        let mut late = NameServer::start(run, "late-dns", local, kubeconfig).await?;
        let missing = late.wait_readiness(503).await?;
        ensure!(missing.contains("the imports' ServiceEntries"), "{missing}");
        ensure!(dns::ask(late.address(), &entry).await?.code == SERVER_FAILURE);
        ensure!(dns::resolve(names.address(), &entry).await? == address);
        ensure!(names.readiness().await?.0 == 200, "{:?}", names.readiness().await?);
        pair.alpha().plane().compact().await?;
        pair.alpha_mut().plane_mut().start_api_server().await?;
        pair.import_another("after-restart").await?;
        late.wait_readiness(200).await?;
        let new = exported("after-restart").host(&pair.beta().trust_domain());
        for server in [&names, &late] {
            ensure!(dns::resolve(server.address(), &entry).await? == address);
            let resolved = async || dns::resolve(server.address(), &new).await.map(Some);
            wait::until("the new import to have a name", SOON, resolved).await?;
        }
        ensure!(pair.uid(import_objects(&entry)[0]).await? == uid, "the import is the same object");
        pair.nothing_was_deleted(&audit)?;
        addresses_outlive_imports_and_leaders(&mut pair).await
    });
}

/// Two hosts whose names lead to the same address, so the second has the next one. It would get the
/// first if a new leader did not know the addresses of removed imports.
async fn addresses_outlive_imports_and_leaders(pair: &mut Pair) -> Result<()> {
    let mut before = Vec::new();
    for name in ["cart", "till"] {
        pair.import_another(name).await?;
        before.push(pair.address(name).await?);
    }
    ensure!(u32::from(before[1]) == u32::from(before[0]) + 1, "{before:?}");
    for name in ["cart", "till"] {
        pair.beta().objects().delete(Key::namespaced("v1", "Service", SHOP, name)).await?;
        let host = exported(name).host(&pair.beta().trust_domain());
        pair.alpha().objects().wait_absent(import_objects(&host)[0]).await?;
    }
    let leader = pair.alpha().leader().await?;
    pair.alpha_mut().stop_replica(&leader).await?;
    pair.alpha_mut().start_replica().await?;
    for (name, before) in [("till", before[1]), ("cart", before[0])] {
        pair.import_another(name).await?;
        let after = pair.address(name).await?;
        ensure!(after == before, "{name} had {before} and has {after}");
    }
    Ok(())
}

#[test]
fn a_killed_leader_is_replaced_and_every_replica_answers_peers() {
    scenario("leader", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        pair.alpha_mut().start_replica().await?;
        let first = pair.alpha().leader().await?;
        let uid = pair.uid(import_objects(&pair.web)[0]).await?;
        // Kill the leader while it is writing many imports.
        for number in 0..30 {
            pair.beta().put_service(&exported(&format!("many-{number}"))).await?;
        }
        let last = exported("many-29").host(&pair.beta().trust_domain());
        pair.alpha()
            .objects()
            .wait_present(import_objects(&exported("many-0").host(&pair.beta().trust_domain()))[0])
            .await?;
        let audit = pair.alpha().plane().audit();
        pair.alpha_mut().kill_replica(&first)?;
        let killed = Instant::now();
        let second = pair.alpha().leader().await?;
        ensure!(
            second != first && killed.elapsed() < TAKEOVER,
            "{second} leads after {:?}",
            killed.elapsed()
        );
        for object in import_objects(&last) {
            pair.alpha().objects().wait_present(object).await?;
        }
        eprintln!(
            "a new leader wrote the last import {:?} after the old one was killed",
            killed.elapsed()
        );
        ensure!(
            pair.uid(import_objects(&pair.web)[0]).await? == uid,
            "the import is the same object"
        );
        pair.nothing_was_deleted(&audit)?;

        // A stopped leader releases the Lease, so the next leader does not wait.
        pair.alpha_mut().start_replica().await?;
        let stopped = Instant::now();
        let status = pair.alpha_mut().stop_replica(&second).await?;
        ensure!(status.success(), "{status}");
        let third = pair.alpha().leader().await?;
        ensure!(
            third != second && stopped.elapsed() < Duration::from_secs(8),
            "{:?}",
            stopped.elapsed()
        );
        pair.import_another("after-takeover").await?;
        pair.nothing_was_deleted(&audit)
    });
}

#[test]
fn a_deleted_secret_is_reported_and_recreated_with_the_same_uuid() {
    scenario("lost-secret", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        let secret = Key::namespaced("v1", "Secret", NAMESPACE, "fedgate-identity");
        let before = pair.alpha().objects().wait_present(secret).await?;
        ensure!(before["metadata"]["annotations"]["fedgate.dev/replaced-at"].is_null(), "{before}");
        pair.alpha().objects().delete(secret).await?;
        pair.alpha().objects().wait_absent(secret).await?;
        // A running leader reports the loss, goes on with the identity in memory, and does not
        // write a new one.
        let arguments = ["get", "events", "--namespace", NAMESPACE, "--output=json"];
        wait::until_true("the Event", SOON, async || {
            let events = String::from_utf8(pair.alpha().kubectl(&arguments).await?.stdout)?;
            Ok(events.contains("IdentityLost"))
        })
        .await?;
        let output = pair.alpha().fedgate(&["status"]).await?;
        ensure!(
            !output.status.success()
                && String::from_utf8_lossy(&output.stdout).contains("identity_lost"),
            "{output:?}"
        );
        pair.import_another("without-the-secret").await?;
        ensure!(pair.alpha().objects().get(secret).await?.is_none(), "the Secret was made anew");
        let leader = pair.alpha().leader().await?;
        pair.alpha_mut().stop_replica(&leader).await?;
        pair.alpha_mut().start_replica().await?;
        let after = pair.alpha().objects().wait_present(secret).await?;
        ensure!(
            after["data"]["cluster-uuid"] == before["data"]["cluster-uuid"],
            "the UUID is the one of before"
        );
        ensure!(
            after["data"]["authn.key"] != before["data"]["authn.key"],
            "the key is another one"
        );
        ensure!(after["metadata"]["annotations"]["fedgate.dev/replaced-at"].is_string(), "{after}");
        wait::until("the Event about the new key", SOON, async || {
            let events = String::from_utf8(pair.alpha().kubectl(&arguments).await?.stdout)?;
            ensure!(events.contains("IdentityReplaced"), "{events}");
            Ok(Some(()))
        })
        .await?;
        // The old key is lost, so it has not signed the new one: the peer holds that until its
        // operator approves it.
        Events::of(pair.beta(), peer("alpha"))
            .await?
            .wait_event("Warning", "KeyChanged", "key for tokens")
            .await?;
        let approved = pair.beta().fedgate(&["peer", "approve", "alpha"]).await?;
        ensure!(approved.status.success(), "{approved:?}");
        pair.import_another("after-the-loss").await
    });
}

#[test]
fn when_replicas_start_together_one_makes_the_key_and_one_leads() {
    scenario("replicas", async |run: &RunFolder| {
        let mut pair = Pair::start(run).await?;
        let secret = Key::namespaced("v1", "Secret", NAMESPACE, "fedgate-identity");
        let before = pair.alpha().objects().wait_present(secret).await?;
        pair.alpha_mut().start_replica().await?;
        pair.alpha_mut().start_replica().await?;
        let mut leaders = 0.0;
        for replica in pair.alpha_mut().replicas() {
            leaders += replica.metric("fedgate_leader").await?;
        }
        ensure!(leaders == 1.0, "{leaders} of three lead");
        let after = pair.alpha().objects().wait_present(secret).await?;
        ensure!(before["data"] == after["data"], "the key is the one that was made first");
        Ok(())
    });
}
