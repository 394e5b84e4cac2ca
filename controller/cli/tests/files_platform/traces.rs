//! The trace of a label, through two clusters.

use crate::cluster::{Cluster, authority, fedgate};
use crate::otlp::{Collector, Recorded};
use serde_json::Value;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

/// Two clusters whose changes are traced; beta exports `web`.
fn traced_pair(endpoint: &str) -> (Cluster, Cluster) {
    let (mut alpha, mut beta) = (Cluster::new("alpha"), Cluster::new("beta"));
    for cluster in [&alpha, &beta] {
        let settings = format!("{}tracing: {{otlpEndpoint: '{endpoint}'}}\n", cluster.settings());
        cluster.put("fedgate.yaml", &settings);
    }
    alpha.put_peer(&beta);
    beta.put_peer(&alpha);
    beta.put_service("web");
    alpha.start();
    beta.start();
    imports(&alpha, "web");
    (alpha, beta)
}

fn imports(cluster: &Cluster, name: &str) {
    cluster.wait(&format!("the import of {name}"), |status: &Value| {
        let text = status["imports"].to_string();
        text.contains(&format!("{name}.shop.svc.beta.example")).then_some(())
    });
}

/// The root span of the change of a cluster that is about an object or links to a span, and the
/// spans below it by name.
struct Trace {
    root: Recorded,
    steps: Vec<Recorded>,
}

impl Trace {
    fn below(spans: &[Recorded], root: &Recorded) -> Self {
        let is_below = |one: &&Recorded| one.span.parent_span_id == root.span.span_id;
        let mut steps: Vec<_> = spans.iter().filter(is_below).cloned().collect();
        steps.sort_by_key(|one| one.span.start_time_unix_nano);
        for step in &steps {
            assert_eq!(step.span.trace_id, root.span.trace_id);
        }
        Self { root: root.clone(), steps }
    }

    fn names(&self) -> Vec<&str> {
        self.steps.iter().map(|one| one.span.name.as_str()).collect()
    }

    /// These steps began one after another.
    fn has_in_order(&self, expected: &[&str]) {
        let names = self.names();
        let mut rest = names.iter();
        let missing = expected.iter().find(|name| !rest.any(|one| one == *name));
        assert_eq!(missing, None, "{names:?}");
    }

    /// The last of these steps.
    fn step(&self, name: &str) -> &Recorded {
        self.steps.iter().rfind(|one| one.span.name == name).unwrap()
    }
}

/// Beta's change with a Service, and alpha's change that links to it.
fn traces(spans: &[Recorded], service: &str) -> Option<(Trace, Trace)> {
    let object = format!("Service shop/{service}");
    let cause = spans.iter().find(|one| {
        one.cluster == "beta.example" && one.attribute("fedgate.objects").as_ref() == Some(&object)
    })?;
    let links = |one: &&Recorded| {
        one.cluster == "alpha.example"
            && one.span.links.iter().any(|link| link.span_id == cause.span.span_id)
    };
    let fetch = spans.iter().find(links)?;
    let effect = spans.iter().find(|one| one.span.span_id == fetch.span.parent_span_id)?;
    let (cause, effect) = (Trace::below(spans, cause), Trace::below(spans, effect));
    let complete = cause.names().contains(&"answer") && effect.names().contains(&"publish");
    complete.then_some((cause, effect))
}

#[test]
fn a_label_is_traced_from_its_file_to_the_importers_table() {
    let collector = Collector::start();
    let (mut alpha, mut beta) = traced_pair(&collector.url);
    let before = nanoseconds();
    beta.put_service("catalog");
    imports(&alpha, "catalog");
    let after = nanoseconds();
    // What is in the queue is sent when a controller stops.
    assert_eq!((alpha.stop(), beta.stop()), (0, 0));
    let spans = collector.spans();
    let (cause, effect) = traces(&spans, "catalog").unwrap_or_else(|| panic!("{spans:#?}"));

    // Other changes may be compiled together with these: the clusters confirm what they have. Such a
    // change may have waited before the file was read, or before the answer was fetched.
    let rest = ["compile", "write gateway", "write egress", "publish"];
    for first in ["read files", "wait"] {
        cause.has_in_order(&[&[first], rest.as_slice(), &["answer"]].concat());
    }
    for first in ["fetch", "wait"] {
        effect.has_in_order(&[&[first], rest.as_slice()].concat());
    }
    assert_eq!(cause.step("answer").attribute("fedgate.peer").as_deref(), Some("alpha"));
    assert_eq!(effect.step("fetch").attribute("fedgate.peer").as_deref(), Some("beta"));
    assert_ne!(cause.root.span.trace_id, effect.root.span.trace_id, "each cluster has its own");
    // The times are those of the change, and in the order of cause and effect.
    let read = cause.step("read files").span.start_time_unix_nano;
    let published = cause.step("publish").span.start_time_unix_nano;
    let fetched = effect.step("fetch").span.start_time_unix_nano;
    let written = effect.step("write egress").span.end_time_unix_nano;
    let times = [before, read, published, fetched, written, after];
    assert!(times.is_sorted(), "{times:?} {spans:#?}");
    // Nothing secret, and nothing but names and counts.
    let text = format!("{spans:?}");
    assert!(!text.contains("PRIVATE") && !text.contains("eyJ"), "{text}");
}

#[test]
fn without_the_setting_nothing_connects_to_a_collector() {
    let collector = Collector::start();
    let (mut alpha, mut beta) = (Cluster::new("alpha"), Cluster::new("beta"));
    alpha.put_peer(&beta);
    beta.put_peer(&alpha);
    beta.put_service("web");
    for cluster in [&mut alpha, &mut beta] {
        cluster.start_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)]);
    }
    imports(&alpha, "web");
    assert_eq!((alpha.stop(), beta.stop()), (0, 0));
    assert_eq!(collector.connections(), 0);
}

#[test]
fn a_dead_collector_is_logged_once_and_delays_nothing() {
    let port = xtask::ports::free().unwrap().port();
    let (mut alpha, mut beta) = traced_pair(&format!("http://127.0.0.1:{port}"));
    for name in ["one", "two", "three"] {
        beta.put_service(name);
        imports(&alpha, name);
    }
    assert_eq!((alpha.stop(), beta.stop()), (0, 0));
    for cluster in [&alpha, &beta] {
        let (log, endpoint) = (cluster.log(), format!("http://127.0.0.1:{port}"));
        let lines = log.lines().filter(|line| line.contains("spans are dropped until"));
        let lines: Vec<_> = lines.collect();
        assert!(lines.len() == 1 && lines[0].contains(&endpoint), "{log}");
    }
}

/// One cluster with a service, whose changes go to this endpoint.
fn traced_alone(endpoint: &str, environment: &[(&str, &str)]) -> Cluster {
    let mut alpha = Cluster::new("alpha");
    let settings = format!("{}tracing: {{otlpEndpoint: '{endpoint}'}}\n", alpha.settings());
    alpha.put("fedgate.yaml", &settings);
    alpha.put_service("web");
    alpha.start_with(environment);
    alpha
}

/// Stops it, and returns its log. The last spans are sent, or not, before the end.
fn log_to_the_end(mut cluster: Cluster) -> String {
    assert_eq!(cluster.stop(), 0);
    cluster.log()
}

#[test]
fn a_collector_with_a_private_ca_gets_spans_if_the_ca_is_given() {
    let ca = authority();
    let collector = Collector::start_with_tls(&ca);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (file("ca.pem", &ca.pem()), file("other.pem", &authority().pem()));
    let general = "OTEL_EXPORTER_OTLP_CERTIFICATE";
    for (variable, own) in
        [(general, &right), ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", &right), (general, &wrong)]
    {
        let before = collector.spans().len();
        // The one for traces counts, if both are set.
        let log =
            log_to_the_end(traced_alone(&collector.url, &[(general, &wrong), (variable, own)]));
        let arrived = collector.spans().len() > before;
        assert_eq!(arrived, *own == right, "{variable}: {log}");
        assert_eq!(
            !arrived,
            log.contains("invalid peer certificate")
                && log.contains("; set OTEL_EXPORTER_OTLP_CERTIFICATE"),
            "{log}"
        );
    }
    let log = log_to_the_end(traced_alone(&collector.url, &[]));
    let lines: Vec<_> = log.lines().filter(|line| line.contains("spans are dropped")).collect();
    assert!(
        lines.len() == 1 && lines[0].contains("set OTEL_EXPORTER_OTLP_CERTIFICATE to a file"),
        "{log}"
    );
}

/// A wrong file is refused at the start: otherwise nobody would notice for hours.
#[test]
fn a_file_without_cas_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::File::create(&empty).unwrap();
    for (file, why) in [(empty, "it has none"), (folder.path().join("none.pem"), "No such file")] {
        let cluster = Cluster::new("alpha");
        let settings =
            format!("{}tracing: {{otlpEndpoint: 'https://127.0.0.1:4318'}}\n", cluster.settings());
        cluster.put("fedgate.yaml", &settings);
        let mut command = fedgate();
        command.args(["run", "--dir"]).arg(cluster.folder());
        let output = command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", &file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let expected = format!("OTEL_EXPORTER_OTLP_CERTIFICATE={}: expected", file.display());
        assert!(
            !output.status.success() && said.contains(&expected) && said.contains(why),
            "{said}"
        );
    }
}

/// A small system has no CAs, and a collector without TLS needs none.
#[test]
fn a_system_without_cas_traces_over_http() {
    let collector = Collector::start();
    let nothing = [("SSL_CERT_FILE", "/dev/null"), ("SSL_CERT_DIR", "/dev/null")];
    log_to_the_end(traced_alone(&collector.url, &nothing));
    assert!(!collector.spans().is_empty());
}

fn nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}
