//! Values that are wrong are refused by name.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::chart;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

const PLAIN: [&str; 3] = [
    "trustDomain=alpha.example",
    "image.repository=registry.example/fedgate",
    "metadata.tls.secretName=fedgate-metadata-tls",
];

/// What is set, and what the message must say.
const WRONG: &[(&str, &[&str])] = &[
    ("trustDomain=", &["trustDomain is missing", "alpha.example"]),
    ("trustDomain=cluster.local", &["trustDomain", "every cluster calls itself that"]),
    ("trustDomain=Alpha.example", &["/trustDomain", "pattern"]),
    ("image.repository=", &["image.repository is missing"]),
    ("image.repository=registry.example/fedgate:1", &["/image/repository"]),
    ("metadata.tls.secretName=", &["metadata.tls.secretName is missing", "metadata.plain"]),
    ("metadata.plain=true", &["metadata.tls.secretName and metadata.plain contradict"]),
    ("metadata.service.type=ExternalName", &["/metadata/service/type", "ClusterIP"]),
    ("metadata.service.nodePort=30080", &["metadata.service.nodePort", "ClusterIP"]),
    ("metadata.port=15090", &["metadata.port and controller.probesPort"]),
    ("delivery=Helm", &["/delivery", "EnvoyFilter"]),
    ("gateway.filterModule=oci://registry.example/filter", &["gateway.filterModule", "delivery=WasmPlugin"]),
    ("gateway.filterModule=filter.wasm", &["/gateway/filterModule"]),
    ("gateway.service.type=ClusterIP", &["/gateway/service/type", "LoadBalancer"]),
    ("gateway.port=70000", &["/gateway/port", "want 65,535"]),
    ("gateway.advertise[0]=gw.example", &["/gateway/advertise/0"]),
    ("gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=9", &["gateway.autoscaling.minReplicas is 9"]),
    ("gateway.drainSeconds=2", &["gateway.minimumDrainSeconds is 5"]),
    ("gateway.labels.istio=null", &["gateway.labels is empty"]),
    ("network.podCIDRs[0]=10.0.0.0", &["/network/podCIDRs/0"]),
    ("times.poll=soon", &["/times/poll"]),
    ("controller.replicas=0", &["/controller/replicas"]),
    ("controller.logFormat=xml", &["/controller/logFormat", "json"]),
    ("trustDomian=alpha.example", &["trustDomian"]),
    ("gateway.service.typ=NodePort", &["/gateway/service", "typ"]),
];

async fn render(more: &[&str]) -> Result<chart::Rendered> {
    let values: Vec<&str> = PLAIN.iter().chain(more).flat_map(|value| ["--set", value]).collect();
    chart::render(&values).await
}

#[test]
fn wrong_values_are_refused_by_name_and_three_lines_are_enough() {
    scenario("values", async |_: &RunFolder| {
        render(&[]).await?;
        for (set, words) in WRONG {
            let refused = render(&[set]).await.err().with_context(|| format!("{set} was taken"))?.to_string();
            ensure!(words.iter().all(|word| refused.contains(word)), "{set}: expected {words:?}, found: {refused}");
        }
        Ok(())
    });
}
