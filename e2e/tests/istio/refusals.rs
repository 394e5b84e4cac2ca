//! What the gateway refuses, with the reason in its access log; and what the same client may do.

use super::fixture::{Pair, of_delivery, run};
use anyhow::{Context, Result};
use fedgate_e2e::authority::Identity;
use fedgate_e2e::client::Client;
use fedgate_e2e::envoy::access_log::Entry;
use fedgate_e2e::istio;
use fedgate_e2e::manifest::{Service, policy};
use fedgate_e2e::wait::{self, SOON};

/// A call and the reason for its refusal.
struct Refusal<'a> {
    what: &'a str,
    caller: Option<&'a Identity>,
    sni: String,
    reason: &'a str,
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_reason_in_the_access_log() -> Result<()> {
    refusals("EnvoyFilter").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_native_filter_refuses_the_same_for_the_same_reasons() -> Result<()> {
    refusals("DynamicModule").await
}

async fn refusals(delivery: &str) -> Result<()> {
    let run = run(&format!("refusals-{delivery}"))?;
    let pair = Pair::start_with(&run, &of_delivery(delivery)).await?;
    let (alpha, beta) = (&pair.alpha.cluster, &pair.beta.cluster);
    let target = pair.backend.address();
    let hidden = Service::new("hidden", "http", 80, target);
    let for_others = Service::new("others", "http", 80, target).exported().for_peers("gamma");
    let for_one = Service::new("ledger", "http", 80, target).exported();
    for service in [&hidden, &for_others, &for_one] {
        beta.put_service(service).await?;
    }
    let callers = r#"{peers: [alpha], callers: [{namespace: shop, serviceAccount: clerk}]}"#;
    beta.objects().apply(&policy("alpha", callers)).await?;

    let alphas = |account: &str| {
        alpha.authority().workload(&format!("spiffe://alpha.example/ns/shop/sa/{account}"))
    };
    let (clerk, stranger) = (alphas("clerk")?, alphas("stranger")?);
    let delta = fedgate_e2e::authority::Authority::root("delta")?;
    let nobody = delta.workload("spiffe://delta.example/ns/shop/sa/clerk")?;
    let forged = delta.workload("spiffe://alpha.example/ns/shop/sa/clerk")?;
    let own = beta.authority().workload("spiffe://beta.example/ns/shop/sa/clerk")?;
    let sni = |service: &Service| service.sni("beta.example");

    let gateway = pair.beta.gateway_address();
    let host = for_one.host("beta.example");
    wait::until("ledger to answer its clerk", SOON, async || {
        let answer = Client::new(Some(&clerk))?.get(gateway, &sni(&for_one), &host).await?;
        anyhow::ensure!(answer.status == 200, "{answer:?}");
        Ok(Some(()))
    })
    .await?;
    // The clerk is answered without the policy as well.
    let log = pair.beta_log()?;
    let refused = async || {
        let answer = Client::new(Some(&stranger))?.get(gateway, &sni(&for_one), &host).await;
        anyhow::ensure!(answer.is_err(), "the policy is not in force: {answer:?}");
        Ok(())
    };
    log.call_until("caller_not_granted", refused).await?;
    pair.beta.wait_tables().await?;

    let before = pair.backend.connections();
    let refusals = [
        Refusal {
            what: "not labelled",
            caller: Some(&clerk),
            sni: sni(&hidden),
            reason: "unknown_service",
        },
        Refusal {
            what: "no such service",
            caller: Some(&clerk),
            sni: "outbound_.80_._.x.shop.svc.beta.example".into(),
            reason: "unknown_service",
        },
        Refusal {
            what: "no name of the mesh",
            caller: Some(&clerk),
            sni: "x.beta.example".into(),
            reason: "bad_sni",
        },
        Refusal {
            what: "not granted",
            caller: Some(&clerk),
            sni: sni(&for_others),
            reason: "not_granted",
        },
        Refusal {
            what: "wrong caller",
            caller: Some(&stranger),
            sni: sni(&for_one),
            reason: "caller_not_granted",
        },
        Refusal {
            what: "our own, who is no peer",
            caller: Some(&own),
            sni: sni(&for_one),
            reason: "no_trust_bundle_store",
        },
        Refusal {
            what: "nobody's root",
            caller: Some(&nobody),
            sni: sni(&for_one),
            reason: "no_trust_bundle_store",
        },
        Refusal {
            what: "alpha's name, nobody's root",
            caller: Some(&forged),
            sni: sni(&for_one),
            reason: "unable_to_get_local_issuer_certificate",
        },
        Refusal {
            what: "no certificate",
            caller: None,
            sni: sni(&for_one),
            reason: "PEER_DID_NOT_RETURN_A_CERTIFICATE",
        },
    ];
    for refusal in refusals {
        let log = pair.beta_log()?;
        let Refusal { what, caller, sni, reason } = refusal;
        let answer = Client::new(caller)?.get(gateway, &sni, &host).await;
        anyhow::ensure!(answer.is_err(), "{what}: expected a refusal, found {answer:?}");
        let gives_reason = |entry: &Entry| {
            entry.reason.as_deref() == Some(reason)
                || entry.tls_failure.as_ref().is_some_and(|text| text.contains(reason))
        };
        log.wait_for(reason, gives_reason).await.with_context(|| what.to_owned())?;
    }
    assert_eq!(pair.backend.connections(), before, "a refused connection reached the back end");

    // The same through sidecars: the clerk's call is answered, the stranger's is refused.
    let import = istio::Import { host: host.clone(), port: 80, protocol: "HTTP" };
    let clerk = istio::Client::start(&pair.alpha, "clerk", std::slice::from_ref(&import)).await?;
    let stranger = istio::Client::start(&pair.alpha, "stranger", &[import]).await?;
    let ask = async |client: &istio::Client| {
        let name = host.clone();
        client
            .call(&host, 80, move |address| async move {
                fedgate_e2e::client::plain_get(address, &name).await
            })
            .await
    };
    wait::until_true("the clerk to be answered", SOON, async || {
        Ok(ask(&clerk).await?.status == 200)
    })
    .await?;
    let log = pair.beta_log()?;
    let refused = async || {
        let answer = ask(&stranger).await?;
        anyhow::ensure!(answer.status == 503, "{answer:?}");
        Ok(())
    };
    log.call_until("caller_not_granted", refused).await.map(drop)
}
