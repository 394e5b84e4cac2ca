//! Every row of the decision table: a caller who is allowed, next to one who differs in one thing
//! and is refused.

use fedgate_core::{
    CallerPattern, Callers, Grant, Mode, Outcome, Pattern, Peer, Reason, ServicePort, Table,
    TableBuilder, admit, decide, decide_passthrough, judge,
};

const WEB: &str = "outbound_.80_._.web.shop.svc.alpha.example";
const ADMIN: &str = "outbound_.80_._.admin.shop.svc.alpha.example";
const BETA: &str = "spiffe://beta.example/ns/orders/sa/worker";
/// A peer in audit mode.
const GAMMA: &str = "spiffe://gamma.example/ns/orders/sa/worker";

/// `web` is granted to all of beta and to gamma's workers. `admin` is granted to beta's namespace
/// `ops`; its owner admits gamma, but no policy grants it to gamma. `private` has no grants.
fn table() -> Table {
    let mut builder = TableBuilder::new("alpha.example".parse().unwrap());
    let mut peer = |name: &str, mode| {
        let trust_domain = format!("{name}.example").parse().unwrap();
        builder.peer(Peer { name: name.parse().unwrap(), trust_domain, mode }).unwrap()
    };
    let (beta, gamma) = (peer("beta", Mode::Enforce), peer("gamma", Mode::Audit));
    let mut export = |service: &str, grants: &[(_, Callers)]| {
        let grants = grants
            .iter()
            .map(|(peer, callers)| Grant { peer: *peer, callers: callers.clone() })
            .collect();
        builder
            .export(format!("{service}.shop.svc.alpha.example:80").parse().unwrap(), grants)
            .unwrap();
    };
    export("web", &[(beta, Callers::Any), (gamma, only("*", "worker"))]);
    export("admin", &[(beta, only("ops", "*")), (gamma, Callers::Only([].into()))]);
    export("private", &[]);
    Table::read(builder.build(1).unwrap()).unwrap()
}

fn only(namespace: &str, service_account: &str) -> Callers {
    let parse = |text| Pattern::parse(text).unwrap();
    Callers::Only(
        [CallerPattern { namespace: parse(namespace), service_account: parse(service_account) }]
            .into(),
    )
}

#[track_caller]
fn is(
    outcome: Outcome,
    reason: Reason,
    server_name: impl Into<Option<&'static str>>,
    uri: impl Into<Option<&'static str>>,
) {
    let table = table();
    let decision = decide(&table, server_name.into(), uri.into());
    assert_eq!((decision.outcome, decision.reason), (outcome, reason));
    let has_peer =
        [Reason::NotGranted, Reason::CallerNotGranted, Reason::Granted].contains(&reason);
    assert_eq!(decision.peer.is_some(), has_peer);
    assert_eq!(decision.outcome.passes(), outcome != Outcome::Refused);
}

#[test]
fn no_sni() {
    is(Outcome::Allowed, Reason::Granted, WEB, BETA);
    is(Outcome::Refused, Reason::NoSni, None, BETA);
    is(Outcome::Refused, Reason::NoSni, "", BETA);
}

#[test]
fn bad_sni() {
    is(Outcome::Refused, Reason::BadSni, "web.shop.svc.alpha.example", BETA);
    is(Outcome::Refused, Reason::BadSni, "outbound|80||web.shop.svc.alpha.example", BETA);
    is(Outcome::Refused, Reason::BadSni, "outbound_.080_._.web.shop.svc.alpha.example", BETA);
    is(Outcome::Refused, Reason::BadSni, "outbound_.80_._.web.shop.svc.alpha.example.", BETA);
    is(Outcome::Allowed, Reason::Granted, "outbound_.80_.v1_.Web.shop.SVC.alpha.example", BETA);
}

#[test]
fn unknown_service() {
    is(Outcome::Refused, Reason::UnknownService, "outbound_.80_._.db.shop.svc.alpha.example", BETA);
    is(
        Outcome::Refused,
        Reason::UnknownService,
        "outbound_.81_._.web.shop.svc.alpha.example",
        BETA,
    );
    is(Outcome::Refused, Reason::UnknownService, "outbound_.80_._.web.shop.svc.alpha.exampl", BETA);
    is(Outcome::Refused, Reason::UnknownService, "outbound_.80_._.shop.svc.alpha.example", BETA);
    is(
        Outcome::Refused,
        Reason::UnknownService,
        "outbound_.80_._.a.web.shop.svc.alpha.example",
        BETA,
    );
    is(Outcome::Refused, Reason::UnknownService, "outbound_.80_._.web", BETA);
}

#[test]
fn no_identity() {
    is(Outcome::Refused, Reason::NoIdentity, WEB, None);
    is(Outcome::Refused, Reason::NoIdentity, WEB, "");
}

#[test]
fn bad_identity() {
    is(Outcome::Refused, Reason::BadIdentity, WEB, "https://beta.example/ns/orders/sa/worker");
    is(Outcome::Refused, Reason::BadIdentity, WEB, "spiffe://beta.example");
    is(Outcome::Refused, Reason::BadIdentity, WEB, "spiffe://BETA.example/ns/orders/sa/worker");
    is(
        Outcome::Refused,
        Reason::BadIdentity,
        WEB,
        "spiffe://x.example/ns/a/sa/b,spiffe://beta.example/ns/orders/sa/worker",
    );
}

#[test]
fn unknown_peer() {
    is(Outcome::Refused, Reason::UnknownPeer, WEB, "spiffe://delta.example/ns/orders/sa/worker");
    is(Outcome::Refused, Reason::UnknownPeer, WEB, "spiffe://alpha.example/ns/orders/sa/worker");
    is(Outcome::Refused, Reason::UnknownPeer, WEB, "spiffe://beta.example.org/ns/orders/sa/worker");
}

#[test]
fn not_granted() {
    is(
        Outcome::Refused,
        Reason::NotGranted,
        "outbound_.80_._.private.shop.svc.alpha.example",
        BETA,
    );
}

#[test]
fn caller_not_granted() {
    is(Outcome::Allowed, Reason::Granted, ADMIN, "spiffe://beta.example/ns/ops/sa/any");
    is(Outcome::Refused, Reason::CallerNotGranted, ADMIN, BETA);
    is(Outcome::Refused, Reason::CallerNotGranted, ADMIN, "spiffe://beta.example/ns/ops2/sa/any");
    is(Outcome::Refused, Reason::CallerNotGranted, ADMIN, "spiffe://beta.example/ns/ops");
    is(
        Outcome::Refused,
        Reason::CallerNotGranted,
        ADMIN,
        "spiffe://beta.example/ns/ops/sa/any/more",
    );
}

#[test]
fn any_caller_needs_no_istio_identity() {
    is(Outcome::Allowed, Reason::Granted, WEB, "spiffe://beta.example/robot");
}

#[test]
fn audit_lets_through_what_no_policy_grants() {
    is(Outcome::Allowed, Reason::Granted, WEB, GAMMA);
    is(
        Outcome::Audited,
        Reason::CallerNotGranted,
        WEB,
        "spiffe://gamma.example/ns/orders/sa/other",
    );
    is(Outcome::Audited, Reason::CallerNotGranted, WEB, "spiffe://gamma.example/robot");
    is(Outcome::Audited, Reason::NotGranted, ADMIN, GAMMA);
}

#[test]
fn audit_does_not_overrule_the_owner_or_the_identity() {
    is(
        Outcome::Refused,
        Reason::NotGranted,
        "outbound_.80_._.private.shop.svc.alpha.example",
        GAMMA,
    );
    is(
        Outcome::Refused,
        Reason::UnknownService,
        "outbound_.80_._.db.shop.svc.alpha.example",
        GAMMA,
    );
    is(Outcome::Refused, Reason::BadIdentity, WEB, "spiffe://gamma.example");
    is(Outcome::Refused, Reason::NoSni, None, GAMMA);
}

#[test]
fn an_empty_set_of_callers_refuses_every_caller_in_enforce_mode() {
    let mut builder = TableBuilder::new("alpha.example".parse().unwrap());
    let (name, trust_domain) = ("beta".parse().unwrap(), "beta.example".parse().unwrap());
    let beta = builder.peer(Peer { name, trust_domain, mode: Mode::Enforce }).unwrap();
    let no_caller = Grant { peer: beta, callers: Callers::Only([].into()) };
    builder.export("web.shop.svc.alpha.example:80".parse().unwrap(), vec![no_caller]).unwrap();
    let table = Table::read(builder.build(1).unwrap()).unwrap();
    let decision = decide(&table, Some(WEB), Some(BETA));
    assert_eq!((decision.outcome, decision.reason), (Outcome::Refused, Reason::NotGranted));
}

#[test]
fn an_empty_table_refuses_everything() {
    let empty =
        Table::read(TableBuilder::new("alpha.example".parse().unwrap()).build(1).unwrap()).unwrap();
    assert_eq!(decide(&empty, Some(WEB), Some(BETA)).reason, Reason::UnknownService);
    assert_eq!(decide(&empty, None, None).reason, Reason::NoSni);
    assert_eq!((empty.rows(), empty.peer_count(), empty.exports().count()), (0, 0, 0));
}

#[test]
fn both_halves_together_are_the_whole_decision() {
    let table = table();
    let admission = admit(&table, Some("outbound_.80_._.WEB.shop.svc.alpha.example")).unwrap();
    assert_eq!(
        (admission.host(), admission.port()),
        ("web.shop.svc.alpha.example", ServicePort::new(80).unwrap())
    );
    assert_eq!(
        judge(&table, admission.export(), Some(BETA)),
        decide(&table, Some(WEB), Some(BETA))
    );
    assert_eq!(
        admit(&table, Some(ADMIN)).unwrap().export(),
        admit(&table, Some(ADMIN)).unwrap().export()
    );
}

#[test]
fn an_export_of_another_table_has_no_grants() {
    let (old, mut builder) = (table(), TableBuilder::new("alpha.example".parse().unwrap()));
    let (name, trust_domain) = ("beta".parse().unwrap(), "beta.example".parse().unwrap());
    let beta = builder.peer(Peer { name, trust_domain, mode: Mode::Enforce }).unwrap();
    for service in ["a", "b", "c"] {
        let grants = vec![Grant { peer: beta, callers: Callers::Any }];
        builder
            .export(format!("{service}.shop.svc.alpha.example:80").parse().unwrap(), grants)
            .unwrap();
    }
    let new = Table::read(builder.build(2).unwrap()).unwrap();
    for service in ["web", "admin", "private"] {
        let sni = format!("outbound_.80_._.{service}.shop.svc.alpha.example");
        let export = admit(&old, Some(&sni)).unwrap().export();
        let decision = judge(&new, export, Some(BETA));
        assert_eq!((decision.outcome, decision.reason), (Outcome::Refused, Reason::NotGranted));
        assert!(new.grants(export).is_empty());
    }
}

#[test]
fn reason_words_are_stable() {
    let words = Reason::ALL.map(Reason::word).join(" ");
    let expected = "no_table no_sni bad_sni unknown_service no_identity bad_identity unknown_peer not_granted \
                    caller_not_granted granted";
    assert_eq!(words, expected);
    assert_eq!(Reason::ALL.map(|reason| reason.to_string()), Reason::ALL.map(Reason::word));
    let outcomes = [Outcome::Allowed, Outcome::Audited, Outcome::Refused];
    assert_eq!(outcomes.map(Outcome::word), ["allowed", "audited", "refused"]);
    assert_eq!(outcomes.map(Outcome::passes), [true, true, false]);
}

#[test]
fn passthrough_services_are_known_only_to_the_passthrough_decision() {
    const LEGACY: &str = "outbound_.80_._.legacy.shop.svc.alpha.example";
    let mut builder = TableBuilder::new("alpha.example".parse().unwrap());
    let trust_domain = "beta.example".parse().unwrap();
    let beta = builder
        .peer(Peer { name: "beta".parse().unwrap(), trust_domain, mode: Mode::Audit })
        .unwrap();
    let grant = Grant { peer: beta, callers: Callers::Any };
    builder.export("web.shop.svc.alpha.example:80".parse().unwrap(), vec![grant]).unwrap();
    builder.passthrough("legacy.shop.svc.alpha.example:80".parse().unwrap()).unwrap();
    let table = Table::read(builder.build(1).unwrap()).unwrap();

    let through = |name: &'static str| decide_passthrough(&table, Some(name));
    assert_eq!(
        (through(LEGACY).outcome, through(LEGACY).reason),
        (Outcome::Allowed, Reason::Granted)
    );
    assert_eq!(through(WEB).reason, Reason::UnknownService);
    assert_eq!(
        through("outbound_.81_._.legacy.shop.svc.alpha.example").reason,
        Reason::UnknownService
    );
    assert_eq!(through("legacy.shop.svc.alpha.example").reason, Reason::BadSni);
    assert_eq!(decide_passthrough(&table, None).reason, Reason::NoSni);

    assert_eq!(decide(&table, Some(WEB), Some(BETA)).outcome, Outcome::Allowed);
    assert_eq!(decide(&table, Some(LEGACY), Some(BETA)).reason, Reason::UnknownService);
    let (_, legacy) = table.exports().find(|(_, export)| export.is_passthrough()).unwrap();
    assert_eq!(judge(&table, legacy, Some(BETA)).reason, Reason::NotGranted);
    assert!(table.grants(legacy).is_empty());
}
