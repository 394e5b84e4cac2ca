//! Names at Envoy's limit for an SNI (255 bytes).

use anyhow::ensure;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::federation::Federation;
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::scenario::scenario;

/// The maximum length of a label.
const LABEL: usize = 63;
/// The maximum length that Envoy accepts.
const LONGEST: usize = 255;

#[test]
fn a_server_name_of_255_bytes_passes_and_one_of_256_is_refused() {
    scenario("long-names", async |run: &RunFolder| {
        let (alpha, mut beta) = (Cluster::new(run, "alpha")?, Cluster::new(run, "beta")?);
        let service = |name: usize| "n".repeat(name);
        let mut fits = Deployed::http(&beta, &service(LABEL - 1)).await?;
        let missing = LONGEST - fits.sni().len();
        beta.settings().trust_domain = format!("{}.beta.example", labels(missing - 1));
        beta.write_settings()?;
        beta.write_identities()?;
        fits = Deployed::http(&beta, &service(LABEL - 1)).await?;
        let mut too_long = Deployed::http(&beta, &service(LABEL)).await?;
        ensure!(
            [fits.sni().len(), too_long.sni().len()] == [LONGEST, LONGEST + 1],
            "{}",
            fits.sni()
        );
        fits.apply(&beta, Service::exported)?;
        too_long.apply(&beta, Service::exported)?;
        alpha.put_peer(&beta, &beta.metadata_url())?;
        beta.put_peer(&alpha, &alpha.metadata_url())?;
        let mut federation = Federation { clusters: [alpha, beta] };
        federation.start().await?;

        let [alpha, beta] = &federation.clusters;
        fits.wait_callable_from(alpha).await?;
        let finding = beta.wait_finding("name_too_long").await?;
        ensure!(
            finding.message.contains("256") && finding.message.contains(&too_long.host()),
            "{finding:?}"
        );
        ensure!(alpha.status().await?.import(&too_long.name()).is_none(), "it was imported");
        fits.call_from(alpha).await.map(drop)
    });
}

/// Labels joined by dots, of this many bytes in total.
fn labels(bytes: usize) -> String {
    let all: Vec<u8> =
        (1..=bytes).map(|place| if place % (LABEL - 3) == 0 { b'.' } else { b'l' }).collect();
    String::from_utf8_lossy(&all).into_owned()
}
