//! What the two Envoys of a folder show at their admin addresses.

use super::allow::by_name;
use super::archive::{Bundle, LARGEST};
use super::rules::{FIELDS, THROUGH};
use crate::command::Folder;
use crate::command::envoys::EnvoyAddresses;
use crate::command::http;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::net::SocketAddr;

/// A configuration with ten thousand clusters has some 40 MB; what is kept of it is less.
const LARGEST_ANSWER: usize = 128 << 20;

pub(super) async fn collect(bundle: &mut Bundle, folder: &Folder, addresses: &EnvoyAddresses) {
    for (role, address) in addresses.of(folder) {
        let address = match address {
            Ok(address) => address,
            Err(why) => {
                bundle.leave_out(&format!("envoy/{role}"), &why);
                continue;
            }
        };
        let stats = http::get(&format!("http://{address}/stats?usedonly"), LARGEST).await;
        bundle.add_lines(&format!("envoy/{role}/stats.txt"), stats.map(numbers));
        for (file, path) in [
            ("config_dump.json", "/config_dump"),
            ("server_info.json", "/server_info"),
            ("certs.json", "/certs"),
        ] {
            let document = ask(address, path).await;
            let removal = bundle.removal;
            let kept = document.map(|document| by_name(&document, THROUGH, FIELDS, removal));
            bundle.add_json(&format!("envoy/{role}/{file}"), kept);
        }
    }
}

async fn ask(address: SocketAddr, path: &str) -> Result<Value> {
    match http::get(&format!("http://{address}{path}"), LARGEST_ANSWER).await? {
        (bytes, false) => serde_json::from_slice(&bytes).context("it is not JSON"),
        (_, true) => bail!("it has more than {LARGEST_ANSWER} bytes"),
    }
}

/// The lines `NAME: NUMBER`. Other lines are histograms, or texts.
fn numbers((bytes, cut): (Vec<u8>, bool)) -> (Vec<u8>, bool) {
    let text = String::from_utf8_lossy(&bytes);
    let is_number =
        |line: &&str| line.rsplit_once(": ").is_some_and(|(_, value)| value.parse::<u64>().is_ok());
    let lines: String = text.lines().filter(is_number).map(|line| format!("{line}\n")).collect();
    (lines.into_bytes(), cut)
}
