//! Roots of a peer that cannot be used, each with its condition.

use crate::mistakes::{leaf_and_short_rsa, pem_of_roots};
use crate::rig::{Rig, at, ca_parameters, condition_of, peer, public, root, root_until};
use fedgate_federation::bundle::Root;
use fedgate_federation::document::Limits;
use fedgate_federation::federate::{Condition, ConditionStatus, ConditionType};
use fedgate_federation::knowledge::Absorbed;

/// What alpha makes of beta's `rootCA`.
fn judged(root_ca: &str) -> (Absorbed, Condition, Condition, bool) {
    let mut rig = Rig::new();
    let document = public('2', b'2', "beta.example", vec![root()]);
    let mut body: serde_json::Value = serde_json::from_slice(&document.to_json()).unwrap();
    body["rootCA"] = root_ca.into();
    let beta = peer("beta", "beta.example");
    let (body, limits) = (body.to_string(), Limits::default());
    let absorbed =
        rig.known("beta").absorb_public(&beta, body.as_bytes(), Default::default(), &limits, at(1));
    let federation = rig.federate();
    let condition = |kind| condition_of(&federation, "beta", kind);
    let roots = condition(ConditionType::RootsValid);
    let exchange = condition(ConditionType::PublicMetadataExchangeReady);
    let trusted = federation.bundles.contains_key(&crate::rig::domain("beta.example"));
    (absorbed, roots, exchange, trusted)
}

/// A root that is valid from 2099 on.
fn future() -> Root {
    let mut parameters = ca_parameters(2100);
    parameters.not_before = rcgen::date_time_ymd(2099, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    Root::from_der(parameters.self_signed(&key).unwrap().der()).unwrap()
}

#[test]
fn a_root_that_cannot_be_used_is_named_and_the_others_are_used() {
    let (leaf, weak) = leaf_and_short_rsa();
    let good = root().to_pem();
    for (bad, reason, says) in [
        (root_until(2021).to_pem(), "ExpiredRoot", "expired at"),
        (future().to_pem(), "RootNotYetValid", "compare the clocks"),
        (leaf, "InvalidRoot", "not a CA's"),
        (weak, "InvalidRoot", "an RSA key of 1024 bits"),
    ] {
        let (absorbed, roots, exchange, trusted) = judged(&format!("{good}{bad}"));
        assert!(absorbed.is_taken(), "{reason}: {absorbed:?}");
        assert_eq!((roots.status, roots.reason.as_str()), (ConditionStatus::False, reason));
        assert!(roots.message.contains(says), "{}", roots.message);
        assert_eq!(exchange.status, ConditionStatus::True);
        assert!(trusted, "{reason}: the good root is used");
    }
    // The twin.
    let (_, roots, _, _) = judged(&good);
    assert_eq!((roots.status, roots.reason.as_str()), (ConditionStatus::True, "Valid"));
}

#[test]
fn an_intermediate_without_its_root_is_named() {
    let (issuer, key) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
    let named = |name: &str| {
        let mut parameters = ca_parameters(2100);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters
    };
    let issuer = rcgen::Issuer::new(named("the root"), issuer);
    let intermediate = named("the intermediate").signed_by(&key, &issuer).unwrap().pem();
    let (_, roots, _, trusted) = judged(&format!("{}{intermediate}", root().to_pem()));
    assert_eq!((roots.reason.as_str(), trusted), ("IntermediateRoot", true));
}

#[test]
fn without_a_good_root_or_with_too_many_the_known_ones_stay() {
    let (leaf, weak) = leaf_and_short_rsa();
    let hundred = pem_of_roots(100);
    for (bad, says) in [
        (leaf.as_str(), "not a CA's"),
        (&weak, "an RSA key of 1024 bits"),
        (&hundred, "expected at most 16 certificates, found 100"),
    ] {
        let (absorbed, _, exchange, trusted) = judged(bad);
        assert!(matches!(absorbed, Absorbed::Refused(_)), "{absorbed:?}");
        assert_eq!(exchange.status, ConditionStatus::False);
        assert_eq!(exchange.reason, "InvalidPublicMetadata");
        assert!(exchange.message.contains(says), "{}", exchange.message);
        assert!(trusted, "the known root is used");
    }
}
