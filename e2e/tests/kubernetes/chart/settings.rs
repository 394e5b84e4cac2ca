//! Every setting of the controller can be set by a value of the chart, and reaches it.

use anyhow::{Context, Result, ensure};
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::{chart, programs};
use std::collections::{BTreeMap, BTreeSet};

/// Not a flag: `logging` reads this variable.
const NO_FLAG: &str = "FEDGATE_LOG";

/// The variables of the flags, from the help text.
async fn flags() -> Result<BTreeSet<String>> {
    let output = tokio::process::Command::new(programs::fedgate()?)
        .args(["controller", "--help"])
        .output()
        .await?;
    let help = String::from_utf8(output.stdout)?;
    // The value of a secret is not shown: `[env: NAME]`.
    let variables = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
    Ok(variables.map(str::to_owned).filter(|name| name.starts_with("FEDGATE_")).collect())
}

/// The variables of the controller's Deployment.
async fn given(combination: &str) -> Result<BTreeMap<String, String>> {
    let rendered = chart::render_file(&chart::folder().join("ci").join(combination)).await?;
    Ok(chart::start(rendered.object("Deployment", "fedgate")?)?.variables)
}

#[test]
fn each_setting_of_the_controller_has_a_value() {
    scenario("settings", async |_: &RunFolder| {
        let flags = flags().await?;
        ensure!(flags.len() > 25, "{flags:?}");
        // With or without TLS: the two settings exclude each other.
        let everything = given("everything.yaml").await?;
        let mut given: BTreeSet<_> = given("node-port.yaml").await?.into_keys().collect();
        given.extend(everything.keys().cloned());
        let missing: Vec<_> = flags.difference(&given).collect();
        ensure!(missing.is_empty(), "the chart has no value for {missing:?}");
        given.remove(NO_FLAG);
        let unknown: Vec<_> = given
            .iter()
            .filter(|name| name.starts_with("FEDGATE_") && !flags.contains(*name))
            .collect();
        ensure!(unknown.is_empty(), "the controller knows no {unknown:?}");
        for (variable, value) in [
            ("FEDGATE_GATEWAY_SELECTOR", "istio=east-west"),
            ("FEDGATE_ADVERTISE", "gw.alpha.example:443,[2001:db8::1]:443"),
            (
                "FEDGATE_ADVERTISE_TO",
                "beta=10.0.0.5:443@eu/a,beta=10.0.0.6:443,gamma=link.example:443",
            ),
            ("FEDGATE_METADATA_LISTEN", "0.0.0.0:16080"),
            ("FEDGATE_PROBES_LISTEN", "0.0.0.0:16090"),
            ("FEDGATE_GATEWAY_NAMESPACE", "federation-gateway"),
            ("FEDGATE_ROOT_NAMESPACE", "istio-config"),
            ("FEDGATE_EXPORT_TO", "shop,."),
            ("FEDGATE_GATEWAY_PROXY_PROTOCOL", "true"),
            ("FEDGATE_METADATA_PROXY_PROTOCOL", "true"),
            ("FEDGATE_IDLE_TIMEOUT", "never"),
            ("FEDGATE_GATEWAY_ACCESS_LOG", "false"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/fedgate/tracing-ca/ca.crt"),
        ] {
            ensure!(
                everything.get(variable).is_some_and(|given| given == value),
                "{variable}: {everything:?}"
            );
        }
        Ok(())
    });
}

/// The controller accepts the settings of each combination: it stops because there is no API
/// server, not because of a setting.
#[test]
fn the_controller_accepts_every_setting_of_the_chart() {
    scenario("understands", async |run: &RunFolder| {
        let nowhere = run.path().join("no-kubeconfig");
        for (name, values) in chart::combinations()? {
            let rendered = chart::render_file(&values).await?;
            let chart::Start { variables, arguments } =
                chart::start(rendered.object("Deployment", "fedgate")?)?;
            for (wrong, expected) in
                [(None, "no-kubeconfig"), (Some(("FEDGATE_POLL", "soon")), "FEDGATE_POLL")]
            {
                let mut controller = tokio::process::Command::new(programs::fedgate()?);
                controller
                    .args(&arguments)
                    .env_clear()
                    .envs(&variables)
                    .envs(wrong)
                    .env("KUBECONFIG", &nowhere);
                let output = controller.output().await.context("cannot start fedgate")?;
                let printed = String::from_utf8_lossy(&output.stderr)
                    + String::from_utf8_lossy(&output.stdout);
                let wrong_use = output.status.code() == Some(2);
                ensure!(wrong_use == wrong.is_some(), "{name}, {expected}: {printed}");
                ensure!(!output.status.success(), "{name}: it runs");
            }
        }
        Ok(())
    });
}
