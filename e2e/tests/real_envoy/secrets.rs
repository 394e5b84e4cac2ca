//! Private keys and tokens appear in no log, status, error or file except their own.

use crate::fixture::Pair;
use anyhow::ensure;
use fedgate_e2e::metadata_proxy::{MetadataProxy, Reply};
use fedgate_e2e::run_folder::{RunFolder, files_below};
use fedgate_e2e::scenario::scenario;
use fedgate_e2e::wait::{self, SOON};

#[test]
fn secrets_stay_in_their_files() {
    scenario("secrets", async |run: &RunFolder| {
        let pair = Pair::start(run, |_, _| Ok(())).await?;
        let [alpha, beta] = &pair.federation.clusters;
        // Cause complaints: a peer that refuses tokens, and a key in place of a certificate.
        let proxy = MetadataProxy::in_front_of(beta).await?;
        proxy.alter(|_, _| Reply { status: 401, ..Reply::ok("no") });
        alpha.put_peer(beta, &proxy.url())?;
        let tokens = async || Ok(!proxy.tokens().is_empty());
        wait::until_true("alpha to show a token", SOON, tokens).await?;
        let key = std::fs::read_to_string(alpha.folder().join("identity/gateway.key"))?;
        let ca = fedgate_e2e::manifest::federation(
            "delta",
            "delta.example",
            "https://delta.example/m",
            &key,
        );
        alpha.put_manifest("peer-delta.yaml", &ca)?;
        alpha.wait_finding("invalid_ca").await?;

        let mut secrets: Vec<String> =
            key.lines().filter(|line| !line.starts_with('-')).map(Into::into).collect();
        secrets.extend(proxy.tokens());
        let status = alpha.status().await?.0.to_string();
        for secret in &secrets {
            ensure!(!status.contains(secret), "the status has a secret");
            for file in files_below(run.path())? {
                let its_own = file.extension().is_some_and(|extension| extension == "key");
                // The operator's own file, and the controller's copy.
                let manifest = file.ends_with("manifests/peer-delta.yaml")
                    || file.ends_with("state/manifests.json");
                let text = String::from_utf8_lossy(&std::fs::read(&file)?).into_owned();
                ensure!(
                    its_own || manifest || !text.contains(secret),
                    "{} has a secret",
                    file.display()
                );
            }
        }
        Ok(())
    });
}
