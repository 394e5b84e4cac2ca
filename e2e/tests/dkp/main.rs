//! A DKP cluster as a peer: what it does and expects, one behaviour after another.
//! `docs/conformance.md` names these tests, line by line of the protocol.

mod answers;
mod dataplane;
mod documents;
mod pairing;
mod pods;
mod requests;
mod tokens;
mod trust;

use anyhow::Result;
use fedgate_e2e::cluster::Cluster;
use fedgate_e2e::deployed::Deployed;
use fedgate_e2e::dkp::{DkpPeer, DkpState};
use fedgate_e2e::manifest::Service;
use fedgate_e2e::run_folder::RunFolder;
use fedgate_e2e::wait::{self, SOON};
use serde_json::{Value, json};

const PUBLIC: &str = "/public/public.json";
const PRIVATE: &str = "/private/federation.json";
const PUBLIC_READY: &str = "PublicMetadataExchangeReady";
const PRIVATE_READY: &str = "PrivateMetadataExchangeReady";
const SUCCEEDED: [&str; 2] = ["True", "Succeeded"];

/// alpha is a cluster of ours that exports `web`. delta is a DKP cluster. They know each other.
struct Mixed {
    alpha: Cluster,
    web: Deployed,
    delta: DkpPeer,
}

impl Mixed {
    /// With alpha's controller, without its Envoys. `prepare` may change both before they meet.
    async fn start(
        run: &RunFolder,
        prepare: impl AsyncFnOnce(&mut Cluster, &DkpPeer) -> Result<()>,
    ) -> Result<Self> {
        let mut alpha = Cluster::new(run, "alpha")?;
        let delta = DkpPeer::start(run, "delta").await?;
        let mut web = Deployed::http(&alpha, "web").await?;
        web.apply(&alpha, Service::exported)?;
        delta.pair_with(&alpha).await?;
        prepare(&mut alpha, &delta).await?;
        alpha.start_controller().await?;
        Ok(Self { alpha, web, delta })
    }

    /// The same; each has the other's documents.
    async fn paired(run: &RunFolder) -> Result<Self> {
        let mixed = Self::start(run, async |_, _| Ok(())).await?;
        mixed.wait_paired().await?;
        Ok(mixed)
    }

    /// The same, with alpha's gateway and egress, and probes every second.
    async fn with_envoys(run: &RunFolder) -> Result<Self> {
        let prepare = async |alpha: &mut Cluster, _: &DkpPeer| {
            alpha.settings().probe = "1s".into();
            alpha.write_settings()
        };
        let mut mixed = Self::start(run, prepare).await?;
        mixed.alpha.start_envoys().await?;
        mixed.wait_paired().await?;
        Ok(mixed)
    }

    /// Waits until each has the other's documents.
    async fn wait_paired(&self) -> Result<DkpState> {
        let state = self.delta.wait_paired("alpha").await?;
        self.wait_private(SUCCEEDED).await?;
        Ok(state)
    }

    /// Waits for alpha's condition about delta's public document. Returns its message.
    async fn wait_public(&self, wanted: [&str; 2]) -> Result<String> {
        self.alpha.wait_condition("delta", PUBLIC_READY, wanted).await
    }

    /// Waits for alpha's condition about delta's private document. Returns its message.
    async fn wait_private(&self, wanted: [&str; 2]) -> Result<String> {
        self.alpha.wait_condition("delta", PRIVATE_READY, wanted).await
    }

    /// `host:port` of delta's web, as alpha imports it.
    fn import(&self) -> String {
        format!("{}:80", self.delta.web())
    }

    /// Whether alpha imports it.
    async fn is_imported(&self) -> Result<bool> {
        Ok(self.alpha.status().await?.import(&self.import()).is_some())
    }

    /// Waits until alpha imports HTTP at port 80 of a host.
    async fn wait_imported(&self, host: &str) -> Result<()> {
        let what = format!("alpha to import {host}");
        wait::until_true(&what, SOON, async || {
            Ok(self.alpha.status().await?.import(&format!("{host}:80")).is_some())
        })
        .await
    }
}

/// A service with HTTP at port 80, as a row of a private document.
fn service(host: &str) -> Value {
    json!({ "hostname": host, "ports": [{ "name": "http", "port": 80 }] })
}
