use super::*;
use crate::sample::{Sample, federation, now, service};
use crate::traffic::{Refusal, Traffic};
use fedgate_engine::explain::{Caller, Question};
use fedgate_engine::history::{Change, ChangeKind};
use serde_json::{Value, json};

fn value(made: impl Serialize) -> Value {
    serde_json::to_value(made).unwrap()
}

fn query(search: &str) -> Query {
    Query { search: search.to_owned(), limit: 50, columns: 50, ..Query::default() }
}

fn names(rows: &Value, field: &str) -> Vec<String> {
    let rows = rows["rows"].as_array().unwrap().iter();
    rows.map(|row| row[field].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_overview_agrees_with_the_status() {
    let look = Sample::new().look();
    let made = value(overview(&look, now()));
    let status = &look.status;
    assert_eq!(made["counts"]["peers"], status.peers.len());
    assert_eq!(made["counts"]["exports"], status.exports.len());
    assert_eq!(made["counts"]["audited"], 1);
    assert_eq!(made["cluster"]["trustDomain"], "alpha.example");
    assert_eq!(made["table"]["generation"], status.table.generation);
    assert!(made["traffic"]["is"].is_null() && made["traffic"]["why"].is_string());
    let picture = made["picture"].as_array().unwrap();
    assert_eq!(picture.len(), 2);
    for peer in picture {
        assert_eq!(peer["ready"], false);
        assert!(peer["state"].as_str().unwrap().starts_with("not ready yet: "), "{peer}");
        assert_eq!(peer["turn"], Value::Null, "nobody has to act before the first answer");
    }
}

#[test]
fn the_picture_is_bounded_and_lists_are_cut() {
    let mut sample = Sample::new();
    sample.objects.federations = (0..300).map(|number| federation(&format!("p{number}"))).collect();
    sample.objects.services = (0..500).map(|number| service(&format!("s{number}"))).collect();
    let look = sample.look();
    let made = value(overview(&look, now()));
    assert_eq!(made["picture"].as_array().unwrap().len(), 12);
    assert_eq!(made["more"], json!([0, 288]));
    let greedy = Query { limit: usize::MAX, offset: 490, ..Query::default() };
    let rows = value(exports(&look, &greedy));
    assert_eq!(
        (&rows["all"], &rows["found"], names(&rows, "service").len()),
        (&json!(500), &json!(500), 10)
    );
    let past = Query { limit: 10, offset: usize::MAX, ..Query::default() };
    assert_eq!(names(&value(exports(&look, &past)), "service").len(), 0);
    let all = Query { limit: usize::MAX, columns: usize::MAX, ..Query::default() };
    let part = value(matrix(&look, &all));
    let first = &part["rows"][0]["cells"];
    assert_eq!(
        (part["rows"].as_array().unwrap().len(), first.as_array().unwrap().len()),
        (100, 60)
    );
    assert_eq!(value(peers(&look, &greedy))["rows"].as_array().unwrap().len(), 0);
}

#[test]
fn a_search_finds_rows_with_all_its_words() {
    let look = Sample::new().look();
    let found = |search: &str| names(&value(exports(&look, &query(search))), "service");
    assert_eq!(found("WEB shop"), ["web.shop.svc.alpha.example:80"]);
    assert_eq!(found("web-only"), ["web.shop.svc.alpha.example:80"], "by its policy");
    assert_eq!(found("web nothing"), Vec::<String>::new());
    assert_eq!(found("").len(), 2);
    // A search is cut, at the boundary of a character.
    assert_eq!(found(&"é".repeat(1_000)).len(), 0);
    let of_gamma = Query { peers: "gamma".to_owned(), ..query("") };
    assert_eq!(
        names(&value(exports(&look, &of_gamma)), "service"),
        ["web.shop.svc.alpha.example:80"]
    );
    let states = |state: &str| {
        let query = Query { state: state.to_owned(), ..query("") };
        (
            names(&value(peers(&look, &query)), "name"),
            names(&value(exports(&look, &query)), "service").len(),
        )
    };
    assert_eq!(states("audit").0, ["beta"]);
    assert_eq!(states("ready").0, Vec::<String>::new());
    assert_eq!(states("audited").1, 1);
    assert_eq!(states("nobody").1, 1);
}

#[test]
fn the_matrix_says_who_decided() {
    let look = Sample::new().look();
    let part = value(matrix(&look, &query("")));
    assert_eq!(part["columns"], json!(["beta", "gamma"]));
    let verdicts = |row: usize| -> Vec<_> {
        let cells = part["rows"][row]["cells"].as_array().unwrap();
        cells.iter().map(|cell| cell["verdict"].as_str().unwrap()).collect()
    };
    assert_eq!(part["rows"][0]["service"], "stock.shop.svc.alpha.example:80");
    assert_eq!((verdicts(0), verdicts(1)), (vec!["audited", "refused"], vec!["some", "granted"]));
    let cell = &part["rows"][1]["cells"][1]["decided"];
    assert_eq!(cell, "allowed by FederationPolicy web-only");
    let cell = part["rows"][1]["cells"][0]["decided"].as_str().unwrap();
    assert!(cell.ends_with("in audit mode others pass, too, and are reported"), "{cell}");
}

#[test]
fn audit_lists_what_enforcing_would_change() {
    let made = value(audit(&Sample::new().look()));
    assert_eq!(made["found"], 1, "gamma's policy is enforced already: {made}");
    let row = &made["rows"][0];
    assert_eq!(
        (&row["peer"], &row["refused"], &row["narrowed"]),
        (&json!("beta"), &json!(1), &json!(1))
    );
    assert_eq!(row["policies"], json!(["try-callers"]));
    assert_eq!(row["examples"].as_array().unwrap().len(), 2);
}

#[test]
fn an_export_groups_peers_by_who_decided() {
    let look = Sample::new().look();
    let made = value(export(&look, "web.shop.svc.alpha.example:80"));
    let groups = made["groups"].as_array().unwrap();
    let verdicts: Vec<_> =
        groups.iter().map(|group| (&group["verdict"], &group["peers"])).collect();
    assert_eq!(
        verdicts,
        [(&json!("granted"), &json!(["gamma"])), (&json!("some"), &json!(["beta"]))]
    );
    assert_eq!(groups[1]["callers"], json!(["shop/till"]));
    assert!(export(&look, "none").is_none());
}

#[test]
fn a_peer_has_its_conditions_with_when_they_changed() {
    let mut sample = Sample::new();
    let change = |about, text| Change::new(now(), ChangeKind::Condition, about, text);
    sample.around.changes =
        [change("gamma", "Stale x"), change("beta", "Accepted False X became True Accepted")]
            .into();
    let look = sample.look();
    let made = value(peer(&look, "beta", now()));
    let conditions = made["conditions"].as_array().unwrap();
    let of = |kind: &str| conditions.iter().find(|condition| condition["type"] == kind).unwrap();
    assert_eq!(
        (&of("Accepted")["well"], of("Accepted")["since"].is_string()),
        (&json!(true), true)
    );
    assert_eq!(of("Stale")["since"], Value::Null, "that is gamma's");
    assert_eq!(of("PrivateMetadataExchangeReady")["well"], Value::Null);
    assert_eq!(made["changes"].as_array().unwrap().len(), 1);
    assert!(made["documents"][0]["expires"].is_string());
    assert!(peer(&look, "nobody", now()).is_none());
}

#[test]
fn refusals_come_with_what_to_do() {
    let mut sample = Sample::new();
    let mut traffic = Traffic::default();
    traffic.add("fedgate_connections{outcome=\"refused\",reason=\"not_granted\"} 3\nfedgate_peer_connections{outcome=\"refused\",peer=\"beta\"} 3\n");
    sample.around.traffic = Ok(traffic);
    let look = sample.look();
    let made = value(refusals(&look));
    assert_eq!(made["totals"]["is"]["refused"], 3);
    let reasons = made["reasons"].as_array().unwrap();
    let row = reasons.iter().find(|row| row["reason"] == "not_granted").unwrap();
    assert_eq!(row["refused"], 3);
    assert!(reasons.iter().all(|row| !row["advice"].as_str().unwrap().is_empty()));
    assert_eq!(
        made["peers"],
        json!([{ "peer": "beta", "refused": 3, "audited": 0, "allowed": 0 }])
    );
    assert_eq!(value(overview(&look, now()))["picture"][0]["traffic"]["refused"], 3);
}

#[test]
fn the_overview_has_the_time_of_the_last_refusal() {
    let mut sample = Sample::new();
    assert_eq!(value(overview(&sample.look(), now()))["lastRefusal"], Value::Null);
    let connection = |at: &str, outcome: &str| Refusal {
        at: Some(at.parse().unwrap()),
        outcome: outcome.to_owned(),
        reason: "not_granted".to_owned(),
        peer: None,
        service: None,
        caller: None,
        client: None,
    };
    sample.around.refusals = Ok(vec![
        connection("2026-11-26T10:00:00Z", "refused"),
        connection("2026-11-26T11:00:00Z", "refused"),
        connection("2026-11-26T12:00:00Z", "audited"),
    ]);
    let made = value(overview(&sample.look(), now()));
    assert_eq!(made["lastRefusal"], "2026-11-26T11:00:00Z", "an audited one was let through");
}

/// A name with a local member and a peer's, neither of which can take calls in the sample.
#[test]
fn a_federated_name_shows_its_members_and_who_takes_calls() {
    let sample = Sample::new().with_name(json!([{ "peers": ["nobody"] }, { "local": {} }]));
    let look = sample.look();
    let made = value(federated(&look, &query("web.shop.global")));
    let row = &made["rows"][0];
    assert_eq!(
        (&row["service"], &row["taken"]),
        (&json!("web.shop.global:80"), &json!("this cluster"))
    );
    assert_eq!(row["ready"], true);
    let states: Vec<_> = row["members"]
        .as_array()
        .unwrap()
        .iter()
        .map(|member| (member["place"].as_str().unwrap(), member["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("nobody", "unknown_peer"), ("this cluster", "ready")]);
    assert_eq!(value(federated(&look, &query("other")))["found"], 0);
    let failing = Query { state: "failing".to_owned(), ..query("") };
    assert_eq!(value(federated(&look, &failing))["found"], 0);

    // Envoy finds the local workloads dead, and everybody says so.
    let mut in_force = sample.in_force();
    let member = "web.shop.svc.alpha.example:80".parse().unwrap();
    in_force.member_health.insert(member, false);
    let names: Vec<_> = in_force.federated().collect();
    assert!(!names[0].ready && names[0].taken().next().is_none());
    assert_eq!(names[0].members[1].state, "not_answering");
    let question = Question { to: "web.shop.global:80".parse().unwrap(), from: Caller::Unknown };
    let answer = in_force.explain(&question);
    assert!(!answer.passes);
    assert!(answer.steps.iter().any(|step| step.detail.contains("not_answering")), "{answer:#?}");
    assert!(sample.in_force().explain(&question).passes);
}
