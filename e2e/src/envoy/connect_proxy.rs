//! A stock Envoy as an HTTP proxy (`CONNECT`) that asks for a login.

use super::Envoy;
use super::ingress::connections;
use super::stock::{cluster_of, socket};
use crate::run_folder::RunFolder;
use anyhow::Result;
use serde_json::{Value, json};
use std::net::SocketAddr;
use xtask::ports;

/// A running proxy.
#[derive(Debug)]
pub struct ConnectProxy {
    /// Its Envoy.
    pub envoy: Envoy,
    /// Where it accepts connections.
    pub address: SocketAddr,
}

/// What lines of the access log begin with.
const LINE: &str = "proxy-request";

/// `user:secret`, as a client sends it.
const LOGIN: &str = "Basic dXNlcjpzZWNyZXQ=";

impl ConnectProxy {
    /// Starts a proxy that leads clients with the login `user:secret` to these hosts, such as
    /// `beta.invalid:443`. Only the proxy knows their addresses.
    ///
    /// # Errors
    /// When Envoy does not start.
    pub async fn start(run: &RunFolder, hosts: &[(&str, SocketAddr)]) -> Result<Self> {
        let address = ports::free()?;
        let rows: Vec<_> = hosts.iter().map(|(host, _)| virtual_host(host)).collect();
        let format = format!("{LINE} %RESPONSE_CODE% %REQ(:AUTHORITY)%\n");
        let config = json!({
            "admin": { "address": socket(([127, 0, 0, 1], 0).into()) },
            "static_resources": {
                "listeners": [{
                    "name": "proxy",
                    "address": socket(address),
                    "filter_chains": [{ "filters": [connections("HTTP1", &rows, &format, Vec::new())] }],
                }],
                "clusters": hosts.iter().map(|(host, to)| cluster_of(host, *to)).collect::<Vec<_>>(),
            },
        });
        let bootstrap = run.path().join("proxy-bootstrap.json");
        std::fs::write(&bootstrap, config.to_string())?;
        let envoy = Envoy::start("HTTP proxy", &bootstrap, &run.log("http-proxy")).await?;
        Ok(Self { envoy, address })
    }

    /// The requests that have ended: status and host.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn requests(&self) -> Result<Vec<(u16, String)>> {
        let log = std::fs::read_to_string(self.envoy.log())?;
        let request = |line: &str| {
            let (status, host) = line.strip_prefix(LINE)?.trim().split_once(' ')?;
            Some((status.parse().ok()?, host.to_owned()))
        };
        Ok(log.lines().filter_map(request).collect())
    }
}

fn virtual_host(host: &str) -> Value {
    let login = json!({ "name": "proxy-authorization", "string_match": { "exact": LOGIN } });
    let upgrade = json!({ "upgrade_type": "CONNECT", "connect_config": {} });
    json!({
        "name": host,
        "domains": [host],
        "routes": [
            {
                "match": { "connect_matcher": {}, "headers": [login] },
                "route": { "cluster": host, "timeout": "0s", "upgrade_configs": [upgrade] },
            },
            { "match": { "connect_matcher": {} }, "direct_response": { "status": 407 } },
        ],
    })
}
