//! Wrong values are refused by name.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::chart;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

const PLAIN: [&str; 3] = [
    "trustDomain=alpha.example",
    "image.repository=registry.example/fedgate",
    "metadata.tls.secretName=fedgate-metadata-tls",
];

/// A wrong setting, and words that the message must contain.
const WRONG: &[(&str, &[&str])] = &[
    ("trustDomain=", &["trustDomain is missing", "alpha.example"]),
    ("trustDomain=cluster.local", &["trustDomain", "every cluster calls itself that"]),
    ("trustDomain=Alpha.example", &["/trustDomain", "pattern"]),
    (
        "trustDomain=alpha.example.",
        &["trustDomain is \"alpha.example.\"", "without a dot at its end"],
    ),
    ("trustDomain=cluster.local.", &["trustDomain", "every cluster calls itself that"]),
    ("trustDomain=.alpha.example", &["trustDomain is \".alpha.example\"", "expected a DNS name"]),
    ("trustDomain=alpha..example", &["trustDomain is \"alpha..example\"", "expected a DNS name"]),
    ("trustDomain=-alpha.example", &["trustDomain is \"-alpha.example\"", "expected a DNS name"]),
    ("enabled=false", &["enabled is false", "condition: fedgate.enabled"]),
    ("image.repository=", &["image.repository is missing"]),
    ("image.repository=registry.example/fedgate:1", &["/image/repository"]),
    ("metadata.tls.secretName=", &["metadata.tls.secretName is missing", "metadata.plain"]),
    ("metadata.plain=true", &["metadata.tls.secretName and metadata.plain contradict"]),
    ("metadata.service.type=ExternalName", &["/metadata/service/type", "ClusterIP"]),
    ("metadata.service.nodePort=30080", &["metadata.service.nodePort", "ClusterIP"]),
    ("metadata.port=15090", &["metadata.port and controller.probesPort"]),
    ("delivery=Helm", &["/delivery", "EnvoyFilter"]),
    (
        "gateway.filterModule=oci://registry.example/filter",
        &["gateway.filterModule", "delivery=WasmPlugin"],
    ),
    (
        "delivery=DynamicModule,gateway.filterModule=oci://registry.example/filter",
        &["gateway.filterModule", "for delivery=DynamicModule"],
    ),
    ("gateway.filterModule=filter.wasm", &["/gateway/filterModule"]),
    ("gateway.service.type=ClusterIP", &["/gateway/service/type", "LoadBalancer"]),
    ("gateway.port=70000", &["/gateway/port", "want 65,535"]),
    ("gateway.advertise[0]=gw.example", &["/gateway/advertise/0"]),
    ("gateway.advertiseTo.beta[0]=gw.example", &["/gateway/advertiseTo/beta/0"]),
    (
        "gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=9",
        &["gateway.autoscaling.minReplicas is 9"],
    ),
    ("gateway.drainSeconds=2", &["gateway.minimumDrainSeconds is 5"]),
    ("gateway.labels.istio=null", &["gateway.labels is empty"]),
    ("mcs.imports=true", &["federatedServices.suffix is \"\"", "expected svc.clusterset.local"]),
    ("network.podCIDRs[0]=10.0.0.0", &["/network/podCIDRs/0"]),
    ("times.poll=soon", &["/times/poll"]),
    ("connections.keepalive=never", &["/connections/keepalive"]),
    ("controller.replicas=0", &["/controller/replicas"]),
    ("controller.logFormat=xml", &["/controller/logFormat", "json"]),
    ("trustDomian=alpha.example", &["trustDomian"]),
    ("gateway.service.typ=NodePort", &["/gateway/service", "typ"]),
];

/// Names that may be empty: either another check complains, or an empty value is valid.
const EMPTY: &[&str] = &[
    "trustDomain",
    "image.repository",
    "metadata.tls.secretName",
    "gateway.labels",
    "gateway.labels.istio",
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
            let refused =
                render(&[set]).await.err().with_context(|| format!("{set} was taken"))?.to_string();
            ensure!(
                words.iter().all(|word| refused.contains(word)),
                "{set}: expected {words:?}, found: {refused}"
            );
        }
        Ok(())
    });
}

/// All names in the chart's values, including those of sections.
fn names(prefix: &str, values: &Value) -> Vec<String> {
    let fields = values.as_object().into_iter().flatten();
    let name =
        |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
    fields.flat_map(|(key, value)| [vec![name(key)], names(&name(key), value)].concat()).collect()
}

/// A values file in which this name has no value.
fn with_nothing_behind(name: &str) -> String {
    let parts: Vec<_> = name.split('.').collect();
    parts
        .iter()
        .enumerate()
        .map(|(depth, part)| format!("{}{part}:\n", "  ".repeat(depth)))
        .collect()
}

#[test]
fn a_key_without_a_value_is_refused_by_name_or_has_no_effect() {
    scenario("empty-values", async |run: &RunFolder| {
        let defaults: Value =
            serde_saphyr::from_str(&std::fs::read_to_string(chart::folder().join("values.yaml"))?)?;
        let names = names("", &defaults);
        ensure!(names.len() > 130, "{names:?}");
        let [needed, empty] =
            ["needed.yaml", "empty.yaml"].map(|file| run.path().join(file).display().to_string());
        let lines = PLAIN.iter().filter_map(|line| line.split_once('='));
        std::fs::write(
            &needed,
            lines
                .map(|(name, value)| {
                    with_nothing_behind(name).trim_end().to_owned() + " " + value + "\n"
                })
                .collect::<String>(),
        )?;
        let mut refused = BTreeSet::new();
        for name in names {
            std::fs::write(&empty, with_nothing_behind(&name))?;
            let rendered = chart::render(&["--values", &needed, "--values", &empty]).await;
            let Err(error) = rendered else { continue };
            let error = error.to_string();
            let is_named = error.contains(&format!("{name}: expected a value, found nothing"));
            ensure!(is_named || EMPTY.contains(&name.as_str()), "{name}: {error}");
            refused.insert(name);
        }
        // An empty value here would open something, or render an invalid object.
        for name in [
            "gateway",
            "controller",
            "networkPolicies",
            "networkPolicies.enabled",
            "rbac",
            "gateway.port",
        ] {
            ensure!(refused.contains(name), "{name} with nothing behind was taken");
        }
        // An empty value here is a choice: no limits, no default security context.
        for name in [
            "gateway.resources",
            "controller.podSecurityContext",
            "gateway.affinity",
            "clusterUUID",
        ] {
            ensure!(!refused.contains(name), "{name} with nothing behind was refused");
        }
        Ok(())
    });
}

/// Writes a chart that has this one as a subchart.
fn write_parent(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder.join("charts"))?;
    std::os::unix::fs::symlink(chart::folder(), folder.join("charts/fedgate"))?;
    let dependency =
        "dependencies:\n  - name: fedgate\n    version: 0.1.0\n    condition: fedgate.enabled\n";
    let head = "apiVersion: v2\nname: platform\nversion: 1.0.0\n";
    std::fs::write(folder.join("Chart.yaml"), format!("{head}{dependency}"))?;
    Ok(())
}

#[test]
fn the_chart_works_as_a_subchart() {
    scenario("sub-chart", async |run: &RunFolder| {
        let parent = run.path().join("platform");
        write_parent(&parent)?;
        let values = PLAIN.map(|value| format!("fedgate.{value}")).join(",");
        let render = async |enabled: &str| {
            let set = format!("{values},fedgate.enabled={enabled},global.team=edge,tags.all=true");
            let folder = parent.display().to_string();
            let output = chart::helm(&[
                "template",
                "platform",
                &folder,
                "--kube-version",
                "1.33.0",
                "--set",
                &set,
            ])
            .await?;
            ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Ok::<_, anyhow::Error>(String::from_utf8(output.stdout)?)
        };
        let on = render("true").await?;
        ensure!(on.contains("kind: Deployment") && on.contains("FEDGATE_TRUST_DOMAIN"), "{on}");
        let off = render("false").await?;
        ensure!(!off.contains("kind:"), "{off}");
        Ok(())
    });
}
