//! `fedgate check`: checks whether a cluster has everything that a federation needs, and says what
//! to do about failures.
//!
//! [`gather()`] asks the API server for [`Facts`]; [`judge`] turns them into checks, without any
//! I/O. The checks of the connection between this cluster and a peer use the controller's results:
//! the controller is in the right place to test it, the user's machine is not.
//!
//! | section | what it is about |
//! | --- | --- |
//! | [`api`] | the API server, and the kinds that it must serve |
//! | [`permissions`] | what the controller may do |
//! | [`controller`] | whether a controller leads |
//! | [`cluster`] | what this cluster offers to its peers |
//! | [`gateway`] | what the gateway gets, and what it has |
//! | [`mesh`], [`istio_version`], [`names`], [`ambient`], [`mcs`] | whether fedgate can work in this mesh |
//! | [`imports`] | the objects that imports need |
//! | [`peers`] | each peer |

mod ambient;
mod api;
mod cluster;
mod controller;
mod facts;
mod gateway;
mod gather;
mod imports;
mod istio_version;
mod mcs;
mod mesh;
mod names;
mod peers;
mod permissions;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use gather::gather;
pub use report::{Check, CheckOutcome, Report, Section};

use facts::Facts;
use kube::Client;

/// Checks the fedgate that runs as `service_account` in `namespace`. What cannot be asked is part
/// of the report. Calls `progress` with the number of answers so far, and of all questions.
pub async fn check(
    client: &Client,
    namespace: &str,
    service_account: &str,
    progress: &dyn Fn(usize, usize),
) -> Report {
    judge(&gather(client, namespace, service_account, progress).await)
}

/// All checks for which there are facts. Without the API server, or without what the controller
/// stored, the later ones are missing.
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
