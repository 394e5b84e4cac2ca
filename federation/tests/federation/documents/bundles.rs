//! Roots in the forms that Envoy and SPIFFE read.

use crate::rig::{domain, root, root_until};
use base64::{Engine, prelude::BASE64_STANDARD};
use fedgate_federation::bundle::{TrustBundle, bundle_map};
use fedgate_federation::document::{Limits, SpiffeBundle};
use serde_json::{Value, json};

#[test]
fn a_bundle_map_has_the_form_that_envoy_reads() {
    let (a, b) = (root(), root());
    let bundle = TrustBundle { trust_domain: domain("beta.example"), roots: vec![a.clone(), b] };
    let empty = TrustBundle { trust_domain: domain("gamma.example"), roots: vec![] };
    let map: Value = serde_json::from_slice(&bundle_map([&bundle, &empty])).unwrap();
    assert_eq!(map["trust_domains"].as_object().unwrap().len(), 1);
    let keys = map["trust_domains"]["beta.example"]["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 2);
    assert_eq!((&keys[0]["use"], &keys[0]["kty"]), (&json!("x509-svid"), &json!("EC")));
    assert_eq!(keys[0]["x5c"], json!([BASE64_STANDARD.encode(a.der())]));
}

#[test]
fn a_spiffe_bundle_round_trips() {
    let mut roots = vec![root(), root_until(2030)];
    roots.sort();
    let bundle = SpiffeBundle { sequence: 12, roots };
    assert_eq!(SpiffeBundle::parse(&bundle.to_json(), &Limits::default()).unwrap(), bundle);
    let value: Value = serde_json::from_slice(&bundle.to_json()).unwrap();
    assert_eq!(value["spiffe_sequence"], 12);
    assert_eq!(
        (&value["keys"][0]["kty"], &value["keys"][0]["crv"]),
        (&json!("EC"), &json!("P-256"))
    );
    assert_eq!(value["keys"][0]["x"].as_str().unwrap().len(), 43);
    assert!(SpiffeBundle::parse(b"{\"keys\": []}", &Limits::default()).is_err());
    assert!(SpiffeBundle::parse(b"[]", &Limits::default()).is_err());
}

#[test]
fn keys_with_another_use_in_a_spiffe_bundle_are_ignored() {
    let bundle = SpiffeBundle { sequence: 1, roots: vec![root()] };
    let mut value: Value = serde_json::from_slice(&bundle.to_json()).unwrap();
    value["keys"]
        .as_array_mut()
        .unwrap()
        .push(json!({"use": "jwt-svid", "kty": "EC", "x5c": ["AAAA"]}));
    assert_eq!(
        SpiffeBundle::parse(value.to_string().as_bytes(), &Limits::default()).unwrap(),
        bundle
    );
}
