//! Each side learns of the other, and each calls the other's service.

use crate::{Mixed, PRIVATE, SUCCEEDED};
use anyhow::{Context, ensure};
use fedgate_e2e::client::plain_get;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};

#[test]
fn a_dkp_cluster_and_ours_call_each_other() {
    scenario("dkp-pairing", async |run: &RunFolder| {
        let mixed = Mixed::with_envoys(run).await?;
        let egress = mixed.alpha.wait_import(&mixed.import()).await?;
        let answered = async || {
            let answer = plain_get(egress, &mixed.delta.web()).await?;
            ensure!(answer.status == 200, "{answer:?}");
            Ok(Some(answer.body))
        };
        let body = wait::until("delta's web to answer alpha", SOON, answered).await?;
        ensure!(body == mixed.delta.answer(), "{body}");

        let answered = async || {
            let answer = mixed.delta.call(&mixed.web.host(), 80).await?;
            ensure!(answer["status"] == 200, "{answer}");
            Ok(Some(answer["body"].as_str().context("no body")?.to_owned()))
        };
        let body = wait::until("alpha's web to answer delta", SOON, answered).await?;
        ensure!(body.trim() == mixed.web.identity(), "{body}");
        Ok(())
    });
}

/// A DKP cluster whose operator has not yet created our object refuses our token. That is a state of
/// pairing: we ask again soon, and the message says what is missing.
#[test]
fn a_401_is_a_state_of_pairing() {
    scenario("dkp-401", async |run: &RunFolder| {
        let mixed =
            Mixed::start(run, async |_, delta| delta.quirk("unauthorized", true).await).await?;
        let message = mixed.wait_private(["False", "NonOKResponse"]).await?;
        ensure!(message.contains("401") && message.contains("IstioFederation"), "{message}");
        ensure!(!message.contains("not a federated cluster"), "DKP's own text: {message}");
        mixed.wait_public(SUCCEEDED).await?;
        mixed.delta.wait_asked(PRIVATE, 401, 3).await?;
        ensure!(!mixed.is_imported().await?, "imported from a peer that refuses us");
        mixed.delta.quirk("unauthorized", false).await?;
        mixed.delta.poll().await?;
        mixed.delta.wait_asked(PRIVATE, 200, 1).await?;
        mixed.wait_private(SUCCEEDED).await.map(drop)
    });
}

/// delta learns alpha's key only when it polls alpha itself. Until then its 401 is honest.
#[test]
fn each_side_needs_an_object_for_the_other() {
    scenario("dkp-mutual", async |run: &RunFolder| {
        let mixed = Mixed::start(run, async |_, delta| {
            delta.change(serde_json::json!({ "peers": {} })).await
        })
        .await?;
        let state = mixed.delta.wait_asked(PRIVATE, 401, 2).await?;
        let refused = state.requests(PRIVATE).last().map(|request| request["refused"].clone());
        ensure!(refused == Some("the subject is not a federated cluster".into()), "{refused:?}");
        mixed.delta.know(&mixed.alpha, &mixed.alpha.metadata_url()).await?;
        mixed.wait_paired().await.map(drop)
    });
}
