//! Documents are signed, and once a peer has signed, nothing less is believed.

use crate::rig::{
    Rig, TIMES, at, condition_of, found, key, name, offered, private, root, the, uuid,
};
use fedgate_federation::bundle::Fingerprint;
use fedgate_federation::document::{ClusterUuid, Limits, PrivateDocument, PublicDocument, TrustId};
use fedgate_federation::federate::{ConditionStatus, ConditionType};
use fedgate_federation::key::SigningKey;
use fedgate_federation::knowledge::{Absorbed, Delivery, DocumentKind, PeerKnowledge};
use fedgate_federation::object::{
    APPROVE_ANNOTATION, Peer, ROOT_CHANGE_ANNOTATION, UNSIGNED_ANNOTATION,
};
use fedgate_federation::signature::{LIFETIME, SignatureError, Signatures, Statement, sign};
use fedgate_federation::token::{self, DEFAULT_LEEWAY};
use fedgate_federation::{FindingReason as Reason, Severity};
use jiff::Timestamp;

/// What beta signs with at first: the rig's key for it.
pub(crate) const BETA: u8 = b'2';

pub(crate) fn header(key: &SigningKey, statement: &Statement, now: Timestamp) -> String {
    sign(key, statement, now).unwrap()
}

pub(crate) fn delivery(header: &str) -> Delivery {
    Delivery {
        etag: Some("\"x\"".to_owned()),
        signatures: Some(Signatures::parse(header.as_bytes())),
        reader: Some(uuid('1')),
    }
}

pub(crate) fn of_public(document: &PublicDocument, sequence: u64) -> Statement {
    Statement {
        kind: DocumentKind::Public,
        issuer: document.cluster_uuid.clone(),
        audience: None,
        sequence,
        digest: Fingerprint::of(&document.to_json()),
    }
}

fn of_private(document: &PrivateDocument) -> Statement {
    Statement {
        kind: DocumentKind::Private,
        issuer: uuid('2'),
        audience: Some(uuid('1')),
        sequence: document.extension.as_ref().map_or(0, |extension| extension.sequence),
        digest: Fingerprint::of(&document.to_json()),
    }
}

/// alpha, which knows beta but has seen no signature of it.
pub(crate) struct Reader(pub(crate) Rig);

impl Reader {
    pub(crate) fn new() -> Self {
        Self(Rig::new())
    }

    /// The same, after beta has signed both of its documents.
    pub(crate) fn of_signer() -> Self {
        let mut reader = Self::new();
        let known = reader.known();
        assert_eq!(reader.public(&known, BETA, 10, 1), Absorbed::Confirmed);
        let document = reader.private_document();
        let statement = of_private(&document);
        let signed = header(&key(BETA), &statement, at(1));
        assert_eq!(reader.private(&document, delivery(&signed), 1), Absorbed::Confirmed);
        reader
    }

    pub(crate) fn annotate(&mut self, annotation: &str, value: impl ToString) {
        self.0.object("beta").annotations.insert(annotation.to_owned(), value.to_string());
    }

    pub(crate) fn peer(&mut self) -> Peer {
        Peer::parse(self.0.object("beta")).unwrap().0
    }

    pub(crate) fn known(&self) -> PublicDocument {
        self.0.knowledge[&name("beta")].public.as_ref().unwrap().document.clone()
    }

    pub(crate) fn private_document(&self) -> PrivateDocument {
        self.0.knowledge[&name("beta")].private.as_ref().unwrap().document.clone()
    }

    pub(crate) fn deliver(
        &mut self,
        document: &PublicDocument,
        delivery: Delivery,
        now: i64,
    ) -> Absorbed {
        let peer = self.peer();
        self.0.now = at(now);
        let limits = Limits::default();
        self.0.known("beta").absorb_public(&peer, &document.to_json(), delivery, &limits, at(now))
    }

    /// A public document, signed with the key of this seed.
    pub(crate) fn public(
        &mut self,
        document: &PublicDocument,
        seed: u8,
        sequence: u64,
        now: i64,
    ) -> Absorbed {
        let signed = header(&key(seed), &of_public(document, sequence), at(now));
        self.deliver(document, delivery(&signed), now)
    }

    pub(crate) fn private(
        &mut self,
        document: &PrivateDocument,
        delivery: Delivery,
        now: i64,
    ) -> Absorbed {
        let peer = self.peer();
        self.0.now = at(now);
        let (body, limits) = (document.to_json(), Limits::default());
        self.0.known("beta").absorb_private(&peer, &body, delivery, &limits, &TIMES, at(now))
    }

    pub(crate) fn not_modified(
        &mut self,
        kind: DocumentKind,
        delivery: &Delivery,
        now: i64,
    ) -> Absorbed {
        let peer = self.peer();
        self.0.now = at(now);
        self.0.known("beta").absorb_not_modified(&peer, kind, delivery, at(now))
    }

    /// Asserts that something was refused and is told as unsigned, and that what was known stays.
    #[track_caller]
    pub(crate) fn refused(&self, absorbed: &Absorbed, before: &PublicDocument, says: &str) {
        assert!(matches!(absorbed, Absorbed::Refused(_)), "{absorbed:?}");
        assert_eq!(&self.known(), before);
        let findings = self.0.federate().findings;
        let told = the(&findings, Reason::UnsignedDocument);
        assert_eq!(told.severity, Severity::Error);
        assert!(told.message.contains(says), "{told}");
    }
}

fn services(count: usize) -> PrivateDocument {
    let row = |n| offered(&format!("s{n}.shop.svc.beta.example"), &[("http", 80)]);
    private(2, &["192.0.2.9"], (0..count).map(row).collect())
}

#[test]
fn a_signed_change_takes_effect_by_itself_if_the_roots_overlap() {
    let mut reader = Reader::of_signer();
    let mut both = reader.known();
    both.roots.push(root());
    both.roots.sort();
    assert!(reader.public(&both, BETA, 11, 20).is_taken());
    let findings = reader.0.federate().findings;
    assert_eq!(the(&findings, Reason::RootsChanged).severity, Severity::Info);

    // A new key, signed by the old one.
    let next = PublicDocument { authn_key: key(99).public(), ..both.clone() };
    assert!(reader.public(&next, BETA, 12, 30).is_taken());
    assert_eq!(reader.public(&next, 99, 12, 40), Absorbed::Confirmed);
    // The old key vouches for nothing any more.
    let mut back = both.clone();
    back.roots.push(root());
    back.roots.sort();
    assert!(matches!(reader.public(&back, BETA, 13, 50), Absorbed::Held(_)));

    // Signed, but without any known root: whoever has stolen the key gets no further.
    let other = PublicDocument { roots: vec![root()], ..next.clone() };
    assert!(matches!(reader.public(&other, 99, 14, 60), Absorbed::Held(_)));
    let why = reader.0.known("beta").held_trust.clone().unwrap().why;
    assert!(why.contains("none of the known roots"), "{why}");
    assert_eq!(reader.known(), next);
}

#[test]
fn what_the_known_key_has_not_signed_is_held() {
    let mut with_root = Reader::new().known();
    for signed in [false, true] {
        let mut reader = Reader::of_signer();
        let known = reader.known();
        with_root.clone_from(&known);
        with_root.roots.push(root());
        with_root.roots.sort();
        // An attacker who has no key of beta's announces one.
        let other = PublicDocument { authn_key: key(66).public(), ..with_root.clone() };
        let absorbed = match signed {
            true => reader.public(&other, 66, 3, 20),
            false => reader.deliver(&other, Delivery::default(), 20),
        };
        assert!(matches!(absorbed, Absorbed::Held(_)), "{absorbed:?}");
        assert_eq!(reader.known(), known);
        let held = condition_of(&reader.0.federate(), "beta", ConditionType::Held);
        assert_eq!(held.status, ConditionStatus::True);
        // An operator lets it in, for example because beta has lost its key.
        reader.annotate(APPROVE_ANNOTATION, TrustId::of(&other));
        let absorbed = match signed {
            // Its sequences begin anew.
            true => reader.public(&other, 66, 3, 30),
            false => reader.deliver(&other, Delivery::default(), 30),
        };
        assert!(absorbed.is_taken(), "{absorbed:?}");
        assert_eq!(reader.0.known("beta").signed.is_some(), signed);
    }
}

#[test]
fn once_a_peer_has_signed_unsigned_or_worse_is_refused() {
    let mut reader = Reader::of_signer();
    let known = reader.known();
    let mut with_root = known.clone();
    with_root.roots.push(root());
    with_root.roots.sort();
    let statement = of_public(&with_root, 11);
    let good = header(&key(BETA), &statement, at(20));
    let is = |change: &dyn Fn(&mut Statement)| {
        let mut other = statement.clone();
        change(&mut other);
        header(&key(BETA), &other, at(20))
    };
    let kind = is(&|statement| statement.kind = DocumentKind::Private);
    let issuer = is(&|statement| statement.issuer = uuid('3'));
    let audience = is(&|statement| statement.audience = Some(uuid('1')));
    let body = is(&|statement| statement.digest = Fingerprint::of(b"{}"));
    let token = token::sign(&key(BETA), &uuid('2'), &uuid('1'), at(20)).unwrap();
    let cut = good[..good.len() - 4].to_owned();
    let many = [good.as_str(); 5].join(",");
    for (bad, says) in [
        (kind.as_str(), "for another document"),
        (&issuer, "for another document"),
        (&audience, "for another document"),
        (&body, "for another document"),
        (&header(&key(66), &statement, at(20)), "not by the known key"),
        (&header(&key(BETA), &of_public(&with_root, 9), at(20)), "at least 10"),
        (&header(&key(BETA), &statement, at(20) + LIFETIME * 2), "from the future"),
        (&token, "not that of a document's signature"),
        (&cut, "not by the known key"),
        (&many, "more than 4"),
        (&"x".repeat(5000), "more than 4096 bytes"),
        ("", "not a JWS"),
        ("a.b.c", "not a JWS"),
        (&good.to_uppercase(), ""),
    ] {
        let absorbed = reader.deliver(&with_root, delivery(bad), 20);
        reader.refused(&absorbed, &known, says);
    }
    let absorbed = reader.deliver(&with_root, Delivery::default(), 20);
    reader.refused(&absorbed, &known, "found none");
    // Also the known document itself: without a signature, nothing says that it is not an old one.
    let absorbed = reader.deliver(&known, Delivery::default(), 20);
    reader.refused(&absorbed, &known, "found none");
    let public = &reader.0.known("beta").public;
    assert_eq!(public.as_ref().unwrap().confirmed, at(1));
    // The twin: nothing but the signature was wrong.
    assert!(reader.deliver(&with_root, delivery(&good), 20).is_taken());
    assert!(
        reader.deliver(&with_root, delivery(&format!("{cut}, {good}")), 21) == Absorbed::Confirmed
    );
}

#[test]
fn a_private_document_is_signed_for_its_reader() {
    let mut reader = Reader::of_signer();
    let (known, new) = (reader.known(), services(3));
    let statement = of_private(&new);
    let for_gamma = Statement { audience: Some(uuid('3')), ..statement.clone() };
    let for_all = Statement { audience: None, ..statement.clone() };
    let of_gamma = Statement { issuer: uuid('3'), ..statement.clone() };
    let expired = at(20) - LIFETIME * 2;
    for (bad, says) in [
        (header(&key(BETA), &for_gamma, at(20)), "for another document"),
        (header(&key(BETA), &for_all, at(20)), "for another document"),
        (header(&key(BETA), &of_gamma, at(20)), "for another document"),
        (header(&key(66), &statement, at(20)), "not by the known key"),
        (header(&key(BETA), &statement, expired), "expired"),
    ] {
        let absorbed = reader.private(&new, delivery(&bad), 20);
        reader.refused(&absorbed, &known, says);
    }
    let absorbed = reader.private(&new, Delivery::default(), 20);
    reader.refused(&absorbed, &known, "found none");
    let condition =
        condition_of(&reader.0.federate(), "beta", ConditionType::PrivateMetadataExchangeReady);
    assert_eq!(condition.reason, "InvalidPrivateMetadata");
    assert_eq!(reader.0.federate().peer(&name("beta")).unwrap().imports, 1);
    let good = header(&key(BETA), &statement, at(20));
    assert!(reader.private(&new, delivery(&good), 20).is_taken());
    assert_eq!(reader.0.federate().peer(&name("beta")).unwrap().imports, 3);
}

#[test]
fn not_modified_is_signed_too() {
    for kind in [DocumentKind::Public, DocumentKind::Private] {
        let mut reader = Reader::of_signer();
        let known = reader.known();
        let statement = match kind {
            DocumentKind::Public => of_public(&known, 10),
            DocumentKind::Private => of_private(&reader.private_document()),
        };
        let good = delivery(&header(&key(BETA), &statement, at(400)));
        assert_eq!(reader.not_modified(kind, &good, 400), Absorbed::Confirmed);
        assert!(reader.0.known("beta").etag(kind).is_some());
        // The same answer, sent again and again, confirms no longer than it is valid.
        let late = 400 + LIFETIME.as_secs() + 61;
        let other = Statement { digest: Fingerprint::of(b"{}"), ..statement.clone() };
        let other = delivery(&header(&key(BETA), &other, at(400)));
        for (bad, says, now) in [
            (&good, "expired", late),
            (&other, "another document", 400),
            (&Delivery::default(), "found none", 400),
        ] {
            let absorbed = reader.not_modified(kind, bad, now);
            reader.refused(&absorbed, &known, says);
            // The next answer is a whole document.
            assert!(reader.0.known("beta").etag(kind).is_none());
        }
        let confirmed = match kind {
            DocumentKind::Public => reader.0.known("beta").public.as_ref().unwrap().confirmed,
            DocumentKind::Private => reader.0.known("beta").private.as_ref().unwrap().confirmed,
        };
        assert_eq!(confirmed, at(400));
    }
}

#[test]
fn a_peer_may_begin_to_sign_at_any_time() {
    // Its document has not changed, so it answers "not modified".
    let mut reader = Reader::new();
    let known = reader.known();
    reader.0.known("beta").public.as_mut().unwrap().etag = Some("\"x\"".to_owned());
    let signed = delivery(&header(&key(BETA), &of_public(&known, 10), at(20)));
    assert_eq!(reader.not_modified(DocumentKind::Public, &signed, 20), Absorbed::Confirmed);
    assert_eq!(reader.0.known("beta").etag(DocumentKind::Public), None, "it is fetched whole");
    assert_eq!(reader.deliver(&known, signed, 30), Absorbed::Confirmed);
    let absorbed = reader.deliver(&known, Delivery::default(), 40);
    reader.refused(&absorbed, &known, "found none");

    // A peer that is met for the first time.
    let mut reader = Reader::new();
    let known = reader.known();
    reader.0.known("beta").public = None;
    let bad = delivery(&header(&key(66), &of_public(&known, 10), at(20)));
    assert!(matches!(reader.deliver(&known, bad, 20), Absorbed::Refused(_)));
    assert!(reader.public(&known, BETA, 10, 20).is_taken());
    let absorbed = reader.deliver(&known, Delivery::default(), 40);
    reader.refused(&absorbed, &known, "found none");
}

#[test]
fn a_restart_does_not_forget_that_a_peer_signs() {
    let mut reader = Reader::of_signer();
    let known = reader.known();
    let json = serde_json::to_string(reader.0.known("beta")).unwrap();
    *reader.0.known("beta") = serde_json::from_str::<PeerKnowledge>(&json).unwrap();
    let absorbed = reader.deliver(&known, Delivery::default(), 20);
    reader.refused(&absorbed, &known, "found none");
}

#[test]
fn an_operator_can_do_without_signatures() {
    let mut reader = Reader::of_signer();
    let known = reader.known();
    reader.annotate(UNSIGNED_ANNOTATION, "yes");
    the(&reader.0.federate().findings, Reason::InvalidAnnotation);
    assert!(matches!(reader.deliver(&known, Delivery::default(), 20), Absorbed::Refused(_)));
    reader.annotate(UNSIGNED_ANNOTATION, "Accept");
    assert_eq!(reader.deliver(&known, Delivery::default(), 30), Absorbed::Confirmed);
    assert!(reader.private(&services(2), Delivery::default(), 30).is_taken());
    assert!(found(&reader.0.federate().findings, Reason::InvalidAnnotation).is_empty());
    // It does not change what happens to new roots.
    reader.annotate(ROOT_CHANGE_ANNOTATION, "Approve");
    let other = PublicDocument { roots: vec![root()], ..known };
    assert!(matches!(reader.deliver(&other, Delivery::default(), 40), Absorbed::Held(_)));
}

#[test]
fn accept_lets_a_new_root_in_but_nothing_unsigned() {
    let mut reader = Reader::of_signer();
    reader.annotate(ROOT_CHANGE_ANNOTATION, "Accept");
    let known = reader.known();
    let other = PublicDocument { roots: vec![root()], ..known.clone() };
    let absorbed = reader.deliver(&other, Delivery::default(), 20);
    reader.refused(&absorbed, &known, "found none");
    assert!(reader.public(&other, BETA, 11, 30).is_taken());
}

#[test]
fn a_signature_is_no_token() {
    let statement = of_private(&services(1));
    let signed = header(&key(BETA), &statement, at(0));
    let keys = |_: &ClusterUuid| Some(key(BETA).public());
    let verified = token::verify(&signed, &uuid('1'), keys, at(1), DEFAULT_LEEWAY);
    assert_eq!(verified, Err(token::TokenError::Header));
    let token = token::sign(&key(BETA), &uuid('2'), &uuid('1'), at(0)).unwrap();
    assert_eq!(Signatures::parse(token.as_bytes()), Err(SignatureError::Header));
}

#[test]
fn the_public_document_has_a_sequence_that_grows() {
    let mut rig = Rig::new();
    let first = rig.federate().published;
    let sequence = |published: &fedgate_federation::federate::Published| {
        published.public.as_ref().unwrap().sequence
    };
    rig.previous = first.clone();
    rig.now = at(1000);
    assert_eq!(sequence(&rig.federate().published), sequence(&first), "the same document");
    rig.local.roots.push(root());
    let second = rig.federate().published;
    assert!(sequence(&second) > sequence(&first));
    // Also if the clock goes back, or what was saved is lost.
    rig.previous = second.clone();
    rig.now = at(-1000);
    rig.local.authn_key = key(77).public();
    assert!(sequence(&rig.federate().published) > sequence(&second));
    rig.previous = second.clone().renumbered();
    assert!(sequence(&rig.federate().published) > sequence(&second));
}

/// One replica of beta has been upgraded to a version that signs, the other has not yet. Answers come
/// from either in any order.
#[test]
fn a_peer_whose_replicas_are_upgraded_one_by_one_loses_nothing() {
    let mut reader = Reader::new();
    let known = reader.known();
    let imports = |reader: &Reader| {
        let federation = reader.0.federate();
        (federation.peer(&name("beta")).unwrap().imports, federation.members.len())
    };
    let before = imports(&reader);
    let document = reader.private_document();
    // The old one first: it is believed as long as no signature has been seen.
    assert_eq!(reader.deliver(&known, Delivery::default(), 10), Absorbed::Confirmed);
    for now in [20, 30, 40] {
        assert_eq!(reader.public(&known, BETA, 10, now), Absorbed::Confirmed);
        let signed = header(&key(BETA), &of_private(&document), at(now));
        assert_eq!(reader.private(&document, delivery(&signed), now), Absorbed::Confirmed);
        let kinds = [DocumentKind::Public, DocumentKind::Private];
        let unsigned = Delivery::default();
        let mut answers: Vec<_> =
            kinds.into_iter().map(|kind| reader.not_modified(kind, &unsigned, now + 1)).collect();
        answers.push(reader.deliver(&known, unsigned.clone(), now + 2));
        answers.push(reader.private(&document, unsigned, now + 2));
        assert!(answers.iter().all(|answer| matches!(answer, Absorbed::Refused(_))), "{answers:?}");
        assert_eq!((reader.known(), reader.private_document()), (known.clone(), document.clone()));
        assert_eq!(imports(&reader), before);
        // What was confirmed by a signature is as old as that.
        assert_eq!(reader.0.known("beta").public.as_ref().unwrap().confirmed, at(now));
    }
    // When all sign, the operator has nothing to do.
    assert_eq!(reader.public(&known, BETA, 10, 50), Absorbed::Confirmed);
    let signed = header(&key(BETA), &of_private(&document), at(50));
    assert_eq!(reader.private(&document, delivery(&signed), 50), Absorbed::Confirmed);
    let findings = reader.0.federate().findings;
    for told in found(&findings, Reason::UnsignedDocument) {
        assert_eq!(told.severity, Severity::Warning);
        assert!(told.message.contains("nothing has to be done"), "{told}");
    }
}
