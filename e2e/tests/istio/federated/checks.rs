//! Health checks: workloads that die behind a gateway that works.

use super::super::fixture::run;
use super::super::load::Load;
use super::trio::{FAILOVER, MAIL, Trio, WEB, answered_by, leads_to, wait_answers, wait_only};
use anyhow::{Result, ensure};
use fedgate_e2e::backend::Backend;
use fedgate_e2e::istio::Client;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::{programs, wait};
use serde_json::{Value, json};
use std::time::Duration;

/// Ends the back end of beta with this index among those of the trio.
async fn kill(trio: &mut Trio, index: usize) -> Result<()> {
    let none = Backend::http("none", "beta").await?;
    std::mem::replace(&mut trio.backends[index], none).stop().await;
    Ok(())
}

async fn wait_checked(client: &Client, what: &str) -> Result<()> {
    client.agent().wait_configured("/config_dump?resource=dynamic_active_clusters", what).await
}

/// What `istioctl proxy-config endpoints` shows of a peer's `web`, as a table and as JSON. It is given
/// the sidecar's answer in a file, because no kubelet forwards its port.
async fn endpoints(run: &RunFolder, client: &Client, peer: &str) -> Result<(String, Value)> {
    let file = run.path().join("clusters.json");
    std::fs::write(&file, client.agent().ask("/clusters?format=json").await?)?;
    let show = async |output: &str| -> Result<String> {
        let output = tokio::process::Command::new(programs::istioctl()?)
            .args(["proxy-config", "endpoints", "--output", output, "--file"])
            .arg(&file)
            .args(["--cluster", &format!("outbound|80||web.shop.svc.{peer}.example")])
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    };
    Ok((show("short").await?, serde_json::from_str(&show("json").await?)?))
}

/// Waits until istioctl shows that the health check of a peer's `web` fails, or that it does not, as
/// `docs/failover.md` says.
async fn wait_shown(run: &RunFolder, client: &Client, peer: &str, fails: bool) -> Result<()> {
    wait::until_true(&format!("istioctl to show {fails} for {peer}"), FAILOVER * 5, async || {
        let (table, json) = endpoints(run, client, peer).await?;
        let health = &json[0]["hostStatuses"][0]["healthStatus"];
        // The table has the word of istiod, which knows nothing of checks.
        ensure!(table.contains("HEALTHY") && !table.contains("UNHEALTHY"), "{table}");
        ensure!(health.is_object(), "{json:#}");
        Ok((health["failedActiveHealthCheck"] == true) == fails)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_workloads_are_dead_is_left_if_it_is_checked() -> Result<()> {
    let run = run("federated-checks")?;
    let mut trio = Trio::start(&run).await?;
    let members = json!([{ "peers": ["beta"] }, { "peers": ["gamma"] }]);
    let in_use = ["beta", "gamma"];
    trio.put_mail().await?;
    let web = json!({ "name": "http", "port": 80, "healthCheck": { "path": "/healthz" } });
    trio.put_port("web", web, members.clone(), &in_use).await?;
    let client = trio.client_that_retries().await?;
    wait_checked(&client, "/healthz").await?;
    for name in [WEB, MAIL] {
        wait_answers(&client, name, "beta").await?;
    }

    // HTTP, with retries: no request fails, neither when the workloads die nor when they are back.
    let address = trio.backends[0].address();
    let mut times = Vec::new();
    let deaths = async {
        for _ in 0..2 {
            kill(&mut trio, 0).await?;
            times.push(leads_to(&client, WEB, "gamma").await?);
            let stays = async || Ok(answered_by(&client, WEB).await? == "gamma");
            wait::stays("gamma answers", Duration::from_secs(3), stays).await?;
            wait_shown(&run, &client, "beta", true).await?;
            wait_shown(&run, &client, "gamma", false).await?;
            trio.backends[0] = Backend::http_again(address, "web", "beta").await?;
            wait_only(&client, WEB, "beta").await?;
            let stays = async || Ok(answered_by(&client, WEB).await? == "beta");
            wait::stays("beta answers", Duration::from_secs(3), stays).await?;
            wait_shown(&run, &client, "beta", false).await?;
        }
        Ok(())
    };
    Load::default().beside(&client, WEB, deaths).await?;
    ensure!(times.iter().any(|took| *took < FAILOVER), "gamma answers only after {times:?}");

    // TCP. Without a check, calls go on to beta, whose gateway works.
    kill(&mut trio, 1).await?;
    let fails = async || Ok(answered_by(&client, MAIL).await.is_err());
    wait::stays("calls fail", FAILOVER, fails).await?;
    let mail =
        json!({ "name": "smtp", "port": 25, "healthCheck": { "tcp": { "expect": "220 " } } });
    trio.put_port("mail", mail, members, &in_use).await?;
    wait_answers(&client, MAIL, "gamma").await
}
