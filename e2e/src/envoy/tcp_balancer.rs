//! A stock Envoy in TCP mode as the load balancer in front of a cluster's metadata endpoint. It closes
//! connections on which nothing is sent, whatever TCP keepalive does.

use super::Envoy;
use super::stock::{cluster_of, socket};
use crate::run_folder::RunFolder;
use anyhow::{Context, Result};
use serde_json::json;
use std::net::SocketAddr;
use std::time::Duration;
use xtask::ports;

/// A running balancer. TLS passes through it.
#[derive(Debug)]
pub struct TcpBalancer {
    envoy: Envoy,
    address: SocketAddr,
    idle: Duration,
}

/// What lines of the access log begin with.
const LINE: &str = "balancer-connection";

impl TcpBalancer {
    /// Starts a balancer in front of `target` that closes connections after `idle`.
    ///
    /// # Errors
    /// When Envoy does not start.
    pub async fn start(run: &RunFolder, target: SocketAddr, idle: Duration) -> Result<Self> {
        let address = ports::free()?;
        let log = json!({
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": { "text_format_source": { "inline_string": format!("{LINE} %DURATION%\n") } },
        });
        let proxy = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "balancer",
            "cluster": "metadata",
            "idle_timeout": format!("{}s", idle.as_secs()),
            "access_log": [{ "name": "envoy.access_loggers.stdout", "typed_config": log }],
        });
        let config = json!({
            "admin": { "address": socket(([127, 0, 0, 1], 0).into()) },
            "static_resources": {
                "listeners": [{
                    "name": "balancer",
                    "address": socket(address),
                    "filter_chains": [{ "filters": [{ "name": "envoy.filters.network.tcp_proxy", "typed_config": proxy }] }],
                }],
                "clusters": [cluster_of("metadata", target)],
            },
        });
        let bootstrap = run.path().join("balancer-bootstrap.json");
        std::fs::write(&bootstrap, config.to_string())?;
        let envoy = Envoy::start("TCP balancer", &bootstrap, &run.log("balancer")).await?;
        Ok(Self { envoy, address, idle })
    }

    /// The URL for the peers' `metadataEndpoint`.
    pub fn url(&self) -> String {
        format!("https://{}/metadata", self.address)
    }

    /// How many connections have ended, and how many of them the balancer closed for their silence.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn ended(&self) -> Result<(usize, usize)> {
        let log = std::fs::read_to_string(self.envoy.log())?;
        let lines = log.lines().filter_map(|line| line.strip_prefix(LINE));
        let durations: Vec<_> = lines
            .map(|text| text.trim().parse().map(Duration::from_millis))
            .collect::<Result<_, _>>()
            .context("a duration")?;
        let closed = durations.iter().filter(|duration| **duration >= self.idle).count();
        Ok((durations.len(), closed))
    }
}
