//! Which tokens of a DKP cluster our exporter accepts.

use crate::{Mixed, PRIVATE, PRIVATE_READY};
use anyhow::{Result, ensure};
use fedgate_e2e::dkp::DkpState;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

/// The answers to delta's requests for our private document, in order.
fn answers(state: &DkpState) -> Vec<&Value> {
    let all = state.0["peers"]["alpha"]["answers"].as_array().map(Vec::as_slice);
    all.unwrap_or_default().iter().filter(|answer| answer["suffix"] == PRIVATE).collect()
}

/// Makes delta poll once with these changes to its token, and returns the answer.
async fn answer_to(mixed: &Mixed, claims: &Value) -> Result<Value> {
    mixed.delta.quirk("claims", claims.clone()).await?;
    let state = mixed.delta.poll().await?;
    Ok(answers(&state).pop().cloned().unwrap_or_default())
}

/// The second from now on by this much.
fn second(from_now: i64) -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX).saturating_add(from_now)
}

/// Every claim that the protocol has is checked, and all refusals look the same: nobody learns from
/// them who is a member.
#[test]
fn a_token_with_a_wrong_claim_is_refused_without_a_reason() {
    scenario("dkp-wrong-claims", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let (uuid, stranger) = (mixed.alpha.uuid(), "99999999-9999-4999-8999-999999999999");
        let wrong = [
            json!({ "aud": stranger }),
            json!({ "aud": [uuid] }),
            json!({ "aud": null }),
            json!({ "scope": "public" }),
            json!({ "scope": null }),
            json!({ "sub": stranger }),
            json!({ "sub": uuid }),
            json!({ "iss": "somebody" }),
            json!({ "exp": second(-200), "nbf": second(-260) }),
            json!({ "exp": second(360), "nbf": second(300) }),
            json!({ "exp": second(3600) }),
            json!({ "exp": null }),
            json!({ "nbf": null }),
        ];
        let mut bodies = BTreeSet::new();
        for claims in wrong {
            let answer = answer_to(&mixed, &claims).await?;
            ensure!(answer["status"] == 401, "{claims}: {answer}");
            bodies.insert(answer["body"].to_string());
        }
        ensure!(bodies.len() == 1, "{bodies:?}");
        let answer = answer_to(&mixed, &json!({})).await?;
        ensure!(answer["status"] == 200, "{answer}");
        Ok(())
    });
}

/// Ed25519 is deterministic and the times are whole seconds, so two polls within a second bring the
/// same token.
#[test]
fn two_polls_within_one_second_are_both_answered() {
    scenario("dkp-same-second", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        let state = mixed.delta.poll_within_a_second(2).await?;
        let answers = answers(&state);
        let last = &answers[answers.len() - 2..];
        ensure!(last.iter().all(|answer| answer["status"] == 200), "{last:#?}");
        ensure!(state.condition("alpha", PRIVATE_READY)[0] == "True");
        Ok(())
    });
}

/// A cluster that signs with another key than it publishes is not who it says.
#[test]
fn a_token_of_another_key_is_refused() {
    scenario("dkp-other-key", async |run: &RunFolder| {
        let mixed = Mixed::paired(run).await?;
        // alpha keeps the key that it has read, because it gets no document any more.
        mixed.delta.change(json!({ "seed": "ab".repeat(32), "quirks": { "status": 500 } })).await?;
        let state = mixed.delta.poll().await?;
        let last = answers(&state).pop().cloned().unwrap_or_default();
        ensure!(last["status"] == 401, "{last}");
        // Once alpha reads the new key, it is accepted: DKP clusters sign nothing, so a new key
        // counts.
        mixed.delta.quirk("status", 200).await?;
        mixed.wait_paired().await.map(drop)
    });
}
