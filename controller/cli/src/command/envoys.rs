//! Where the two Envoys of a folder can be asked.

use super::Folder;
use clap::Args;
use fedgate_files::settings::Settings;
use fedgate_process::envoy_processes::admin_address;
use fedgate_process::words::chain;
use std::net::SocketAddr;

#[derive(Debug, Args)]
pub(super) struct EnvoyAddresses {
    /// Admin address of the gateway's Envoy [default: as in fedgate.yaml, or in the file of its
    /// --admin-address-path]
    #[arg(long, value_name = "ADDRESS", value_parser = loopback, conflicts_with_all = ["kubeconfig", "context", "namespace"])]
    gateway_admin: Option<SocketAddr>,
    /// The same for the egress Envoy
    #[arg(long, value_name = "ADDRESS", value_parser = loopback, conflicts_with_all = ["kubeconfig", "context", "namespace"])]
    egress_admin: Option<SocketAddr>,
}

/// Settings allow loopback only; so does this.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().ok().filter(|address: &SocketAddr| address.ip().is_loopback());
    address.ok_or_else(|| {
        format!("expected a loopback address such as 127.0.0.1:9901, found {text:?}")
    })
}

impl EnvoyAddresses {
    /// The same address for both, for tests.
    #[cfg(test)]
    pub(super) fn both(admin: SocketAddr) -> Self {
        Self { gateway_admin: Some(admin), egress_admin: Some(admin) }
    }

    /// The gateway's and the egress Envoy's admin address, or why it is not known.
    pub(super) fn of(&self, folder: &Folder) -> [(&'static str, Result<SocketAddr, String>); 2] {
        let settings = Settings::read(&folder.dir);
        [("gateway", self.gateway_admin), ("egress", self.egress_admin)].map(|(role, given)| {
            let Some(address) = given else { return (role, found(settings.as_ref(), role)) };
            (role, Ok(address))
        })
    }
}

fn found(settings: Result<&Settings, &anyhow::Error>, role: &str) -> Result<SocketAddr, String> {
    let settings = settings.map_err(chain)?;
    let set = if role == "gateway" { settings.gateway.admin } else { settings.egress.admin };
    if set.port() != 0 {
        return Ok(set);
    }
    let address = admin_address(&settings.envoy.join(role).join("bootstrap.json"));
    // Any program of this machine can have such arguments, and name any file.
    address.filter(|address| address.ip().is_loopback()).ok_or_else(|| {
        format!(
            "its admin address is not known: set {role}.admin to a port, or start it with --admin-address-path, or name it with --{role}-admin"
        )
    })
}
