//! Least privilege: every granted verb is used, and nothing else is possible.

use crate::fixture::{Pair, exported, import_objects};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::{
    AuditLog, CONTROLLER, Key, NAMESPACE, Objects, SERVICE_ACCOUNT, SHOP, condition,
};
use fedgate_e2e::name_server::NameServer;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const RBAC: &str = "rbac.authorization.k8s.io/v1";
const WASM_PLUGIN: Key<'_> =
    Key::namespaced("extensions.istio.io/v1alpha1", "WasmPlugin", NAMESPACE, "fedgate");
const TABLE: Key<'_> =
    Key::namespaced("networking.istio.io/v1alpha3", "EnvoyFilter", NAMESPACE, "fedgate-table");

/// The group, the resource (with its subresource) and the verb.
type Grant = (String, String, String);

/// The roles of `fedgate dns`, and its service account.
const DNS: &str = fedgate_e2e::name_server::ACCOUNT;

/// Everything that the roles grant whose name `is_of` accepts, by namespace; cluster-wide grants
/// have an empty namespace.
async fn granted(
    objects: &Objects,
    is_of: impl Fn(&str) -> bool,
) -> Result<BTreeSet<(String, Grant)>> {
    let mut granted = BTreeSet::new();
    let mut roles = objects.list((RBAC, "ClusterRole"), None, "").await?;
    roles.extend(objects.list((RBAC, "Role"), None, "").await?);
    roles.retain(|role| role["metadata"]["name"].as_str().is_some_and(&is_of));
    for role in roles {
        let namespace = role["metadata"]["namespace"].as_str().unwrap_or_default();
        for rule in role["rules"].as_array().context("a role has rules")? {
            for (group, resource, verb) in product(rule)? {
                ensure!(group != "*" && resource != "*" && verb != "*", "a wildcard in {rule}");
                granted.insert((namespace.to_owned(), (group, resource, verb)));
            }
        }
    }
    Ok(granted)
}

fn product(rule: &Value) -> Result<Vec<Grant>> {
    let texts =
        |field: &str| -> Result<Vec<String>> { Ok(serde_json::from_value(rule[field].clone())?) };
    let mut all = Vec::new();
    for group in texts("apiGroups")? {
        for resource in texts("resources")? {
            for verb in texts("verbs")? {
                all.push((group.clone(), resource.clone(), verb));
            }
        }
    }
    Ok(all)
}

/// How often an Event about two peers with the same trust domain was reported.
async fn same_trust_domain(objects: &Objects) -> Result<u64> {
    let events = objects.list(("events.k8s.io/v1", "Event"), None, "").await?;
    let matching = events.iter().filter(|event| event["reason"] == "SameTrustDomain");
    Ok(matching.map(|event| event["series"]["count"].as_u64().unwrap_or(1)).sum())
}

#[test]
fn every_verb_that_is_granted_is_used() {
    scenario("verbs", async |run: &RunFolder| {
        let mut federation =
            fedgate_e2e::kubernetes::KubernetesFederation::<2>::start(run, ["alpha", "beta"])
                .await?;
        let audit = federation.clusters[0].plane().audit();
        let kubeconfig = NameServer::install(&federation.clusters[0]).await?;
        federation.pair().await?;
        let web = exported("web");
        federation.clusters[1].put_service(&web).await?;
        federation.start_controllers().await?;
        let [alpha, beta] = &mut federation.clusters;
        let local = Ipv4Addr::LOCALHOST.into();
        let mut names = NameServer::start(run, "dns", local, kubeconfig).await?;
        names.wait_readiness(200).await?;
        let imported = web.host(&beta.trust_domain());
        for object in import_objects(&imported) {
            alpha.objects().wait_present(object).await?;
        }
        // Change a table and a trust bundle, and tamper with an object.
        alpha.put_service(&exported("stock")).await?;
        let bundle = Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-trust-bundle");
        alpha.objects().patch(bundle, &json!({ "data": { "bundles.json": "{}" } })).await?;
        alpha
            .objects()
            .wait_for(bundle, "to be put right", |object| object["data"]["bundles.json"] != "{}")
            .await?;
        // The status of a name over several clusters, whose routes go with it.
        let shared = json!({
            "apiVersion": "fedgate.dev/v1alpha1", "kind": "FederatedService",
            "metadata": { "name": "web", "namespace": SHOP },
            "spec": { "ports": [{ "name": "tcp", "port": 80 }], "members": [{ "local": {} }, { "peers": ["beta"], "priority": 0 }] },
        });
        alpha.objects().apply_one(&shared).await?;
        let named = Key::of(&shared)?;
        let accepted = |object: &Value| condition(object, "Accepted") == Some("True");
        alpha.objects().wait_for(named, "to be accepted", accepted).await?;
        // The same problem twice: the Event's series is counted up.
        let beta_again = json!({
            "apiVersion": "deckhouse.io/v1alpha1", "kind": "IstioFederation", "metadata": { "name": "beta-again" },
            "spec": { "trustDomain": "beta.example", "metadataEndpoint": "https://beta.example/metadata" },
        });
        for _ in 0..2 {
            let before = same_trust_domain(alpha.objects()).await?;
            alpha.objects().apply_one(&beta_again).await?;
            let reported = async || Ok(same_trust_domain(alpha.objects()).await? > before);
            wait::until_true("the Event", SOON, reported).await?;
            let own = json!({ "spec": { "trustDomain": "delta.example" } });
            alpha.objects().patch(Key::of(&beta_again)?, &own).await?;
            // Wait for a table without this peer, so that the problem is new when it returns.
            alpha.put_service(&exported("marker")).await?;
            let marker = |table: &Value| table.to_string().contains("\\\"exports\\\":3");
            alpha.objects().wait_for(TABLE, "to have the marker", marker).await?;
            alpha.objects().delete(Key::namespaced("v1", "Service", SHOP, "marker")).await?;
            let gone = |table: &Value| table.to_string().contains("\\\"exports\\\":2");
            alpha.objects().wait_for(TABLE, "to be without the marker", gone).await?;
        }
        alpha.objects().delete(Key::of(&beta_again)?).await?;
        // Switch to the other delivery, and back.
        for (delivery, comes, goes) in
            [("WasmPlugin", WASM_PLUGIN, TABLE), ("EnvoyFilter", TABLE, WASM_PLUGIN)]
        {
            let leader = alpha.leader().await?;
            alpha.stop_replica(&leader).await?;
            alpha.settings().insert("FEDGATE_DELIVERY".into(), delivery.into());
            alpha.start_replica().await?;
            alpha.objects().wait_present(comes).await?;
            alpha.objects().wait_absent(goes).await?;
            if delivery == "WasmPlugin" {
                alpha
                    .objects()
                    .patch(WASM_PLUGIN, &json!({ "spec": { "failStrategy": "FAIL_OPEN" } }))
                    .await?;
                alpha
                    .objects()
                    .wait_for(WASM_PLUGIN, "to fail closed", |object| {
                        object["spec"]["failStrategy"] == "FAIL_RELOAD"
                    })
                    .await?;
            }
        }
        // Remove a peer.
        alpha.remove_peer("beta").await?;
        for object in import_objects(&imported) {
            alpha.objects().wait_absent(object).await?;
        }
        alpha
            .objects()
            .wait_absent(Key::namespaced("v1", "ConfigMap", NAMESPACE, "fedgate-peer-beta"))
            .await?;

        let of_dns = format!("system:serviceaccount:{NAMESPACE}:{DNS}");
        for user in [CONTROLLER, &of_dns] {
            let refused = audit.matching(|request| request.user == user && request.status == 403);
            ensure!(refused.is_empty(), "{refused:#?}");
        }
        // Only an uninstallation deletes some objects. It may not search everywhere, so it looks
        // where the controller writes.
        let leader = alpha.leader().await?;
        alpha.stop_replica(&leader).await?;
        let kubeconfig = alpha.settings()["KUBECONFIG"].clone();
        let output = alpha.fedgate(&["uninstall", "--kubeconfig", &kubeconfig]).await?;
        ensure!(output.status.success(), "{output:?}");
        let controllers = |name: &str| name.starts_with("fedgate") && name != DNS;
        all_are_used(&audit, CONTROLLER, &granted(alpha.objects(), controllers).await?)?;
        all_are_used(&audit, &of_dns, &granted(alpha.objects(), |name| name == DNS).await?)
    });
}

fn all_are_used(audit: &AuditLog, user: &str, granted: &BTreeSet<(String, Grant)>) -> Result<()> {
    ensure!(!granted.is_empty(), "{user} has no role");
    let requests = audit.matching(|request| request.user == user);
    let is_used = |(namespace, (group, resource, verb)): &(String, Grant)| {
        requests.iter().any(|request| {
            let asked = match request.subresource.as_str() {
                "" => request.resource.clone(),
                subresource => format!("{}/{subresource}", request.resource),
            };
            (namespace.is_empty() || request.namespace == *namespace)
                && (&request.group, &asked, &request.verb) == (group, resource, verb)
        })
    };
    // To create an object by server-side apply, a user needs the verb create, but the audit log
    // has the request as a patch.
    let is_create = |(_, (_, _, verb)): &(String, Grant)| verb == "create";
    let unused: Vec<_> =
        granted.iter().filter(|grant| !is_used(grant) && !is_create(grant)).collect();
    ensure!(unused.is_empty(), "granted to {user} and never used: {unused:#?}");
    Ok(())
}

#[test]
fn other_secrets_and_other_namespaces_are_refused() {
    scenario("secrets", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let client =
            pair.alpha().plane().service_account_client(NAMESPACE, SERVICE_ACCOUNT).await?;
        let (admin, controller) = (pair.alpha().objects(), Objects::new(client));
        let secret = |namespace: &str, name: &str| json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": namespace }, "stringData": { "a": "b" } });
        for (namespace, name) in [(NAMESPACE, "another"), (SHOP, "fedgate-identity")] {
            admin.apply_one(&secret(namespace, name)).await?;
            let key = Key::namespaced("v1", "Secret", namespace, name);
            refused(controller.get(key).await.map(drop))?;
            refused(controller.patch(key, &json!({ "stringData": { "a": "c" } })).await.map(drop))?;
            refused(controller.delete(key).await)?;
        }
        refused(controller.list(("v1", "Secret"), Some(NAMESPACE), "").await.map(drop))?;
        let web = Key::namespaced("networking.istio.io/v1", "ServiceEntry", SHOP, "x");
        refused(controller.get(web).await.map(drop))?;
        refused(
            controller
                .patch(BETA, &json!({ "spec": { "trustDomain": "evil.example" } }))
                .await
                .map(drop),
        )?;
        // Its own Secret is readable, as it must be.
        let own = Key::namespaced("v1", "Secret", NAMESPACE, "fedgate-identity");
        ensure!(controller.get(own).await?.is_some());
        dns_reads_names_only(&pair, own).await
    });
}

/// `fedgate dns` lists the imports and the peers, and can do nothing else.
async fn dns_reads_names_only(pair: &Pair, secret: Key<'_>) -> Result<()> {
    NameServer::install(pair.alpha()).await?;
    let client = pair.alpha().plane().service_account_client(NAMESPACE, DNS).await?;
    let (dns, entries) = (Objects::new(client), ("networking.istio.io/v1", "ServiceEntry"));
    let found = dns.list(entries, Some(NAMESPACE), "").await?;
    ensure!(found.iter().any(|entry| entry["metadata"]["name"] == pair.web), "{found:#?}");
    dns.list(("deckhouse.io/v1alpha1", "IstioFederation"), None, "").await?;
    refused(dns.list(entries, Some(SHOP), "").await.map(drop))?;
    refused(dns.list(("v1", "ConfigMap"), Some(NAMESPACE), "").await.map(drop))?;
    refused(dns.get(secret).await.map(drop))?;
    let [entry, _] = import_objects(&pair.web);
    let elsewhere = json!({ "spec": { "addresses": ["192.0.2.66"] } });
    refused(dns.patch(entry, &elsewhere).await.map(drop))?;
    refused(dns.delete(entry).await)?;
    let evil = json!({ "spec": { "trustDomain": "evil.example" } });
    refused(dns.patch(BETA, &evil).await.map(drop))
}

const BETA: Key<'_> = Key::cluster_scoped("deckhouse.io/v1alpha1", "IstioFederation", "beta");

fn refused(result: Result<()>) -> Result<()> {
    let error = result.err().context("it was allowed")?;
    ensure!(format!("{error:#}").contains("forbidden"), "{error:#}");
    Ok(())
}
