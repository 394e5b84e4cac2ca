//! `fedgate check`: whether everything is there that a federation needs, and what to do about what is not.
//!
//! [`gather()`] asks the API server for [`Facts`]; [`judge`] makes lines of them, without asking anybody. What happens between
//! this cluster and a peer is taken from what the controller found: it is at the right place to find it, and the user's machine is not.
//!
//! | section | what it is about |
//! | --- | --- |
//! | [`api`] | the API server, and the kinds that it must have |
//! | [`permissions`] | what the controller may do |
//! | [`controller`] | whether one leads |
//! | [`cluster`] | what this cluster is to its peers |
//! | [`gateway`] | what the gateway is given, and what it has |
//! | [`mesh`] | whether this can work in the mesh |
//! | [`imports`] | what the mesh is given |
//! | [`peers`] | each peer |

mod ambient;
mod api;
mod cluster;
mod controller;
mod facts;
mod gateway;
mod gather;
mod imports;
mod mesh;
mod peers;
mod permissions;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use gather::gather;
pub use report::{Check, Outcome, Report, Section};

use facts::Facts;
use kube::Client;

/// Checks what `service_account` in `namespace` runs. What cannot be asked is part of the report.
pub async fn check(client: &Client, namespace: &str, service_account: &str) -> Report {
    judge(&gather(client, namespace, service_account).await)
}

/// All lines that there is something to say for. Without the API server, or what the controller wrote down, the later ones are missing.
pub(crate) fn judge(facts: &Facts) -> Report {
    let mut sections = vec![api::section(facts)];
    if facts.api.is_ok() {
        sections.push(permissions::section(facts));
        sections.push(controller::section(facts));
    }
    if let (Ok(_), Ok(snapshot)) = (&facts.api, &facts.snapshot) {
        sections.push(cluster::section(snapshot, facts.now));
        sections.push(gateway::section(snapshot, &facts.pods, &facts.written));
        sections.push(mesh::section(snapshot, facts));
        sections.push(imports::section(snapshot, &facts.written));
        sections.extend(peers::sections(snapshot, facts.now));
    }
    Report { sections }
}
