//! Checks what the gateway gets, and what it has.

use super::facts::{Pod, Pods, Written};
use super::imports::written_check;
use super::report::{Check, Section};
use crate::api::kind::Kind;
use crate::api::watch::Key;
use crate::inspect::snapshot::Snapshot;
use crate::sinks::gateway::table_object;
use crate::sinks::gateway::{LISTENER, TRUST_BUNDLE};
use fedgate_process::words::counted;

pub(super) fn section(snapshot: &Snapshot, pods: &Pods, written: &Written) -> Section {
    let mut checks = vec![objects(snapshot, written), table(snapshot)];
    match pods {
        Err(why) => checks.push(Check::warning(
            "gateway-pods",
            RUNS,
            why,
            "this check needs a role that lets you list Pods",
        )),
        Ok(pods) => {
            checks.push(runs(snapshot, pods.values().filter(|pod| pod.ready).count()));
            let ready = pods.iter().filter(|(_, pod)| pod.ready);
            checks.extend(ready.map(|(name, pod)| loaded(snapshot, name, pod)));
        }
    }
    Section {
        name: format!("gateway in the namespace {}", snapshot.record.namespaces.gateway()),
        checks,
    }
}

const RUNS: &str = "a gateway Pod is ready";

fn objects(snapshot: &Snapshot, written: &Written) -> Check {
    let namespaces = &snapshot.record.namespaces;
    let (table, name) = table_object(namespaces.delivery);
    let wanted = [(Kind::ConfigMap, TRUST_BUNDLE), (Kind::EnvoyFilter, LISTENER), (table, name)]
        .map(|(kind, name)| {
            (kind, Key { namespace: namespaces.gateway().to_owned(), name: name.to_owned() })
        });
    let title = "trust bundle, listener and table are written";
    written_check("gateway-written", title, wanted.into(), written, String::new)
}

/// The table in the cluster must be the one that results from the objects.
fn table(snapshot: &Snapshot) -> Check {
    const TITLE: &str = "the table in the cluster matches the objects";
    let in_force = &snapshot.in_force;
    if let Some(finding) = in_force.findings.first() {
        let hint = "the controller's log and `kubectl get events` say why it cannot write it";
        return Check::failed("table", TITLE, finding.to_string(), hint);
    }
    match &in_force.federation.table {
        Ok(table) => {
            let detail = format!(
                "generation {}, {}, {}",
                table.generation(),
                counted(table.rows() as usize, "export"),
                table.hash()
            );
            Check::ok("table", TITLE, detail)
        }
        Err(why) => Check::failed(
            "table",
            TITLE,
            why.to_string(),
            "the last good one stays in force until this is fixed",
        ),
    }
}

fn runs(snapshot: &Snapshot, ready: usize) -> Check {
    let selector = &snapshot.record.gateway_selector;
    match ready {
        0 => {
            let hint = "peers can reach no Service; check the gateway's Deployment, --gateway-selector and --gateway-namespace";
            Check::failed(
                "gateway-pods",
                RUNS,
                format!("no Pod with the labels {selector} is ready"),
                hint,
            )
        }
        ready => Check::ok("gateway-pods", RUNS, format!("{ready} with the labels {selector}")),
    }
}

fn loaded(snapshot: &Snapshot, name: &str, pod: &Pod) -> Check {
    let title = format!("Pod {name} has loaded the table");
    let wanted = snapshot.in_force.table.generation();
    let gauges = match &pod.table {
        Ok(gauges) => gauges,
        Err(why) => {
            let hint = format!(
                "the Pod is asked through the API server (pods/proxy, port 15090); or compare the Pod's fedgate_table_generation in Prometheus: expected \
                 {wanted}"
            );
            return Check::warning("table-loaded", title, why, hint);
        }
    };
    match (gauges.generation, gauges.lacking()) {
        (Some(generation), None) if generation == wanted => {
            Check::ok("table-loaded", title, format!("generation {generation}"))
        }
        (Some(generation), Some((threads, all))) if generation == wanted => {
            let hint = "a new table takes about a second; a thread that stays without it refuses connections or uses an older one: the Pod's \
                        log says why, and a restart of the Pod helps";
            let detail =
                format!("generation {generation} is in force on {threads} of {all} threads");
            Check::failed("table-loaded", title, detail, hint)
        }
        (Some(generation), _) => {
            let hint = "check that istiod runs and that the Pod is connected to it (`istioctl proxy-status`); the Pod's log says when a table is refused";
            let detail = format!("it has generation {generation}, expected {wanted}");
            Check::failed("table-loaded", title, detail, hint)
        }
        (None, _) => {
            let hint = "it refuses all connections; its log says why the filter does not start, for example because the module is not mounted";
            Check::failed("table-loaded", title, "its Envoy has no filter with a table", hint)
        }
    }
}
