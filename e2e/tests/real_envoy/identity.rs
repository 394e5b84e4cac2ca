//! An identity is accepted only if it is valid and its root belongs to its trust domain.

use crate::fixture::Gateway;
use anyhow::{Context, Result, ensure};
use fedgate_e2e::authority::{Authority, Identity, Leaf};
use fedgate_e2e::client::Client;
use fedgate_e2e::envoy::access_log::Entry;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

/// What happens to a client.
enum Fate {
    Allowed,
    /// Refused by the filter with this reason.
    Refused(&'static str),
    /// Refused during the handshake.
    NoHandshake,
}

#[test]
fn a_certificate_is_accepted_only_from_a_root_of_its_own_trust_domain() {
    scenario("identity", async |run: &RunFolder| {
        let gateway = Gateway::start(run).await?;
        for (what, identity, fate) in cases(&gateway)? {
            check(&gateway, identity.as_ref(), fate)
                .await
                .with_context(|| format!("a client with {what}"))?;
        }
        Ok(())
    });
}

type Case = (&'static str, Option<Identity>, Fate);

fn cases(gateway: &Gateway) -> Result<Vec<Case>> {
    use Fate::{Allowed, NoHandshake, Refused};
    let (alpha, beta, gamma) = (gateway.alpha(), gateway.beta(), gateway.gamma());
    let (a, g) = (alpha.authority(), gamma.authority());
    let (name, other) = (alpha.spiffe_id("cart"), gamma.spiffe_id("cart"));
    let leaf = Leaf::new;
    let cases = [
        ("its own name", Some(a.workload(&name)?), Allowed),
        (
            "its own name, by an intermediate",
            Some(a.intermediate("inner")?.workload(&name)?),
            Allowed,
        ),
        ("another peer's name", Some(g.workload(&name)?), NoHandshake),
        (
            "another peer's name, by an intermediate",
            Some(g.intermediate("root of alpha")?.workload(&name)?),
            NoHandshake,
        ),
        (
            "a name of this cluster, by a peer",
            Some(a.workload(&beta.spiffe_id("cart"))?),
            NoHandshake,
        ),
        ("a name of this cluster, by this cluster", Some(beta.workload()?), NoHandshake),
        (
            "a name and a stranger's root",
            Some(Authority::root("root of alpha")?.workload(&name)?),
            NoHandshake,
        ),
        (
            "an unknown trust domain",
            Some(a.workload("spiffe://delta.example/ns/shop/sa/cart")?),
            NoHandshake,
        ),
        (
            "a trust domain in capitals",
            Some(a.workload("spiffe://ALPHA.example/ns/shop/sa/cart")?),
            NoHandshake,
        ),
        (
            "two names, its own first",
            Some(g.sign(&leaf().uri(&other)?.uri(&name)?)?),
            Refused("bad_identity"),
        ),
        (
            "its own name twice",
            Some(a.sign(&leaf().uri(&name)?.uri(&name)?)?),
            Refused("bad_identity"),
        ),
        (
            "its own name and an empty one",
            Some(a.sign(&leaf().uri(&name)?.uri("")?)?),
            Refused("bad_identity"),
        ),
        (
            "its own name and a comma",
            Some(a.workload(&format!("{name},"))?),
            Refused("bad_identity"),
        ),
        (
            "its own name and a NUL",
            Some(a.workload(&format!("{name}\0"))?),
            Refused("bad_identity"),
        ),
        (
            "a name of 10,000 bytes",
            Some(a.workload(&format!("{name}/{}", "a".repeat(10_000)))?),
            Refused("bad_identity"),
        ),
        ("the word of an earlier listener", Some(a.workload("finished")?), NoHandshake),
        ("the sign for no name", Some(a.workload("-")?), NoHandshake),
        (
            "two names, the other first",
            Some(g.sign(&leaf().uri(&name)?.uri(&other)?)?),
            NoHandshake,
        ),
        (
            "no SPIFFE ID but a path that climbs",
            Some(a.workload("spiffe://alpha.example/ns/../x")?),
            Refused("bad_identity"),
        ),
        ("a name without a path", Some(a.workload("spiffe://alpha.example")?), NoHandshake),
        ("a DNS name only", Some(a.sign(&leaf().dns("cart.alpha.example")?)?), NoHandshake),
        ("no name at all", Some(a.sign(&leaf())?), NoHandshake),
        ("an expired certificate", Some(a.sign(&leaf().uri(&name)?.expired())?), NoHandshake),
        ("a CA's certificate", Some(a.sign(&leaf().uri(&name)?.with_ca_flag())?), NoHandshake),
        ("no certificate", None, NoHandshake),
    ];
    Ok(cases.into())
}

async fn check(gateway: &Gateway, identity: Option<&Identity>, fate: Fate) -> Result<()> {
    let client = Client::new(identity)?;
    let log = gateway.beta().access_log()?;
    match fate {
        Fate::Allowed => {
            gateway.web.call(&client, gateway.beta()).await?;
            let as_alpha = |entry: &Entry| {
                entry.reason.as_deref() == Some("granted") && entry.peer.as_deref() == Some("alpha")
            };
            log.wait_for("a connection that is granted to alpha", as_alpha).await?;
        }
        Fate::Refused(reason) => {
            gateway.web.refuses(&client, gateway.beta()).await?;
            log.wait_for_reason(reason).await?;
        }
        Fate::NoHandshake => {
            gateway.web.refuses(&client, gateway.beta()).await?;
            let entry =
                log.wait_for("a failed handshake", |entry| entry.tls_failure.is_some()).await?;
            ensure!(entry.reason.is_none() && entry.endpoint.is_none(), "{entry:?}");
        }
    }
    Ok(())
}
