//! The command line as an operator uses it, with a kubeconfig and as a kubectl plugin.

use crate::fixture::{Pair, exported};
use anyhow::{Context, Result, ensure};
use fedgate_e2e::kubernetes::gateway::GatewayStub;
use fedgate_e2e::kubernetes::{Key, KubernetesCluster, NAMESPACE};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};
use std::process::Output;

fn json_of(output: &Output) -> Result<Value> {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).with_context(|| format!("it printed {errors:?}"))
}

/// The distinct names of failed lines in `fedgate check`, the exit status, and the output.
async fn failures(cluster: &KubernetesCluster) -> Result<(Vec<String>, Option<i32>, Value)> {
    let output = cluster.fedgate(&["check", "--output", "json"]).await?;
    let report = json_of(&output)?;
    let sections = report["sections"].as_array().into_iter().flatten();
    let checks = sections.flat_map(|section| section["checks"].as_array().into_iter().flatten());
    let failed: Vec<_> = checks.filter(|check| check["outcome"] == "failed").collect();
    ensure!(
        failed.iter().all(|check| check["hint"].is_string()),
        "each comes with a hint: {report:#}"
    );
    let mut names: Vec<_> =
        failed.iter().filter_map(|check| check["name"].as_str()).map(str::to_owned).collect();
    names.dedup();
    Ok((names, output.status.code(), report))
}

/// Waits until exactly these lines fail, and checks that the exit status agrees.
async fn wait_failures(cluster: &KubernetesCluster, expected: &[&str]) -> Result<()> {
    let status = if expected.is_empty() { 0 } else { 1 };
    wait::until(&format!("fedgate check to fail in {expected:?}"), SOON, async || {
        let (failed, code, report) = failures(cluster).await?;
        ensure!(
            failed == expected && code == Some(status),
            "{failed:?}, exit status {code:?}: {report:#}"
        );
        Ok(Some(()))
    })
    .await
}

const STATUS: &[&str] = &["status", "--output", "json"];

#[test]
fn check_passes_on_a_healthy_pair_and_names_what_is_broken() {
    scenario("check", async |run: &RunFolder| {
        let mut pair = Pair::start_with(run, &[("FEDGATE_PROBE", "1s")]).await?;
        let alphas = GatewayStub::start(pair.alpha()).await?;
        let betas = GatewayStub::start(pair.beta()).await?;
        let table = json_of(&pair.alpha().fedgate(STATUS).await?)?["table"]["generation"].as_u64();
        let table = table.context("a generation")?;
        alphas.loads(table);
        wait_failures(pair.alpha(), &[]).await?;

        // A gateway without the current table.
        alphas.loads(table - 1);
        wait_failures(pair.alpha(), &["table-loaded"]).await?;
        alphas.loads(table);

        // A missing permission.
        let objects = pair.alpha().objects();
        let binding = Key::namespaced(
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            NAMESPACE,
            "fedgate-imports",
        );
        let bound = objects.get(binding).await?.context("the imports' RoleBinding")?;
        objects.delete(binding).await?;
        wait_failures(pair.alpha(), &["permissions"]).await?;
        let bound = json!({ "apiVersion": bound["apiVersion"], "kind": bound["kind"], "roleRef": bound["roleRef"],
            "subjects": bound["subjects"], "metadata": { "name": "fedgate-imports", "namespace": NAMESPACE } });
        objects.apply_one(&bound).await?;
        wait_failures(pair.alpha(), &[]).await?;

        // A peer's gateway that is unreachable.
        drop(betas);
        wait_failures(pair.alpha(), &["peer-gateway"]).await?;
        let _betas = GatewayStub::start(pair.beta()).await?;
        wait_failures(pair.alpha(), &[]).await?;

        // A peer that no longer knows this cluster.
        pair.beta().remove_peer("alpha").await?;
        wait_failures(pair.alpha(), &["private-metadata"]).await?;
        pair.beta().put_peer(pair.alpha()).await?;
        wait_failures(pair.alpha(), &[]).await?;

        let leader = pair.alpha().leader().await?;
        pair.alpha_mut().stop_replica(&leader).await?;
        wait_failures(pair.alpha(), &["controller-leads"]).await
    });
}

#[test]
fn status_and_explain_agree_with_the_gateway() {
    scenario("status", async |run: &RunFolder| {
        let pair = Pair::start_with(run, &[("FEDGATE_PROBE", "1s")]).await?;
        let dead = pair.alpha().kubectl(&["fedgate", "status"]).await?;
        ensure!(dead.status.code() == Some(1), "no gateway of beta's is there: {dead:?}");
        let _gateway = pair.beta().serve_gateway_certificate().await?;
        let web = exported("own");
        pair.alpha().put_service(&web).await?;
        let ours = format!("{}:80", web.host("alpha.example"));
        wait::until("alpha's table to have its own export", SOON, async || {
            let status = json_of(&pair.alpha().fedgate(STATUS).await?)?;
            ensure!(
                status["table"]["exports"] == 2 && status["table"]["outdated"] == false,
                "{status:#}"
            );
            ensure!(status["peers"][0]["ready"] == true, "{status:#}");
            let import = &status["imports"][0];
            ensure!(
                import["service"] == format!("{}:80", pair.web).as_str()
                    && import["inMesh"] == true,
                "{status:#}"
            );
            Ok(Some(()))
        })
        .await?;
        let well = pair.alpha().kubectl(&["fedgate", "status"]).await?;
        ensure!(
            well.status.success() && String::from_utf8_lossy(&well.stdout).contains("in the mesh"),
            "{well:?}"
        );

        let explains = async |to: &str, from: &str| {
            let output = pair.alpha().fedgate(&["explain", "--to", to, "--from", from]).await?;
            anyhow::Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
        };
        let (code, printed) = explains(&ours, "spiffe://beta.example/ns/shop/sa/cart").await?;
        ensure!(code == Some(0) && printed.contains("passes: granted"), "{printed}");
        let (code, printed) = explains(&ours, "spiffe://gamma.example/ns/shop/sa/cart").await?;
        ensure!(code == Some(1) && printed.contains("does not pass: unknown_peer"), "{printed}");
        let (code, printed) =
            explains("other.shop.svc.alpha.example:80", "spiffe://beta.example/ns/a/sa/b").await?;
        ensure!(code == Some(1) && printed.contains("unknown_service"), "{printed}");

        let table = json_of(&pair.alpha().fedgate(&["table", "--output", "json"]).await?)?;
        let rows = table["exports"].as_array().into_iter().flatten();
        let services: Vec<_> = rows.map(|row| &row["service"]).collect();
        ensure!(services.len() == 2 && services.contains(&&json!(ours.as_str())), "{table:#}");
        Ok(())
    });
}

#[test]
fn missing_permissions_and_wrong_names_are_reported() {
    scenario("reported", async |run: &RunFolder| {
        let pair = Pair::start(run).await?;
        let nobody = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "nobody", "namespace": "default" } });
        pair.alpha().objects().apply_one(&nobody).await?;
        let kubeconfig =
            pair.alpha().plane().service_account_kubeconfig("default", "nobody").await?;
        let kubeconfig = kubeconfig.to_str().context("a path that is text")?;
        for (arguments, expected) in [
            (&["status", "--kubeconfig", kubeconfig][..], "you need a role that lets you list"),
            (
                &["changes", "--kubeconfig", kubeconfig],
                "you need a role that lets you list configmaps in the namespace fedgate-system",
            ),
            (
                &["ui", "--no-browser", "--kubeconfig", kubeconfig],
                "you need a role that lets you list configmaps in the namespace fedgate-system",
            ),
            (
                &["status", "--namespace", "default"],
                "no controller has run in the namespace default",
            ),
            (&["status", "--context", "nowhere"], "nowhere"),
        ] {
            let output = pair.alpha().fedgate(arguments).await?;
            let printed = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.code() == Some(1) && printed.contains(expected),
                "{arguments:?}: {output:?}"
            );
        }
        let both =
            pair.alpha().fedgate(&["status", "--dir", ".", "--namespace", "default"]).await?;
        ensure!(both.status.code() == Some(2), "{both:?}");
        Ok(())
    });
}
