use crate::rig::{at, key, uuid};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use fedgate_federation::document::ClusterUuid;
use fedgate_federation::key::{PublicKey, SigningKey};
use fedgate_federation::token::{
    DEFAULT_LEEWAY, Leeway, MAX_TOKEN_BYTES, ReplayCache, TokenError, TokenSource, VerifiedToken,
    sign, verify,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// The token of peer protocol section 3.
const VECTOR: &str = "eyJhbGciOiJFZERTQSJ9.eyJhdWQiOiIyMjIyMjIyMi1iYmJiLTRiYmItOGJiYi0yMjIyMjIyMjIyMjIiLCJleHAiOjE3NjcyMjU2NjAsImlzcyI6ImQ4LWlzdGlvIiwibmJmIjoxNzY3MjI1NjAwLCJzY29wZSI6InByaXZhdGUtZmVkZXJhdGlvbiIsInN1YiI6IjExMTExMTExLWFhYWEtNGFhYS04YWFhLTExMTExMTExMTExMSJ9.37a9InjLcCFb7oPKDceKq17FlQLNXSavQFx7BK7HD16G8o16xbnFhFJ892f75O1lec1aO9kNeAVN6eKf61jLCQ";

const STRICT: Leeway = Leeway { early: Duration::ZERO, late: Duration::ZERO };

fn vector_key() -> SigningKey {
    SigningKey::from_seed(&std::array::from_fn(|index| index as u8)).unwrap()
}

fn alpha() -> ClusterUuid {
    ClusterUuid::parse("11111111-aaaa-4aaa-8aaa-111111111111").unwrap()
}

fn beta() -> ClusterUuid {
    ClusterUuid::parse("22222222-bbbb-4bbb-8bbb-222222222222").unwrap()
}

/// Verifies as beta, whose only peer is alpha.
fn check(token: &str, now: Timestamp) -> Result<VerifiedToken, TokenError> {
    let keys = |from: &ClusterUuid| -> Option<PublicKey> {
        (*from == alpha()).then(|| vector_key().public())
    };
    verify(token, &beta(), keys, now, STRICT)
}

/// A token with any header and claims, signed with alpha's key.
fn forge(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let der = [
        b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".as_slice(),
        &std::array::from_fn::<u8, 32, _>(|index| index as u8),
    ]
    .concat();
    let key = jsonwebtoken::EncodingKey::from_ed_der(&der);
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &key, jsonwebtoken::Algorithm::EdDSA)
            .unwrap();
    format!("{message}.{signature}")
}

fn eddsa() -> Value {
    json!({"alg": "EdDSA"})
}

fn claims() -> Value {
    let now = at(0).as_second();
    json!({"aud": beta().as_str(), "exp": now + 60, "iss": "d8-istio", "nbf": now, "scope": "private-federation", "sub": alpha().as_str()})
}

fn with(claim: &str, value: Value) -> String {
    let mut claims = claims();
    claims[claim] = value;
    forge(&eddsa(), &claims)
}

fn without(claim: &str) -> String {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(claim);
    forge(&eddsa(), &claims)
}

#[test]
fn signs_the_test_vector() {
    assert_eq!(sign(&vector_key(), &alpha(), &beta(), at(0)).unwrap(), VECTOR);
}

#[test]
fn accepts_the_test_vector() {
    let token = check(VECTOR, at(0)).unwrap();
    assert_eq!(token.subject, alpha());
    assert_eq!(token.acceptable_until, at(60));
    assert!(check(VECTOR, at(59)).is_ok());
}

#[test]
fn a_token_made_by_hand_is_accepted() {
    assert!(check(&forge(&eddsa(), &claims()), at(0)).is_ok());
    assert!(check(&forge(&json!({"alg": "EdDSA", "typ": "JWT"}), &claims()), at(0)).is_ok());
    assert!(check(&with("jti", json!("unknown claims are passed over")), at(0)).is_ok());
}

#[test]
fn validity_is_checked_with_a_leeway() {
    assert_eq!(check(VECTOR, at(-1)), Err(TokenError::NotYetValid));
    assert_eq!(check(VECTOR, at(60)), Err(TokenError::Expired));
    let leeway = Leeway { early: Duration::from_secs(20), late: Duration::from_secs(10) };
    let lenient = |now| verify(VECTOR, &beta(), |_| Some(vector_key().public()), now, leeway);
    assert!(lenient(at(-20)).is_ok() && lenient(at(69)).is_ok());
    assert_eq!(lenient(at(-21)), Err(TokenError::NotYetValid));
    assert_eq!(lenient(at(70)), Err(TokenError::Expired));
    let token = lenient(at(0)).unwrap();
    assert_eq!((token.not_before, token.acceptable_until), (at(0), at(70)));
}

#[test]
fn the_default_leeway_tolerates_clocks_a_minute_apart_and_no_more() {
    let taken = |now| verify(VECTOR, &beta(), |_| Some(vector_key().public()), now, DEFAULT_LEEWAY);
    assert!(taken(at(-60)).is_ok() && taken(at(60)).is_ok());
    assert_eq!(taken(at(-61)), Err(TokenError::NotYetValid));
    assert_eq!(taken(at(70)), Err(TokenError::Expired));
}

#[test]
fn a_lifetime_is_five_minutes_at_most() {
    let now = at(0).as_second();
    assert!(check(&with("exp", json!(now + 300)), at(0)).is_ok());
    for exp in [json!(now + 301), json!(now), json!(now - 1), json!(i64::MAX)] {
        assert_eq!(check(&with("exp", exp.clone()), at(0)), Err(TokenError::Lifetime), "{exp}");
    }
    let mut far = claims();
    far["nbf"] = json!(i64::MAX - 10);
    far["exp"] = json!(i64::MAX);
    assert_eq!(check(&forge(&eddsa(), &far), at(0)), Err(TokenError::Lifetime));
}

#[test]
fn the_audience_must_be_this_cluster_as_one_string() {
    assert_eq!(check(&with("aud", json!(alpha().as_str())), at(0)), Err(TokenError::Audience));
    assert_eq!(check(&with("aud", json!([beta().as_str()])), at(0)), Err(TokenError::Form));
    assert_eq!(check(&with("aud", json!("")), at(0)), Err(TokenError::Audience));
}

#[test]
fn issuer_and_scope_are_fixed() {
    assert_eq!(check(&with("iss", json!("somebody")), at(0)), Err(TokenError::Purpose));
    assert_eq!(check(&with("scope", json!("api")), at(0)), Err(TokenError::Purpose));
}

#[test]
fn each_claim_is_required() {
    for claim in ["aud", "exp", "iss", "nbf", "scope", "sub"] {
        assert_eq!(check(&without(claim), at(0)), Err(TokenError::Form), "{claim}");
    }
    assert_eq!(check(&with("exp", json!(1.5)), at(0)), Err(TokenError::Form));
    let (now, alpha, beta) = (at(0).as_second(), alpha().to_string(), beta().to_string());
    let in_order = json!([beta, now + 60, "d8-istio", now, "private-federation", alpha]);
    assert_eq!(check(&forge(&eddsa(), &in_order), at(0)), Err(TokenError::Form));
    assert_eq!(check(&with("nbf", json!("0")), at(0)), Err(TokenError::Form));
}

#[test]
fn the_header_must_contain_eddsa_and_nothing_else() {
    for header in [
        json!({"alg": "none"}),
        json!({"alg": "HS256"}),
        json!({"alg": "eddsa"}),
        json!({"alg": "EdDSA", "crit": ["exp"]}),
        json!({"alg": "EdDSA", "jwk": {"kty": "OKP"}}),
        json!({"alg": "EdDSA", "kid": "1"}),
        json!({"typ": "JWT"}),
        json!("EdDSA"),
    ] {
        assert_eq!(check(&forge(&header, &claims()), at(0)), Err(TokenError::Header), "{header}");
    }
}

#[test]
fn the_subject_must_be_a_peer_and_the_signer() {
    assert_eq!(
        check(&with("sub", json!(uuid('9').as_str())), at(0)),
        Err(TokenError::UnknownSubject)
    );
    assert_eq!(check(&with("sub", json!("no uuid")), at(0)), Err(TokenError::UnknownSubject));
    let by_another = sign(&key(9), &alpha(), &beta(), at(0)).unwrap();
    assert_eq!(check(&by_another, at(0)), Err(TokenError::Signature));
    let (message, _) = VECTOR.rsplit_once('.').unwrap();
    assert_eq!(check(&format!("{message}."), at(0)), Err(TokenError::Signature));
    assert_eq!(check(&VECTOR.replace("37a9", "47a9"), at(0)), Err(TokenError::Signature));
}

#[test]
fn text_that_is_not_a_token_is_refused() {
    for text in ["", ".", "a.b", "a.b.c", "a.b.c.d", "ä.ö.ü", &format!("{VECTOR}.x")] {
        assert_eq!(check(text, at(0)), Err(TokenError::Form), "{text}");
    }
    assert_eq!(check(&"a".repeat(MAX_TOKEN_BYTES + 1), at(0)), Err(TokenError::TooLong));
}

#[test]
fn no_two_issued_tokens_are_the_same() {
    let mut source = TokenSource::default();
    let mut tokens: Vec<_> =
        (0..5).map(|_| source.issue(&vector_key(), &alpha(), &beta(), at(0)).unwrap()).collect();
    for token in &tokens {
        assert!(
            verify(token, &beta(), |_| Some(vector_key().public()), at(0), DEFAULT_LEEWAY).is_ok()
        );
    }
    tokens.dedup();
    assert_eq!(tokens.len(), 5);
    // Each audience counts separately, and the clock catches up.
    assert_eq!(
        source.issue(&vector_key(), &alpha(), &uuid('3'), at(0)),
        sign(&vector_key(), &alpha(), &uuid('3'), at(0))
    );
    assert_eq!(
        source.issue(&vector_key(), &alpha(), &beta(), at(5)),
        sign(&vector_key(), &alpha(), &beta(), at(5))
    );
}

#[test]
fn after_the_clock_was_set_back_far_tokens_follow_it() {
    let mut source = TokenSource::default();
    source.issue(&vector_key(), &alpha(), &beta(), at(10_000)).unwrap();
    let token = source.issue(&vector_key(), &alpha(), &beta(), at(0)).unwrap();
    assert_eq!(token, VECTOR);
}

#[test]
fn a_token_is_accepted_once() {
    let mut cache = ReplayCache::new(2);
    let token = check(VECTOR, at(0)).unwrap();
    assert_eq!(cache.accept(&token, at(0)), Ok(()));
    assert_eq!(cache.accept(&token, at(1)), Err(TokenError::Replayed));
    // Another spelling of its signature does not make another token.
    let with_type =
        check(&forge(&json!({"alg": "EdDSA", "typ": "JWT"}), &claims()), at(0)).unwrap();
    assert_eq!(cache.accept(&with_type, at(1)), Ok(()));
}

/// Two polls of a DKP cluster within one second carry the same token.
#[test]
fn the_same_token_is_accepted_a_few_times_within_a_second() {
    let mut cache = ReplayCache::new(2);
    let token = check(VECTOR, at(0)).unwrap();
    let milliseconds = |count| at(0).checked_add(jiff::SignedDuration::from_millis(count)).unwrap();
    assert_eq!(cache.accept(&token, milliseconds(300)), Ok(()));
    assert_eq!(cache.accept(&token, milliseconds(1299)), Ok(()));
    assert_eq!(cache.accept(&token, milliseconds(1300)), Err(TokenError::Replayed));
    assert_eq!(
        cache.accept(&token, milliseconds(299)),
        Err(TokenError::Replayed),
        "a clock that was set back"
    );
    let outcomes: Vec<_> =
        (0..4).map(|_| cache.accept(&token, milliseconds(400)).is_ok()).collect();
    assert_eq!(outcomes, [true, true, false, false]);
}

#[test]
fn a_replay_cache_is_bounded_for_each_peer() {
    let mut cache = ReplayCache::new(2);
    let token = |seconds| {
        check(&sign(&vector_key(), &alpha(), &beta(), at(seconds)).unwrap(), at(seconds)).unwrap()
    };
    assert_eq!(cache.accept(&token(0), at(0)), Ok(()));
    assert_eq!(cache.accept(&token(1), at(1)), Ok(()));
    assert_eq!(cache.accept(&token(2), at(2)), Err(TokenError::TooMany));
    let others = verify(
        &sign(&key(9), &uuid('9'), &beta(), at(2)).unwrap(),
        &beta(),
        |_| Some(key(9).public()),
        at(2),
        STRICT,
    );
    assert_eq!(cache.accept(&others.unwrap(), at(2)), Ok(()));
    // Expired tokens make room; the others are still remembered.
    assert_eq!(cache.accept(&token(60), at(60)), Ok(()));
    assert_eq!(cache.accept(&token(1), at(60)), Err(TokenError::Replayed));
    cache.keep_only(|peer| *peer != alpha());
    assert_eq!(cache.accept(&token(60), at(60)), Ok(()));
}
