//! What is recorded of a change, and what is not.

use crate::{Causes, Change, Origin, Received, Recorded, Tracer};
use opentelemetry::trace::{SpanId, SpanKind};
use std::time::SystemTime;

const THEIRS: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_change_is_one_trace_from_its_first_cause_to_the_answers() {
    let (tracer, recorded) = Recorded::tracer();
    let mut causes = Causes::new(tracer);
    let began = causes.now();
    causes.own("read files", began);
    causes.own("read files", causes.now());
    let change = causes.change(SystemTime::now());
    drop(change.step("compile"));
    change.end();
    change.answered("beta", SystemTime::now());

    let spans = recorded.spans();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["read files", "wait", "compile", "change", "answer"]);
    let root = &spans[3];
    assert_eq!((root.parent_span_id, Some(root.start_time)), (SpanId::INVALID, began));
    for child in spans.iter().filter(|span| span.name != "change") {
        assert_eq!(child.parent_span_id, root.span_context.span_id(), "{}", child.name);
        assert!(child.start_time >= root.start_time && child.end_time >= child.start_time);
    }
    assert_eq!(spans[4].span_kind, SpanKind::Server);
    assert!(
        !causes.change(SystemTime::now()).is_traced(),
        "without a new cause there is no new trace"
    );
}

#[test]
fn a_peers_trace_is_linked_and_never_continued() {
    let (tracer, recorded) = Recorded::tracer();
    let mut causes = Causes::new(tracer);
    causes.answer("beta", Received::now(Some(THEIRS)));
    causes.answer("gamma", Received::now(Some(b"00-nonsense")));
    let change = causes.change(SystemTime::now());
    let theirs = Origin::parse(THEIRS).unwrap();
    let ours = change.origin().unwrap();
    assert_ne!(ours.context().trace_id(), theirs.context().trace_id());
    assert_eq!(Origin::parse(ours.to_header().as_bytes()).unwrap().to_header(), ours.to_header());
    change.end();

    let spans = recorded.spans();
    let links = |peer: &str| {
        let span = spans
            .iter()
            .find(|span| span.attributes.iter().any(|one| one.value.as_str().as_ref() == peer));
        let links = span.unwrap().links.iter();
        links.map(|link| link.span_context.clone()).collect::<Vec<_>>()
    };
    assert_eq!(links("beta"), [theirs.context().clone()]);
    assert_eq!(links("gamma"), [], "what is no trace is no link");
}

#[test]
fn peers_decide_neither_how_many_spans_there_are_nor_displace_our_own() {
    let (tracer, recorded) = Recorded::tracer();
    let mut causes = Causes::new(tracer);
    for _ in 0..1000 {
        causes.answer("beta", Received::now(None));
    }
    causes.own("watch", causes.now());
    causes.change(SystemTime::now()).end();
    let spans = recorded.spans();
    let count = |name: &str| spans.iter().filter(|span| span.name == name).count();
    assert_eq!((count("fetch"), count("watch"), count("change")), (16, 1, 1));
    let root = spans.iter().find(|span| span.name == "change").unwrap();
    let omitted = root.attributes.iter().find(|one| one.key.as_str() == "fedgate.omitted_causes");
    assert_eq!(omitted.unwrap().value.as_str(), "984");
}

#[test]
fn without_a_collector_nothing_is_recorded() {
    let mut causes = Causes::new(Tracer::default());
    assert_eq!(causes.now(), None);
    causes.own("read files", causes.now());
    causes.answer("beta", Received::now(Some(THEIRS)));
    let change = causes.change(SystemTime::now());
    assert!(!change.is_traced() && change.origin().is_none());
    drop(change.step("compile"));
    Change::default().answered("beta", SystemTime::now());
}
