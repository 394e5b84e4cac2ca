//! Members that share a priority.

use super::super::fixture::run;
use super::trio::{MAIL, Trio, WEB, answered_by, wait_answers};
use anyhow::{Result, ensure};
use fedgate_e2e::istio::Client;
use fedgate_e2e::wait::SOON;
use serde_json::json;
use std::collections::BTreeMap;

const CALLS: usize = 200;

/// How many of many calls each cluster answers.
async fn shares(client: &Client, name: &str) -> Result<BTreeMap<String, usize>> {
    let mut shares = BTreeMap::new();
    for _ in 0..CALLS {
        *shares.entry(answered_by(client, name).await?).or_default() += 1;
    }
    println!("{name}: {shares:?}");
    Ok(shares)
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_one_priority_share_calls_by_weight() -> Result<()> {
    let run = run("federated-sharing")?;
    let mut trio = Trio::start(&run).await?;
    let members = json!([
        { "peers": ["beta"], "priority": 0, "weight": 3 },
        { "peers": ["gamma"], "priority": 0, "weight": 1 },
        { "local": {} },
    ]);
    trio.put_web(members, &["beta", "gamma", "local"]).await?;
    let members = json!([{ "peers": ["beta", "gamma"] }]);
    trio.put("mail", ("smtp", 25), members, &["beta", "gamma"]).await?;
    let client = trio.client().await?;
    for name in [WEB, MAIL] {
        wait_answers(&client, name, "beta").await?;
        wait_answers(&client, name, "gamma").await?;
    }
    let (web, mail) = (shares(&client, WEB).await?, shares(&client, MAIL).await?);
    // Expected are 150 and 100; a share of less than 120 or 60 has a chance below one in a million.
    ensure!(web["beta"] > 120 && web["gamma"] > 20 && !web.contains_key("alpha"), "{web:?}");
    ensure!(mail["beta"] > 60 && mail["gamma"] > 60, "{mail:?}");

    // The other one takes the share of the one that died.
    trio.gamma.stop_gateways().await?;
    wait_answers(&client, WEB, "beta").await?;
    for name in [WEB, MAIL] {
        let all = fedgate_e2e::wait::until("beta to answer everything", SOON, async || {
            let shares = shares(&client, name).await?;
            Ok((shares.get("beta") == Some(&CALLS)).then_some(()))
        });
        all.await?;
    }
    Ok(())
}
