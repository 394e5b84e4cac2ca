//! A bad file affects only itself: it is reported with its reason, the other files stay in force,
//! and no connection is cut.

use crate::fixture::Gateway;
use anyhow::{Context, ensure};
use fedgate_e2e::client::send_line;
use fedgate_e2e::cluster::Finding;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};

/// This file sorts last, so of two objects with the same name it has the second.
const FILE: &str = "zz-broken.yaml";

/// The broken content, and the reason word that is reported.
const BROKEN: [(&str, &str); 8] = [
    ("kind: Service\nmetadata: [", "unreadable"),
    ("\u{0}\u{1}\u{2}", "unreadable"),
    (
        "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata: {name: delta}\nspec: {trustDomain: 5}\n",
        "invalid_object",
    ),
    (
        "apiVersion: deckhouse.io/v1alpha1\nkind: IstioFederation\nmetadata: {name: delta}\nspec:\n  \
         trustDomain: cluster.local\n  metadataEndpoint: https://delta.example/m\n",
        "cluster_local",
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: shop\n  name: old\n  labels: \
         {federation.istio.deckhouse.io/public-service: \"\"}\nspec: {type: ExternalName, externalName: x.example}\n",
        "external_name",
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: shop\n  name: old\n  labels: \
         {federation.istio.deckhouse.io/public-service: \"\"}\nspec: {ports: [{port: 80}]}\n",
        "unnamed_port",
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: shop\n  name: old\n  labels: \
         {federation.istio.deckhouse.io/public-service: \"\"}\nspec: {}\n",
        "no_ports",
    ),
    (
        "apiVersion: v1\nkind: Service\nmetadata: {namespace: shop, name: web}\nspec: {ports: [{name: http, port: 81}]}\n",
        "duplicate_object",
    ),
];

#[test]
fn a_broken_manifest_is_reported_and_the_rest_still_works() {
    scenario("manifests", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let beta = gateway.beta();
        let mut mail = Deployed::greeting(beta, "mail").await?;
        mail.apply(beta, Service::exported)?;
        let mut open = mail.wait_greeting(&gateway.alpha_client, beta).await?;
        for (text, reason) in BROKEN {
            beta.put_manifest(FILE, text)?;
            let reported = async || {
                let findings = beta.status().await?.findings();
                let of_it = |finding: &Finding| {
                    finding.object["source"].as_str().is_some_and(|s| s.contains(FILE))
                };
                Ok(findings.into_iter().find(|finding| finding.reason == reason && of_it(finding)))
            };
            wait::until(&format!("the report of {reason}"), SOON, reported).await?;
            gateway
                .web
                .call(&gateway.alpha_client, beta)
                .await
                .with_context(|| format!("beside {reason}"))?;
            ensure!(
                send_line(&mut open, reason).await? == format!("250 {reason}"),
                "{reason}: the connection was cut"
            );
        }
        beta.remove_manifest(FILE)?;
        beta.wait_no_finding("duplicate_object").await?;
        gateway.web.call(&gateway.gamma_client, beta).await.map(drop)
    });
}

/// The last good content of a broken file stays in force: a typing error is not a revocation.
#[test]
fn a_broken_file_keeps_its_last_good_content() {
    scenario("last-good", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        let beta = gateway.beta();
        let good = gateway.web.service.yaml();
        beta.put_manifest(&gateway.web.service.file(), &good.replace("ports:", "ports: ["))?;
        beta.wait_finding("unreadable").await?;
        gateway.web.call(&gateway.alpha_client, beta).await?;
        // Deleting the file is a revocation.
        beta.remove_manifest(&gateway.web.service.file())?;
        gateway.web.wait_refused(&gateway.alpha_client, beta).await?;
        beta.put_manifest(&gateway.web.service.file(), &good)?;
        gateway.web.wait_reachable(&gateway.alpha_client, beta).await
    });
}
